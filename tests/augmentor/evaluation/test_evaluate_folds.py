"""Evaluations of folds: test images of all measured as one set, and outputs that are no folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from augmentor.cli.evaluate import evaluation_tables
from augmentor.data import write_folds
from augmentor.data.manifest import read_manifest
from augmentor.errors import AugmentorError, OutputError
from augmentor.evaluation import EvaluateSettings, Evaluation, evaluate
from augmentor.evaluation.arms import make_arms
from augmentor.evaluation.cache import Predictions
from augmentor.evaluation.data import read_data, read_output
from augmentor.evaluation.folds import TrainedFold, pooled
from augmentor.evaluation.result import Distances, Pair
from augmentor.evaluation.verdict import summarize

if TYPE_CHECKING:
    from tests.augmentor.evaluation.conftest import Planted

CPU = torch.device("cpu")
QUICK = EvaluateSettings(seeds=1, steps=2, batch_size=16, arms=("real", "oversampled"))


def folded(made: Planted, folds: int = 3, count: int = 12) -> list[tuple[Path, Path]]:
    """Write tables of folds, and an output of each, in which every training row has its mark changed."""
    for hue in range(3):
        for mark in range(2):
            made.add(count, "train", (hue, mark))
    tables = [fold.path for fold in write_folds(made.manifest(), folds).written]
    return [(table, output(made, table, f"out{number}")) for number, table in enumerate(tables, start=1)]


def output(made: Planted, table: Path, name: str, **description: object) -> Path:
    splits = read_manifest(table).rows["split"]
    made.rows = [row._replace(split=split) for row, split in zip(made.rows, splits, strict=True)]
    changed = [made.translate(row, (row.codes[0], 1 - row.codes[1])) for row in made.of("train")]
    return made.output(
        name, changed, **{"manifest": table.name, "model": {"sha256": name, "step": 1}, **description}
    )


def run(folds: list[tuple[Path, Path]], heard: list[tuple[int, int, int]] | None = None) -> Evaluation:
    (table, out), *others = folds
    return evaluate(
        table,
        out,
        folds=[other for _, other in others],
        settings=QUICK,
        device=CPU,
        on_steps=lambda *at: None if heard is None else heard.append(at),
    )


def test_test_images_of_all_folds_are_one_set(planted: Planted) -> None:
    folds = folded(planted)
    heard: list[tuple[int, int, int]] = []
    found = run(folds, heard)
    # 3 folds of real, oversampled and ungated, 2 steps each.
    assert (heard[0][1], heard[-1][0]) == (18, 18)
    assert [at[0] for at in heard] == sorted(at[0] for at in heard)
    # Every one of 72 images is tested, and every one of 36 subjects.
    assert {name: found.counts[name] for name in ("test", "test_units", "val", "train", "kept", "folds")} == {
        "test": 72, "test_units": 36, "val": 72, "train": 24, "kept": 24, "folds": 3,
    }  # fmt: skip
    assert found.settings["folds"] == [str(out) for _, out in folds[1:]]
    results = folds[0][1] / "evaluation.json"
    before = results.read_bytes()
    # The same again, and each fold alone, train nothing: its classifiers are those of a single evaluation.
    heard.clear()
    run(folds, heard)
    assert (heard, results.read_bytes()) == ([], before)
    alone = [run([fold], heard) for fold in folds]
    assert heard == []
    assert json.loads(before)["arms"][0]["seeds"][0]["generator"] == 0
    for number, group in enumerate(found.groups):
        assert (group.test_images, group.train_real, group.train_synthetic) == (36, 12, 12)
        for name, accuracy in group.accuracy.items():
            parts = [each.groups[number].accuracy[name].value * each.groups[number].test_images for each in alone]
            assert accuracy.value == pytest.approx(sum(parts) / 36)
    assert found.to_json()["distances"] == alone[0].to_json()["distances"]
    console = Console(width=80, file=StringIO(), record=True)
    console.print(evaluation_tables(found))
    said = " ".join(console.export_text().split())
    assert "72 real test images of 3 folds, 36 independent units" in said
    assert "distances between features of a classifier of real images, first fold" in said


def predicted(right: np.ndarray, codes: torch.Tensor, val: int) -> list[list[Predictions]]:
    """One classifier that recognises the marks of some test images; it took 3 steps."""
    said = codes.numpy().copy()
    said[~right, 1] = 1 - said[~right, 1]
    some = np.zeros((val, codes.shape[1]), dtype=np.int16)
    return [[Predictions(test=said.astype(np.int16), val=some, steps=3, converged=True)]]


def test_pooled_figures_by_hand(planted: Planted) -> None:
    folds = folded(planted, count=24)
    distances = Distances(
        features="evaluator",
        frechet=None,
        kernel=None,
        within_domain=Pair(synthetic=1, real=1),
        within_source=Pair(synthetic=1, real=1),
        nearest=Pair(synthetic=1, real=1),
        copies=0,
        unchanged=0,
    )
    trained = []
    for number, (table, out) in enumerate(folds):
        data = read_data(table, read_output(out), most=1000)
        arms = make_arms(data, ungated=None, wanted=("real", "oversampled", "synthetic"))
        arms = arms if number != 1 else [arm for arm in arms if arm.name != "synthetic"]
        marked = data.test.codes[:, 1].numpy() == 1
        right = np.ones(len(data.test), dtype=bool)
        # Real images alone: no mark is recognised in the first fold, all are in the others.
        answers = {"real": right & ~(marked & (number == 0)), "oversampled": ~marked}
        trained.append(
            TrainedFold(
                data=data,
                arms=arms,
                sweep=[],
                predictions={
                    arm.name: predicted(answers.get(arm.name, right), data.test.codes, len(data.val))
                    for arm in arms
                },
                skipped={} if number != 1 else {"synthetic": "there is nothing"},
                distances=distances,
            ).without_images()
        )
    found = summarize(pooled(trained), seeds=1, settings={"seeds": 1})
    arms_found = {arm.name: arm for arm in found.arms}
    assert list(arms_found) == ["real", "oversampled", "ungated"]
    assert found.skipped == {"synthetic": f"not in every fold: there is nothing ({folds[1][1]})"}
    marks = [int((fold.data.test.codes[:, 1] == 1).sum()) for fold in trained]
    groups = {group.name: group for group in found.groups}
    assert (groups["mark=1"].test_images, sum(marks)) == (72, 72)
    assert groups["mark=1"].accuracy["real"].value == pytest.approx(1 - marks[0] / 72)
    assert groups["mark=1"].accuracy["oversampled"].value == 0
    assert arms_found["ungated"].balanced.value == 1
    assert arms_found["real"].balanced.value == pytest.approx(1 - marks[0] / 72 / 2)
    # A generator may fail as a whole, in the next fold as well: without that chance the interval is narrow.
    narrow = summarize(replace(pooled(trained), fold_of=None), seeds=1, settings={"seeds": 1}).arms[0].balanced
    wide = arms_found["real"].balanced
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert arms_found["real"].images == 144 // 3


def _less_rows(_made: Planted, folds: list[tuple[Path, Path]]) -> None:
    frame = pd.read_csv(folds[1][0], dtype=str)
    frame.drop(frame.index[frame["split"] == "val"][0]).to_csv(folds[1][0], index=False)


def _shared_test(made: Planted, folds: list[tuple[Path, Path]]) -> None:
    frame = pd.read_csv(folds[1][0], dtype=str)
    first = pd.read_csv(folds[0][0], dtype=str)
    subject = first.loc[first["split"] == "test", "group"].iloc[0]
    frame.loc[frame["group"] == subject, "split"] = "test"
    frame.to_csv(folds[1][0], index=False)
    output(made, folds[1][0], "again")
    folds[1] = (folds[1][0], made.folder / "again")


def _remade(name: str, **description: object) -> Callable[[Planted, list[tuple[Path, Path]]], None]:
    def change(made: Planted, folds: list[tuple[Path, Path]]) -> None:
        folds[1] = (folds[1][0], output(made, folds[1][0], name, **description))

    return change


SETTINGS = {"output_format": "folder", "image_format": "png", "size": "model", "encoded": False}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_less_rows, "has other rows than .* differ in the column split alone"),
        (_shared_test, "group 'train[0-9]+' is in test of both"),
        (_remade("again", model={"sha256": "out1", "step": 1}), "made by the same model as .*for each fold"),
        (_remade("again", settings={**SETTINGS, "balance": ["mark"]}), "has another request than"),
        (_remade("again", gate={"mode": "auto"}), "has another gate than"),
        (
            _remade("again", made_of={"model": {"image_size": [8, 8], "crop": 6}}),
            "has another size, crop or format of images than",
        ),
        (_remade("again", manifest="gone.csv"), "made from 'gone.csv', which is not in .*augmentor check --folds"),
        (_remade("again", manifest="manifest-fold3.csv"), "test rows were used"),
    ],
)
def test_what_is_no_fold(
    planted: Planted, change: Callable[[Planted, list[tuple[Path, Path]]], None], words: str
) -> None:
    folds = folded(planted)
    change(planted, folds)
    heard: list[tuple[int, int, int]] = []
    with pytest.raises(OutputError, match=words):
        run(folds, heard)
    assert heard == []
    assert not (folds[0][1] / "evaluation.json").exists()


def test_what_does_not_go_with_folds(planted: Planted) -> None:
    (table, out), (_, other), _ = folded(planted)
    for words, more in (("--generators", {"generators": [other]}), ("--model", {"model": other})):
        with pytest.raises(AugmentorError, match=words):
            evaluate(table, out, folds=[other], settings=QUICK, device=CPU, **more)
