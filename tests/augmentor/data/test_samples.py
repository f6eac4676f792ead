"""Samples of a manifest's images, and whether all of them are grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from augmentor.data import all_grey
from augmentor.data.manifest import Manifest, read_manifest


def manifest_of(folder: Path, pictures: dict[str, Image.Image]) -> Manifest:
    for name, picture in pictures.items():
        picture.save(folder / name)
    lines = [f"{name},{i % 2}" for i, name in enumerate(pictures)]
    (folder / "manifest.csv").write_text("path,smile\n" + "\n".join(lines) + "\n")
    return read_manifest(folder / "manifest.csv")


def grey_picture(seed: int, mode: str) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_grey_scans_are_grey_whatever_mode_they_are_stored_in(tmp_path: Path) -> None:
    pictures = {"a.png": grey_picture(0, "L"), "b.png": grey_picture(1, "RGB"), "c.jpg": grey_picture(2, "RGB")}
    assert all_grey(manifest_of(tmp_path, pictures))


def test_one_coloured_patch_makes_a_manifest_coloured(tmp_path: Path) -> None:
    coloured = grey_picture(3, "RGB")
    coloured.paste((200, 60, 60), (4, 4, 12, 12))
    pictures = {f"{i}.png": grey_picture(i, "L") for i in range(5)} | {"z.png": coloured}
    assert not all_grey(manifest_of(tmp_path, pictures))


def test_unreadable_images_say_nothing_about_colour(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, {"a.png": grey_picture(0, "L"), "b.png": grey_picture(1, "L")})
    (tmp_path / "a.png").write_bytes(b"broken")
    assert all_grey(manifest)
    (tmp_path / "b.png").write_bytes(b"broken")
    assert not all_grey(manifest)
