"""Thresholds of agreement, from the judge's probabilities on real validation images.

A judge knows some combinations less well than others: where its training rows have dark men, and no dark women,
its agreement is low for real dark women, and for translations into them. One threshold for all would reject the
very combinations that were to be filled up, so combinations get thresholds of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from augmentor.judge.scores import joined, target_probabilities
from stargan.labels import UNKNOWN, LabelSpace

_FALSE_REJECTED = 0.98
"""Share of false offers that the threshold of agreement rejects."""

_AS_REAL = 0.3
"""Quantile of real images' agreement with their own labels that a translation must reach."""

_SURE = 0.9
"""Upper limit for that quantile: the least sure images of a very sure judge are no worse than others."""

FEWEST = 32
"""Validation images below which they give no threshold."""

_FEWEST_ALIKE = 8
"""Images of a combination below which it has no threshold of its own."""

_BY_CHANCE = 0.05
"""Significance level of whether more images of any pair of values than of all are below the threshold."""

_UNSEEN = 0.5
"""Threshold where there are too few validation images."""

Values = tuple[tuple[int, int], ...]
"""Some values of a domain: (attribute's column, code) of each."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Minimum scores of a translation, None for no minimum; agreement and realism 0 to 1, preserved -1 to 1."""

    agreement: float | None = None
    realism: float | None = None
    preserved: float | None = None


@dataclass(frozen=True, kw_only=True)
class Offers:
    """How the threshold of agreement does on real validation images.

    Each image is offered once under its own labels, which is true, and under every change of one, which is false.

    Args:
        true_kept: share of the true offers that reach the threshold.
        false_rejected: share of the false offers that do not.
    """

    true: int
    false: int
    true_kept: float
    false_rejected: float


class Requirement(NamedTuple):
    """Agreement that n translations must reach, (n,) float64, NaN for none; attributes that count, (n, A) bool."""

    least: Tensor
    counted: Tensor


@dataclass(frozen=True, kw_only=True)
class AgreementReference:
    """A judge's probabilities for real validation images, and the thresholds of agreement that follow.

    The threshold rejects 98 % of false offers, and is at least the agreement that seven of ten real images reach
    under their own labels: the first alone is near 0 for a judge without a mistake, and a translation that changed
    by half would pass (BENCHMARKS.md, the gate).

    Args:
        probabilities: (N, D) float32 of real validation images, see `Judge.calibrated`.
        codes: (N, A) int64, their labels, -1 unknown.
        trusted: (A,) bool, the attributes that count.
        half: (N,) bool, the half of the subjects that each is in; None of an earlier judge.
        threshold: computed: the agreement that translations must reach; None where no attribute is trusted.
        offers: computed: how thresholds of one half do on the other; None where images are too few, or no
            attribute is trusted.
    """

    probabilities: Tensor
    codes: Tensor
    space: LabelSpace
    trusted: Tensor
    half: Tensor | None = None
    threshold: float | None = field(init=False)
    offers: Offers | None = field(init=False)
    _true: Tensor = field(init=False, repr=False)
    _false: Tensor = field(init=False, repr=False)
    _changes: Tensor = field(init=False, repr=False)
    _each: Tensor = field(init=False, repr=False)
    _significance: float = field(init=False, repr=False)
    _of_values: dict[Values, float | None] = field(init=False, repr=False, default_factory=dict)
    _doubted: dict[tuple[Values, int], bool] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Offer every image under its own labels, and under every change of one of them."""
        changes = self._false_changes()
        false = [self._agreement(*self._offered(some)) for some in changes]
        object.__setattr__(self, "_each", target_probabilities(self.probabilities, self.codes, self.space))
        object.__setattr__(self, "_true", joined(self._each, self.trusted))
        object.__setattr__(self, "_false", torch.cat([self._true[:0], *false]))
        object.__setattr__(self, "_changes", torch.cat([torch.empty(0, 3, dtype=torch.int64), *changes]))
        # One in twenty such pairs would be found by chance; an earlier judge keeps the rule that it was used with.
        tests = 1 if self.half is None else sum(count >= _FEWEST_ALIKE for count in self._pairs().values())
        object.__setattr__(self, "_significance", _BY_CHANCE / max(1, tests))
        threshold, offers = self._overall()
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "offers", offers)

    def requirements(self, targets: Tensor, own: Tensor) -> Requirement:
        """Return the agreement that translations must reach: the threshold, or less where the judge knows less.

        Where the judge knows the real images with a new value less well than others, or those with a new value and
        another one of the target's, the threshold is the agreement that these reach. Where the other value is the
        doubtful one, and the source has it already, that attribute does not count.

        targets, own (the sources' labels): (n, A) int64, -1 unknown.
        """
        n = len(targets)
        everywhere = math.nan if self.threshold is None else self.threshold
        if self.offers is None:
            return Requirement(torch.full((n,), everywhere, dtype=torch.float64), self._checkable(targets))
        kinds, places = torch.unique(torch.cat([targets, own], dim=1), dim=0, return_inverse=True)
        least = torch.empty(len(kinds), dtype=torch.float64)
        counted = torch.empty(len(kinds), len(self.trusted), dtype=torch.bool)
        for row, kind in enumerate(kinds):
            least[row], counted[row] = self._requirement_of(*kind.chunk(2))
        return Requirement(least[places], counted[places])

    def knows(self, column: int, code: int) -> bool:
        """Return whether an attribute is trusted, and a value of it among the validation images."""
        return bool(self.trusted[column] and (self.codes[:, column] == code).any())

    def lowered(self) -> list[tuple[Values, float]]:
        """Return the pairs of values with a lower threshold than others, the lowest first."""
        if self.threshold is None or self.offers is None:
            return []
        found = [
            (values, least) for values in sorted(self._pairs()) if (least := self._least_of(values)) is not None
        ]
        return sorted((pair for pair in found if pair[1] < self.threshold), key=lambda pair: (pair[1], pair[0]))

    def _pairs(self) -> dict[Values, int]:
        """Return the pairs of values of trusted attributes that images have, with their numbers of images."""
        pairs: dict[Values, int] = {}
        for a in range(len(self.space)):
            for b in range(a + 1, len(self.space)):
                there, counts = torch.unique(self.codes[:, [a, b]], dim=0, return_counts=True)
                for (x, y), count in zip(there.tolist(), counts.tolist(), strict=True):
                    if UNKNOWN not in (x, y) and self.trusted[a] and self.trusted[b]:
                        pairs[(a, x), (b, y)] = count
        return pairs

    def _overall(self) -> tuple[float | None, Offers | None]:
        if not self.trusted.any():
            return None, None
        if len(self.codes) < FEWEST:
            return _UNSEEN, None
        rows = torch.nonzero(~self._true.isnan())[:, 0]
        known, sources = self._true[rows], self._changes[:, 0]
        least = self._threshold(known, self._false)
        kept, rejected = known >= least, self._false < least
        if self.half is not None and min(int(self.half[rows].sum()), int((~self.half[rows]).sum())) >= FEWEST // 2:
            for half in (False, True):
                here, there = self.half[rows] == half, self.half[sources] == half
                other = self._threshold(known[~here], self._false[~there])
                kept[here], rejected[there] = known[here] >= other, self._false[there] < other
        return least, Offers(
            true=len(known),
            false=len(self._false),
            true_kept=round(float(kept.double().mean()), 6),
            false_rejected=round(float(rejected.double().mean()), 6),
        )

    def _requirement_of(self, target: Tensor, source: Tensor) -> tuple[float, Tensor]:
        """Return the agreement that one kind of translation must reach, and the attributes that count for it."""
        assert self.threshold is not None
        known = [
            (column, code)
            for column, code in enumerate(target.tolist())
            if code != UNKNOWN and self.knows(column, code)
        ]
        new = [value for value in known if value[1] != int(source[value[0]])]
        least, counted = self.threshold, self._checkable(target[None])[0]
        for value in new:
            for other in known:
                values = (value,) if other == value else (min(value, other), max(value, other))
                reached = self._least_of(values)
                if reached is None:
                    continue
                if other not in new and self._doubts(values, other[0]):
                    counted[other[0]] = False
                else:
                    least = min(least, reached)
        return least, counted

    def _checkable(self, targets: Tensor) -> Tensor:
        """Return which attributes of targets (n, A) count, bool (n, A): trusted ones with a known value."""
        columns = [
            (torch.isin(target, self.codes[:, column]) | (target == UNKNOWN)) & self.trusted[column]
            for column, target in enumerate(targets.T)
        ]
        return torch.stack(columns, dim=1)

    def _doubts(self, values: Values, column: int) -> bool:
        """Return whether this attribute is why real images with some values are known less well."""
        if (values, column) not in self._doubted:
            others = self.trusted.clone()
            others[column] = False
            agreement = joined(self._each[_have(self.codes, values)], others)
            self._doubted[values, column] = self._as_known_as_all(agreement[~agreement.isnan()])
        return self._doubted[values, column]

    def _least_of(self, values: Values) -> float | None:
        """Return the threshold of images with these values; None if they are few, or known as well as all."""
        if values not in self._of_values:
            alike = self._true[_have(self.codes, values) & ~self._true.isnan()]
            false = self._false[self._offered_with(values)]
            enough = min(len(alike), len(false)) >= _FEWEST_ALIKE
            known = not enough or self._as_known_as_all(alike)
            self._of_values[values] = None if known else self._threshold(alike, false)
        return self._of_values[values]

    def _as_known_as_all(self, alike: Tensor) -> bool:
        """Return whether no more of some images are below the threshold than may be by chance."""
        assert self.threshold is not None
        everybody = self._true[~self._true.isnan()]
        share = float((everybody < self.threshold).double().mean())
        short, n = int((alike < self.threshold).sum()), len(alike)
        spread = math.sqrt(n * share * (1 - share))
        return spread == 0 or 1 - NormalDist(n * share, spread).cdf(short - 0.5) >= self._significance

    def _offered_with(self, values: Values) -> Tensor:
        """Return which false offers have all of these values, the false one among them: (F,) bool."""
        rows, columns, codes = self._changes.T
        there = torch.ones(len(rows), dtype=torch.bool)
        false_one = torch.zeros_like(there)
        for column, code in values:
            there &= torch.where(columns == column, codes, self.codes[rows, column]) == code
            false_one |= columns == column
        return there & false_one

    def _threshold(self, true: Tensor, false: Tensor) -> float:
        return max(_just_above(false, _FALSE_REJECTED), min(_SURE, float(torch.quantile(true, _AS_REAL))))

    def _agreement(self, rows: Tensor, offered: Tensor) -> Tensor:
        return joined(target_probabilities(self.probabilities[rows], offered, self.space), self.trusted)

    def _false_changes(self) -> list[Tensor]:
        """Return (n, 3) int64, for each false value of each trusted attribute: the row, the column, the code."""
        changes = []
        for column, attribute in enumerate(self.space.attributes):
            for code in range(len(attribute.values)) if self.trusted[column] else ():
                its = self.codes[:, column]
                rows = torch.nonzero((its != UNKNOWN) & (its != code))[:, 0]
                wrong = torch.tensor([column, code]).expand(len(rows), 2)
                changes.append(torch.cat([rows[:, None], wrong], dim=1))
        return changes

    def _offered(self, changes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of changes, and the domains that they are offered under."""
        rows, columns, codes = changes.T
        return rows, self.codes[rows].scatter(1, columns[:, None], codes[:, None])


def _have(codes: Tensor, values: Values) -> Tensor:
    """Return (N,) bool: the rows that have all of the values."""
    there = torch.ones(len(codes), dtype=torch.bool)
    for column, code in values:
        there &= codes[:, column] == code
    return there


def _just_above(scores: Tensor, share: float) -> float:
    """Return the smallest number that is above this share of the scores."""
    ordered = scores.sort().values
    return math.nextafter(float(ordered[max(0, math.ceil(share * len(ordered)) - 1)]), math.inf)
