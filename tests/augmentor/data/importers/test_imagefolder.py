"""Class folders to rows: the same images and classes as torchvision's ImageFolder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from torchvision.datasets import ImageFolder

from augmentor.data.importers.base import DatasetError, Listing
from augmentor.data.importers.choose import Selection, choose
from augmentor.data.importers.imagefolder import read_imagefolder

if TYPE_CHECKING:
    from tests.augmentor.data.importers.conftest import MakeImage


def test_agrees_with_torchvision(make_image: MakeImage, tmp_path: Path) -> None:
    for name in ("cat/b.png", "cat/a.JPG", "cat/old/c.jpeg", "dog/1.png", "dog/2.png"):
        make_image(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    found = read_imagefolder(tmp_path)
    theirs = ImageFolder(str(tmp_path))
    expected = {
        (Path(path).relative_to(tmp_path).as_posix(), theirs.classes[code]) for path, code in theirs.samples
    }
    assert set(found.frame.itertuples(index=False, name=None)) == expected
    assert len(found.frame) == len(theirs.samples) == 5
    assert list(found.frame.columns) == ["path", "label"]
    assert (found.default, found.notes) == (("label",), ())


def test_split_folders(make_image: MakeImage, tmp_path: Path) -> None:
    for name in ("Train/cat/1.png", "Train/dog/1.png", "validation/cat/1.png", "test/dog/1.png"):
        make_image(tmp_path / name)
    rows = read_imagefolder(tmp_path).frame.to_numpy().tolist()
    assert sorted(rows) == [
        ["Train/cat/1.png", "cat", "train"],
        ["Train/dog/1.png", "dog", "train"],
        ["test/dog/1.png", "dog", "test"],
        ["validation/cat/1.png", "cat", "val"],
    ]


def test_a_class_may_be_called_train(make_image: MakeImage, tmp_path: Path) -> None:
    for name in ("train/1.png", "tram/1.png", "train/old/2.png"):
        make_image(tmp_path / name)
    found = read_imagefolder(tmp_path)
    assert sorted(found.frame["label"]) == ["train", "train", "tram"]
    assert "split" not in found.frame.columns


def labels_and_splits(found: Listing) -> list[tuple[str, str, str]]:
    frame = found.frame.sort_values("path")
    return list(zip(frame["path"], frame["label"], frame["split"], strict=True))


@pytest.mark.parametrize("stray", ["stray.png", "train/stray.png"])
def test_a_stray_picture_does_not_make_labels_of_splits(stray: str, make_image: MakeImage, tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png", stray):
        make_image(tmp_path / name)
    found = read_imagefolder(tmp_path)
    assert labels_and_splits(found) == [
        ("test/a/3.png", "a", "test"),
        ("test/b/4.png", "b", "test"),
        ("train/a/1.png", "a", "train"),
        ("train/b/2.png", "b", "train"),
    ]
    assert found.notes == (f"{tmp_path}: left out 1 image beside the class folders",)


@pytest.mark.parametrize("names", [("trainA", "trainB", "testA"), ("train_A", "train_B", "val_A")])
def test_cyclegans_folders(names: tuple[str, ...], make_image: MakeImage, tmp_path: Path) -> None:
    for place in (*names, f"{names[0]}/old"):
        make_image(tmp_path / place / "1.png")
    make_image(tmp_path / "stray.png")
    last = "val" if "val" in names[2] else "test"
    found = read_imagefolder(tmp_path)
    rows = sorted(zip(found.frame["label"], found.frame["split"], strict=True))
    assert rows == sorted([("A", "train"), ("A", "train"), ("B", "train"), ("A", last)])


def test_splits_in_class_folders(make_image: MakeImage, tmp_path: Path) -> None:
    for name in ("cat/train/1.png", "cat/test/2.png", "dog/train/old/3.png", "dog/stray.png"):
        make_image(tmp_path / name)
    assert labels_and_splits(read_imagefolder(tmp_path)) == [
        ("cat/test/2.png", "cat", "test"),
        ("cat/train/1.png", "cat", "train"),
        ("dog/train/old/3.png", "dog", "train"),
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["train/a/1.png", "test/2.png"], "test holds 1 image and no class folder"),
        (["train/1.png", "test/2.png"], "test holds 1 image and no class folder; train holds 1 image and no"),
        (["train/a/1.png", "test/a/2.png", "extra/a/3.png"], "extra is no split"),
        (["train/a/1.png", "a/2.png"], "a is no split"),
        (["train/a/1.png", "train/b/1.png", "unlabeled/2.png"], "unlabeled is no split"),
        (
            ["train/a/1.png", *(f"train/{i}.png" for i in range(9)), "test/a/1.png"],
            "train holds 9 images and the folders a",
        ),
        (["trainA/1.png", "trainB/2.png", "extra/3.png"], "looks like CycleGAN's folders"),
        (["trainA/1.png", "testA/2.png"], "but holds testA, trainA"),
        (["cat/train/1.png", "cat/test/2.png", "dog/3.png"], "dog/3.png is in no split"),
        (["cat/train/1.png", "cat/test/2.png", "cat/extra/3.png"], "cat/extra/3.png is in no split"),
    ],
)
def test_half_way_is_refused_with_what_it_looks_like(
    names: list[str], said: str, make_image: MakeImage, tmp_path: Path
) -> None:
    for name in names:
        make_image(tmp_path / name)
    with pytest.raises(DatasetError) as raised:
        read_imagefolder(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}: looks like")
    assert said in str(raised.value)


def test_one_inner_folder_of_a_splits_name_is_part_of_its_class(make_image: MakeImage, tmp_path: Path) -> None:
    for name in ("cat/test/1.png", "cat/2.png", "dog/3.png"):
        make_image(tmp_path / name)
    found = read_imagefolder(tmp_path)
    assert list(found.frame["label"]) == ["cat", "cat", "dog"]
    assert "split" not in found.frame.columns


def test_what_is_left_out_is_said(make_image: MakeImage, tmp_path: Path) -> None:
    for name in ("cat/1.png", "loose.png", ".hidden/1.png", "cat/.thumb.png"):
        make_image(tmp_path / name)
    (tmp_path / "empty").mkdir()
    found = read_imagefolder(tmp_path)
    assert found.frame.to_numpy().tolist() == [["cat/1.png", "cat"]]
    assert found.notes == (
        f"{tmp_path}: left out 1 image beside the class folders",
        f"{tmp_path}: no images in the folders empty",
    )


def test_no_class_folders(make_image: MakeImage, tmp_path: Path) -> None:
    make_image(tmp_path / "set" / "1.png")
    with pytest.raises(DatasetError, match=r"no images in folders in it. It must look like set/CLASS/IMAGE.jpg"):
        read_imagefolder(tmp_path / "set")
    with pytest.raises(DatasetError, match=r"this is a file. Unpack it"):
        read_imagefolder(tmp_path / "set" / "1.png")


def test_class_folders_of_two_unicode_forms_are_one_class(make_image: MakeImage, tmp_path: Path) -> None:
    """A Mac packs train, a PC test."""
    for name in ("train/cafe\u0301/1.png", "train/tea/2.png", "test/caf\u00e9/3.png", "test/tea/4.png"):
        make_image(tmp_path / name)
    found = read_imagefolder(tmp_path)
    assert set(found.frame["label"]) == {"caf\u00e9", "tea"}
    kept, _, _ = choose(found, Selection(values={"label": ("cafe\u0301",)}), dataset="x")
    assert sorted(kept["path"]) == ["test/caf\u00e9/3.png", "train/cafe\u0301/1.png"]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_name_that_is_not_text(make_image: MakeImage, tmp_path: Path) -> None:
    make_image(tmp_path / "cat" / "1.png")
    os.rename(tmp_path / "cat" / "1.png", os.fsencode(tmp_path / "cat") + b"/\xff.png")  # noqa: PTH104 - bytes
    with pytest.raises(DatasetError, match=r"is not UTF-8. Rename it"):
        read_imagefolder(tmp_path)
