"""CelebA's text files to rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from augmentor.data.importers.base import DatasetError
from augmentor.data.importers.celeba import read_celeba

if TYPE_CHECKING:
    from tests.augmentor.data.importers.conftest import MakeCelebA

PEOPLE = (("Black_Hair", "Male", "Young"), ("Blond_Hair", "Gray_Hair"), ("Bald", "Male"), ("Gray_Hair", "Smiling"))
SPLITS = (0, 0, 1, 2)


def test_hair_is_one_attribute_and_the_others_are_binary(make_celeba: MakeCelebA, tmp_path: Path) -> None:
    found = read_celeba(make_celeba(tmp_path / "celeba", PEOPLE, splits=SPLITS))
    frame = found.frame
    assert found.root == tmp_path / "celeba" / "img_align_celeba"
    assert list(frame["path"]) == ["000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg"]
    assert list(frame["id"]) == ["celeba-000001", "celeba-000002", "celeba-000003", "celeba-000004"]
    # Two colours at once, and none, are unknown.
    assert list(frame["hair"]) == ["black", "", "", "gray"]
    assert list(frame["male"]) == ["1", "0", "1", "0"]
    assert list(frame["young"]) == ["1", "0", "0", "0"]
    assert list(frame["smiling"]) == ["0", "0", "0", "1"]
    assert list(frame["split"]) == ["train", "train", "val", "test"]
    assert list(frame["group"]) == ["celeba-2880", "celeba-2880", "celeba-2881", "celeba-2881"]
    assert found.default == ("hair", "male", "young")
    assert len(found.attributes) == 37
    assert "black_hair" not in found.attributes
    assert "5_o_clock_shadow" in found.attributes


@pytest.mark.parametrize(
    ("text", "images"),
    [("Anno", "Img"), ("celeba", "celeba"), ("", "img_align_celeba")],
    ids=["drive", "torchvision", "unpacked twice"],
)
def test_other_layouts(text: str, images: str, make_celeba: MakeCelebA, tmp_path: Path) -> None:
    folder = make_celeba(tmp_path, PEOPLE, splits=SPLITS, text=Path(text), images=images)
    if text == "Anno":
        (folder / "Eval").mkdir()
        (folder / "Anno" / "list_eval_partition.txt").rename(folder / "Eval" / "list_eval_partition.txt")
    found = read_celeba(folder)
    assert found.root == folder / images / "img_align_celeba"
    assert list(found.frame["split"]) == ["train", "train", "val", "test"]


def test_optional_files_and_parts_of_the_images(make_celeba: MakeCelebA, tmp_path: Path) -> None:
    make_celeba(tmp_path, PEOPLE, splits=SPLITS)
    for name in ("identity_CelebA.txt", "list_eval_partition.txt", "img_align_celeba/000002.jpg"):
        (tmp_path / name).unlink()
    found = read_celeba(tmp_path)
    assert list(found.frame["path"]) == ["000001.jpg", "000003.jpg", "000004.jpg"]
    assert list(found.frame["hair"]) == ["black", "", "gray"]
    assert not {"split", "group"} & set(found.frame.columns)
    assert "no list_eval_partition.txt" in found.notes[0]
    assert "left out 1 of 4 images, listed but not there, such as 000002.jpg" in found.notes[1]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("list_attr_celeba.txt", "4\n", "5\n", "line 1 says 5 images, but there are 4"),
        ("list_attr_celeba.txt", "4\n", "", "line 1: '5_o_Clock_Shadow"),
        ("list_attr_celeba.txt", "Brown_Hair ", "Bronw_Hair ", "line 2: no Brown_Hair among"),
        ("list_attr_celeba.txt", "000002.jpg -1", "000002.jpg ", "line 4: 40 words, not 41: '000002.jpg  -1"),
        ("list_attr_celeba.txt", "000002.jpg -1", "000002.jpg 0", "line 4, 5_o_Clock_Shadow: '0' is neither 1"),
        ("list_attr_celeba.txt", "000002.jpg", "000001.jpg", "line 4: a second line for 000001.jpg"),
        ("list_eval_partition.txt", "000003.jpg 1", "000003.jpg 3", "line 3: '3' is not 0 (train), 1 (val)"),
        ("list_eval_partition.txt", "000003.jpg 1\n", "", "no line for 000003.jpg"),
        ("list_eval_partition.txt", "000003.jpg", "000002.jpg", "line 3: '000002.jpg' is already in line 2"),
        ("identity_CelebA.txt", "000001.jpg 2880", "000001.jpg", "line 1: 1 word, not 2"),
    ],
)
def test_damage_is_named_with_its_line(
    file: str, old: str, new: str, said: str, make_celeba: MakeCelebA, tmp_path: Path
) -> None:
    path = make_celeba(tmp_path, PEOPLE, splits=SPLITS) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DatasetError) as raised:
        read_celeba(tmp_path)
    assert str(raised.value).startswith(str(path))
    assert said in str(raised.value)


def test_missing_and_packed_parts(make_celeba: MakeCelebA, tmp_path: Path) -> None:
    (tmp_path / "celeba").mkdir()
    with pytest.raises(DatasetError, match=r"no such folder. Did you mean 'celeba'\?"):
        read_celeba(tmp_path / "celebb")
    with pytest.raises(DatasetError, match=r"no list_attr_celeba\.txt in it"):
        read_celeba(tmp_path / "celeba")
    folder = make_celeba(tmp_path / "celeba", PEOPLE, splits=SPLITS)
    (folder / "img_align_celeba").rename(folder / "img_celeba")
    with pytest.raises(DatasetError, match="no folder img_align_celeba"):
        read_celeba(folder)
    (folder / "img_align_celeba.zip").touch()
    with pytest.raises(DatasetError, match=r"img_align_celeba\.zip: is still packed"):
        read_celeba(folder)
    (folder / "img_align_celeba").mkdir()
    with pytest.raises(DatasetError, match=r"holds none of the 4 images that are listed, such as 000001\.jpg"):
        read_celeba(folder)
