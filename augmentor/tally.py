"""What became of the translations that fill rare combinations: kept, thrown out, or one too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from augmentor.balance import LEFT_ALONE, CellState, Numbers
from augmentor.errors import OutputError
from augmentor.labeltable import LabelRow
from augmentor.plan import Plan
from augmentor.targets import Mask
from augmentor.writers.records import ShardRecord

SURPLUS = "surplus"
"""How the reason of a translation begins that was good, but one more than its combination was to have."""


class Kept(NamedTuple):
    """A translation of a round that was kept.

    Args:
        shard: its shard's number.
        position: its place in the shard.
        cell: its combination's number.
        agreement: the judge's probability for the target; None where there was no judge.
    """

    shard: int
    position: int
    cell: int
    agreement: float | None


class Tally:
    """What became of the items of a plan, counted record by record.

    Args:
        plan: one that `balanced` returned.
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
        self.translations: list[Kept] = []

    @property
    def real(self) -> Numbers:
        """Real images per combination, (C,) int64: of the rows that may be translated and can be read."""
        good = (self._plan.combinations >= 0) & ~self.failed
        return self._cells.count(self._cells.of(self._plan.codes[good]))

    @property
    def there(self) -> Numbers:
        """Images per combination, (C,) int64: real ones, and translations that were kept."""
        return self.real + self.kept

    def take(self, plan: Plan, record: ShardRecord) -> None:
        """Count one shard.

        Args:
            plan: with the rounds so far.
            record: of a shard that is committed; what the selection dropped from it counts as kept.

        Raises:
            OutputError: it holds what the plan does not ask for there.
        """
        self.failed[self._rows([failure.id for failure in record.failures])] = True
        found = _translations(record)
        if not found:
            return
        rows = self._rows([row.source_id for _, row in found])
        cells = self._cells.of(np.array([row.codes for _, row in found], dtype=np.int16))
        np.add.at(self.uses, rows, 1)
        self.kept += self._cells.count(cells)
        if plan.shard_range(record.index, self._size)[0] >= plan.starts[1]:
            self._refuse_others(plan, record.index, rows, cells)
            self.translations += [
                Kept(record.index, position, cell, row.agreement)
                for (position, row), cell in zip(found, cells.tolist(), strict=True)
            ]

    @property
    def excess(self) -> Numbers:
        """Images per combination that are more than are wanted of it, (C,) int64."""
        wanted = self._balance.wanted
        return np.where(wanted == LEFT_ALONE, 0, np.maximum(self.there - wanted, 0))

    def surplus(self) -> dict[int, dict[int, str]]:
        """Return what to drop in the end, per shard: the reason by the position."""
        dropped: dict[int, dict[int, str]] = {}
        for each in surplus(self.translations, self.excess):
            wanted = int(self._balance.wanted[each.cell])
            reason = f"{SURPLUS}: more than {wanted:,} of its combination"
            dropped.setdefault(each.shard, {})[each.position] = reason
        return {shard: dict(sorted(reasons.items())) for shard, reasons in sorted(dropped.items())}

    def states(self) -> list[CellState]:
        """Return how every combination stands once the surplus is dropped."""
        droppable = np.bincount([each.cell for each in self.translations], minlength=len(self._cells))
        after = self.there - np.minimum(self.excess, droppable)
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
        """Refuse a record of another round than this plan's: those before it were judged differently then."""
        start, stop = plan.shard_range(shard, self._size)
        segment, first = plan.segment_at(start)
        asked_rows = segment.rows[start - first : stop - first].astype(np.int64)
        asked_cells = self._cells.number(segment.values[start - first : stop - first])
        count = len(self._cells)
        if not (np.isin(rows * count + cells, asked_rows * count + asked_cells) & (cells >= 0)).all():
            raise OutputError(
                f"shard {shard} holds other translations than its round asks for: the shards before it have "
                "changed since, perhaps by --repair on another device. Start anew with --overwrite"
            )


def surplus(translations: Sequence[Kept], excess: Numbers) -> list[Kept]:
    """Return which translations to drop: of each combination the excess, lowest agreement first.

    Of equal agreement the last one goes first; where there was no judge, all are equal, and lowest.

    Args:
        translations: those that may be dropped.
        excess: (C,) int64, how many of each combination are too many.
    """
    left = np.maximum(excess, 0)
    dropped = []
    for each in sorted(translations, key=_worst_first):
        if left[each.cell]:
            left[each.cell] -= 1
            dropped.append(each)
    return dropped


def _worst_first(each: Kept) -> tuple[float, int, int]:
    return (-1.0 if each.agreement is None else each.agreement, -each.shard, -each.position)


def _translations(record: ShardRecord) -> list[tuple[int, LabelRow]]:
    """Return a shard's translations that were kept, with their places."""
    return [
        (position, row) for position, row in zip(record.positions, record.rows, strict=True) if row.is_synthetic
    ]


def _index(ids: Sequence[str]) -> pd.Index[str]:
    return pd.Index(list(ids), dtype=object)
