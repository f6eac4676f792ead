"""A batch of damaged and unusual images: the good ones come out upright and in colour, the bad ones are named."""

from __future__ import annotations

import csv
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from augmentor import open_dataset

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done

RED, GREEN, BLUE, GREY = (220, 20, 20), (20, 200, 20), (20, 20, 220), (128, 128, 128)
CORNERS = (RED, GREEN, BLUE, GREY)
"""Top left, top right, bottom left, bottom right: no rotation or mirror image looks the same."""

BAD = {"missing.png": "", "truncated.jpg": "", "text.png": ""}
GOOD = (
    "plain.png",
    "plain2.png",
    "cmyk.jpg",
    "sixteen.png",
    "palette.png",
    "rotated.jpg",
    "upright.png",
    "grey.png",
)


def corners(size: int = 32) -> Image.Image:
    """Draw four squares of different colours."""
    picture = Image.new("RGB", (size, size))
    half = size // 2
    for colour, place in zip(CORNERS, ((0, 0), (half, 0), (0, half), (half, half)), strict=True):
        picture.paste(colour, (*place, place[0] + half, place[1] + half))
    return picture


def draw(folder: Path) -> None:
    """Write every image but the missing one."""
    corners().save(folder / "plain.png")
    corners(64).save(folder / "plain2.png")
    corners().convert("CMYK").save(folder / "cmyk.jpg", quality=95, subsampling=0)
    # 16 bits of grey: dark above, bright below; 60000 of 65535 would be white if it were only cut off.
    deep = np.full((32, 32), 6000, dtype=np.uint16)
    deep[16:] = 45000
    Image.fromarray(deep).save(folder / "sixteen.png")
    # A palette in which what was red is transparent, and so lies over white.
    palette = corners().quantize(8)
    palette.info["transparency"] = palette.getpixel((4, 4))
    palette.save(folder / "palette.png", transparency=palette.getpixel((4, 4)))
    # A camera that was held sideways: the pixels lie on their side, the EXIF says how to turn them.
    exif = Image.Exif()
    exif[0x0112] = 6
    corners().transpose(Image.Transpose.ROTATE_90).save(
        folder / "rotated.jpg", quality=95, subsampling=0, exif=exif
    )
    with Image.open(folder / "rotated.jpg") as rotated:
        ImageOps.exif_transpose(rotated).save(folder / "upright.png", exif=b"")
    corners().convert("L").save(folder / "grey.png")
    whole = folder / "whole.jpg"
    corners(64).save(whole, quality=95)
    (folder / "truncated.jpg").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "text.png").write_text("dear diary")


@dataclass(frozen=True)
class Batch:
    """The manifest, the two outputs and how their commands ended."""

    manifest: Path
    folder: tuple[Path, Done]
    file: tuple[Path, Done]


@pytest.fixture(scope="module")
def batch(augmentor: Augmentor, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """All of them in one manifest, expanded into hair=~: two translations of each."""
    folder = tmp_path_factory.mktemp("hostile")
    draw(folder)
    names = sorted([*BAD, *GOOD])
    manifest = folder / "manifest.csv"
    lines = ["path,hair,smile", *(f"{name},{('black', 'blond', 'red')[i % 3]},1" for i, name in enumerate(names))]
    # Neighbours may share what they show: the turned photo and its upright copy get one label.
    manifest.write_text("\n".join(lines).replace("rotated.jpg,blond", "rotated.jpg,red") + "\n")
    made = []
    for out in (folder / "out", folder / "out.h5"):
        words = ("--model", model, "--domains", "hair=*,smile=0", "--out", out, "--shard-size", 7, "--json")
        made.append((out, augmentor.run("expand", manifest, *words)))
    return Batch(manifest, *made)


def real(batch: Batch) -> dict[str, np.ndarray]:
    """Return the processed real images by the name of their source."""
    dataset = open_dataset(batch.folder[0], synthetic=False)
    return {
        path: dataset[index][0].permute(1, 2, 0).numpy().astype(int)
        for index, path in enumerate(dataset.labels["source_path"])
    }


def quarters(pixels: np.ndarray) -> np.ndarray:
    """Return the colours in the middle of the four squares, (4, 3)."""
    return np.stack([pixels[4, 4], pixels[4, 11], pixels[11, 4], pixels[11, 11]])


def test_bad_ones_are_rows_and_nothing_else_is_lost(batch: Batch) -> None:
    for out, done in (batch.folder, batch.file):
        failures = out / "failures.csv" if out.is_dir() else out.with_suffix(".failures.csv")
        assert done.code == 1, done.err
        assert f"3 rows could not be used: {failures}" in done.err
        assert "Traceback" not in done.err
        with failures.open(newline="") as file:
            rows = {row["path"]: row["reason"] for row in csv.DictReader(file)}
        assert set(rows) == set(BAD)
        assert rows["missing.png"] == "the file does not exist"
        assert "cut short or damaged" in rows["truncated.jpg"]
        assert "not an image" in rows["text.png"]
        assert (done.json["real"], done.json["synthetic"], done.json["failed"]) == (8, 3 * 8, 3)
        labels = open_dataset(out).labels
        assert set(labels["source_path"]) == set(GOOD)
        assert set(labels.groupby("source_path").size()) == {4}


STRANGE_GOOD = {
    "one.png": "a single pixel",
    "wide.png": "extreme proportions",
    "tall.jpg": "extreme proportions, in a format that can be unpacked at a fraction",
    "polyglot.html": "an image with a web page and an archive behind it, under the name of a page",
    "frames.gif": "an animation: the first frame is red",
    "alpha.webp": "transparency",
    "profile.jpg": "a colour profile",
}
STRANGE_BAD = {
    "bomb.png": "the image is too large",
    "above.png": "too large: 301 x 300 pixels are more than the limit of 90,000, see --max-pixels",
    "empty.png": "the file is empty",
    "pipe.png": "not a regular file",
    "folder.png": "a folder, not an image file",
    "script.png": "not an image",
    "vector.png": "not an image",
    "zero.png": "leads out of the manifest's folder",
    f"{'x' * 300}.png": "no file can have this path",
}


def draw_strange(folder: Path) -> None:
    """Write every strange image, and what is none."""
    Image.new("RGB", (1, 1), RED).save(folder / "one.png")
    Image.new("RGB", (3000, 1), RED).save(folder / "wide.png")
    Image.new("RGB", (2, 3000), RED).save(folder / "tall.jpg", quality=95, subsampling=0)
    corners().save(folder / "polyglot.png")
    page = b"<script>alert(1)</script>PK\x05\x06" + bytes(18)
    (folder / "polyglot.html").write_bytes((folder / "polyglot.png").read_bytes() + page)
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE, GREEN)]
    frames[0].save(folder / "frames.gif", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (16, 16), (*RED, 255)).save(folder / "alpha.webp", lossless=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (16, 16), RED).save(folder / "profile.jpg", quality=95, icc_profile=profile)
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000)))):
        bomb += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    (folder / "bomb.png").write_bytes(bomb)
    Image.new("L", (301, 300)).save(folder / "above.png")
    (folder / "empty.png").touch()
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "script.png").write_text("#!/bin/sh\nrm -rf /\n")
    (folder / "vector.png").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    (folder / "zero.png").symlink_to("/dev/zero")


@pytest.mark.parametrize("real", ["processed", "original"])
def test_strange_images_are_used_or_named_and_nothing_hangs(
    real: str, augmentor: Augmentor, model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    draw_strange(folder)
    names = [*STRANGE_GOOD, *STRANGE_BAD]
    manifest = folder / "manifest.csv"
    manifest.write_text("path,id,hair\n" + "".join(f"{name},row{i},black\n" for i, name in enumerate(names)))
    out = tmp_path / "out"
    words = ("--model", model, "--domains", "hair=red", "--real", real, "--max-pixels", 90_000, "--json")
    done = augmentor.run("expand", manifest, *words, "--out", out)
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    assert "1 image has several frames or pages" in done.err
    with (out / "failures.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == set(STRANGE_BAD)
    for name, said in STRANGE_BAD.items():
        assert said in reasons[name], name
    assert "--allow-outside" in reasons["zero.png"]
    made = sorted(out.glob("train/00000/*"))
    assert len(made) == 2 * len(STRANGE_GOOD)
    suffixes = {path.suffix for path in made}
    assert suffixes == {".png"} if real == "processed" else suffixes == {".png", ".jpg", ".gif", ".webp"}
    if real == "processed":
        assert not any(b"script" in path.read_bytes() for path in made)
        shown = {
            name: np.asarray(Image.open(out / "train/00000" / f"row{i}__real.png")).astype(int)
            for i, name in enumerate(STRANGE_GOOD)
        }
        for name in STRANGE_GOOD:
            if name != "polyglot.html":
                assert np.abs(shown[name] - RED).max() <= 12, name
        assert np.abs(quarters(shown["polyglot.html"]) - np.array(CORNERS)).max() <= 4


def test_check_names_frames_pipes_and_bombs(augmentor: Augmentor, tmp_path: Path) -> None:
    draw_strange(tmp_path)
    names = [*STRANGE_GOOD, *STRANGE_BAD]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,hair\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names)))
    done = augmentor.run("check", manifest, "--max-pixels", 90_000, "--json")
    assert done.code == 1, done.err
    report = done.json
    assert isinstance(report["unreadable"], list)
    assert isinstance(report["missing"], list)
    wrong = {problem["path"] for problem in [*report["unreadable"], *report["missing"]]}
    assert wrong == set(STRANGE_BAD)
    assert report["several_frames"] == ["frames"]
    row = 2 + names.index("frames.gif")
    assert f"row {row}: an image of several frames or pages; the first one is used" in done.err


def test_training_passes_over_what_it_may_not_read(augmentor: Augmentor, tiny: list[str], tmp_path: Path) -> None:
    draw_strange(tmp_path)
    names = [*STRANGE_GOOD, *STRANGE_BAD]
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,hair\n" + "".join(f"{name},{'ab'[i % 2]}\n" for i, name in enumerate(names)))
    run = tmp_path / "run"
    words = (*tiny, "--steps", 10, "--max-pixels", 90_000, "--max-failures", 100, "--out", run)
    done = augmentor.run("train", manifest, *words)
    assert done.code == 0, done.err
    with (run / "failures.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert set(reasons) == set(STRANGE_BAD)
    assert "max_pixels = 90000" in (run / "run.toml").read_text()


def test_lenience_is_asked_for(batch: Batch, augmentor: Augmentor, model: Path) -> None:
    words = ("--model", model, "--domains", "hair=*,smile=0", "--out", batch.folder[0], "--shard-size", 7)
    again = augmentor.run("expand", batch.manifest, *words, "--max-failures", 3)
    assert again.code == 0
    assert "3 rows could not be used" in again.err


@pytest.mark.parametrize("name", ["plain.png", "plain2.png", "cmyk.jpg", "rotated.jpg", "upright.png"])
def test_upright_and_in_colour(name: str, batch: Batch) -> None:
    assert np.abs(quarters(real(batch)[name]) - np.array(CORNERS)).max() <= 24


def test_unusual_pixels(batch: Batch) -> None:
    images = real(batch)
    assert np.abs(quarters(images["palette.png"]) - np.array([(255, 255, 255), *CORNERS[1:]])).max() <= 4
    lightness = [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in CORNERS]
    assert np.abs(quarters(images["grey.png"]) - np.array(lightness)[:, None]).max() <= 2
    dark, bright = round(6000 / 257), round(45000 / 257)
    assert np.abs(quarters(images["sixteen.png"]) - np.array([dark, dark, bright, bright])[:, None]).max() <= 1


def test_a_turned_photo_is_translated_like_its_upright_copy(batch: Batch) -> None:
    with h5py.File(batch.file[0]) as file:
        paths, pixels = file["source_path"].asstr()[:], file["image"][:]
    turned, upright = pixels[paths == "rotated.jpg"], pixels[paths == "upright.png"]
    assert len(turned) == 4
    # Other batches may round otherwise.
    assert np.abs(turned.astype(int) - upright.astype(int)).max() <= 1
    assert np.ptp(turned.astype(int), axis=(1, 2, 3)).min() > 10
