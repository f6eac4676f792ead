"""What may be asked of a translation into a domain: as much as the judge believes of real images of that domain.

A judge knows some combinations less well than others: where its training rows have dark men, and no dark women, it
finds few real dark women convincing, and translations into them no more so. A threshold from all validation images
would throw out the very combinations that were to be filled up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from augmentor.judge.likeness import joined, target_probabilities
from stargan.labels import UNKNOWN, LabelSpace

_FALSE_REJECTED = 0.98
"""Share of false offers that a threshold of agreement rejects."""

_AS_REAL = 0.3
"""Share of real images under their own labels that may be less convincing than a translation that is kept."""

_SURE = 0.9
"""Nobody need be more convincing than this: of a judge that is always sure, the least sure images are no worse."""

FEWEST = 32
"""Validation images below which no threshold can be read from them."""

_FEWEST_ALIKE = 8
"""Images of a combination below which nothing is read from them."""

_BY_CHANCE = 0.05
"""A combination is known less well if so many of its images fall short as would only so seldom by chance."""

_UNSEEN = 0.5
"""What is asked where there are too few validation images to read anything from."""

Values = tuple[tuple[int, int], ...]
"""Some values of a domain: (attribute's column, code) of each."""


@dataclass(frozen=True, kw_only=True)
class Offers:
    """How the threshold of agreement does on real validation images.

    Each image is offered once under its own labels, which is true, and once under every change of one of them,
    which is false.

    Args:
        true: offers under own labels.
        false: offers under other labels.
        true_kept: share of the true ones that reach the threshold.
        false_rejected: share of the false ones that do not.
    """

    true: int
    false: int
    true_kept: float
    false_rejected: float


class Requirement(NamedTuple):
    """What is asked of n translations.

    Args:
        least: (n,) float64, the agreement that each must reach; NaN where none is asked.
        counted: (n, A) bool, the attributes that agreement is made of.
    """

    least: Tensor
    counted: Tensor


@dataclass(frozen=True, kw_only=True)
class AgreementReference:
    """Real validation images as the judge sees them, and the agreement that follows from them.

    The threshold rejects 98 % of false offers, and whatever is less convincing than seven of ten real images under
    their own labels. The first alone would ask the less of translations, the better the judge is: of one without a
    mistake it is near 0, and what a translation fails in by half passes (BENCHMARKS.md, the gate).

    Args:
        probabilities: (N, D) float32 of real validation images, see `Judge.calibrated`.
        codes: (N, A) int64, their labels, -1 unknown.
        space: what both mean.
        trusted: (A,) bool, the attributes that count.

    What follows:
        threshold: the agreement that is asked of translations; None where no attribute is trusted.
        offers: how it does on the images; None where they are too few, or no attribute is trusted.
    """

    probabilities: Tensor
    codes: Tensor
    space: LabelSpace
    trusted: Tensor
    threshold: float | None = field(init=False)
    offers: Offers | None = field(init=False)
    _true: Tensor = field(init=False, repr=False)
    _false: Tensor = field(init=False, repr=False)
    _changes: Tensor = field(init=False, repr=False)
    _each: Tensor = field(init=False, repr=False)
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
        threshold, offers = self._overall()
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(self, "offers", offers)

    def asked(self, targets: Tensor, own: Tensor) -> Requirement:
        """Return what is asked of translations: as much agreement as of all, or less where the judge knows less.

        Where it knows the real images with a new value less well than others, or those with a new value and
        another one of the target's, no more is asked than these reach; and where it is the other value that it
        doubts there, and the source has it already, the judge is not asked about it.

        Args:
            targets: (n, A) int64, -1 unknown.
            own: (n, A) int64, the sources' labels, -1 unknown.
        """
        n = len(targets)
        everywhere = math.nan if self.threshold is None else self.threshold
        if self.offers is None:
            return Requirement(torch.full((n,), everywhere, dtype=torch.float64), self.trusted.expand(n, -1))
        kinds, places = torch.unique(torch.cat([targets, own], dim=1), dim=0, return_inverse=True)
        least = torch.empty(len(kinds), dtype=torch.float64)
        counted = torch.empty(len(kinds), len(self.trusted), dtype=torch.bool)
        for row, kind in enumerate(kinds):
            least[row], counted[row] = self._asked_of(*kind.chunk(2))
        return Requirement(least[places], counted[places])

    def lowered(self) -> list[tuple[Values, float]]:
        """Return the pairs of values of which less is asked than of others, the least first."""
        if self.threshold is None or self.offers is None:
            return []
        pairs = {
            ((a, x), (b, y))
            for a in range(len(self.space))
            for b in range(a + 1, len(self.space))
            for x, y in torch.unique(self.codes[:, [a, b]], dim=0).tolist()
            if UNKNOWN not in (x, y) and self.trusted[a] and self.trusted[b]
        }
        found = [(values, least) for values in sorted(pairs) if (least := self._least_of(values)) is not None]
        return sorted((pair for pair in found if pair[1] < self.threshold), key=lambda pair: (pair[1], pair[0]))

    def _overall(self) -> tuple[float | None, Offers | None]:
        if not self.trusted.any():
            return None, None
        if len(self.codes) < FEWEST:
            return _UNSEEN, None
        known = self._true[~self._true.isnan()]
        least = self._threshold(known, self._false)
        return least, Offers(
            true=len(known),
            false=len(self._false),
            true_kept=round(float((known >= least).double().mean()), 6),
            false_rejected=round(float((self._false < least).double().mean()), 6),
        )

    def _asked_of(self, target: Tensor, source: Tensor) -> tuple[float, Tensor]:
        """Return the agreement that is asked of one kind of translation, and the attributes that count for it."""
        assert self.threshold is not None
        known = [
            (column, code)
            for column, code in enumerate(target.tolist())
            if code != UNKNOWN and bool(self.trusted[column])
        ]
        new = [value for value in known if value[1] != int(source[value[0]])]
        least, counted = self.threshold, self.trusted.clone()
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

    def _doubts(self, values: Values, column: int) -> bool:
        """Return whether it is for this attribute that real images with some values are known less well."""
        if (values, column) not in self._doubted:
            others = self.trusted.clone()
            others[column] = False
            agreement = joined(self._each[_have(self.codes, values)], others)
            self._doubted[values, column] = self._as_known_as_all(agreement[~agreement.isnan()])
        return self._doubted[values, column]

    def _least_of(self, values: Values) -> float | None:
        """Return what real images with these values reach; None if they are too few, or known as well as all."""
        if values not in self._of_values:
            alike = self._true[_have(self.codes, values) & ~self._true.isnan()]
            false = self._false[self._offered_with(values)]
            enough = min(len(alike), len(false)) >= _FEWEST_ALIKE
            known = not enough or self._as_known_as_all(alike)
            self._of_values[values] = None if known else self._threshold(alike, false)
        return self._of_values[values]

    def _as_known_as_all(self, alike: Tensor) -> bool:
        """Return whether no more of some images fall short of the threshold than may by chance."""
        assert self.threshold is not None
        everybody = self._true[~self._true.isnan()]
        share = float((everybody < self.threshold).double().mean())
        short, n = int((alike < self.threshold).sum()), len(alike)
        spread = math.sqrt(n * share * (1 - share))
        return spread == 0 or 1 - NormalDist(n * share, spread).cdf(short - 0.5) >= _BY_CHANCE

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
