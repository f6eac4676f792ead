"""`--size`: a 16 px model edits files of any size and shape, and touches nothing that it does not change."""

from __future__ import annotations

import csv
import gc
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch.nn import functional

from augmentor import open_dataset
from augmentor.images import decode
from stargan.checkpoints import Json, Model, load_model, save_model
from stargan.labels import Attribute, LabelSpace
from stargan.networks import Generator, OutputKind

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done

SPACE = LabelSpace(attributes=(Attribute(name="smile"),))
CROP = 40
SIZES = {
    "landscape.png": (91, 30),
    "portrait.png": (33, 71),
    "large.png": (640, 481),
    "smaller_than_the_model.png": (9, 7),
    "model.png": (16, 16),
    "turned.png": (57, 34),
    "grey.png": (45, 41),
    "clear.png": (50, 40),
}
"""(width, height) as the files store them."""


def draw(folder: Path) -> Path:
    """Write noise in every shape and kind, and the manifest; all rows are training rows but the last two."""
    random = np.random.default_rng(0)
    lines = ["path,split,smile"]
    for number, (name, (width, height)) in enumerate(SIZES.items()):
        image = Image.fromarray(random.integers(256, size=(height, width, 4), dtype=np.uint8))
        exif = Image.Exif()
        if name == "turned.png":
            exif[0x0112] = 6
        kind = {"clear.png": "RGBA", "grey.png": "L"}.get(name, "RGB")
        image.convert(kind).save(folder / name, exif=exif)
        lines.append(f"{name},{'val' if number >= len(SIZES) - 2 else 'train'},{number % 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def upright(path: Path) -> np.ndarray:
    """Return a file's pixels as Pillow alone makes them: turned, over white, RGB."""
    with Image.open(path) as stored:
        image = ImageOps.exif_transpose(stored)
        if image.mode == "RGBA":
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.asarray(image.convert("RGB"))


def save(folder: Path, *, output: OutputKind = "masked", mask: float | None = None, crop: int = 0) -> Path:
    """Write an untrained model that changes a lot; or, with `mask`, one whose mask is sigmoid(mask) everywhere."""
    settings: dict[str, Json] = {"images": {"crop": crop}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(vector_size=1, width=4, downsamplings=1, blocks=1, output=output)
    with torch.no_grad():
        generator.painter.get_parameter("weight").mul_(4)
        if mask is not None and generator.masker is not None:
            generator.masker.get_parameter("weight").zero_()
            generator.masker.get_parameter("bias").fill_(mask)
    model = Model(generator=generator, space=SPACE, image_size=(16, 16), step=0, settings=settings, sha256="")
    save_model(folder, model=model)
    return folder


def expand(augmentor: Augmentor, manifest: Path, model: Path, out: Path, *words: object) -> Done:
    flags = (
        "--model",
        model,
        "--out",
        out,
        "--domains",
        "smile=~",
        "--batch-size",
        3,
        "--shard-size",
        5,
        "--json",
    )
    done = augmentor.run("expand", manifest, *flags, *words)
    assert done.code == 0, done.err
    return done


def table(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that changes much of what it sees: the middle 40 px of an image."""
    return save(tmp_path_factory.mktemp("editor") / "model", crop=CROP)


@pytest.fixture(scope="module")
def edited(
    augmentor: Augmentor, manifest: Path, editor: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same expansion, each image in its own size, as a folder and as an HDF5 file."""
    folder = tmp_path_factory.mktemp("edited")
    made = {"folder": folder / "out", "hdf5": folder / "out.h5"}
    for out in made.values():
        expand(augmentor, manifest, editor, out, "--size", "original")
    return made


@pytest.mark.parametrize("crop", [0, CROP])
def test_a_closed_mask_gives_back_every_file_s_pixels(
    crop: int, augmentor: Augmentor, manifest: Path, tmp_path: Path
) -> None:
    model = save(tmp_path / "model", mask=-1000, crop=crop)  # sigmoid(-1000) is 0
    out = tmp_path / "out"
    expand(augmentor, manifest, model, out, "--size", "original", "--splits", "train,val", "--shard-size", 6)
    rows = table(out)
    assert len(rows) == 2 * len(SIZES)
    assert sum(int(row["is_synthetic"]) for row in rows) == len(SIZES)
    for row in rows:
        with Image.open(out / row["file_name"]) as image:
            found = np.asarray(image)
        np.testing.assert_array_equal(found, upright(manifest.parent / row["source_path"]), row["file_name"])


def test_only_the_part_that_the_model_sees_is_changed(
    edited: dict[str, Path], editor: Path, manifest: Path
) -> None:
    """Against the generator's own output, resampled by torch and added by hand."""
    model = load_model(editor)
    seen = 0
    for row in table(edited["folder"]):
        path = manifest.parent / row["source_path"]
        before = upright(path)
        with Image.open(edited["folder"] / row["file_name"]) as image:
            found = np.asarray(image).astype(int)
        height, width, _ = before.shape
        if row["is_synthetic"] == "0":
            np.testing.assert_array_equal(found, before)
            continue
        side = min(height, width, CROP)
        top, left = (height - side) // 2, (width - side) // 2
        pixels = decode(path, size=(16, 16), channels=3, crop=CROP)
        signed = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 127.5 - 1
        change = model.generator(signed.float(), torch.tensor([[float(row["smile"])]])).double() - signed
        sized = functional.interpolate(change, size=(side, side), mode="bilinear")[0].permute(1, 2, 0).numpy()
        expected = before.astype(float)
        expected[top : top + side, left : left + side] += 127.5 * sized
        assert np.abs(found - expected.clip(0, 255)).max() <= 1
        outside = np.ones((height, width), dtype=bool)
        outside[top : top + side, left : left + side] = False
        np.testing.assert_array_equal(found[outside], before[outside])
        assert np.abs(found - before).mean() > 5 * side * side / (height * width)
        seen += 1
    assert seen == len(SIZES) - 2


def test_files_keep_their_sizes_and_say_so(edited: dict[str, Path]) -> None:
    sizes = {row["source_path"]: set() for row in table(edited["folder"])}  # type: dict[str, set[tuple[int, int]]]
    for row in table(edited["folder"]):
        with Image.open(edited["folder"] / row["file_name"]) as image:
            sizes[row["source_path"]].add(image.size)
    assert sizes == {name: {(34, 57) if name == "turned.png" else size} for name, size in SIZES.items()}
    for described in (edited["folder"] / "dataset.json", edited["hdf5"].with_suffix(".dataset.json")):
        state = json.loads(described.read_text())
        assert state["image_shape"] == [None, None, 3]
        assert (state["image_size"], state["settings"]["size"]) == (None, "original")


# The library leaves its files to the garbage collector, which warns.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_hdf5_file_holds_the_same_encoded(
    edited: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = table(edited["folder"])
    with h5py.File(edited["hdf5"]) as file:
        assert file.attrs["image_encoding"] == "png"
        for stored, row in zip(file["image"], rows, strict=True):
            assert stored.tobytes() == (edited["folder"] / row["file_name"]).read_bytes()
    folder, same = open_dataset(edited["folder"]), open_dataset(edited["hdf5"])
    assert folder.labels.equals(same.labels)
    assert all(folder[index][0].equal(same[index][0]) for index in range(len(rows)))
    small = open_dataset(edited["hdf5"], size=(12, 16))
    assert torch.stack([small[index][0] for index in range(len(rows))]).shape == (len(rows), 3, 12, 16)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = importlib.import_module("datasets")
    loaded = datasets.load_dataset("hdf5", data_files=str(edited["hdf5"]), cache_dir=str(tmp_path))["train"]
    assert loaded["labels"][:] == [[int(row["smile"])] for row in rows]
    assert bytes(loaded[2]["image"]) == (edited["folder"] / rows[2]["file_name"]).read_bytes()
    gc.collect()


def test_a_given_size(augmentor: Augmentor, manifest: Path, editor: Path, tmp_path: Path) -> None:
    """Plain arrays in HDF5, or encoded ones; the real images are what decoding at that size gives."""
    plain, encoded, folder = tmp_path / "plain.h5", tmp_path / "encoded.h5", tmp_path / "out"
    expand(augmentor, manifest, editor, plain, "--size", "48x36")
    expand(augmentor, manifest, editor, encoded, "--size", "48x36", "--encoded", "--image-format", "webp")
    expand(augmentor, manifest, editor, folder, "--size", "48x36")
    with h5py.File(plain) as file:
        assert (file["image"].dtype, file["image"].shape) == (np.uint8, (14, 36, 48, 3))
    with h5py.File(encoded) as file:
        assert file["image"][0].tobytes()[8:12] == b"WEBP"
    files, arrays = open_dataset(folder), open_dataset(plain)
    for index, path in enumerate(files.labels["source_path"]):
        pixels = files[index][0]
        assert pixels.equal(arrays[index][0])
        before = decode(manifest.parent / path, size=(36, 48), channels=3, crop=CROP)
        same = (pixels.permute(1, 2, 0).numpy() == before).all(axis=2)
        if files.labels["is_synthetic"][index]:
            assert same.mean() < 0.5
            # A landscape shows a strip of 30 px: the model's square is less wide than the 40 px that are written.
            if path == "landscape.png":
                assert same[:, :6].all()
                assert not same[:, 8:40].all()
        else:
            assert same.all()
    assert json.loads((folder / "dataset.json").read_text())["image_size"] == [36, 48]


def test_the_model_s_size_is_the_default(
    augmentor: Augmentor, manifest: Path, editor: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.h5"
    expand(augmentor, manifest, editor, out)
    with h5py.File(out) as file:
        assert file["image"].shape == (14, 16, 16, 3)
    again = augmentor.run(
        "expand", manifest, "--model", editor, "--out", out, "--domains", "smile=~", "--size", "original"
    )
    assert again.code == 2
    assert "holds the output of another plan, model or settings" in again.err


def test_a_painter_is_refused(augmentor: Augmentor, manifest: Path, tmp_path: Path) -> None:
    model = save(tmp_path / "model", output="direct")
    words = ("--model", model, "--domains", "smile=~", "--size", "original")
    for command, out in (("expand", tmp_path / "out"), ("preview", tmp_path / "out.png")):
        done = augmentor.run(command, manifest, *words, "--out", out)
        assert done.code == 2
        assert 'generator.output = "masked"' in " ".join(done.err.split())
        assert not out.exists()
    wrong = augmentor.run("expand", manifest, *words[:4], "--size", "orignal", "--out", tmp_path / "out")
    assert wrong.code == 2
    assert "Did you mean 'original'?" in wrong.err


def test_a_dry_run_counts_full_images(augmentor: Augmentor, manifest: Path, editor: Path, tmp_path: Path) -> None:
    words = ("--model", editor, "--domains", "smile=~", "--dry-run", "--out", tmp_path / "out.h5")
    sizes = []
    for more in ((), ("--size", "48x36")):
        done = augmentor.run("expand", manifest, *words, *more, "--json")
        assert done.code == 0, done.err
        sizes.append(done.json["bytes"])
    assert sizes == [14 * 16 * 16 * 3, 14 * 48 * 36 * 3]


def test_a_preview_shows_what_is_written(
    augmentor: Augmentor, manifest: Path, editor: Path, tmp_path: Path
) -> None:
    words = ("preview", manifest, "--model", editor, "--domains", "smile=1", "--rows", 8)
    done = augmentor.run(*words, "--out", tmp_path / "full.png", "--size", "original")
    assert done.code == 0, done.err
    with Image.open(tmp_path / "full.png") as picture:
        assert 2 * 256 < picture.width < 3 * 256
