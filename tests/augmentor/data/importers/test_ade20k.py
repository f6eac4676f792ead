"""ADE20K's scene-parsing release and its full ones to rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from augmentor.data.importers.ade20k import read_ade20k
from augmentor.data.importers.base import DatasetError

if TYPE_CHECKING:
    from tests.augmentor.data.importers.conftest import MakeImage

LINES = (
    "ADE_train_00000001 airport_terminal",
    "ADE_train_00000002 street",
    "ADE_train_00000003 street",
    "ADE_val_00000001 street",
)


def write_release(folder: Path, make_image: MakeImage) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "sceneCategories.txt").write_text("\n".join(LINES) + "\n")
    for line in LINES:
        name = line.split()[0]
        part = "training" if "train" in name else "validation"
        make_image(folder / "images" / part / f"{name}.jpg")
        make_image(folder / "annotations" / part / f"{name}.png")
    return folder


@pytest.mark.parametrize("outer", ["", "ADEChallengeData2016"])
def test_scene_parsing_release(outer: str, make_image: MakeImage, tmp_path: Path) -> None:
    write_release(tmp_path / outer, make_image)
    found = read_ade20k(tmp_path)
    assert found.root == tmp_path / outer / "images"
    assert found.frame.to_numpy().tolist() == [
        ["training/ADE_train_00000001.jpg", "ADE_train_00000001", "train", "airport_terminal"],
        ["training/ADE_train_00000002.jpg", "ADE_train_00000002", "train", "street"],
        ["training/ADE_train_00000003.jpg", "ADE_train_00000003", "train", "street"],
        ["validation/ADE_val_00000001.jpg", "ADE_val_00000001", "val", "street"],
    ]
    assert list(found.frame.columns) == ["path", "id", "split", "scene"]
    assert found.suggested == {"scene": ("street", "airport_terminal")}


def test_the_ten_most_frequent_scenes_without_the_catch_all(make_image: MakeImage, tmp_path: Path) -> None:
    scenes = [*("misc",) * 4, *(f"scene_{i:02d}" for i in range(14)), "scene_12", "scene_12", "scene_03"]
    lines = [f"ADE_train_{i:08d} {scene}" for i, scene in enumerate(scenes)]
    (tmp_path / "sceneCategories.txt").write_text("\n".join(lines))
    for line in lines:
        make_image(tmp_path / "images" / "training" / f"{line.split()[0]}.jpg")
    # Ties are broken by name.
    expected = ("scene_12", "scene_03", *(f"scene_{i:02d}" for i in (0, 1, 2, 4, 5, 6, 7, 8)))
    assert read_ade20k(tmp_path).suggested == {"scene": expected}


@pytest.mark.parametrize(
    ("folder", "first", "scene"),
    [
        ("images/training/a/abbey", "a/abbey", "abbey"),
        ("images/training/a/apse/indoor", "a/apse/indoor", "apse_indoor"),
        ("images/ADE/training/cultural/apse__indoor", "cultural/apse__indoor", "apse_indoor"),
        ("images/training/abbey", "abbey", "abbey"),
    ],
    ids=["2016", "2016 in two levels", "2021", "one level"],
)
def test_full_releases(folder: str, first: str, scene: str, make_image: MakeImage, tmp_path: Path) -> None:
    make_image(tmp_path / folder / "ADE_train_00000970.jpg")
    make_image(tmp_path / folder / "ADE_train_00000970_seg.png")
    make_image(tmp_path / folder.replace("training", "validation") / "ADE_val_00000003.jpg")
    found = read_ade20k(tmp_path)
    assert found.frame.to_numpy().tolist() == [
        [f"training/{first}/ADE_train_00000970.jpg", "ADE_train_00000970", "train", scene],
        [f"validation/{first}/ADE_val_00000003.jpg", "ADE_val_00000003", "val", scene],
    ]


def test_a_part_of_the_images(make_image: MakeImage, tmp_path: Path) -> None:
    write_release(tmp_path, make_image)
    (tmp_path / "images" / "training" / "ADE_train_00000001.jpg").unlink()
    found = read_ade20k(tmp_path)
    assert list(found.frame["id"]) == ["ADE_train_00000002", "ADE_train_00000003", "ADE_val_00000001"]
    assert "left out 1 of 4 images" in found.notes[0]


def test_damage(make_image: MakeImage, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"neither sceneCategories\.txt nor images/training"):
        read_ade20k(tmp_path)
    (tmp_path / "images" / "training").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"no training/LETTER/SCENE/\*\.jpg in it"):
        read_ade20k(tmp_path)
    path = write_release(tmp_path, make_image) / "sceneCategories.txt"
    for line, said in (
        ("ADE_train_00000004 ice cream parlor", "line 5: 4 words, not 2"),
        ("ADE_trian_00000004 parlor", "line 5: 'ADE_trian_00000004' is no name such as ADE_train_00000001"),
        ("ADE_train_00000001 parlor", "line 5: 'ADE_train_00000001' is already in line 1"),
    ):
        path.write_text("\n".join([*LINES, line]))
        with pytest.raises(DatasetError, match=rf"sceneCategories\.txt, {said}"):
            read_ade20k(tmp_path)
    path.write_text("")
    with pytest.raises(DatasetError, match="is empty"):
        read_ade20k(tmp_path)
