"""CycleGAN and pix2pix from end to end: one training, then both directions through `expand`, in both formats."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import pytest

from tests.integration.conftest import write_manifest

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

SMALLER = (
    *("images.size=16", "generator.width=4", "discriminator.width=4", "discriminator.depth=2"),
    *("training.batch_size=4", "training.workers=0", "judge.steps=2"),
)


@pytest.mark.parametrize("method", ["cyclegan", "pix2pix"])
def test_one_run_translates_both_ways(method: str, augmentor: Augmentor, small: Small, tmp_path: Path) -> None:
    known = [row for row in small.rows if row["smile"]]
    rows = [{key: row[key] for key in ("path", "id", "split", "smile")} for row in known]
    if method == "pix2pix":
        rows = [{**row, "pair": f"{row['split']} {number // 4}"} for number, row in enumerate(rows)]
    shutil.copytree(small.folder / "images", tmp_path / "images")
    write_manifest(tmp_path / "manifest.csv", rows)
    settings = [word for key in (f"training.method={method}", *SMALLER) for word in ("--set", key)]
    run = ("train", tmp_path / "manifest.csv", "--out", tmp_path / "run", *settings)
    first = augmentor.run(*run, "--steps", "2")
    assert first.code == 0, first.err
    title = {"cyclegan": "CycleGAN", "pix2pix": "pix2pix"}[method]
    assert f"{title} with G " in first.err
    again = augmentor.run(
        "train", tmp_path / "manifest.csv", "--out", tmp_path / "run", "--steps", "4", "--resume", *settings
    )
    assert again.code == 0, again.err
    logged = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    expected = {
        "cyclegan": {"d/adversarial", "g/adversarial", "g/cycle", "g/identity"},
        "pix2pix": {"d/adversarial", "g/adversarial", "g/pair"},
    }
    assert {name for name in logged[-1] if "/" in name} | set(logged[-1].get("losses", {})) == expected[method]
    assert augmentor.run("info", tmp_path / "run", "--json").json["method"] == title

    train = [row for row in rows if row["split"] == "train"]
    for out in ("made", "made.h5"):
        words = (
            "expand",
            tmp_path / "manifest.csv",
            "--model",
            tmp_path / "run",
            "--domains",
            "smile=~",
            "--gate",
            "off",
        )
        made = augmentor.run(*words, "--out", tmp_path / out)
        assert made.code == 0, made.err
        assert augmentor.run("verify", tmp_path / out).code == 0
    with (tmp_path / "made" / "labels.csv").open() as file:
        synthetic = [row for row in csv.DictReader(file) if row["is_synthetic"] == "1"]
    source = {row["id"]: row["smile"] for row in rows}
    assert len(synthetic) == len(train)
    assert all(row["smile"] != source[row["source_id"]] for row in synthetic)
    assert {row["smile"] for row in synthetic} == {"0", "1"}
    with h5py.File(tmp_path / "made.h5") as opened:
        assert int(opened["is_synthetic"][:].sum()) == len(train)
