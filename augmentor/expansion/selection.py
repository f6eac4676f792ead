"""Selection among the translations that passed the gate: candidates, rules, and the removal of dropped ones.

It depends on the shards' records alone, in which a dropped translation stays a candidate: repeated, also after a
kill while translations are dropped, it has the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from augmentor.outputs import NOT_BEST, LabelRow, RowScores, ShardRecord
from augmentor.outputs.writers import Writer

BestPer = Literal["source", "domain"]

Dropped: TypeAlias = dict[int, dict[int, str]]
"""Reasons of dropped translations, by shard and position in it."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Translations that passed the gate, one entry each, in the order of shards and positions.

    Args:
        shards: (N,) int64, index of the shard.
        positions: (N,) int64, position in it.
        sources: (N,) int64, equal for translations of one image.
        domains: (N,) int64, index of the domain in `targets`.
        agreement, realism, preserved: (N,) float64, as in the label table; NaN for unknown.
        targets: the split and the codes of every domain.
    """

    shards: NDArray[np.int64]
    positions: NDArray[np.int64]
    sources: NDArray[np.int64]
    domains: NDArray[np.int64]
    agreement: NDArray[np.float64]
    realism: NDArray[np.float64]
    preserved: NDArray[np.float64]
    targets: Sequence[tuple[str, tuple[int, ...]]]

    def __len__(self) -> int:
        return len(self.shards)

    def best_first(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices of all candidates by group, (N,), the best first in each.

        The order is by agreement, realism, preserved (all descending, unknown last), then by position.
        """
        keys = [
            -np.where(np.isnan(score), -np.inf, score) for score in (self.preserved, self.realism, self.agreement)
        ]
        return np.lexsort((self.positions, self.shards, *keys, groups))

    def where(self, mask: NDArray[np.bool_]) -> Candidates:
        """Return the candidates in a mask, (N,)."""
        columns = {name: values[mask] for name, values in vars(self).items() if name != "targets"}
        return replace(self, **columns)


Rule: TypeAlias = Callable[[Candidates], Mapping[int, str]]
"""Returns the dropped candidates by their index, each with the reason. Reasons begin with
`augmentor.outputs.NOT_BEST` or `SURPLUS`, by which records tell candidates from other rejected translations."""


@dataclass(frozen=True)
class KeepBest:
    """The rule that keeps the best `most` translations of each image, or into each domain of each split."""

    most: int
    per: BestPer

    def __call__(self, candidates: Candidates) -> dict[int, str]:
        """Return the dropped candidates."""
        groups = candidates.sources if self.per == "source" else candidates.domains
        order = candidates.best_first(groups)
        ordered = groups[order]
        # Rank within the group, from 0.
        ranks = np.arange(len(order)) - np.searchsorted(ordered, ordered, side="left")
        reason = f"{NOT_BEST} {self.most} of its {self.per}"
        return {int(place): reason for place in order[ranks >= self.most]}


def candidates_of(records: Iterable[ShardRecord]) -> Candidates:
    """Return the candidates of all shards, in order, including those that an earlier selection dropped."""
    places: list[tuple[int, int, int, int]] = []
    scores: list[tuple[float, float, float]] = []
    sources: dict[str, int] = {}
    domains: dict[tuple[str, tuple[int, ...]], int] = {}
    for record in records:
        for position, row, measured in candidates_in(record):
            source = sources.setdefault(row.source_id, len(sources))
            domain = domains.setdefault((row.split, row.codes), len(domains))
            places.append((record.index, position, source, domain))
            preserved = None if measured is None else measured.preserved
            scores.append((_number(row.agreement), _number(row.realism), _number(preserved)))
    numbers = np.array(places, dtype=np.int64).reshape(-1, 4).T
    measures = np.array(scores, dtype=np.float64).reshape(-1, 3).T
    return Candidates(
        shards=numbers[0],
        positions=numbers[1],
        sources=numbers[2],
        domains=numbers[3],
        agreement=measures[0],
        realism=measures[1],
        preserved=measures[2],
        targets=list(domains),
    )


def select(records: Iterable[ShardRecord], rules: Sequence[Rule]) -> Dropped:
    """Return the dropped translations; each rule applies to those that the rules before it keep."""
    left = candidates_of(records)
    dropped: Dropped = {}
    for rule in rules:
        reasons = rule(left)
        kept = np.ones(len(left), dtype=bool)
        for place, reason in reasons.items():
            kept[place] = False
            dropped.setdefault(int(left.shards[place]), {})[int(left.positions[place])] = reason
        left = left.where(kept)
    return dropped


def drop_unselected(writer: Writer, *, shards: int, rules: Sequence[Rule]) -> int:
    """Remove the translations that the rules drop; return how many. A second call changes nothing.

    Raises:
        OutputError: a shard is not committed.
    """
    record = partial(writer.committed, shards=shards)
    dropped = select(map(record, range(shards)), rules)
    for index, reasons in sorted(dropped.items()):
        if not reasons.keys().isdisjoint(record(index).positions):
            writer.drop(index, reasons)
    return sum(map(len, dropped.values()))


def candidates_in(record: ShardRecord) -> Iterable[tuple[int, LabelRow, RowScores | None]]:
    """Return a shard's candidates in order of position."""
    scores = record.scores or [None] * len(record.rows)
    kept = [
        (position, row, measured)
        for position, row, measured in zip(record.positions, record.rows, scores, strict=True)
        if row.is_synthetic
    ]
    dropped = [(each.position, each.row, each.scores) for each in record.rejected if each.passed]
    return sorted([*kept, *dropped], key=lambda candidate: candidate[0])


def _number(score: float | None) -> float:
    return np.nan if score is None else score
