"""Top-up rounds that fill up rare combinations, their counts, and the rule that drops the surplus."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from augmentor.errors import OutputError
from augmentor.expansion.executors.work import Work
from augmentor.expansion.selection import Candidates, candidates_in
from augmentor.outputs import SURPLUS, LabelRow, ShardRecord
from augmentor.planning import LEFT_ALONE, Cells, CellState, Mask, Numbers, Plan, RoundPlanner


def run_rounds(work: Work, run: Callable[[Work], None]) -> tuple[Work, RoundCounts]:
    """Make rounds of translations until every combination has its count, or no source is left.

    `work` has the plan that `augmentor.planning.with_balance` returned, with the first round; `run` makes the
    missing shards, from `Work.first_shard` on.

    Returns:
        The work with the plan of all rounds, each of whose shards is committed; and their counts.

    Raises:
        OutputError: a shard is missing after all, or holds other translations than its round plans.
    """
    plan, size = work.plan, work.shard_size
    planner = RoundPlanner(plan)
    counts = RoundCounts(plan, work.sources.manifest.rows["id"].astype(str).tolist(), size)
    first = 0
    if work.judging is not None:
        trial = planner.trial(plan)
        begun = map(work.writer.record, range(plan.shards(size, segments=0), trial.shards(size)))
        # An earlier version began with all that was missing.
        if all(record is None or counts.planned(trial, record, whole=True) for record in begun):
            plan = trial
    while True:
        work = replace(work, plan=plan, first_shard=first)
        run(work)
        for index in range(first, work.shards):
            counts.add(plan, work.writer.committed(index, shards=work.shards))
        counts.given_up = planner.given_up(plan, counts.kept)
        if work.writer.record(work.shards) is not None:  # An earlier version did not give up.
            counts.given_up[:] = False
        segment = planner.next_round(
            plan,
            there=counts.there,
            kept=counts.kept,
            failed=counts.failed,
            uses=counts.uses,
            given_up=counts.given_up,
        )
        if segment is None:
            return replace(work, first_shard=0), counts
        first, plan = work.shards, plan.extended(segment)


@dataclass(frozen=True, eq=False)
class DropSurplus:
    """The rule that drops what rounds made beyond the wanted counts: the worst of each combination.

    Args:
        wanted: (C,) int64, wanted images of each combination, or `LEFT_ALONE`.
        real: (C,) int64, its real images.
        first_shard: of the first round; those before it were requested by `--domains`, and are kept.
    """

    cells: Cells
    wanted: Numbers
    real: Numbers
    first_shard: int

    def __call__(self, candidates: Candidates) -> dict[int, str]:
        """Return the surplus: the worst of the rounds' translations."""
        if not len(candidates):
            return {}
        domains = np.array([codes for _, codes in candidates.targets], dtype=np.int16)
        cells = self.cells.of(domains)[candidates.domains]
        excess = np.where(self.wanted == LEFT_ALONE, 0, self.real + self.cells.count(cells) - self.wanted)
        order = candidates.best_first(cells)
        order = order[(candidates.shards[order] >= self.first_shard) & (cells[order] >= 0)]
        ordered = cells[order]
        # How many of its combination are no worse, itself among them, and how many there are in all.
        ranks = 1 + np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
        dropped = order[ranks > self.cells.count(ordered)[ordered] - excess[ordered]]
        return {
            int(place): f"{SURPLUS}: more than {self.wanted[cells[place]]:,} of its combination"
            for place in np.sort(dropped)
        }


class RoundCounts:
    """Counts of kept translations, failed rows and used sources, record by record.

    Args:
        plan: one that `with_balance` returned.
        ids: (N,) the manifest's.
        size: items per shard.
    """

    def __init__(self, plan: Plan, ids: Sequence[str], size: int) -> None:
        self._plan = plan
        self._balance = plan.filled
        self._cells = self._balance.cells
        self._ids = _index(ids)
        self._size = size
        self.failed: Mask = np.zeros(len(plan.codes), dtype=np.bool_)
        self.uses = np.zeros(len(plan.codes), dtype=np.int64)
        self.kept = np.zeros(len(self._cells), dtype=np.int64)
        self.given_up: Mask = np.zeros(len(self._cells), dtype=np.bool_)
        self._in_rounds = np.zeros(len(self._cells), dtype=np.int64)
        self._rejections = [_Rejections() for _ in range(len(self._cells))]

    @property
    def real(self) -> Numbers:
        """Real images per combination, (C,) int64: of rows that may be translated and can be read."""
        good = (self._plan.combinations >= 0) & ~self.failed
        return self._cells.count(self._cells.of(self._plan.codes[good]))

    @property
    def there(self) -> Numbers:
        """Real images and kept translations per combination, (C,) int64."""
        return self.real + self.kept

    def add(self, plan: Plan, record: ShardRecord) -> None:
        """Count one committed shard; what the selection dropped from it counts as kept.

        Raises:
            OutputError: it holds other translations than the plan has there.
        """
        self.failed[self._rows([failure.id for failure in record.failures])] = True
        rejected = [each for each in record.rejected if not each.passed]
        for each, cell in zip(rejected, self._cells_of([each.row for each in rejected]).tolist(), strict=True):
            if cell >= 0:
                self._rejections[cell].add(each.reason)
        found = [row for _, row, _ in candidates_in(record)]
        if not found:
            return
        rows = self._rows([row.source_id for row in found])
        cells = self._cells_of(found)
        np.add.at(self.uses, rows, 1)
        self.kept += self._cells.count(cells)
        if plan.shard_range(record.index, self._size)[0] >= plan.starts[1]:
            if not self.planned(plan, record):
                raise OutputError(
                    f"shard {record.index} holds other translations than its round asks for: the shards before it "
                    "have changed since, perhaps by --repair on another device. Start anew with --overwrite"
                )
            self._in_rounds += self._cells.count(cells)

    @property
    def surplus(self) -> DropSurplus:
        """The rule that drops the surplus at the end."""
        first = self._plan.shards(self._size, segments=0)
        return DropSurplus(self._cells, self._balance.wanted, self.real, first)

    def states(self) -> list[CellState]:
        """Return the counts of every combination once the surplus is dropped."""
        wanted = self._balance.wanted
        excess = np.where(wanted == LEFT_ALONE, 0, np.maximum(self.there - wanted, 0))
        after = self.there - np.minimum(excess, self._in_rounds)
        states = self._balance.states(after, self._plan.space, before=self.real)
        return [
            state._replace(given_up=bool(given_up), why=rejections.words(int(kept)))
            if state.sources_used_up
            else state
            for state, given_up, rejections, kept in zip(
                states, self.given_up, self._rejections, self.kept, strict=True
            )
        ]

    def planned(self, plan: Plan, record: ShardRecord, *, whole: bool = False) -> bool:
        """Return whether a record of a round holds only what the plan has there, and all of it with `whole`."""
        start, stop = plan.shard_range(record.index, self._size)
        segment, first = plan.segment_at(start)
        planned_rows = segment.rows[start - first : stop - first].astype(np.int64)
        planned_cells = self._cells.number(segment.values[start - first : stop - first])
        found = [row for row in (*record.rows, *(each.row for each in record.rejected)) if row.is_synthetic]
        rows, cells = self._rows([row.source_id for row in found]), self._cells_of(found)
        count = len(self._cells)
        there, wanted = rows * count + cells, planned_rows * count + planned_cells
        if whole:
            failed = self._rows([failure.id for failure in record.failures])
            return set(there.tolist()) == set(wanted[~np.isin(planned_rows, failed)].tolist())
        return bool((np.isin(there, wanted) & (cells >= 0)).all())

    def _cells_of(self, rows: Sequence[LabelRow]) -> Numbers:
        codes = np.array([row.codes for row in rows], dtype=np.int16).reshape(-1, len(self._plan.space))
        return self._cells.of(codes)

    def _rows(self, ids: Sequence[str]) -> npt.NDArray[np.intp]:
        rows: npt.NDArray[np.intp] = self._ids.get_indexer(_index(ids))
        if (rows < 0).any():
            unknown = ids[int((rows < 0).argmax())]
            raise OutputError(
                f"the output's records name the source {unknown!r}, which the manifest does not have"
            )
        return rows


@dataclass
class _Rejections:
    """Rejected translations into a combination: their number, and the scores that were too low."""

    count: int = 0
    scores: dict[str, tuple[int, float, float, float]] = field(default_factory=dict)
    """By name: how often, the lowest, the highest, and the highest threshold."""

    def add(self, reason: str) -> None:
        """Count a rejection by its reason, such as "agreement 0.12 < 0.41, realism 0.00 < 0.05"."""
        self.count += 1
        for name, words, limit in re.findall(r"(\w+) (-?[\d.]+) < (-?[\d.]+)", reason):
            score = float(words)
            many, low, high, least = self.scores.get(name, (0, score, score, float(limit)))
            self.scores[name] = many + 1, min(low, score), max(high, score), max(least, float(limit))

    def words(self, kept: int) -> str:
        """Return in words how many were rejected, and the most frequent reason; "" where none was."""
        if not self.scores:
            return ""
        name, (_, low, high, least) = max(self.scores.items(), key=lambda item: item[1][0])
        share = f"{self.count:,} of {self.count + kept:,}" if kept else f"all {self.count:,}"
        return f"{share} rejected: {name} {low:.2f} to {high:.2f} of {least:.2f}"


def _index(ids: Sequence[str]) -> pd.Index[str]:
    return pd.Index(list(ids), dtype=object)
