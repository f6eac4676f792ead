"""Accuracy on real test images, with intervals from a paired bootstrap over test images and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augmentor.evaluation.result import Interval
from stargan.labels import UNKNOWN, LabelSpace

LEAST_IN_GROUP = 10
"""Test images below which a combination of labels is no group: its share would be mere chance."""

REPLICATES = 2000
_CHUNK = 250

_OUTSIDE = 2.5
"""Per cent of the replicates beyond either end of an interval, which holds 95 %."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LabelGroup:
    """One combination of the attributes that count, in their order, and the number of its test images."""

    codes: tuple[int, ...]
    images: int


@dataclass(frozen=True, kw_only=True)
class ArmMetrics:
    """One arm's figures, and each of them once per bootstrap replicate.

    Args:
        balanced: the mean of `attributes` over those that count.
        worst: the lowest of `groups`; NaN where there is none.
        attributes: (A,) balanced accuracy of each attribute, NaN where no test image knows it.
        groups: (G,) share of each group's images of which all that counts is recognised.
        worst_group: which of the groups is the worst; -1 where there is none.
        seeds: per seed, balanced and worst accuracy.
        replicates: (B,) by the name of a figure: "balanced", "worst" (the least of the groups of each replicate),
            "attribute 0" ..., "group 0" ...
    """

    balanced: float
    worst: float
    attributes: Floats
    groups: Floats
    worst_group: int
    seeds: Sequence[tuple[float, float]]
    replicates: Mapping[str, Floats]

    def interval(self, name: str) -> Interval:
        """Return "balanced", "worst", "attribute 0" ... or "group 0" ... with its interval.

        "worst" has the interval of the worst group: the least of many resampled shares would lie below the share.
        """
        kind, _, number = name.partition(" ")
        match kind:
            case "balanced":
                return interval(self.balanced, self.replicates[name])
            case "attribute":
                return interval(float(self.attributes[int(number)]), self.replicates[name])
            case "group":
                return interval(float(self.groups[int(number)]), self.replicates[name])
        if self.worst_group < 0:
            return interval(float("nan"), np.empty(0))
        return self.interval(f"group {self.worst_group}")


class TestSet:
    """The real test images' labels, and the resamples of them that every arm is measured on alike.

    A replicate draws as many units as there are, with replacement, and one seed fewer than there are, which makes
    the spread of the mean over few seeds come out right.

    Args:
        codes: (N, A) labels, -1 unknown.
        units: (N,) which unit each image belongs to, from 0; images of a unit (a subject) are drawn together.
        counting: positions of the attributes that the expansion changed.
        seeds: how many classifiers each arm has.

    Source: percentile bootstrap, with the rescaling for few seeds of Rao and Wu (JASA 83, 1988).
    """

    __test__ = False  # no test class, whatever pytest thinks

    def __init__(
        self,
        codes: NDArray[np.integer],
        units: NDArray[np.integer],
        *,
        counting: Sequence[int],
        space: LabelSpace,
        seeds: int,
    ) -> None:
        self._codes, self._counting, self._space = codes, list(counting), space
        self._units = units
        self.unit_count = int(units.max()) + 1 if len(units) else 0
        self.groups, members = _groups(codes[:, self._counting])
        values = [
            (a, code) for a, attribute in enumerate(space.attributes) for code in range(len(attribute.values))
        ]
        self._values = [(a, code) for a, code in values if (codes[:, a] == code).any()]
        shown = [codes[:, a] == code for a, code in self._values]
        # Every figure is made of shares of such columns: a value's images, or a group's.
        self._members: Floats = _columns([*shown, *members], len(codes))
        random = np.random.default_rng(0)
        n = max(1, self.unit_count)
        self._weights: Floats = random.multinomial(n, np.full(n, 1 / n), size=REPLICATES).astype(np.float64)
        self._drawn = random.integers(seeds, size=(REPLICATES, max(1, seeds - 1)))

    def measure(self, predictions: Sequence[NDArray[np.integer]]) -> ArmMetrics:
        """Return the accuracies of an arm's classifiers, from the predictions (N, A) of each seed."""
        whole = np.stack([self._shares(each, None)[0] for each in predictions])
        resampled = np.stack([self._shares(each, self._weights) for each in predictions])
        replicates = resampled[self._drawn, np.arange(REPLICATES)[:, None]].mean(axis=1)
        attributes, groups = self._figures(whole.mean(axis=0)[None])
        each_attributes, each_groups = self._figures(replicates)
        worst_group = int(np.argmin(groups[0])) if groups.shape[1] else -1
        # A column of NaN alone has no minimum: that is a resample without any of the groups.
        worst = np.where(np.isnan(each_groups), np.inf, each_groups).min(axis=1, initial=np.inf)
        return ArmMetrics(
            balanced=self._overall(attributes)[0],
            worst=float(groups[0, worst_group]) if worst_group >= 0 else float("nan"),
            attributes=attributes[0],
            groups=groups[0],
            worst_group=worst_group,
            seeds=[self._one_seed(shares) for shares in whole],
            replicates={
                "balanced": self._overall(each_attributes),
                "worst": np.where(np.isinf(worst), np.nan, worst),
                **{f"attribute {a}": column for a, column in enumerate(each_attributes.T)},
                **{f"group {g}": column for g, column in enumerate(each_groups.T)},
            },
        )

    def _one_seed(self, shares: Floats) -> tuple[float, float]:
        attributes, groups = self._figures(shares[None])
        return float(self._overall(attributes)[0]), float(groups.min()) if groups.size else float("nan")

    def _shares(self, predictions: NDArray[np.integer], weights: Floats | None) -> Floats:
        """Return (B, K) the share of each column's images that are recognised, by units' weights (B, U)."""
        right = predictions == self._codes
        both = (right | (self._codes == UNKNOWN))[:, self._counting].all(axis=1)
        hit = [*(right[:, a] for a, _ in self._values), *(both for _ in self.groups)]
        recognised = _columns(hit, len(right))
        of_units = np.zeros((self.unit_count, self._members.shape[1]))
        hits = of_units.copy()
        np.add.at(of_units, self._units, self._members)
        np.add.at(hits, self._units, self._members * recognised)
        rows = np.ones((1, self.unit_count)) if weights is None else weights
        parts = []
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            with np.errstate(invalid="ignore"):  # A column that a resample holds nothing of is NaN.
                parts.append((some @ hits) / (some @ of_units))
        return np.concatenate(parts)

    def _figures(self, shares: Floats) -> tuple[Floats, Floats]:
        """Return (B, A) balanced accuracies and (B, G) groups' shares."""
        of_values, groups = shares[:, : len(self._values)], shares[:, len(self._values) :]
        attributes = np.full((len(shares), len(self._space)), np.nan)
        for a in range(len(self._space)):
            columns = [k for k, (attribute, _) in enumerate(self._values) if attribute == a]
            if columns:
                attributes[:, a] = _mean(of_values[:, columns])
        return attributes, groups

    def _overall(self, attributes: Floats) -> Floats:
        return _mean(attributes[:, self._counting])


def interval(value: float, replicates: Floats) -> Interval:
    """Return a figure with the interval that its replicates give; NaN for both ends where there are none."""
    known = replicates[~np.isnan(replicates)]
    if not len(known) or np.isnan(value):
        return Interval(value=float(value), low=float("nan"), high=float("nan"))
    low, high = np.percentile(known, [_OUTSIDE, 100 - _OUTSIDE])
    return Interval(value=float(value), low=float(low), high=float(high))


def difference(name: str, ours: ArmMetrics, theirs: ArmMetrics) -> Interval:
    """Return by how much one arm is above another in "balanced" or "worst", on the same images and seeds."""
    values = {"balanced": (ours.balanced, theirs.balanced), "worst": (ours.worst, theirs.worst)}[name]
    return interval(values[0] - values[1], ours.replicates[name] - theirs.replicates[name])


def surely_below(name: str, ours: ArmMetrics, theirs: ArmMetrics, *, chances: int) -> bool:
    """Return whether one arm is below another, the best of `chances` arms, in "balanced" or "worst".

    The more there are, the surer it must be, so that mere luck finds one below in 1 of 40 evaluations at most.
    """
    replicates = ours.replicates[name] - theirs.replicates[name]
    known = replicates[~np.isnan(replicates)]
    return bool(len(known)) and float(np.percentile(known, 100 - _OUTSIDE / chances)) < 0


def _groups(codes: NDArray[np.integer]) -> tuple[tuple[LabelGroup, ...], list[NDArray[np.bool_]]]:
    """Return the combinations that enough images show, in order, and which images these are."""
    groups, members = list[LabelGroup](), list[NDArray[np.bool_]]()
    for combination in np.unique(codes[(codes != UNKNOWN).all(axis=1)], axis=0):
        shown = (codes == combination).all(axis=1)
        if shown.sum() >= LEAST_IN_GROUP:
            groups.append(LabelGroup(codes=tuple(combination.tolist()), images=int(shown.sum())))
            members.append(shown)
    return tuple(groups), members


def _columns(columns: Sequence[NDArray[np.bool_]], n: int) -> Floats:
    """Return (N, K) of K columns, which may be none."""
    return np.array(columns, dtype=np.float64).reshape(len(columns), n).T


def _mean(columns: Floats) -> Floats:
    """Return the mean over the last axis of what is known; NaN where nothing is."""
    known = ~np.isnan(columns)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, columns, 0).sum(axis=1) / known.sum(axis=1)
    return mean
