"""RaFD's file names to rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from augmentor.data.importers.base import DatasetError
from augmentor.data.importers.rafd import read_rafd

if TYPE_CHECKING:
    from tests.augmentor.data.importers.conftest import MakeImage


def test_a_name_says_everything(make_image: MakeImage, tmp_path: Path) -> None:
    for name in (
        "Rafd000_05_Kid_male_happy_left.jpg",
        "Rafd090_01_Caucasian_female_angry_frontal.jpg",
        "sad/Rafd135_71_Moroccan_male_sad_right.JPG",
        "preview.png",
    ):
        make_image(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no image")
    found = read_rafd(tmp_path)
    assert found.frame.to_dict("records") == [
        {
            "path": "Rafd000_05_Kid_male_happy_left.jpg",
            "id": "Rafd000_05_Kid_male_happy_left",
            "group": "rafd-05",
            "expression": "happy",
            "gaze": "left",
            "angle": "0",
            "gender": "male",
            "ethnicity": "caucasian",
            "age": "kid",
        },
        {
            "path": "Rafd090_01_Caucasian_female_angry_frontal.jpg",
            "id": "Rafd090_01_Caucasian_female_angry_frontal",
            "group": "rafd-01",
            "expression": "angry",
            "gaze": "frontal",
            "angle": "90",
            "gender": "female",
            "ethnicity": "caucasian",
            "age": "adult",
        },
        {
            "path": "sad/Rafd135_71_Moroccan_male_sad_right.JPG",
            "id": "Rafd135_71_Moroccan_male_sad_right",
            "group": "rafd-71",
            "expression": "sad",
            "gaze": "right",
            "angle": "135",
            "gender": "male",
            "ethnicity": "moroccan",
            "age": "adult",
        },
    ]
    assert found.default == ("expression",)
    assert found.shares == (80, 10, 10)
    assert found.notes == (f"{tmp_path}: left out 1 image with another name than Rafd...",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Rafd090_01_Caucasian_female_angrry_frontal.jpg", "'angrry' in the name is not one of .* 'angry'"),
        ("Rafd091_01_Caucasian_female_angry_frontal.jpg", "'091' in the name is not one of 000, 045"),
        ("Rafd090_01_Caucasian_female_angry.jpg", "is not made as RaFD's are"),
    ],
)
def test_names_that_cannot_be_read(name: str, said: str, make_image: MakeImage, tmp_path: Path) -> None:
    make_image(tmp_path / "Rafd090_01_Caucasian_female_sad_frontal.jpg")
    make_image(tmp_path / name)
    with pytest.raises(DatasetError, match=f"{name}: .*{said}"):
        read_rafd(tmp_path)


def test_two_versions_of_one_image_and_none(make_image: MakeImage, tmp_path: Path) -> None:
    make_image(tmp_path / "other.jpg")
    with pytest.raises(DatasetError, match="no image in it has a name such as Rafd090"):
        read_rafd(tmp_path)
    for folder in ("crop", "whole"):
        make_image(tmp_path / folder / "Rafd090_01_Caucasian_female_sad_frontal.jpg")
    with pytest.raises(DatasetError, match=r"crop/Rafd.* and whole/Rafd.* have one name"):
        read_rafd(tmp_path)
