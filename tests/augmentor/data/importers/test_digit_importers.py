"""MNIST's IDX files and USPS' packed text: the same pixels and labels as torchvision reads."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision.datasets import MNIST, USPS

from augmentor.data.importers.base import DatasetError, Listing
from augmentor.data.importers.digits import read_idx, read_mnist, read_usps

if TYPE_CHECKING:
    from tests.augmentor.data.importers.conftest import MakeIdx, MakeUsps


def pixels_of(found: Listing) -> NDArray[np.uint8]:
    assert found.image is not None
    return np.stack([found.image(row)[:, :, 0] for row in range(len(found.frame))])


def write_mnist(folder: Path, make_idx: MakeIdx) -> Path:
    random = np.random.default_rng(0)
    for part, count in (("train", 12), ("t10k", 5)):
        make_idx(folder / f"{part}-images-idx3-ubyte", random.integers(256, size=(count, 7, 6), dtype=np.uint8))
        make_idx(folder / f"{part}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return folder


def test_mnist_agrees_with_torchvision(make_idx: MakeIdx, tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", make_idx)
    found = read_mnist(tmp_path)
    train, test = MNIST(tmp_path, train=True), MNIST(tmp_path, train=False)
    np.testing.assert_array_equal(pixels_of(found), np.concatenate([train.data.numpy(), test.data.numpy()]))
    expected = [str(digit) for digit in [*train.targets.tolist(), *test.targets.tolist()]]
    assert list(found.frame["digit"]) == expected
    assert list(found.frame["split"]) == ["train"] * 12 + ["test"] * 5
    assert found.frame["path"].iloc[11] == "train/1/mnist-train-00011.png"
    assert found.frame["id"].iloc[12] == "mnist-test-00000"
    assert found.default == ("digit",)


def test_mnist_packed_and_with_a_dot(make_idx: MakeIdx, tmp_path: Path) -> None:
    plain = read_mnist(write_mnist(tmp_path / "plain", make_idx))
    packed = write_mnist(tmp_path / "packed", make_idx)
    for file in list(packed.iterdir()):
        name = file.name.replace("-idx", ".idx") if "t10k" in file.name else file.name
        (packed / f"{name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    found = read_mnist(packed)
    np.testing.assert_array_equal(pixels_of(found), pixels_of(plain))
    assert found.frame.equals(plain.frame)


def test_mnist_in_part(make_idx: MakeIdx, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no train-images-idx3-ubyte in it, also not packed"):
        read_mnist(tmp_path)
    write_mnist(tmp_path, make_idx)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DatasetError, match=r"no t10k-labels-idx1-ubyte \(or .*\.gz\), only its sibling"):
        read_mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    found = read_mnist(tmp_path)
    assert len(found.frame) == 12
    assert found.notes == (f"{tmp_path}: no t10k-images-idx3-ubyte in it, so there are no test images",)


def test_mnist_damaged(make_idx: MakeIdx, tmp_path: Path) -> None:
    write_mnist(tmp_path, make_idx)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-3])
    with pytest.raises(DatasetError, match="train-images-idx3-ubyte: 501 numbers, but its head says 504"):
        read_mnist(tmp_path)
    images.write_bytes(whole)
    make_idx(labels, np.arange(11, dtype=np.uint8))
    with pytest.raises(DatasetError, match="11 labels, but train-images-idx3-ubyte has 12 images"):
        read_mnist(tmp_path)
    make_idx(labels, np.arange(12, dtype=np.uint8))
    with pytest.raises(DatasetError, match="image 10: the label 10 is no digit"):
        read_mnist(tmp_path)
    with pytest.raises(DatasetError, match="is no IDX file of bytes in 3 dimensions"):
        read_idx(labels, dimensions=3)
    broken = tmp_path / "broken.gz"
    for content in (b"no gzip", gzip.compress(whole)[:-20]):
        broken.write_bytes(content)
        with pytest.raises(DatasetError, match=r"broken\.gz: does not unpack"):
            read_idx(broken, dimensions=3)


def test_usps_agrees_with_torchvision(make_usps: MakeUsps, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    make_usps(tmp_path / "usps.bz2", random.uniform(-1, 1, (11, 256)).round(4), [*range(1, 11), 7])
    make_usps(tmp_path / "usps.t.bz2", np.array([[-1, 1] * 128, [0, 0.5] * 128]), [10, 1])
    found = read_usps(tmp_path)
    train, test = USPS(tmp_path, train=True), USPS(tmp_path, train=False)
    np.testing.assert_array_equal(pixels_of(found), np.concatenate([train.data, test.data]))
    # By hand: -1 is black, 1 white, 0 and 0.5 are (v + 1) / 2 * 255 cut off.
    assert pixels_of(found)[11, 0, :2].tolist() == [0, 255]
    assert pixels_of(found)[12, 0, :2].tolist() == [127, 191]
    assert list(found.frame["digit"]) == [str(digit) for digit in [*train.targets, *test.targets]]
    assert list(found.frame["digit"])[-2:] == ["9", "0"]
    assert list(found.frame["split"]) == ["train"] * 11 + ["test"] * 2
    assert found.frame["path"].iloc[12] == "test/0/usps-test-00001.png"


def test_usps_leaves_out_zeros(tmp_path: Path) -> None:
    (tmp_path / "usps.bz2").write_bytes(bz2.compress(b"3 2:1 256:-1\n\n"))
    found = read_usps(tmp_path)
    assert pixels_of(found)[0, 0, :3].tolist() == [127, 255, 127]
    assert pixels_of(found)[0, 15, 15] == 0
    assert found.notes == (f"{tmp_path}: no usps.t.bz2 in it, so there are no test images",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 1:1", "line 2: the label 0 is not one of 1 to 10"),
        ("11 1:1", "line 2: the label 11 is not one of 1 to 10"),
        ("3 257:1", "line 2: index 257 is not one of 1 to 256"),
        ("3 0:1", "line 2: index 0 is not one of 1 to 256"),
        ("3 1:255", r"line 2: a value is not in \[-1, 1\]"),
        ("3 1:nan", r"line 2: a value is not in \[-1, 1\]"),
        ("3 1", "line 2: is not 'LABEL INDEX:VALUE ...': '3 1'"),
        ("three 1:1", "line 2: is not 'LABEL INDEX:VALUE ...': 'three 1:1'"),
    ],
)
def test_usps_damaged_lines(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "usps.bz2").write_bytes(bz2.compress(f"3 1:1\n{line}\n".encode()))
    with pytest.raises(DatasetError, match=rf"usps\.bz2, {said}"):
        read_usps(tmp_path)


def test_usps_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither usps\.bz2 nor usps\.t\.bz2"):
        read_usps(tmp_path)
    for content, said in (
        (b"no bzip2", "does not unpack"),
        (bz2.compress(b"3 1:1\n" * 99)[:-9], "does not unpack"),
        (bz2.compress(b"\n"), "is empty"),
    ):
        (tmp_path / "usps.bz2").write_bytes(content)
        with pytest.raises(DatasetError, match=rf"usps\.bz2: {said}"):
            read_usps(tmp_path)
