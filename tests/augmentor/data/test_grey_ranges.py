"""Ranges of grey values: found over the training rows, and what is noted about those of a manifest's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from augmentor.data import grey_range_notes, resolve_range
from augmentor.data.manifest import Manifest, read_manifest
from augmentor.storage import GreyRange


def manifest_of(folder: Path, *pictures: NDArray[np.generic]) -> Manifest:
    lines = ["path,smile"]
    for number, pixels in enumerate(pictures):
        name = f"{number}.png" if pixels.dtype in (np.uint8, np.uint16) else f"{number}.tif"
        Image.fromarray(pixels).save(folder / name)
        lines.append(f"{name},{number % 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return read_manifest(folder / "manifest.csv")


def ramp(low: float, high: float, dtype: type[np.generic] = np.uint16) -> NDArray[np.generic]:
    return np.linspace(low, high, 64).reshape(8, 8).astype(dtype)


EIGHT = ramp(0, 255, np.uint8)


@pytest.mark.parametrize(
    ("pictures", "chosen", "found"),
    [
        ([EIGHT, EIGHT], "auto", None),
        ([ramp(0, 4095), EIGHT, ramp(12, 900)], "auto", (0, 4095)),
        ([ramp(-1000, 5, np.int32), ramp(0, 300)], "auto", (-1000, 300)),
        ([ramp(0, 0.5, np.float32), ramp(0.25, 0.75, np.float32)], "auto", (0, 0.75)),
        ([ramp(7, 7), ramp(7, 7)], "auto", (7, 8)),
        ([ramp(0, 4095), EIGHT], "full", None),
        ([ramp(0, 4095), EIGHT], (5, 6), (5, 6)),
    ],
)
def test_one_range_for_all_images(
    pictures: list[NDArray[np.generic]], chosen: str, found: GreyRange | None, tmp_path: Path
) -> None:
    assert resolve_range(chosen, manifest_of(tmp_path, *pictures)) == found  # type: ignore[arg-type]


def test_unreadable_images_are_left_out(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, ramp(0, 4095), ramp(0, 9000))
    (tmp_path / "1.png").write_bytes(b"broken")
    assert resolve_range("auto", manifest) == (0, 4095)


@pytest.mark.parametrize(
    ("pictures", "grey_range", "parts"),
    [
        (
            [ramp(12, 4012), EIGHT, ramp(3, 900)],
            None,
            ["2 files of 3 looked at with", "from 3 to 4,012, read as 0 to 65,535", "in 17 grey levels of 256"],
        ),
        ([ramp(12, 4012)], None, ["--set 'images.range=[0, 4095]', or with images.range=auto"]),
        ([ramp(0, 255, np.int32)], None, ["in 2 grey levels of 256", "--set 'images.range=[0, 255]'"]),
        ([ramp(0, 1000)], None, ["--set 'images.range=[0, 1023]'"]),
        ([ramp(-1000, 3000, np.int32)], None, ["cannot be read so", "--set 'images.range=[-1000, 3000]'"]),
        ([ramp(0, 0.9, np.float32)], None, ["in 1 grey levels of 256", "--set 'images.range=[0, 1]'"]),
        ([ramp(0, 60000)], None, ["from 0 to 60,000, read as 0 to 65,535 (images.range)"]),
        ([ramp(0, 4095)], (0, 4095), ["read as 0 to 4,095 (images.range)"]),
        ([np.array([[100] * 9 + [5000]], np.uint16)], (0, 4095), ["10.00% of the pixels are outside and clipped"]),
    ],
)
def test_what_is_noted(
    pictures: list[NDArray[np.generic]], grey_range: GreyRange | None, parts: list[str], tmp_path: Path
) -> None:
    manifest = replace(manifest_of(tmp_path, *pictures), grey_range=grey_range)
    (note,) = grey_range_notes(manifest)
    assert note.startswith(f"{manifest.path}: ")
    for part in parts:
        assert part in note
    assert "a sample" not in note
    doubtful = any(word in note for word in ("; they", "clipped"))
    assert grey_range_notes(manifest, usual=False) == ([note] if doubtful else [])


def test_8_bits_need_no_note(tmp_path: Path) -> None:
    assert grey_range_notes(manifest_of(tmp_path, EIGHT, EIGHT)) == []


def test_a_sample_is_called_one(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, ramp(0, 60000), ramp(0, 60000))
    many = manifest.select([0, 1] * 300)
    (note,) = grey_range_notes(many)
    assert "200 files of 200 looked at (a sample) with more than 8 bits" in note
