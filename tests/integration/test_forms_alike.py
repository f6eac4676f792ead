"""Every form of an output, read by the loaders that people have: a classifier gets the same images and labels."""

from __future__ import annotations

import csv
import gc
import importlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from augmentor import open_dataset
from augmentor.outputs.verify import verify_output
from augmentor.report import write_report

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

Row = tuple[str, str, tuple[int, ...], bytes]
"""Split, key, codes (-1 unknown), and the pixels, (H, W, 3) uint8."""

HAIR = ("black", "blond", "red")
FORMS = {
    "folder": ("out", ()),
    "classes": ("classes", ("--class-folders", "hair")),
    "file": ("out.h5", ()),
    "hdf5": ("packs", ("--format", "hdf5")),
    "webdataset": ("tars", ("--format", "webdataset")),
    "parquet": ("parquet", ("--format", "parquet")),
}
HUB_SPLITS = {"train": "train", "validation": "val", "test": "test"}

# Hugging Face leaves its own files for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def forms(
    augmentor: Augmentor, small: Small, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The same expansion in every form."""
    folder = tmp_path_factory.mktemp("forms")
    words = ("--model", model, "--domains", "smile=~", "--shard-size", 8)
    for name, flags in FORMS.values():
        done = augmentor.run("expand", small.manifest, *words, "--out", folder / name, *flags)
        assert done.code == 0, done.err
    return {form: folder / name for form, (name, _) in FORMS.items()}


@pytest.fixture(scope="module")
def expected(forms: dict[str, Path]) -> list[Row]:
    """What the plain files and their table hold."""
    with (forms["folder"] / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 42  # 24 real ones, and the other smile of 14 train rows, or both of 2 more
    return [
        (row["split"], row["key"], codes_of(row), picture(Image.open(forms["folder"] / row["file_name"])))
        for row in rows
    ]


def codes_of(row: dict[str, Any]) -> tuple[int, int]:
    return HAIR.index(row["hair"]), -1 if row["smile"] == "" else int(float(row["smile"]))


def picture(image: Image.Image) -> bytes:
    return np.asarray(image.convert("RGB")).tobytes()


def by_split(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the rows of every split, in their order."""
    found: dict[str, list[Row]] = {"train": [], "val": [], "test": []}
    for row in rows:
        found[row[0]].append(row)
    return found


def hugging_face(module: str, cache: Path, **where: object) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield (split, item) of what Hugging Face's loader finds."""
    loaded = importlib.import_module("datasets").load_dataset(module, cache_dir=str(cache), **where)
    for name, split in loaded.items():
        for item in split:
            yield HUB_SPLITS[name], item


def our_own(out: Path, _cache: Path) -> Iterable[Row]:
    dataset = open_dataset(out)
    for place, (split, key) in enumerate(zip(dataset.labels["split"], dataset.labels["key"], strict=True)):
        image, labels = dataset[place]
        yield split, key, tuple(labels.tolist()), image.permute(1, 2, 0).contiguous().numpy().tobytes()


def image_folder(out: Path, _cache: Path) -> Iterable[Row]:
    rows = {row["file_name"]: row for _, row in open_dataset(out).labels.iterrows()}
    for split in ("train", "val", "test"):
        found = ImageFolder(str(out / split))
        for (image, target), (path, _) in zip(found, found.samples, strict=True):
            row = rows[os.path.relpath(path, out)]
            assert found.classes[target] == row["hair"]
            yield split, row["key"], codes_of(dict(row)), picture(image)


def hf_folder(out: Path, cache: Path) -> Iterable[Row]:
    for split, item in hugging_face("imagefolder", cache, data_dir=str(out)):
        smile = "" if item["smile"] is None else item["smile"]
        yield split, item["key"], codes_of({**item, "smile": smile}), picture(item["image"])


def hf_file(out: Path, cache: Path) -> Iterable[Row]:
    for _, item in hugging_face("hdf5", cache, data_files=str(out)):
        yield item["split"], item["key"], tuple(item["labels"]), np.uint8(item["image"]).tobytes()


def hf_hdf5(out: Path, cache: Path) -> Iterable[Row]:
    for split, item in hugging_face("hdf5", cache, data_dir=str(out)):
        yield split, item["key"], tuple(item["labels"]), np.uint8(item["image"]).tobytes()


def hf_webdataset(out: Path, cache: Path) -> Iterable[Row]:
    for split, item in hugging_face("webdataset", cache, data_dir=str(out)):
        assert codes_of(item["json"]) == tuple(item["json"]["labels"])
        yield split, item["json"]["key"], tuple(item["json"]["labels"]), picture(item["png"])


def webdataset(out: Path, _cache: Path) -> Iterable[Row]:
    library = importlib.import_module("webdataset")
    for split in ("train", "val", "test"):
        urls = sorted(map(str, (out / split).glob("*.tar")))
        for item in library.WebDataset(urls, shardshuffle=False).decode("torchrgb8"):
            image = item["png"].permute(1, 2, 0).contiguous().numpy().tobytes()
            yield split, item["json"]["key"], tuple(item["json"]["labels"]), image


def hf_parquet(out: Path, cache: Path) -> Iterable[Row]:
    """Return what is found of a folder whose form nobody says: by its card, with ClassLabels."""
    loaded = importlib.import_module("datasets").load_dataset(str(out), cache_dir=str(cache))
    assert loaded["train"].features["hair"].names == list(HAIR)
    for name, found in loaded.items():
        for item in found:
            yield HUB_SPLITS[name], item["key"], (item["hair"], item["smile"]), picture(item["image"])


@pytest.mark.parametrize(
    ("form", "read"),
    [
        *((form, our_own) for form in FORMS),
        ("classes", image_folder),
        ("folder", hf_folder),
        ("file", hf_file),
        ("hdf5", hf_hdf5),
        ("webdataset", hf_webdataset),
        ("webdataset", webdataset),
        ("parquet", hf_parquet),
    ],
)
def test_a_classifier_gets_the_same_row_for_row(
    form: str,
    read: Callable[[Path, Path], Iterable[Row]],
    forms: dict[str, Path],
    expected: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    found, wanted = by_split(read(forms[form], tmp_path)), by_split(expected)
    if form == "classes":  # Files are sorted by their folders there.
        found, wanted = ({split: sorted(rows) for split, rows in each.items()} for each in (found, wanted))
    assert found == wanted
    gc.collect()


@pytest.mark.parametrize("form", ["hdf5", "webdataset", "parquet"])
def test_packs_are_checked_and_reported_like_files(form: str, forms: dict[str, Path]) -> None:
    out = forms[form]
    suffix = {"hdf5": ".h5", "webdataset": ".tar", "parquet": ".parquet"}[form]
    found = verify_output(out)
    assert found.problems == []
    assert found.counts.real + found.counts.synthetic == 42
    card = (out / "README.md").read_text()
    assert f'    path: "train/*{suffix}"\n' in card
    assert f'load_dataset("{form}", data_dir=' in card
    assert f'"train/*{suffix}"' in (out / "croissant.json").read_text()
    before = {path.name: path.read_bytes() for path in (out / "report").iterdir()}
    assert len(before) > 10  # It has found the images.
    assert before.keys() == {path.name for path in (forms["folder"] / "report").iterdir()}
    write_report(out)
    assert {path.name: path.read_bytes() for path in (out / "report").iterdir()} == before
