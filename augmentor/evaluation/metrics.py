"""Accuracy on real test images, with intervals over subjects, seeds, generators and folds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augmentor.evaluation.result import Interval
from stargan.labels import UNKNOWN, LabelSpace

LEAST_IN_GROUP = 10
"""Test images below which a combination of labels is no group: its share would be mere chance."""

LEAST_UNITS = 8
"""Subjects (or single images without one) below which a figure has no interval."""

REPLICATES = 2000

CONFIDENCE = 0.95
"""Share of intervals that hold the true figure."""

_MOST_FREEDOM = 500.0
"""Degrees of freedom beyond which Student's t is normal for every purpose here."""

Floats = NDArray[np.float64]
Cell = tuple[tuple[int, int], ...]
"""A combination of labels: (position of the attribute, code) pairs, by rising position."""


@dataclass(frozen=True, kw_only=True)
class LabelGroup:
    """One or several combinations of labels, and how many test images and units (subjects) show one."""

    cells: tuple[Cell, ...]
    images: int
    units: int


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of an arm, or a difference of two, and what its interval is made of.

    Args:
        value: the mean over classifiers; NaN where there is nothing to measure.
        runs: (G, S) of each classifier, by generator and seed.
        replicates: (B,) on resampled units, the mean over classifiers; `run_replicates`, (B, G, S), of each.
        units: units with images that count.
        share: whether it lies in [0, 1]; a difference does not.
        without_fold: (K,) on all folds but one, the mean over classifiers; empty for a single fold.
    """

    value: float
    runs: Floats
    replicates: Floats
    run_replicates: Floats
    units: int
    share: bool = True
    without_fold: Floats = field(default_factory=lambda: np.zeros(0))

    def __sub__(self, other: Figure) -> Figure:
        """Return the difference on the same images and seeds; an arm without a generator has one row of runs."""
        return Figure(
            value=self.value - other.value,
            runs=self.runs - other.runs,
            replicates=self.replicates - other.replicates,
            run_replicates=self.run_replicates - other.run_replicates,
            units=self.units,
            share=False,
            without_fold=self.without_fold - other.without_fold,
        )

    @property
    def error(self) -> tuple[float, float]:
        """The standard error, and its degrees of freedom; NaN for too few units.

        Units, seeds and generators are all random: the variances of the means over each are added. Noise of a unit
        in a single classifier is in all of them, and is counted once.

        Each fold has a generator and classifiers of its own, and what these do well or badly in all of the fold's
        images is chance, too. The spread between folds holds that and all of the above: the delete-one-fold
        jackknife's variance takes the place of the sum where it is larger. Folds share most of their training
        images, and chance of these is in neither.
        """
        if self.units < LEAST_UNITS or np.isnan(self.replicates).all() or math.isnan(self.value):
            return math.nan, math.nan
        of_units, of_seeds, of_generators, noise = self.variances
        generators, seeds = self.runs.shape
        error, freedom = standard_error(
            (of_units, self.units), (of_seeds, seeds), (of_generators, generators), counted_twice=noise
        )
        known = self.without_fold[~np.isnan(self.without_fold)]
        excess = float(known.var()) * (len(known) - 1) - error**2 if len(known) > 1 else 0.0
        if excess <= 0:
            return error, freedom
        variance = error**2 + excess
        return math.sqrt(variance), variance**2 / (error**4 / freedom + excess**2 / (len(known) - 1))

    @property
    def variances(self) -> tuple[float, float, float, float]:
        """Variances of the means over units, over seeds and over generators, and the noise that each contains.

        That over k units is the bootstrap's, scaled by k / (k - 1).
        """
        known = ~np.isnan(self.replicates)
        generators, seeds = self.runs.shape
        scale = self.units / (self.units - 1)
        of_units = float(self.replicates[known].var()) * scale
        of_seeds = float(self.runs.mean(axis=0).var(ddof=1)) / seeds if seeds > 1 else 0.0
        of_generators = float(self.runs.mean(axis=1).var(ddof=1)) / generators if generators > 1 else 0.0
        of_each = float(self.run_replicates[known].var(axis=0).mean()) * scale
        noise = max(0.0, of_each - of_units) / max(1, generators * seeds - 1)
        return of_units, of_seeds, of_generators, noise

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Return the figure with its interval by Student's t; for a share Wilson's, which stays in [0, 1]."""
        error, freedom = self.error
        if math.isnan(error):
            return Interval(value=self.value, low=math.nan, high=math.nan)
        if self.share and error == 0:
            freedom = self.units - 1
        t = t_quantile((1 + confidence) / 2, freedom)
        if not self.share:
            return Interval(value=self.value, low=self.value - t * error, high=self.value + t * error)
        # As many independent images as have this error; without any spread, for all are right, one for each unit.
        images = self.value * (1 - self.value) / error**2 if error > 0 else self.units
        shrink = 1 / (1 + t**2 / images)
        centre = shrink * (self.value + t**2 / (2 * images))
        half = shrink * t * math.sqrt(self.value * (1 - self.value) / images + t**2 / (4 * images**2))
        return Interval(value=self.value, low=max(0.0, centre - half), high=min(1.0, centre + half))

    @property
    def smallest_gain(self) -> float:
        """The true difference whose interval excludes 0 in 80 of 100 such evaluations; NaN without an interval."""
        error, freedom = self.error
        return math.nan if math.isnan(error) else detectable(error, freedom)


def standard_error(*parts: tuple[float, int], counted_twice: float = 0.0) -> tuple[float, float]:
    """Return the standard error, and its degrees of freedom by Satterthwaite's rule.

    `parts` are variances of the mean over something, with its number; `counted_twice` is in each part and belongs
    to the sum once.
    """
    random = [(variance, count) for variance, count in parts if count > 1]
    variance = sum(part for part, _ in random)
    if variance <= 0:
        return 0.0, _MOST_FREEDOM
    variance = max(variance - (len(random) - 1) * counted_twice, *(part for part, _ in parts))
    freedom = variance**2 / sum(part**2 / (count - 1) for part, count in random)
    return math.sqrt(variance), freedom


def detectable(error: float, freedom: float, *, power: float = 0.8) -> float:
    """Return the true difference that is seen with this power, of its standard error and degrees of freedom."""
    return error * (t_quantile((1 + CONFIDENCE) / 2, freedom) + t_quantile(power, freedom))


def t_quantile(share: float, freedom: float) -> float:
    """Return the quantile of Student's t for a share of at least 1/2, by integrating its density."""
    # With x = sqrt(freedom) * tan(angle) the density is cos(angle) ** (freedom - 1) on a finite range.
    freedom = min(max(freedom, 1.0), _MOST_FREEDOM)
    angles = np.linspace(0, math.pi / 2, 2001)
    density = np.cos(angles) ** (freedom - 1)
    sums = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(float(np.interp(2 * share - 1, sums / sums[-1], angles)))


@dataclass(frozen=True, kw_only=True)
class ArmMetrics:
    """One arm's figures.

    Args:
        filled: mean accuracy of the combinations that were to be filled; NaN where none can be measured.
        balanced: the mean of `attributes` over those that count.
        worst: the lowest of `groups` that have enough units; NaN where there is none.
        attributes: balanced accuracy of each attribute, NaN where no test image knows it.
        groups: share of each group's images with every attribute that counts recognised; likewise `filled_groups`.
        worst_group: which of the groups is the worst; -1 where there is none.
    """

    filled: Figure
    balanced: Figure
    worst: Figure
    attributes: Sequence[Figure]
    groups: Sequence[Figure]
    filled_groups: Sequence[Figure]
    worst_group: int

    def figure(self, name: str) -> Figure:
        """Return "filled", "balanced" or "worst"."""
        return {"filled": self.filled, "balanced": self.balanced, "worst": self.worst}[name]


class TestSet:
    """The real test images' labels, and the resamples of their units that every arm is measured on alike.

    A replicate draws as many units as there are, with replacement; all images of a unit (a subject) come with it.

    Args:
        codes: (N, A) labels, -1 unknown.
        units: (N,) which unit each image belongs to, from 0.
        counting: positions of the attributes that the expansion changed; `groups` are their combinations.
        filled: combinations that the output was asked to fill.
        folds: (N,) which fold each image is tested in, from 0; None for a single one.

    Source: clustered bootstrap (Field and Welsh, J. R. Stat. Soc. B 69(3), 2007).
    """

    __test__ = False  # no test class, whatever pytest thinks

    def __init__(
        self,
        codes: NDArray[np.integer],
        units: NDArray[np.integer],
        *,
        counting: Sequence[int],
        space: LabelSpace,
        filled: Sequence[Cell] = (),
        folds: NDArray[np.integer] | None = None,
    ) -> None:
        self._codes, self._counting, self._space = codes, list(counting), space
        self._units = np.unique(units, return_inverse=True)[1]
        self.unit_count = len(np.unique(units))
        self.groups = tuple(self._known_groups())
        self.filled, self.unmeasured = self._fillable(filled)
        values = [
            (a, code) for a, attribute in enumerate(space.attributes) for code in range(len(attribute.values))
        ]
        self._values = [(a, code) for a, code in values if (codes[:, a] == code).any()]
        # Every figure is made of shares of such columns: a value's images, or a group's.
        members = [
            *(codes[:, a] == code for a, code in self._values),
            *(self._shown(group.cells) for group in (*self.groups, *self.filled)),
        ]
        self._members: Floats = _columns(members, len(codes))
        random, n = np.random.default_rng(0), max(1, self.unit_count)
        drawn = random.multinomial(n, np.full(n, 1 / n), size=REPLICATES)
        numbers = np.unique(folds) if folds is not None else np.zeros(0)
        others = np.ones((len(numbers), n))  # Each row is the test set without one of the folds.
        if folds is not None:
            others[:, self._units] = numbers[:, None] != folds
        # The first row is the test set as it is.
        self._weights: Floats = np.concatenate([np.ones((1, n)), drawn, others])[:, : self.unit_count]
        self._counts: Floats = self._weights @ self._by_unit(self._members)

    def measure(self, predictions: Sequence[Sequence[NDArray[np.integer]]] | NDArray[np.integer]) -> ArmMetrics:
        """Return an arm's accuracies, from the predictions (N, A) of classifiers by generator and seed."""
        hits = np.array([[self._hits(each) for each in row] for row in predictions])  # (G, S, U, K)
        with np.errstate(invalid="ignore"):  # A column that a resample holds nothing of is NaN.
            shares = np.einsum("bu,gsuk->bgsk", self._weights, hits, optimize=True) / self._counts[:, None, None]
        of_values, of_groups, of_filled = np.split(
            shares, np.cumsum([len(self._values), len(self.groups)]), axis=-1
        )
        attributes = np.full((*shares.shape[:3], len(self._space)), np.nan)
        for a in {attribute for attribute, _ in self._values}:
            attributes[..., a] = _mean(of_values[..., [attribute == a for attribute, _ in self._values]])
        large = [g for g, group in enumerate(self.groups) if group.units >= LEAST_UNITS]
        of_large = of_groups[..., large]
        whole = of_groups[0].mean(axis=(0, 1))

        def figure(each: Floats, units: int, mean: Floats | None = None) -> Figure:
            mean = each.mean(axis=(1, 2)) if mean is None else mean
            return Figure(
                value=float(mean[0]),
                runs=each[0],
                replicates=mean[1 : 1 + REPLICATES],
                run_replicates=each[1 : 1 + REPLICATES],
                units=units,
                without_fold=mean[1 + REPLICATES :],
            )

        return ArmMetrics(
            filled=figure(_mean(of_filled), self._units_of([c for group in self.filled for c in group.cells])),
            balanced=figure(_mean(attributes[..., self._counting]), self.unit_count),
            # The mean over classifiers comes before the least of the groups.
            worst=figure(
                _least(of_large),
                min((self.groups[g].units for g in large), default=0),
                _least(of_large.mean(axis=(1, 2))),
            ),
            attributes=[
                figure(column, len(np.unique(self._units[self._codes[:, a] != UNKNOWN])))
                for a, column in enumerate(np.moveaxis(attributes, -1, 0))
            ],
            groups=[figure(of_groups[..., g], group.units) for g, group in enumerate(self.groups)],
            filled_groups=[figure(of_filled[..., g], group.units) for g, group in enumerate(self.filled)],
            worst_group=large[int(np.argmin(whole[large]))] if large else -1,
        )

    def _hits(self, predictions: NDArray[np.integer]) -> Floats:
        """Return (U, K) how many images of each column one classifier recognises, by unit."""
        right = predictions == self._codes
        recognised = [
            *(right[:, a] for a, _ in self._values),
            *(right[:, [a for a, _ in group.cells[0]]].all(axis=1) for group in (*self.groups, *self.filled)),
        ]
        return self._by_unit(self._members * _columns(recognised, len(right)))

    def _by_unit(self, columns: Floats) -> Floats:
        """Return the sums (U, K) of each unit's rows of (N, K)."""
        sums = np.zeros((self.unit_count, columns.shape[1]))
        np.add.at(sums, self._units, columns)
        return sums

    def _shown(self, cells: Iterable[Cell]) -> NDArray[np.bool_]:
        """Return (N,) which images show one of the combinations."""
        found = np.zeros(len(self._codes), dtype=np.bool_)
        for cell in cells:
            found |= shows(self._codes, cell)
        return found

    def _units_of(self, cells: Sequence[Cell]) -> int:
        return len(np.unique(self._units[self._shown(cells)]))

    def _group(self, cells: Sequence[Cell]) -> LabelGroup:
        return LabelGroup(cells=tuple(cells), images=int(self._shown(cells).sum()), units=self._units_of(cells))

    def _known_groups(self) -> Iterable[LabelGroup]:
        """Yield the combinations of what counts that enough images show, in order."""
        known = self._codes[:, self._counting]
        for combination in np.unique(known[(known != UNKNOWN).all(axis=1)], axis=0).tolist():
            group = self._group([tuple(zip(self._counting, combination, strict=True))])
            if group.images >= LEAST_IN_GROUP:
                yield group

    def _fillable(self, cells: Sequence[Cell]) -> tuple[tuple[LabelGroup, ...], tuple[LabelGroup, ...]]:
        """Return the combinations that can be measured, those of few units as one, and those that cannot be."""
        single = [self._group([cell]) for cell in cells]
        large, small = (
            [group for group in single if (group.units >= LEAST_UNITS) is enough] for enough in (True, False)
        )
        pooled = self._group([cell for group in small for cell in group.cells])
        if pooled.units >= LEAST_UNITS:
            return (*large, pooled), ()
        return tuple(large), tuple(small)


def shows(codes: NDArray[np.integer], cell: Cell) -> NDArray[np.bool_]:
    """Return which images, (N,), of these codes (N, A) show a combination."""
    shown: NDArray[np.bool_] = (codes[:, [a for a, _ in cell]] == [code for _, code in cell]).all(axis=1)
    return shown


def surely_below(difference: Figure, *, chances: int) -> bool:
    """Return whether an arm is below another, the best of `chances` arms.

    The more there are, the surer it must be, so that mere luck finds one below in 1 of 40 evaluations at most.
    """
    return difference.interval(1 - (1 - CONFIDENCE) / chances).high < 0


def _columns(columns: Sequence[NDArray[np.bool_]], n: int) -> Floats:
    """Return (N, K) of K columns, which may be none."""
    return np.array(columns, dtype=np.float64).reshape(len(columns), n).T


def _mean(columns: Floats) -> Floats:
    """Return the mean over the last axis of what is known; NaN where nothing is."""
    known = ~np.isnan(columns)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, columns, 0).sum(axis=-1) / known.sum(axis=-1)
    return mean


def _least(columns: Floats) -> Floats:
    """Return the least over the last axis of what is known; NaN where nothing is."""
    least: Floats = np.where(np.isnan(columns), np.inf, columns).min(axis=-1, initial=np.inf)
    return np.where(np.isinf(least), np.nan, least)
