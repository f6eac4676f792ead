"""The section on label counts: images per value and combination, before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from augmentor.report.description import BalancedCombination, DescribedOutput
from augmentor.report.survey import Survey
from stargan.labels import UNKNOWN, LabelSpace

_MOST_VALUES = 24
_MOST_COMBINATIONS = 32


@dataclass(frozen=True, kw_only=True)
class CountRow:
    """Real images (before) and kept translations (added) of a value or combination; `wanted` were requested."""

    name: str
    before: int
    added: int
    wanted: int | None = None
    note: str = ""

    @property
    def after(self) -> int:
        """Real images and translations."""
        return self.before + self.added


@dataclass(frozen=True, kw_only=True)
class CountTable:
    """A table of counts with bars; `hidden` rows are left out."""

    name: str
    rows: tuple[CountRow, ...]
    hidden: int = 0

    @property
    def largest(self) -> int:
        """The number of the longest bar."""
        return max((max(row.after, row.wanted or 0) for row in self.rows), default=0) or 1

    @property
    def ratio_before(self) -> float | None:
        """Ratio of the most to the least frequent value in the real images; None if one has no image."""
        return _ratio([row.before for row in self.rows])

    @property
    def ratio_after(self) -> float | None:
        """The same ratio with the translations."""
        return _ratio([row.after for row in self.rows])


def attribute_counts(found: Survey, space: LabelSpace) -> list[CountTable]:
    """Count every value of every attribute, in the splits that have translations."""
    real = found.real.codes[np.isin(found.real_splits, found.splits)]
    tables = []
    for column, attribute in enumerate(space.attributes):
        size = len(attribute.values)
        before = np.bincount(real[:, column] + 1, minlength=size + 1)[1:]
        added = np.bincount(found.kept.codes[:, column] + 1, minlength=size + 1)[1:]
        rows = [
            CountRow(name=value, before=int(b), added=int(a))
            for value, b, a in zip(attribute.values, before, added, strict=True)
        ]
        tables.append(
            CountTable(name=attribute.name, rows=tuple(rows[:_MOST_VALUES]), hidden=max(0, size - _MOST_VALUES))
        )
    return tables


def combination_counts(found: Survey, space: LabelSpace) -> CountTable | None:
    """Count the combinations of all attributes that were translated, rarest first; None for a single attribute."""
    changed = (found.kept.changes != UNKNOWN).any(axis=0) | (found.rejected.changes != UNKNOWN).any(axis=0)
    columns = np.flatnonzero(changed)
    if len(columns) < 2:
        return None
    real = found.real.codes[np.isin(found.real_splits, found.splits)][:, columns]
    both = np.concatenate([real, found.kept.codes[:, columns]])
    whole = (both != UNKNOWN).all(axis=1)
    combinations, place = np.unique(both[whole], axis=0, return_inverse=True)
    was_real = (np.arange(len(both)) < len(real))[whole]
    before = np.bincount(place.reshape(-1)[was_real], minlength=len(combinations))
    added = np.bincount(place.reshape(-1)[~was_real], minlength=len(combinations))
    order = np.lexsort((np.arange(len(combinations)), before))
    rows = [
        CountRow(
            name=", ".join(
                f"{space.names[column]}={space.attributes[column].values[code]}"
                for column, code in zip(columns, combinations[each], strict=True)
            ),
            before=int(before[each]),
            added=int(added[each]),
        )
        for each in order[:_MOST_COMBINATIONS]
    ]
    hidden = max(0, len(order) - _MOST_COMBINATIONS)
    return CountTable(name="Combinations", rows=tuple(rows), hidden=hidden) if rows else None


def balance_counts(description: DescribedOutput) -> CountTable | None:
    """Return the combinations of `--balance`, requested and reached; None without it."""
    rows = []
    for cell in description.balance:
        if cell.before is None or cell.after is None:
            continue
        short = cell.wanted is not None and cell.after < cell.wanted
        rows.append(
            CountRow(
                name=", ".join(f"{name}={value}" for name, value in cell.domain.items()),
                before=cell.before,
                added=cell.after - cell.before,
                wanted=cell.wanted,
                note=_ended(cell) if cell.sources_used_up and short else "",
            )
        )
    hidden = max(0, len(rows) - _MOST_COMBINATIONS)
    return CountTable(name="Balance", rows=tuple(rows[:_MOST_COMBINATIONS]), hidden=hidden) if rows else None


def _ended(cell: BalancedCombination) -> str:
    ended = "given up" if cell.given_up else "all sources used up"
    return f"{ended}: {cell.why}" if cell.why else ended


def _ratio(counts: list[int]) -> float | None:
    return max(counts) / min(counts) if counts and min(counts) > 0 else None
