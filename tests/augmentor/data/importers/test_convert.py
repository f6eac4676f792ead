"""A data set to a manifest: paths, images, joining with a manifest that is there, and never half a file."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from torchvision.datasets import MNIST

from augmentor.data.importers import IMPORTERS, DatasetError, Selection, convert, convert_dataset
from augmentor.data.manifest import read_manifest
from augmentor.errors import AugmentorError, ManifestError, OutputError
from augmentor.images import decode
from augmentor.storage import workers
from augmentor.storage.workers import anything_hangs
from tests.hanging import wait_for_the_end
from tests.waiting import scaled

if TYPE_CHECKING:
    from tests.augmentor.data.importers.conftest import MakeIdx, MakeImage, MakeUsps


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.fixture
def animals(make_image: MakeImage, tmp_path: Path) -> Path:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        make_image(tmp_path / "animals" / name)
    return tmp_path / "animals"


@pytest.fixture
def digits(make_idx: MakeIdx, tmp_path: Path) -> Path:
    folder = tmp_path / "digits"
    make_idx(folder / "train-images-idx3-ubyte", np.arange(4 * 30, dtype=np.uint8).reshape(4, 6, 5))
    make_idx(folder / "train-labels-idx1-ubyte", np.array([7, 0, 7, 1], dtype=np.uint8))
    return folder


def test_paths_start_from_the_manifest(animals: Path, tmp_path: Path) -> None:
    for out, prefix in (
        (tmp_path / "manifest.csv", "animals/"),
        (animals / "manifest.csv", ""),
        (tmp_path / "deep" / "er" / "manifest.tsv", "../../animals/"),
    ):
        done = convert_dataset("imagefolder", animals, out=out)
        assert list(done.manifest.rows["path"]) == [
            f"{prefix}{name}" for name in ("cat/1.png", "cat/2.png", "dog/1.png")
        ]
        read = read_manifest(out)
        assert [read.image_path(i).read_bytes() for i in range(3)] == [
            (animals / name).read_bytes() for name in ("cat/1.png", "cat/2.png", "dog/1.png")
        ]
        assert read.space.attributes[0].values == ("cat", "dog")
        assert set(read.rows["dataset"]) == {"animals"}


def test_a_linked_folder(animals: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "near").symlink_to(tmp_path / "far" / "away")
    convert_dataset("imagefolder", animals, out=tmp_path / "near" / "manifest.csv")
    read = read_manifest(tmp_path / "near" / "manifest.csv")
    assert read.rows["path"].iloc[0] == "../../animals/cat/1.png"
    assert read.image_path(0).is_file()


def test_images_are_written_for_digits(digits: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "digits.csv"
    done = convert_dataset("mnist", digits, out=out, on_progress=lambda *counts: seen.append(counts))
    assert done.images == tmp_path / "mnist"
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    rows = table(out)
    assert list(rows.columns) == ["path", "id", "split", "dataset", "digit"]
    assert list(rows["path"]) == [f"mnist/train/{digit}/mnist-train-0000{i}.png" for i, digit in enumerate("7071")]
    for i, path in enumerate(rows["path"]):
        expected = np.arange(30 * i, 30 * (i + 1), dtype=np.uint8).reshape(6, 5, 1)
        np.testing.assert_array_equal(decode(tmp_path / path, channels=1), expected)


def test_only_chosen_digits_are_written(digits: Path, tmp_path: Path) -> None:
    images = tmp_path / "elsewhere"
    done = convert_dataset(
        "mnist",
        digits,
        out=tmp_path / "a" / "m.csv",
        images=images,
        selection=Selection(values={"digit": ("0", "1")}),
    )
    assert sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png")) == [
        "train/0/mnist-train-00001.png",
        "train/1/mnist-train-00003.png",
    ]
    assert table(done.path)["path"].iloc[1] == "../elsewhere/train/1/mnist-train-00003.png"
    third = decode(tmp_path / "elsewhere" / "train/1/mnist-train-00003.png", channels=1)
    assert int(third[0, 0, 0]) == 90


def test_mnist_and_usps_as_one_manifest(digits: Path, make_usps: MakeUsps, tmp_path: Path) -> None:
    make_usps(tmp_path / "usps" / "usps.bz2", np.zeros((2, 256)), [1, 8])
    out = tmp_path / "both.csv"
    first = convert_dataset("mnist", digits, out=out, selection=Selection(constants={"domain": "mnist"}))
    done = convert_dataset(
        "usps", tmp_path / "usps", out=out, selection=Selection(constants={"domain": "usps"}), append=True
    )
    assert (first.added, done.added, len(done.manifest)) == (4, 2, 6)
    rows = table(out)
    assert list(rows.columns) == ["path", "id", "split", "dataset", "digit", "domain"]
    assert list(rows["domain"]) == ["mnist"] * 4 + ["usps"] * 2
    assert list(rows["digit"]) == ["7", "0", "7", "1", "0", "7"]
    read = read_manifest(out)
    assert [each.values for each in read.space.attributes] == [("0", "1", "7"), ("mnist", "usps")]
    assert all(read.image_path(i).is_file() for i in range(6))


def test_appending_unites_columns(animals: Path, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifest.csv"
    # A table as people have it: a byte order mark, another image column, no ids, a column that is left alone.
    out.write_text(
        "\ufefffile_name, size ,note\nphotos/x.png,big,one\n,,\nphotos/y.png,small,\n", encoding="utf-8"
    )
    done = convert_dataset("mnist", digits, out=out, append=True)
    rows = table(out)
    assert list(rows.columns) == ["file_name", "size", "note", "id", "split", "dataset", "digit"]
    assert rows.iloc[0].tolist() == ["photos/x.png", "big", "one", "photos-x", "train", "", ""]
    assert rows.iloc[1].tolist() == ["photos/y.png", "small", "", "photos-y", "train", "", ""]
    path = "mnist/train/7/mnist-train-00000.png"
    assert rows.iloc[2].tolist() == [path, "", "", "mnist-train-00000", "train", "mnist", "7"]
    assert (done.added, len(done.manifest)) == (4, 6)
    # Data sets without ids and splits of their own, too.
    convert_dataset("imagefolder", animals, out=out, append=True)
    rows = table(out)
    assert rows.iloc[6].tolist() == ["animals/cat/1.png", "", "", "animals-cat-1", "train", "animals", "", "cat"]
    assert rows["id"].is_unique


def test_taken_ids_change(make_image: MakeImage, tmp_path: Path) -> None:
    for place in ("one", "two"):
        make_image(tmp_path / place / "Rafd090_01_Caucasian_female_sad_frontal.jpg")
    out = tmp_path / "manifest.csv"
    convert_dataset("rafd", tmp_path / "one", out=out)
    convert_dataset("rafd", tmp_path / "two", out=out, append=True)
    first, second = table(out)["id"]
    assert first == "Rafd090_01_Caucasian_female_sad_frontal"
    assert second.startswith(f"{first}-")
    assert len(second) == len(first) + 9


def test_appending_twice_is_refused(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "manifest.csv"
    convert_dataset("mnist", digits, out=out, append=True)
    before = out.read_bytes()
    with pytest.raises(DatasetError, match=r"has 4 of these images already: mnist/train/7/.*appended before"):
        convert_dataset("mnist", digits, out=out, append=True)
    assert out.read_bytes() == before
    with pytest.raises(OutputError, match=r"exists already. Give another --out, add to it with --append"):
        convert_dataset("mnist", digits, out=out)


def test_nothing_is_written_when_something_is_wrong(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "manifest.csv"

    def refused(kind: type[AugmentorError], said: str, selection: Selection | None = None) -> None:
        with pytest.raises(kind, match=said):
            convert_dataset("mnist", digits, out=out, selection=selection)
        assert not out.parent.exists()

    refused(DatasetError, "no attribute 'didgit'", Selection(attributes=("didgit",)))
    refused(
        ManifestError,
        r"manifest\.csv, row 2, column 'domain': the value 'a,b' holds ','",
        Selection(constants={"domain": "a,b"}),
    )
    (digits / "train-labels-idx1-ubyte").write_bytes(b"")
    refused(DatasetError, "train-labels-idx1-ubyte: is no IDX file")
    with pytest.raises(DatasetError, match=r"written as \.csv or \.tsv, not \.parquet"):
        convert_dataset("mnist", digits, out=tmp_path / "m.parquet")
    with pytest.raises(DatasetError, match=r"no data set 'mnits': .*Did you mean 'mnist'\?"):
        convert_dataset("mnits", digits, out=out)


def test_a_manifest_that_cannot_be_appended_to_stays(digits: Path, tmp_path: Path) -> None:
    for text, said in (
        ("name,digit\na.png,1\n", "no column 'path'"),
        ("path,,digit\na.png,x,1\n", "column 2 has no name"),
        ("path\tdigit\na.png\t1\n", "not separated as its suffix tells"),
        ('path,digit\na.png,seven\n"b.png,1\n', "a quote is opened and never closed"),
    ):
        out = tmp_path / "manifest.csv"
        out.write_text(text)
        with pytest.raises(AugmentorError, match=said):
            convert_dataset("mnist", digits, out=out, append=True)
        assert out.read_text() == text
    assert not (tmp_path / "mnist").exists()


def test_images_that_cannot_be_written(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "mnist").write_text("in the way")
    with pytest.raises(OutputError, match=r"mnist.*: cannot be written: "):
        convert_dataset("mnist", digits, out=tmp_path / "manifest.csv")
    assert not (tmp_path / "manifest.csv").exists()


def test_subjects_of_rafd_are_split(make_image: MakeImage, tmp_path: Path) -> None:
    for model in range(20):
        for word in ("happy", "sad"):
            make_image(tmp_path / "rafd" / f"Rafd090_{model:02d}_Caucasian_male_{word}_frontal.jpg")
    done = convert_dataset("rafd", tmp_path / "rafd", out=tmp_path / "m.csv")
    assert done.manifest.rows["split"].value_counts().to_dict() == {"train": 32, "val": 4, "test": 4}
    assert done.manifest.rows.groupby("group", observed=True)["split"].nunique().max() == 1
    assert done.notes == ("split groups at random: train 16, val 2, test 2",)
    assert list(table(tmp_path / "m.csv").columns) == ["path", "id", "split", "group", "dataset", "expression"]


def test_leaks_in_a_data_sets_own_splits_are_told(make_image: MakeImage, tmp_path: Path) -> None:
    make_image(tmp_path / "rafd" / "Rafd090_01_Caucasian_male_sad_frontal.jpg")
    make_image(tmp_path / "more" / "Rafd090_01_Caucasian_male_happy_frontal.jpg")
    out = tmp_path / "m.csv"
    convert_dataset("rafd", tmp_path / "rafd", out=out, selection=Selection(split="1/0/0"))
    text = out.read_text().replace("train", "test")
    out.write_text(text)
    done = convert_dataset("rafd", tmp_path / "more", out=out, selection=Selection(split="1/0/0"), append=True)
    assert "1 group in more than one split, which expand refuses: group 'rafd-01' is in" in done.notes[-1]


def test_classes_named_by_many_numbers_need_their_name(make_image: MakeImage, tmp_path: Path) -> None:
    for sign in range(43):
        make_image(tmp_path / "signs" / f"{sign:05d}" / "1.png")
        make_image(tmp_path / "signs" / f"{sign:05d}" / "2.png")
    done = convert_dataset(
        "imagefolder", tmp_path / "signs", out=tmp_path / "m.csv", selection=Selection(label="sign")
    )
    assert done.notes[0].startswith("name the columns wherever it is used, --attributes sign: ")
    assert str(tmp_path / "m.csv") in done.notes[0]
    assert len(read_manifest(tmp_path / "m.csv", attributes=["sign"]).space.attributes[0].values) == 43


def test_odd_file_names(animals: Path, make_image: MakeImage, tmp_path: Path) -> None:
    make_image(animals / "cat" / 'a b, "c" é.png')
    convert_dataset("imagefolder", animals, out=tmp_path / "m.csv")
    assert all(read_manifest(tmp_path / "m.csv").image_path(i).is_file() for i in range(4))
    make_image(animals / "cat" / "new\nline.png")
    with pytest.raises(DatasetError, match=r"new\\nline\.png': a backslash, a space"):
        convert_dataset("imagefolder", animals, out=tmp_path / "m2.csv")


def test_images_only_where_some_are_written(animals: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a folder of images has image files already, none are written"):
        convert_dataset("imagefolder", animals, out=tmp_path / "m.csv", images=tmp_path / "images")


def test_download_where_nothing_can_fetch(tmp_path: Path) -> None:
    for name, source in IMPORTERS.items():
        if source.download is None:
            with pytest.raises(
                DatasetError, match=f"{source.title} cannot be fetched by a program. It comes from"
            ):
                convert_dataset(name, tmp_path / "src", out=tmp_path / "m.csv", download=True)
    assert [name for name, source in IMPORTERS.items() if source.download] == ["celeba", "mnist", "usps"]


def test_download_fetches_nothing_that_is_there(
    make_idx: MakeIdx, make_usps: MakeUsps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for part in ("train", "t10k"):
        folder = tmp_path / "MNIST" / "raw"
        make_idx(folder / f"{part}-images-idx3-ubyte", np.zeros((2, 5, 5), dtype=np.uint8))
        make_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(2, dtype=np.uint8))
    make_usps(tmp_path / "usps.bz2", np.zeros((2, 256)), [1, 2])
    make_usps(tmp_path / "usps.t.bz2", np.zeros((2, 256)), [3, 4])
    for name in ("mnist", "usps"):
        done = convert_dataset(name, tmp_path, out=tmp_path / f"{name}.csv", download=True)
        assert len(done.manifest) == 4


def test_a_download_that_hangs_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes the connection and says nothing."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.getsockname()[1]}/"])
        monkeypatch.setattr(convert, "SILENT_SECONDS", 0.3)
        monkeypatch.setattr(workers, "GRACE_SECONDS", 0.2)
        with pytest.raises(DatasetError, match=r"MNIST could not .*: no byte has come for 0\.3 seconds\. Try"):
            convert_dataset("mnist", tmp_path / "src", out=tmp_path / "m.csv", download=True)
        assert anything_hangs()
        server.accept()[0].close()
        wait_for_the_end()
    assert not (tmp_path / "m.csv").exists()


def test_a_download_that_gets_on_may_take_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pause = scaled(0.05)

    def fetch(folder: Path, **_: object) -> None:
        with (folder / "slow").open("wb", buffering=0) as file:
            for _byte in range(10):
                time.sleep(pause)
                file.write(b"x")

    monkeypatch.setattr(convert, "MNIST", fetch)
    monkeypatch.setattr(convert, "SILENT_SECONDS", 6 * pause)
    convert.download_dataset(IMPORTERS["mnist"], tmp_path / "src")
    assert (tmp_path / "src" / "slow").stat().st_size == 10


def test_download_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name, title in (("mnist", "MNIST"), ("usps", "USPS")):
        with pytest.raises(
            DatasetError, match=f"{title} could not be downloaded into .*: .*Try again, or put its"
        ):
            convert_dataset(name, tmp_path / "src", out=tmp_path / "m.csv", download=True)
