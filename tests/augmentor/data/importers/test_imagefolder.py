"""Class folders to rows: the same images and classes as torchvision's ImageFolder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from torchvision.datasets import ImageFolder

from augmentor.data.importers.base import DatasetError
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


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_name_that_is_not_text(make_image: MakeImage, tmp_path: Path) -> None:
    make_image(tmp_path / "cat" / "1.png")
    os.rename(tmp_path / "cat" / "1.png", os.fsencode(tmp_path / "cat") + b"/\xff.png")  # noqa: PTH104 - bytes
    with pytest.raises(DatasetError, match=r"is not UTF-8. Rename it"):
        read_imagefolder(tmp_path)
