"""CelebA's text files to rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from augmentor.data.importers.base import DatasetError
from augmentor.data.importers.celeba import read_celeba
from tests.augmentor.data.importers.conftest import CELEBA_HEADER

if TYPE_CHECKING:
    from tests.augmentor.data.importers.conftest import MakeCelebA, MakeImage

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
        ("list_attr_celeba.txt", "Brown_Hair ", "Black_Hair ", "line 2: the attribute black_hair is named twice"),
        ("list_attr_celeba.txt", CELEBA_HEADER, "", "line 3: no names of attributes in it"),
        ("list_attr_celeba.txt", "000002.jpg -1", "000002.jpg ", "line 4: 40 words, not 41: '000002.jpg -1"),
        ("list_attr_celeba.txt", "000002.jpg -1", "000002.jpg 0", "line 4, 5_o_Clock_Shadow: '0' is neither 1"),
        ("list_attr_celeba.txt", "000002.jpg", "000001.jpg", "line 4: a second line for 000001.jpg"),
        ("list_eval_partition.txt", "000003.jpg 1", "000003.jpg 3", "line 3: '3' is not 0 (train), 1 (val)"),
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


def read_as(folder: Path) -> list[tuple[str, ...]]:
    """Name, hair, woman or man, and split of each image."""
    frame = read_celeba(folder).frame
    split = frame.get("split", pd.Series("", index=frame.index))
    return list(zip(frame["path"], frame["hair"], frame["male"], split, strict=True))


EXPECTED = [
    ("000001.jpg", "black", "1", "train"),
    ("000002.jpg", "", "0", "train"),
    ("000003.jpg", "", "1", "val"),
    ("000004.jpg", "gray", "0", "test"),
]


@pytest.mark.parametrize("beside", [False, True])
def test_images_in_a_folder_of_that_name(beside: bool, make_celeba: MakeCelebA, tmp_path: Path) -> None:
    """The folder of the original StarGAN, alone or beside an empty one of the owners' name."""
    folder = make_celeba(tmp_path, PEOPLE, splits=SPLITS)
    (folder / "img_align_celeba").rename(folder / "images")
    if beside:
        (folder / "img_align_celeba").mkdir()
    assert read_celeba(folder).root == folder / "images"
    assert read_as(folder) == EXPECTED


def test_kaggles_files(make_celeba: MakeCelebA, tmp_path: Path) -> None:
    folder = make_celeba(tmp_path, PEOPLE, splits=SPLITS, images="img_align_celeba")
    for name, header in (("list_attr_celeba", None), ("list_eval_partition", "image_id,partition")):
        lines = [",".join(line.split()) for line in (folder / f"{name}.txt").read_text().splitlines()]
        lines = [f"image_id,{lines[1]}", *lines[2:]] if header is None else [header, *lines]
        (folder / f"{name}.csv").write_text("\r\n".join(lines) + "\r\n")
        (folder / f"{name}.txt").unlink()
    (folder / "identity_CelebA.txt").unlink()
    assert read_as(folder) == EXPECTED


def test_png_for_jpg(make_celeba: MakeCelebA, make_image: MakeImage, tmp_path: Path) -> None:
    folder = make_celeba(tmp_path, PEOPLE, splits=SPLITS)
    for image in list((folder / "img_align_celeba").iterdir()):
        image.unlink()
        make_image(folder / "img_align_celeba_png" / f"{image.stem}.png")
    make_image(folder / "img_align_celeba_png" / "000001.jpg")
    found = read_celeba(folder)
    assert list(found.frame["path"]) == ["000001.jpg", "000002.png", "000003.png", "000004.png"]
    assert list(found.frame["id"])[1:] == ["celeba-000002", "celeba-000003", "celeba-000004"]
    assert list(found.frame["split"]) == ["train", "train", "val", "test"]


@pytest.mark.parametrize("mapped", [False, True])
def test_celeba_hq(mapped: bool, make_celeba: MakeCelebA, make_image: MakeImage, tmp_path: Path) -> None:
    """Splits and identities are CelebA's, where its lists and the mapping are there."""
    folder = make_celeba(tmp_path, PEOPLE, splits=SPLITS)
    text = (folder / "list_attr_celeba.txt").read_text()
    for i, original in enumerate(("000004", "000001", "000003", "000002")):
        text = text.replace(f"{original}.jpg", f"{i}.jpg ")
        make_image(folder / "CelebAMask-HQ" / "CelebA-HQ-img" / f"{i}.jpg")
    (folder / "CelebAMask-HQ" / "CelebAMask-HQ-attribute-anno.txt").write_text(text)
    (folder / "list_attr_celeba.txt").unlink()
    if mapped:
        rows = "0 3 000004.jpg\n1 0 000001.jpg\n2 2 000003.jpg\n3 1 000002.jpg\n"
        (folder / "CelebAMask-HQ" / "CelebA-HQ-to-CelebA-mapping.txt").write_text(
            f"idx orig_idx orig_file\n{rows}"
        )
    found = read_celeba(folder)
    frame = found.frame.set_index("path").sort_index()
    assert list(frame["hair"]) == ["gray", "black", "", ""]
    assert list(frame["id"]) == ["celebahq-0", "celebahq-1", "celebahq-2", "celebahq-3"]
    if mapped:
        assert list(frame["split"]) == ["test", "train", "val", "train"]
        assert list(frame["group"]) == ["celeba-2881", "celeba-2880", "celeba-2881", "celeba-2880"]
    else:
        assert not {"split", "group"} & set(frame.columns)
        assert "no splits" in found.notes[0]


@pytest.mark.parametrize("head", ["4\n", "202599\n", ""])
def test_lists_cut_to_a_part(head: str, make_celeba: MakeCelebA, tmp_path: Path) -> None:
    folder = make_celeba(tmp_path, PEOPLE, splits=SPLITS)
    lines = (folder / "list_attr_celeba.txt").read_text().splitlines()
    (folder / "list_attr_celeba.txt").write_text(head + "\n".join([lines[1], *lines[3:]]) + "\n")
    partition = folder / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("000003.jpg 1\n", ""))
    found = read_celeba(folder)
    assert read_as(folder) == [EXPECTED[1], EXPECTED[3]]
    assert f"{partition}: left out 1 image without a line in it, such as 000003.jpg" in found.notes
    said = [note for note in found.notes if "it is cut to a part" in note]
    assert len(said) == (1 if head else 0)


@pytest.mark.parametrize("no", ["-1", "0"])
def test_own_attributes_in_the_same_format(no: str, make_image: MakeImage, tmp_path: Path) -> None:
    rows = f"a/1.png 1 {no}\na/2.png {no} {no}\nb/1.png 1 1\n"
    (tmp_path / "list_attr_celeba.txt").write_text(f"3\nRusty Wet\n{rows}")
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        make_image(tmp_path / "images" / name)
    found = read_celeba(tmp_path)
    assert found.frame.drop(columns="id").to_numpy().tolist() == [
        ["a/1.png", "1", "0"],
        ["a/2.png", "0", "0"],
        ["b/1.png", "1", "1"],
    ]
    assert found.default == ("rusty", "wet")


def test_some_hair_colours_are_hair_of_these(make_celeba: MakeCelebA, tmp_path: Path) -> None:
    folder = make_celeba(tmp_path, PEOPLE, splits=SPLITS)
    text = (folder / "list_attr_celeba.txt").read_text()
    (folder / "list_attr_celeba.txt").write_text(text.replace("Gray_Hair", "Grey_Mane").replace("Male", "Man"))
    found = read_celeba(folder)
    assert list(found.frame["hair"]) == ["black", "blond", "", ""]
    assert list(found.frame["grey_mane"]) == ["0", "1", "0", "1"]
    assert found.default == ("hair", "young")
    assert any("of the hair colours it has Black_Hair, Blond_Hair, Brown_Hair" in note for note in found.notes)
