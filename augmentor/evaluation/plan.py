"""Plan of an evaluation: how many test subjects and seeds it takes to see a gain, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.manifest import AS_WRITTEN, Manifest, TableReading, read_manifest
from augmentor.errors import OutputError
from augmentor.evaluation.data import changed_attributes, filled_cells, read_output, units_of
from augmentor.evaluation.lineage import read_rejected, trace
from augmentor.evaluation.metrics import (
    LEAST_UNITS,
    Cell,
    Floats,
    TestSet,
    detectable,
    shows,
    standard_error,
)
from augmentor.evaluation.simulation import SimulatedTest, Spread
from augmentor.evaluation.verdict import cells_name
from augmentor.outputs import paths_of
from augmentor.outputs.readers import FinishedOutput
from augmentor.storage import Json
from stargan.labels import LabelSpace

GAIN = 0.05
ACCURACY = 0.6
"""Assumed share of the images of filled combinations that classifiers of real images recognise."""

FEW_ACCEPTED = 0.1
"""Share of accepted translations below which a combination is not expected to gain.

Of outputs that helped a third or more had been accepted; where it was one in thirty, the images taught less than
the few real ones drawn more often (BENCHMARKS.md, "Whether it helps").
"""

_SEEDS = (3, 6, 12, 24)
_SIMULATIONS = 40
_DRAWN = 60
_MOST_UNITS = 100_000


@dataclass(frozen=True, kw_only=True)
class PlannedSeeds:
    """What so many classifiers of each arm see.

    Args:
        smallest_gain: true gain that 80 of 100 evaluations see with the test subjects that there are; None where
            they are fewer than 8.
        units_needed: test subjects with a filled combination that it takes to see the wanted gain; None where more
            than 100,000 would not do, as the seeds differ too much.
    """

    seeds: int
    smallest_gain: float | None
    units_needed: int | None


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """What an evaluation can see of the filled combinations, as far as the assumptions hold.

    Args:
        filled: names of the combinations.
        accepted: for each, the share of its translations that the gate accepted; None where none is known.
        images: test images that show one of them; `units` subjects (or images without one).
        gain: the wanted gain.
        accuracy: assumed accuracy without it.
        spread: assumed shares of the variance, see `Spread`.
    """

    filled: Sequence[str]
    accepted: Sequence[float | None]
    images: int
    units: int
    gain: float
    accuracy: float
    spread: Spread
    seeds: Sequence[PlannedSeeds]

    def to_json(self) -> dict[str, Json]:
        """Return plain JSON values."""
        state = asdict(self)
        lists = {"filled": list(self.filled), "accepted": list(self.accepted)}
        return {**state, **lists, "seeds": [asdict(each) for each in self.seeds]}

    @property
    def doubtful(self) -> list[tuple[str, float]]:
        """The combinations of which so few translations were accepted that no gain is expected, and that share."""
        both = zip(self.filled, self.accepted, strict=True)
        return [(name, share) for name, share in both if share is not None and share < FEW_ACCEPTED]


def plan_evaluation(
    manifest: Path, out: Path, *, gain: float = GAIN, reading: TableReading = AS_WRITTEN
) -> EvaluationPlan:
    """Return what an evaluation of an output can see; no image is read.

    Raises:
        AugmentorError: the manifest or the output cannot be used, or no test row shows a filled combination.
    """
    output = read_output(out)
    space = output.space
    table = read_manifest(manifest, space=space, reading=reading)
    kept = trace(table, FinishedOutput.open(out).label_table().query("is_synthetic"), out=out).table
    dropped = read_rejected(paths_of(out).beside("rejected.csv"), space, with_passed=True)
    rejected = dropped[~dropped["passed"]]
    changed = changed_attributes(kept, space)
    cells = filled_cells(output, pd.concat([kept, rejected]), changed)
    shown, units = _test_images(table, cells)
    names = [cells_name([cell], space) for cell in cells]
    if not len(units):
        raise OutputError(f"{manifest}: no test row shows {', '.join(names)}, which {out} was to fill")
    variances = _variances(shown, units, cells=cells, space=space, gain=gain)
    return EvaluationPlan(
        filled=names,
        accepted=[_accepted(kept, dropped, cell, space) if output.gated else None for cell in cells],
        images=len(units),
        units=len(np.unique(units)),
        gain=gain,
        accuracy=ACCURACY,
        spread=Spread(),
        seeds=[_planned(variances, len(np.unique(units)), seeds, gain=gain) for seeds in _SEEDS],
    )


def _accepted(kept: pd.DataFrame, dropped: pd.DataFrame, cell: Cell, space: LabelSpace) -> float | None:
    """Return the share of a combination's translations of train rows that the gate accepted; None without any.

    `dropped` are the others, those among them that passed and were too many, too.
    """
    values = {space.names[a]: space.attributes[a].values[code] for a, code in cell}
    learnt = dropped[dropped["split"] == "train"]
    passed, failed = learnt[learnt["passed"]], learnt[~learnt["passed"]]
    counts = [
        int((table[list(values)] == pd.Series(values)).all(axis=1).sum()) for table in (kept, passed, failed)
    ]
    return (counts[0] + counts[1]) / sum(counts) if sum(counts) else None


def _test_images(table: Manifest, cells: Sequence[Cell]) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """Return labels and subject of the test rows that show one of the combinations."""
    rows = np.flatnonzero(table.split_mask(["test"]))
    codes = table.codes[rows]
    shown = np.zeros(len(rows), dtype=np.bool_)
    for cell in cells:
        shown |= shows(codes, cell)
    return codes[shown], units_of(table, rows[shown])


def _variances(
    codes: NDArray[np.integer], units: NDArray[np.intp], *, cells: Sequence[Cell], space: LabelSpace, gain: float
) -> Floats:
    """Return variances of the difference of two arms: between subjects, between seeds, and of both together.

    Subjects are drawn from those that there are, with their images, and predictions are simulated.
    """
    random, seeds, found = np.random.default_rng(0), 3, list[Floats]()
    sizes = np.array([len(attribute.values) for attribute in space.attributes])
    members = [np.flatnonzero(units == unit) for unit in np.unique(units)]
    while len(found) < _SIMULATIONS:
        drawn = [members[unit] for unit in random.integers(len(members), size=_DRAWN)]
        rows, subjects = np.concatenate(drawn), np.repeat(np.arange(_DRAWN), [len(each) for each in drawn])
        which = np.argmax([shows(codes[rows], cell) for cell in cells], axis=0)
        simulated = SimulatedTest(subjects, which, spread=Spread(), random=random)
        test = TestSet(codes[rows], subjects, counting=[a for a, _ in cells[0]], space=space, filled=cells)
        arms = [
            test.measure(np.where(right[..., None], codes[rows], (codes[rows] + 1) % sizes))
            for accuracy in (ACCURACY + gain, ACCURACY)
            for right in [simulated.right([accuracy] * len(cells), generators=1, seeds=seeds)]
        ]
        of_units, of_seeds, _, noise = (arms[0].filled - arms[1].filled).variances
        found.append(np.array([(of_units - noise) * _DRAWN, (of_seeds - noise) * seeds, noise * _DRAWN * seeds]))
    mean: Floats = np.mean(found, axis=0)
    return mean.clip(min=0)


def _smallest_gain(variances: Floats, units: int, seeds: int) -> float:
    of_units, of_seeds, of_both = variances.tolist()
    noise = of_both / (units * seeds)
    parts = (of_units / units + noise, units), (of_seeds / seeds + noise, seeds)
    return detectable(*standard_error(*parts, counted_twice=noise))


def _planned(variances: Floats, units: int, seeds: int, *, gain: float) -> PlannedSeeds:
    needed = LEAST_UNITS
    while needed <= _MOST_UNITS and _smallest_gain(variances, needed, seeds) > gain:
        needed = int(np.ceil(needed * 1.05))
    return PlannedSeeds(
        seeds=seeds,
        smallest_gain=_smallest_gain(variances, units, seeds) if units >= LEAST_UNITS else None,
        units_needed=needed if needed <= _MOST_UNITS else None,
    )
