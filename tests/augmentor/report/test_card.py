"""The data set card: what Hugging Face and Croissant make of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mlcroissant
import pytest

from augmentor.report.card import plain

if TYPE_CHECKING:
    from tests.augmentor.report.conftest import MakeOutput

_LOAD = """
import json, sys
from datasets import disable_progress_bars, load_dataset
disable_progress_bars()
found = load_dataset(sys.argv[1])
print(json.dumps({split: [rows.column_names, sorted(rows["key"])] for split, rows in found.items()}))
"""


def test_the_card_says_what_is_in_it(make_output: MakeOutput) -> None:
    made = make_output(scored=True)
    card = made.beside("README.md").read_text(encoding="utf-8")
    real, kept = 10, len(made.kept)
    assert f"{real} real images and {kept} translations of them" in card
    assert f"{100 * kept / (real + kept):.0f} % of all images are synthetic" in card
    assert "agreement of at least 0.30" in card
    assert f"{len(made.rejected)} were rejected" in card
    assert "`hair`, `glasses`" in card
    assert "The gain of a classifier trained on them has not been measured." in card


def test_a_card_of_nothing_judged(make_output: MakeOutput) -> None:
    card = make_output().beside("README.md").read_text(encoding="utf-8")
    assert "**Gate:** none. The translations were not judged." in card
    assert "No classifier checked them." in card


def test_strangers_words_are_shown_letter_by_letter() -> None:
    assert plain("a|b\n# <b>*x*") == r"a\|b \# &lt;b&gt;\*x\*"


@pytest.mark.parametrize("hdf5", [False, True])
def test_croissant_is_valid(make_output: MakeOutput, hdf5: bool) -> None:
    made = make_output(hdf5=hdf5)
    found = mlcroissant.Dataset(jsonld=made.beside("croissant.json"))
    assert not found.metadata.issues.errors
    # What only the owner of the images knows, and what would differ from run to run, is left out.
    missing = {warning.split('"')[1].rpartition("/")[2] for warning in found.metadata.issues.warnings}
    assert missing <= {"license", "datePublished", "citeAs"}
    if hdf5:
        return
    records = list(found.records("labels"))
    assert len(records) == 10 + len(made.kept)
    assert records[0]["labels/hair"] == b"black"
    assert (records[0]["labels/glasses"], records[0]["labels/is_synthetic"]) == (False, False)


def test_hugging_face_finds_the_splits_by_the_card(make_output: MakeOutput, tmp_path: Path) -> None:
    made = make_output(scored=True)
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    words = [sys.executable, "-c", _LOAD, str(made.out)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {split: len(keys) for split, (_, keys) in found.items()} == {
        "train": 6 + len(made.kept),
        "validation": 2,
        "test": 2,
    }
    # Nothing but the data set's own images: not the preview, not the report's pictures.
    assert set(made.kept) <= set(found["train"][1])
    assert {"image", "hair", "glasses", "is_synthetic"} <= set(found["train"][0])
