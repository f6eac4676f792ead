"""How many images there are of what, before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from augmentor.report.survey import Survey
from augmentor.report.values import items, mapping, number
from augmentor.storage import Json
from stargan.labels import UNKNOWN, LabelSpace

_MOST_VALUES = 24
_MOST_COMBINATIONS = 32


@dataclass(frozen=True, kw_only=True)
class Count:
    """Images of one value, or of one combination.

    Args:
        name: of the value.
        before: real ones.
        added: kept translations.
        wanted: what was asked for; None where nothing was.
        note: what is to be said about it, or "".
    """

    name: str
    before: int
    added: int
    wanted: int | None = None
    note: str = ""

    @property
    def after(self) -> int:
        """All of them."""
        return self.before + self.added


@dataclass(frozen=True, kw_only=True)
class CountTable:
    """A table of counts with bars.

    Args:
        name: what it is about.
        rows: in order.
        hidden: rows that there was no room for.
    """

    name: str
    rows: tuple[Count, ...]
    hidden: int = 0

    @property
    def largest(self) -> int:
        """What the longest bar stands for."""
        return max((max(row.after, row.wanted or 0) for row in self.rows), default=0) or 1

    @property
    def ratio_before(self) -> float | None:
        """The most frequent over the least frequent one, among the real images; None where one has none."""
        return _ratio([row.before for row in self.rows])

    @property
    def ratio_after(self) -> float | None:
        """The same with the translations."""
        return _ratio([row.after for row in self.rows])


def attribute_counts(found: Survey, space: LabelSpace) -> list[CountTable]:
    """Count every value of every attribute, in the splits that have translations."""
    real = found.real.codes[np.isin(found.real.splits, found.splits)]
    tables = []
    for column, attribute in enumerate(space.attributes):
        size = len(attribute.values)
        before = np.bincount(real[:, column] + 1, minlength=size + 1)[1:]
        added = np.bincount(found.kept.codes[:, column] + 1, minlength=size + 1)[1:]
        rows = [
            Count(name=value, before=int(b), added=int(a))
            for value, b, a in zip(attribute.values, before, added, strict=True)
        ]
        tables.append(
            CountTable(name=attribute.name, rows=tuple(rows[:_MOST_VALUES]), hidden=max(0, size - _MOST_VALUES))
        )
    return tables


def combination_counts(found: Survey, space: LabelSpace) -> CountTable | None:
    """Count the combinations of all attributes that were translated, rarest first; None for a single attribute."""
    changed = (found.kept.asked != UNKNOWN).any(axis=0) | (found.rejected.asked != UNKNOWN).any(axis=0)
    columns = np.flatnonzero(changed)
    if len(columns) < 2:
        return None
    real = found.real.codes[np.isin(found.real.splits, found.splits)][:, columns]
    both = np.concatenate([real, found.kept.codes[:, columns]])
    whole = (both != UNKNOWN).all(axis=1)
    combinations, place = np.unique(both[whole], axis=0, return_inverse=True)
    was_real = (np.arange(len(both)) < len(real))[whole]
    before = np.bincount(place.reshape(-1)[was_real], minlength=len(combinations))
    added = np.bincount(place.reshape(-1)[~was_real], minlength=len(combinations))
    order = np.lexsort((np.arange(len(combinations)), before))
    rows = [
        Count(
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


def balance_counts(description: Mapping[str, Json]) -> CountTable | None:
    """Return what `--balance` asked for, and what came of it; None where it was not asked."""
    rows = []
    for cell in map(mapping, items(description.get("balance"))):
        domain, before, after = cell.get("domain"), number(cell.get("before")), number(cell.get("after"))
        if before is None or after is None:
            continue
        words = [f"{name}={value}" for name, value in mapping(domain).items()] or [str(domain)]
        wanted = number(cell.get("wanted"))
        short = wanted is not None and after < wanted
        note = "all sources used up" if cell.get("sources_used_up") and short else ""
        rows.append(
            Count(
                name=", ".join(words),
                before=int(before),
                added=int(after - before),
                wanted=None if wanted is None else int(wanted),
                note=note,
            )
        )
    hidden = max(0, len(rows) - _MOST_COMBINATIONS)
    return CountTable(name="Balance", rows=tuple(rows[:_MOST_COMBINATIONS]), hidden=hidden) if rows else None


def _ratio(counts: list[int]) -> float | None:
    return max(counts) / min(counts) if counts and min(counts) > 0 else None
