"""`augmentor convert dataset`: every data set in its owner's form, to a manifest that `check` accepts."""

from __future__ import annotations

import bz2
import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from augmentor.data.importers import IMPORTERS
from augmentor.data.manifest import read_manifest
from augmentor.images import encode

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

RANDOM = np.random.default_rng(0)


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(RANDOM.integers(256, size=(6, 5, 3), dtype=np.uint8), "jpg"))


def write_celeba(folder: Path) -> None:
    names = ["Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Male", "Smiling", "Young"]
    folder.mkdir()
    rows = [f"{i + 1:06d}.jpg " + " ".join(f"{2 * (i >> b % 5 & 1) - 1:2d}" for b in range(8)) for i in range(24)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(["24", " ".join(names) + " ", *rows]) + "\n")
    for name, unit in (("list_eval_partition.txt", 8), ("identity_CelebA.txt", 2)):
        (folder / name).write_text("".join(f"{i + 1:06d}.jpg {i // unit}\n" for i in range(24)))
    for i in range(24):
        write_image(folder / "img_align_celeba" / f"{i + 1:06d}.jpg")


def write_rafd(folder: Path) -> None:
    for model in range(1, 11):
        for word in ("angry", "happy", "neutral"):
            write_image(folder / f"Rafd090_{model:02d}_Caucasian_female_{word}_frontal.jpg")


def write_mnist(folder: Path) -> None:
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 10)):
        images = RANDOM.integers(256, size=(count, 28, 28), dtype=np.uint8)
        head = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        path = folder / "MNIST" / "raw" / f"{part}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(head + images.tobytes()))
        labels = bytes(i % 10 for i in range(count))
        path = folder / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte"
        path.write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + labels)


def write_usps(folder: Path) -> None:
    folder.mkdir()
    for name, count in (("usps.bz2", 20), ("usps.t.bz2", 10)):
        values = RANDOM.uniform(-1, 1, (count, 256))
        lines = [
            f"{i % 10 + 1} " + " ".join(f"{place}:{value:.3f}" for place, value in enumerate(row, start=1))
            for i, row in enumerate(values)
        ]
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def write_ade20k(folder: Path) -> None:
    lines = [f"ADE_train_{i:08d} {('street', 'bedroom')[i % 2]}" for i in range(1, 13)]
    lines += [f"ADE_val_{i:08d} street" for i in range(1, 4)]
    folder.mkdir()
    (folder / "sceneCategories.txt").write_text("\n".join(lines) + "\n")
    for line in lines:
        name = line.split()[0]
        write_image(folder / "images" / ("training" if "train" in name else "validation") / f"{name}.jpg")


def write_imagefolder(folder: Path) -> None:
    for split, count in (("train", 8), ("val", 3), ("test", 3)):
        for name in ("cat", "dog"):
            for i in range(count):
                write_image(folder / split / name / f"{i}.jpg")


def write_pix2pix(folder: Path) -> None:
    for split, count in (("train", 8), ("val", 3), ("test", 3)):
        for i in range(count):
            (folder / split).mkdir(parents=True, exist_ok=True)
            pixels = RANDOM.integers(256, size=(8, 16, 3), dtype=np.uint8)
            (folder / split / f"{i}.jpg").write_bytes(encode(pixels, "jpg"))


def write_cyclegan(folder: Path) -> None:
    for split, count in (("train", 8), ("test", 3)):
        for side in "AB":
            for i in range(count):
                write_image(folder / f"{split}{side}" / f"{side}{i}.jpg")


Case = tuple[Callable[[Path], None], dict[str, int], dict[str, list[str]]]

CASES: dict[str, Case] = {
    "celeba": (
        write_celeba,
        {"train": 8, "val": 8, "test": 8},
        {"hair": ["black", "blond", "brown", "gray"], "male": ["0", "1"], "young": ["0", "1"]},
    ),
    "rafd": (write_rafd, {"train": 24, "val": 3, "test": 3}, {"expression": ["angry", "happy", "neutral"]}),
    "mnist": (write_mnist, {"train": 20, "test": 10}, {"digit": [str(i) for i in range(10)]}),
    "usps": (write_usps, {"train": 20, "test": 10}, {"digit": [str(i) for i in range(10)]}),
    "ade20k": (write_ade20k, {"train": 12, "val": 3}, {"scene": ["bedroom", "street"]}),
    "imagefolder": (write_imagefolder, {"train": 16, "val": 6, "test": 6}, {"label": ["cat", "dog"]}),
    "pix2pix": (write_pix2pix, {"train": 16, "val": 6, "test": 6}, {"side": ["A", "B"]}),
    "cyclegan": (write_cyclegan, {"train": 16, "test": 6}, {"side": ["A", "B"]}),
}


@pytest.mark.parametrize("name", CASES)
def test_every_data_set(name: str, augmentor: Augmentor, tmp_path: Path) -> None:
    write, splits, attributes = CASES[name]
    write(tmp_path / "src")
    out = tmp_path / "out" / "manifest.csv"
    done = augmentor.run("convert", "dataset", name, tmp_path / "src", "--out", out, "--json")
    assert done.code == 0, done.err
    rows = sum(splits.values())
    counts = ", ".join(f"{split} {count}" for split, count in splits.items())
    assert done.out.splitlines()[0] == f"{out}: {rows} images ({counts})"
    assert (done.json["rows"], done.json["added"], done.json["splits"]) == (rows, rows, splits)
    assert {key: sorted(values) for key, values in _attributes(done.json).items()} == {
        key: sorted(values) for key, values in attributes.items()
    }
    manifest = read_manifest(out)
    assert manifest.space.names == tuple(attributes)
    assert all(manifest.image_path(i).is_file() for i in range(rows))
    # The manifest lies beside the data set here, which is trusted.
    checked = augmentor.run("check", out, "--allow-outside", "--json")
    assert checked.code == 0, checked.out + checked.err
    assert (checked.json["rows"], checked.json["splits"], checked.json["ok"]) == (rows, splits, True)


def test_the_list_above_and_the_help_are_whole(augmentor: Augmentor) -> None:
    assert set(CASES) == set(IMPORTERS)
    told = " ".join(augmentor.run("convert", "dataset", "--help").out.replace("│", " ").split())
    assert ", ".join(list(IMPORTERS)[:-1]) + f" or {list(IMPORTERS)[-1]}." in told


def test_two_data_sets_as_one(augmentor: Augmentor, tmp_path: Path) -> None:
    write_mnist(tmp_path / "mnist-files")
    write_usps(tmp_path / "usps-files")
    out = tmp_path / "digits.csv"
    for name, more in (("mnist", ()), ("usps", ("--append",))):
        words = ("--out", out, "--as", f"domain={name}", "--values", "digit=3,5", *more)
        done = augmentor.run("convert", "dataset", name, tmp_path / f"{name}-files", *words)
        assert done.code == 0, done.err
    assert done.out.splitlines()[:3] == [
        f"{out}: 12 images, 6 of them new (train 8, test 4)",
        "  digit: 3 | 5",
        "  domain: mnist | usps",
    ]
    table = pd.read_csv(out, dtype=str)
    assert table.groupby(["dataset", "domain", "split"]).size().to_dict() == {
        ("mnist", "mnist", "test"): 2,
        ("mnist", "mnist", "train"): 4,
        ("usps", "usps", "test"): 2,
        ("usps", "usps", "train"): 4,
    }
    assert augmentor.run("check", out).code == 0
    before = out.read_bytes()
    again = augmentor.run("convert", "dataset", "usps", tmp_path / "usps-files", "--out", out, "--append")
    assert again.code == 2
    assert "has 6 of these images already" in again.err
    assert out.read_bytes() == before


def test_options_reach_the_manifest(augmentor: Augmentor, tmp_path: Path) -> None:
    write_rafd(tmp_path / "rafd")
    words = ("--attributes", "expression,gender", "--values", "expression=happy,angry", "--split", "none")
    done = augmentor.run("convert", "dataset", "rafd", tmp_path / "rafd", "--out", tmp_path / "m.tsv", *words)
    assert done.code == 0, done.err
    table = pd.read_csv(tmp_path / "m.tsv", sep="\t", dtype=str)
    assert list(table.columns) == ["path", "id", "group", "dataset", "expression", "gender"]
    assert len(table) == 20
    named = ("--out", tmp_path / "n.csv", "--name", "mood", "--split", "50/25/25")
    done = augmentor.run("convert", "dataset", "rafd", tmp_path / "rafd", *named)
    assert done.err.splitlines() == ["note  split groups at random: train 6, val 2, test 2"]
    assert "mood" in pd.read_csv(tmp_path / "n.csv").columns


def test_a_run_cut_short_leaves_no_manifest(augmentor: Augmentor, tmp_path: Path) -> None:
    """The images come first: what a killed run left of them is written anew, and nothing names them before."""
    write_mnist(tmp_path / "src")
    (tmp_path / "mnist" / "test" / "9").mkdir(parents=True)
    (tmp_path / "mnist" / "test" / "9" / "mnist-test-00009.png").mkdir()  # the last image cannot be written
    words = ("convert", "dataset", "mnist", tmp_path / "src", "--out", tmp_path / "m.csv")
    done = augmentor.run(*words)
    assert done.code == 2
    assert "mnist-test-00009.png: cannot be written" in done.err
    assert not list(tmp_path.glob("*m.csv*"))
    shutil.rmtree(tmp_path / "mnist" / "test")
    assert augmentor.run(*words).code == 0
    assert augmentor.run("check", tmp_path / "m.csv").code == 0


def test_mistakes_are_one_short_block(augmentor: Augmentor, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "m.csv")
    write_imagefolder(tmp_path / "src")
    for words, said in (
        (("celebba", tmp_path, *out), "no data set 'celebba': celeba, rafd, "),
        (("rafd", tmp_path / "srcs", *out), "srcs: no such folder. Did you mean 'src'?"),
        (("rafd", tmp_path, *out, "--download"), "RaFD cannot be fetched by a program. It comes from"),
        (
            ("imagefolder", tmp_path / "src", *out, "--values", "label=cta"),
            "no image has 'cta'. Did you mean 'cat'?",
        ),
        (("imagefolder", tmp_path / "src", *out, "--as", "label"), "--as label: is not of the form domain=mnist"),
    ):
        done = augmentor.run("convert", "dataset", *words)
        assert (done.code, done.out) == (2, "")
        assert said in done.err
        assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "m.csv").exists()


def _attributes(state: dict[str, object]) -> dict[str, list[str]]:
    found = state["attributes"]
    assert isinstance(found, dict)
    return found
