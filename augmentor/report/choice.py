"""Selection of the images that the page shows: few, and the same ones every time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from augmentor.report.survey import Survey, SurveyedRows
from stargan.labels import UNKNOWN

Verdict = Literal["best", "borderline", "rejected", "kept"]

Change = tuple[tuple[int, int], ...]
"""The requested change: (attribute, code) of every difference from the source."""

MOST_CARDS = 36
"""Images of each verdict."""

MOST_COLUMNS = 16
MOST_SOURCES = 10

_POOL = 4096
"""Translations from which a verdict's images are selected, so that every change can have some."""


@dataclass(frozen=True, kw_only=True)
class GridChoice:
    """Selected changes, one per column, and sources, one per row, as hashes.

    `kept` and `rejected` hold each cell's number among the kept or rejected translations, -1 for none.
    """

    changes: tuple[Change, ...]
    sources: tuple[int, ...]
    kept: NDArray[np.int64]
    rejected: NDArray[np.int64]


def changes_of(made: SurveyedRows, numbers: Iterable[int]) -> list[Change]:
    """Return the requested changes of some translations."""
    return [
        tuple((int(column), int(code)) for column, code in enumerate(made.changes[number]) if code != UNKNOWN)
        for number in numbers
    ]


def choose_best(kept: SurveyedRows) -> list[int]:
    """Return the numbers of the best kept translations, of every change in turn; at most the better half."""
    # Two digits: beyond that, the judge's probability is noise, and similarity to the source says more.
    agreement = (kept.scores["agreement"] * 100).round()
    order = _top(kept, [agreement, kept.scores["preserved"], kept.scores["realism"]])
    return _of_every_change(kept, order[: -(-int(np.isfinite(agreement).sum()) // 2)])


def choose_borderline(kept: SurveyedRows, thresholds: Mapping[str, float], *, without: Sequence[int]) -> list[int]:
    """Return the numbers of the kept translations nearest to a score's threshold, except those in `without`.

    Without thresholds, the lowest agreement is nearest.
    """
    limits = thresholds or {"agreement": 0.0}
    margins = np.stack([kept.scores[name] - least for name, least in sorted(limits.items())])
    margin = np.where(np.isnan(margins), np.inf, margins).min(axis=0)
    margin[list(without)] = np.inf
    order = _top(kept, [-margin])
    return _of_every_change(kept, order[np.isfinite(margin[order])])


def choose_spread(kept: SurveyedRows) -> list[int]:
    """Return the numbers of translations without scores, evenly spaced."""
    spread = np.linspace(0, len(kept) - 1, min(len(kept), _POOL)).astype(np.int64)
    return _of_every_change(kept, np.random.default_rng(0).permutation(spread))


def choose_rejected(found: Survey, there: NDArray[np.bool_]) -> list[int]:
    """Return the numbers of rejected translations to show; `there`: (N,) has a stored image.

    The worst come first, but the best of changes of which none was kept.
    """
    rejected, some = found.rejected, len(found.kept)
    _, numbers = np.unique(np.concatenate([found.kept.changes, rejected.changes]), axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    sign = np.where(np.isin(numbers[some:], numbers[:some]), -1.0, 1.0)
    agreement, preserved = rejected.scores["agreement"], rejected.scores["preserved"]
    order = _top(rejected, [sign * np.nan_to_num(agreement, nan=2), sign * preserved])
    return _of_every_change(rejected, order[there[order]])


def choose_grid(found: Survey) -> GridChoice:
    """Return the most frequent changes, and sources, spread over the table, with many of them.

    Where each source has one change, sources of every change take turns.
    """
    kept, rejected = found.kept, found.rejected
    changes = np.concatenate([kept.changes, rejected.changes])
    if not len(changes):
        return GridChoice(changes=(), sources=(), kept=np.empty((0, 0), int), rejected=np.empty((0, 0), int))
    distinct, place, counts = np.unique(changes, axis=0, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    several = (distinct != UNKNOWN).sum(axis=1)
    order = np.lexsort((np.arange(len(distinct)), -counts, several))
    order = order[several[order] > 0][:MOST_COLUMNS]
    # In the label space's order: by the first attribute, then by the value.
    order = order[
        np.lexsort([*np.where(distinct[order] == UNKNOWN, 1 << 14, distinct[order]).T[::-1], several[order]])
    ]
    sources = np.concatenate([kept.sources, rejected.sources])
    column = np.full(len(distinct), -1)
    column[order] = np.arange(len(order))
    shown = np.flatnonzero(column[place] >= 0)
    # The first of each source: what follows is in the order of the table.
    names, first, which = np.unique(sources[shown], return_index=True, return_inverse=True)
    which = which.reshape(-1)
    filled = np.bincount(which)
    rows = np.argsort(first, kind="stable")
    requested = np.zeros((len(names), len(order)), dtype=bool)
    requested[which, column[place[shown]]] = True
    rows = _spread(rows, requested, filled >= min(filled.max(), np.quantile(filled, 0.75)))
    cells = np.full((2, len(rows), len(order)), -1, dtype=np.int64)
    row_of = np.full(len(names), -1)
    row_of[rows] = np.arange(len(rows))
    inside = row_of[which] >= 0
    for number, row in zip(shown[inside], row_of[which[inside]], strict=True):
        was_kept = number < len(kept)
        of_kind = number if was_kept else number - len(kept)
        cells[0 if was_kept else 1, row, column[place[number]]] = of_kind
    columns = tuple(
        tuple((int(a), int(code)) for a, code in enumerate(distinct[each]) if code != UNKNOWN) for each in order
    )
    return GridChoice(
        changes=columns, sources=tuple(int(names[row]) for row in rows), kept=cells[0], rejected=cells[1]
    )


def _spread(rows: NDArray[np.int64], requested: NDArray[np.bool_], rich: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return some of the rows in their order: from its beginning to its end, of each column in turn.

    `rows`, (N,), are numbers of sources, `requested`, (N, columns), their changes, and `rich`, (N,), those with
    many changes; others only fill a column that has none of these.
    """
    columns = requested.shape[1]
    pool = rows[(rich | requested[:, ~requested[rich].any(axis=0)].any(axis=1))[rows]]
    most, taken = min(len(pool), MOST_SOURCES), list[int]()
    for turn in range(most):
        left = pool[~np.isin(pool, taken)]
        fitting = left[requested[left, turn % columns]]
        fitting = fitting if len(fitting) else left
        taken.append(int(fitting[turn * (len(fitting) - 1) // max(1, most - 1)]))
    return rows[np.isin(rows, taken)]


def _top(made: SurveyedRows, keys: Sequence[NDArray[np.floating]]) -> NDArray[np.int64]:
    """Return numbers of translations, those with the largest keys first; unknown ones are last."""
    filled = [np.where(np.isnan(key), -np.inf, key) for key in keys]
    return np.lexsort((np.arange(len(made)), *(-key for key in reversed(filled))))


def _of_every_change(made: SurveyedRows, order: NDArray[np.int64]) -> list[int]:
    """Return the first `MOST_CARDS` in an order in which every change takes its turn."""
    pool = [int(number) for number in order[:_POOL]]
    queues: dict[Change, list[int]] = {}
    for number, change in zip(pool, changes_of(made, pool), strict=True):
        queues.setdefault(change, []).append(number)
    turns = sorted(
        (turn, place, number)
        for place, change in enumerate(sorted(queues, key=lambda change: (len(change), change)))
        for turn, number in enumerate(queues[change])
    )
    return [number for _, _, number in turns[:MOST_CARDS]]
