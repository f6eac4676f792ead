"""Folds of an evaluation: which outputs belong together, and their test images as one test set."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from augmentor.errors import OutputError
from augmentor.evaluation.arms import Pool, TrainingArm, main_arm
from augmentor.evaluation.cache import Predictions
from augmentor.evaluation.data import EvaluatedOutput, EvaluationData, bare
from augmentor.evaluation.lineage import TracedTranslations
from augmentor.evaluation.result import Distances
from augmentor.judge import LabelledImages


@dataclass(frozen=True, kw_only=True)
class TrainedFold:
    """An output's data, its arms, and what their classifiers predict.

    Args:
        predictions: of every arm by generator and seed; arms without a generator have a single row.
        skipped: arm -> why it is not there.
        distances: those of the first fold.
        fold_of: (N,) which fold each test image belongs to, from 0; `folds` is their number.
    """

    data: EvaluationData
    arms: Sequence[TrainingArm]
    sweep: Sequence[TrainingArm]
    predictions: Mapping[str, Sequence[Sequence[Predictions]]]
    skipped: Mapping[str, str]
    distances: Distances
    folds: int = 1
    fold_of: NDArray[np.intp] | None = None

    def without_images(self) -> TrainedFold:
        """Return the same with labels alone, so that the images of all folds need not be in memory at once."""

        def pools(given: Sequence[Pool]) -> tuple[Pool, ...]:
            return tuple(replace(pool, data=bare(pool.data)) for pool in given)

        arms, sweep = (
            [replace(arm, pools=pools(arm.pools), pretraining=pools(arm.pretraining)) for arm in each]
            for each in (self.arms, self.sweep)
        )
        return replace(self, data=self.data.without_images(), arms=arms, sweep=sweep)


def table_of(output: EvaluatedOutput, first: Path) -> Path:
    """Return the table that a fold's output was made from: the one of the recorded name beside the first fold's.

    Raises:
        OutputError: it is not there.
    """
    path = first.with_name(output.manifest)
    if not output.manifest or not path.exists():
        name = repr(output.manifest) if output.manifest else "an unknown table"
        raise OutputError(
            f"{output.out}: was made from {name}, which is not in {first.parent}. The tables of --folds are in "
            "one folder, as `augmentor check --folds` writes them: put it there under this name"
        )
    return path


def refuse_strangers(folds: Sequence[EvaluationData]) -> None:
    """Refuse outputs that are no folds of one table and request, or share a generator or a test subject."""
    first = folds[0]
    for other in folds[1:]:
        for what, of in _ALIKE:
            if of(first) != of(other):
                raise OutputError(
                    f"{other.output.out}: has {what} than {first.output.out}: --folds are outputs of one request"
                )
        if not _same_rows(first, other):
            raise OutputError(
                f"{other.manifest.path}: has other rows than {first.manifest.path}. Tables of folds differ in the "
                "column split alone: `augmentor check --folds` writes them"
            )
    for one, other in combinations(folds, 2):
        shared = np.flatnonzero(one.manifest.split_mask(["test"]) & other.manifest.split_mask(["test"]))
        if len(shared):
            group, name = one.manifest.rows[["group", "id"]].iloc[int(shared[0])]
            both, subject = f"{one.manifest.path} and {other.manifest.path}", f"group {group!r}" if group else name
            raise OutputError(f"{both}: {subject} is in test of both. Each subject is in test of one fold")
        if one.output.model_sha256 == other.output.model_sha256:
            raise OutputError(
                f"{other.output.out}: is made by the same model as {one.output.out}, which has learnt from test "
                "images of one of them. Train a model for each fold, on the fold's own table"
            )


_ALIKE: Sequence[tuple[str, Callable[[EvaluationData], object]]] = (
    ("other attributes or values", lambda data: data.output.space),
    ("another request", lambda data: data.output.request),
    ("another gate", main_arm),
    (
        "another size, crop or format of images",
        lambda data: (data.output.size, data.output.channels, data.output.crop, data.output.encoding),
    ),
    ("other changed attributes", lambda data: data.changed),
)


def _same_rows(one: EvaluationData, other: EvaluationData) -> bool:
    columns = ["path", "id", "group"]
    return one.manifest.rows[columns].equals(other.manifest.rows[columns]) and np.array_equal(
        one.manifest.codes, other.manifest.codes
    )


def pooled(folds: Sequence[TrainedFold]) -> TrainedFold:
    """Return folds as one, with the test images of all; each is recognised by the classifiers of its own fold.

    Arms that are not in every fold are left out. Sizes of arms, and distances, are those of the first fold.
    """
    first = folds[0]
    everywhere = set.intersection(*({arm.name for arm in (*fold.arms, *fold.sweep)} for fold in folds))
    left_out = {arm.name for fold in folds for arm in fold.arms} - everywhere
    seeds = range(len(next(iter(first.predictions.values()))[0]))
    return TrainedFold(
        data=_pooled_data([fold.data for fold in folds]),
        arms=[arm for arm in first.arms if arm.name in everywhere],
        sweep=[arm for arm in first.sweep if arm.name in everywhere],
        predictions={
            name: [[_joined([fold.predictions[name][0][seed] for fold in folds]) for seed in seeds]]
            for name in first.predictions
            if name in everywhere
        },
        skipped=dict(_skipped(folds, left_out)),
        distances=first.distances,
        folds=len(folds),
        fold_of=np.repeat(np.arange(len(folds)), [len(fold.data.test) for fold in folds]),
    )


def _skipped(folds: Sequence[TrainedFold], left_out: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield why arms are not there; `left_out` are those of some folds."""
    for fold in folds:
        for name, reason in fold.skipped.items():
            yield name, f"not in every fold: {reason} ({fold.data.output.out})" if name in left_out else reason


def _joined(runs: Sequence[Predictions]) -> Predictions:
    return Predictions(
        test=np.concatenate([run.test for run in runs]),
        val=np.concatenate([run.val for run in runs]),
        steps=max(run.steps for run in runs),
        converged=all(run.converged for run in runs),
    )


def _pooled_data(folds: Sequence[EvaluationData]) -> EvaluationData:
    """Return the data of all folds, whose tables have the same rows; where a translation came from is not kept."""

    def joined(sets: Iterable[LabelledImages]) -> LabelledImages:
        sets = list(sets)
        return LabelledImages(
            images=torch.cat([each.images for each in sets]), codes=torch.cat([each.codes for each in sets])
        )

    kept = joined(fold.kept for fold in folds)
    rejected = [fold.rejected for fold in folds]
    return replace(
        folds[0],
        filled=tuple(sorted({cell for fold in folds for cell in fold.filled})),
        train=joined(fold.train for fold in folds),
        val=joined(fold.val for fold in folds),
        test=joined(fold.test for fold in folds),
        train_rows=np.concatenate([fold.train_rows for fold in folds]),
        test_rows=np.concatenate([fold.test_rows for fold in folds]),
        kept=kept,
        kept_sources=np.full(len(kept), -1),
        rejected=TracedTranslations(
            pd.concat([each.table for each in rejected], ignore_index=True),
            np.concatenate([each.rows for each in rejected]),
        ),
        unreadable=sum(fold.unreadable for fold in folds),
        notes=tuple(dict.fromkeys(note for fold in folds for note in fold.notes)),
    )
