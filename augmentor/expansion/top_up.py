"""Top-up rounds that fill up rare combinations, their counts, and the rule that drops the surplus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from augmentor.errors import OutputError
from augmentor.expansion.executors.work import Work
from augmentor.expansion.selection import Candidates, candidates_in
from augmentor.outputs import SURPLUS, ShardRecord
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
    while True:
        work = replace(work, plan=plan, first_shard=first)
        run(work)
        for index in range(first, work.shards):
            counts.add(plan, work.writer.committed(index, shards=work.shards))
        segment = planner.next_round(
            plan, there=counts.there, kept=counts.kept, failed=counts.failed, uses=counts.uses
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
        self._in_rounds = np.zeros(len(self._cells), dtype=np.int64)

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
        found = [row for _, row, _ in candidates_in(record)]
        if not found:
            return
        rows = self._rows([row.source_id for row in found])
        cells = self._cells.of(np.array([row.codes for row in found], dtype=np.int16))
        np.add.at(self.uses, rows, 1)
        self.kept += self._cells.count(cells)
        if plan.shard_range(record.index, self._size)[0] >= plan.starts[1]:
            self._refuse_others(plan, record.index, rows, cells)
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
        return self._balance.states(after, self._plan.space, before=self.real)

    def _rows(self, ids: Sequence[str]) -> npt.NDArray[np.intp]:
        rows: npt.NDArray[np.intp] = self._ids.get_indexer(_index(ids))
        if (rows < 0).any():
            unknown = ids[int((rows < 0).argmax())]
            raise OutputError(
                f"the output's records name the source {unknown!r}, which the manifest does not have"
            )
        return rows

    def _refuse_others(self, plan: Plan, shard: int, rows: npt.NDArray[np.intp], cells: Numbers) -> None:
        """Refuse a record of another round than the plan's: earlier shards were judged differently then."""
        start, stop = plan.shard_range(shard, self._size)
        segment, first = plan.segment_at(start)
        planned_rows = segment.rows[start - first : stop - first].astype(np.int64)
        planned_cells = self._cells.number(segment.values[start - first : stop - first])
        count = len(self._cells)
        if not (np.isin(rows * count + cells, planned_rows * count + planned_cells) & (cells >= 0)).all():
            raise OutputError(
                f"shard {shard} holds other translations than its round asks for: the shards before it have "
                "changed since, perhaps by --repair on another device. Start anew with --overwrite"
            )


def _index(ids: Sequence[str]) -> pd.Index[str]:
    return pd.Index(list(ids), dtype=object)
