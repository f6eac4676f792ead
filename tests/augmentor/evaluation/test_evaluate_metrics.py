"""Figures by hand, and intervals that mean what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from augmentor.evaluation.metrics import Cell, LabelGroup, TestSet, standard_error, surely_below, t_quantile
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(Attribute(name="hue", kind="categorical", values=("r", "g", "b")), Attribute(name="mark"))
)
Codes = NDArray[np.int64]


def labels(n: int) -> Codes:
    return np.array([(i % 3, i % 2) for i in range(n)])


def test_figures_by_hand() -> None:
    # 12 of hue r with mark 0, 12 of g with mark 1, 4 of b (too few for a group), 2 whose mark nobody knows.
    codes = np.array([(0, 0)] * 12 + [(1, 1)] * 12 + [(2, 0)] * 4 + [(0, -1)] * 2)
    said = codes.copy()
    said[said == -1] = 0
    said[0:3, 0] = 2  # 3 of the first group have the wrong hue,
    said[2:6, 1] = 1  # 4 the wrong mark, one of them both
    said[12:18, 1] = 0  # and half of the second group has the wrong mark
    test = TestSet(codes, np.arange(len(codes)), counting=[0, 1], space=SPACE)
    assert test.groups == (
        LabelGroup(cells=(((0, 0), (1, 0)),), images=12, units=12),
        LabelGroup(cells=(((0, 1), (1, 1)),), images=12, units=12),
    )
    found = test.measure([[said]])
    attributes = [figure.value for figure in found.attributes]
    assert attributes == pytest.approx([(11 / 14 + 1 + 1) / 3, ((8 + 4) / 16 + 6 / 12) / 2])
    assert [figure.value for figure in found.groups] == pytest.approx([6 / 12, 6 / 12])
    assert found.balanced.value == pytest.approx(np.mean(attributes))
    assert found.worst.value == pytest.approx(0.5)
    assert math.isnan(found.filled.value)
    assert [found.balanced.runs.item(), found.worst.runs.item()] == pytest.approx([found.balanced.value, 0.5])


def test_the_spread_between_folds_by_hand() -> None:
    codes = np.zeros((30, 2), dtype=np.int64)
    folds = np.repeat([0, 1, 2], 10)
    said = codes.copy()
    said[folds == 1, 1] = 1  # one fold is all wrong, the others are all right
    test = TestSet(codes, np.arange(30), counting=[1], space=SPACE, folds=folds)
    found = test.measure([[said]]).balanced
    assert found.without_fold == pytest.approx([1 / 2, 1, 1 / 2])
    # The variance of the mean of three folds, 1/3 / 3, with 2 degrees of freedom; that of units is 0.0077.
    error, freedom = found.error
    assert error == pytest.approx(1 / 3)
    assert 2 < freedom < 2.4
    assert (found - found).error == (0.0, 500.0)
    alone = TestSet(codes, np.arange(30), counting=[1], space=SPACE).measure([[said]]).balanced
    assert alone.value == found.value
    assert alone.error[0] == pytest.approx(math.sqrt(2 / 9 / 29), rel=0.05)
    # Folds that are alike add nothing.
    even = codes.copy()
    even[::10, 1] = 1
    same = test.measure([[even]]).balanced
    assert same.error == TestSet(codes, np.arange(30), counting=[1], space=SPACE).measure([[even]]).balanced.error


def test_only_what_counts_counts() -> None:
    codes = labels(60)
    said = codes.copy()
    said[:, 0] = 0  # the hue is always said to be r, and does not count
    found = TestSet(codes, np.arange(60), counting=[1], space=SPACE).measure([[said]])
    assert (found.balanced.value, found.worst.value) == (1.0, 1.0)
    assert [figure.value for figure in found.attributes] == pytest.approx([1 / 3, 1.0])


def test_the_filled_combinations_are_averaged_each_alike() -> None:
    # 30 images of (r, 0), of which 24 are recognised, and 10 of (g, 1), of which 3 are.
    codes = np.array([(0, 0)] * 30 + [(1, 1)] * 10 + [(2, 0)] * 20)
    said = codes.copy()
    said[:6, 1] = 1
    said[30:37, 0] = 0
    said[40:, 0] = 0  # nobody asked for (b, 0)
    filled: list[Cell] = [((0, 0), (1, 0)), ((0, 1), (1, 1))]
    found = TestSet(codes, np.arange(60), counting=[0, 1], space=SPACE, filled=filled).measure([[said]])
    assert found.filled.value == pytest.approx((24 / 30 + 3 / 10) / 2)
    assert [figure.value for figure in found.filled_groups] == pytest.approx([0.8, 0.3])
    assert found.worst.value == 0.0


def test_combinations_of_few_subjects_are_pooled_or_left_out() -> None:
    # (r, 0) of 10 subjects; (g, 0) and (b, 0) of 4 each, other ones; (r, 1) of 3.
    rows = [(0, 0, u) for u in range(10) for _ in range(3)]
    rows += [(1, 0, u) for u in range(4) for _ in range(3)] + [(2, 0, u) for u in range(4, 8) for _ in range(6)]
    rows += [(0, 1, u) for u in range(3) for _ in range(4)]
    codes, units = np.array([row[:2] for row in rows]), np.array([row[2] for row in rows])
    asked: list[Cell] = [((0, hue), (1, 0)) for hue in range(3)]
    test = TestSet(codes, units, counting=[0, 1], space=SPACE, filled=asked)
    assert [(len(group.cells), group.images, group.units) for group in test.filled] == [(1, 30, 10), (2, 36, 8)]
    assert test.unmeasured == ()
    said = codes.copy()
    said[30:42, 0] = 0  # nothing right of the 12 images of (g, 0)
    found = test.measure([[said]])
    assert [figure.value for figure in found.filled_groups] == pytest.approx([1.0, 24 / 36])
    # Three groups have images enough; those of few subjects have a share, no interval, and are never the worst.
    assert [group.units for group in test.groups] == [10, 3, 4, 4]
    assert (found.groups[2].value, found.worst.value) == (0.0, 1.0)
    assert math.isnan(found.groups[2].interval().low)
    assert math.isfinite(found.groups[0].interval().low)
    alone = TestSet(codes, units, counting=[0, 1], space=SPACE, filled=[((0, 0), (1, 1))])
    assert (alone.filled, [group.units for group in alone.unmeasured]) == ((), [3])
    assert math.isnan(alone.measure([[said]]).filled.value)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_subjects_that_are_all_alike_do_not_make_an_interval_of_no_width(share: float) -> None:
    codes = labels(80)
    said = codes.copy()
    said[np.arange(80) // 2 % 4 >= 4 * share, 1] += 1
    said[:, 1] %= 2
    found = TestSet(codes, np.arange(80) // 8, counting=[1], space=SPACE).measure([[said]])
    each = found.groups[0].interval()
    assert each.value == share
    assert 0 <= each.low <= share <= each.high <= 1
    assert 0.2 < each.high - each.low < 0.7


def test_seeds_are_averaged_before_the_worst_group_is_looked_for() -> None:
    codes = labels(60)[:, 1:]
    space = LabelSpace(attributes=SPACE.attributes[1:])
    first, second = codes.copy(), codes.copy()
    first[codes == 0] = 1
    second[codes == 1] = 0
    found = TestSet(codes, np.arange(60), counting=[0], space=space).measure([[first, second]])
    assert found.worst.value == 0.5
    assert found.worst.runs.tolist() == [[0.0, 0.0]]
    assert found.balanced.runs.tolist() == [[0.5, 0.5]]


def test_an_arm_does_not_differ_from_itself() -> None:
    random = np.random.default_rng(0)
    codes = labels(60)
    said = np.where(random.random(codes.shape) < 0.3, 0, codes)
    test = TestSet(codes, np.arange(60) // 4, counting=[0, 1], space=SPACE)
    ours, theirs = test.measure([[said, codes]]), test.measure([[said, codes]])
    for name in ("balanced", "worst"):
        each = (ours.figure(name) - theirs.figure(name)).interval()
        assert (each.value, each.low, each.high) == (0, 0, 0)


def test_images_of_one_unit_are_not_so_many_proofs() -> None:
    random = np.random.default_rng(0)
    codes = labels(400)
    right = random.random(20) < 0.7  # all images of a unit are right, or all wrong
    said = np.where(right[np.arange(400) // 20, None], codes, (codes + 1) % 2)
    widths = []
    for units in (np.arange(400), np.arange(400) // 20):
        each = TestSet(codes, units, counting=[1], space=SPACE).measure([[said]]).balanced.interval()
        assert each.low < each.value < each.high
        widths.append(each.high - each.low)
    assert widths[1] > 3 * widths[0]


def test_the_error_of_a_mean_over_subjects_is_that_of_the_textbook() -> None:
    # One image a subject: the standard error of a share is sqrt(p q / (n - 1)).
    codes = np.zeros((10, 1), dtype=np.int64)
    said = codes.copy()
    said[:3] = 1
    test = TestSet(codes, np.arange(10), counting=[0], space=LabelSpace(attributes=SPACE.attributes[1:]))
    error, freedom = test.measure([[said]]).groups[0].error
    # The bootstrap alone would give sqrt(p q / n), 5 % less.
    assert error == pytest.approx(math.sqrt(0.7 * 0.3 / 9), rel=0.03)
    assert freedom == pytest.approx(9)


def test_seeds_and_generators_count_as_chance() -> None:
    # So many units that only the classifiers matter: then the error is that of a mean over seeds, or generators.
    codes = np.zeros((30_000, 1), dtype=np.int64)
    codes[::2] = 1
    space = LabelSpace(attributes=SPACE.attributes[1:])
    random = np.random.default_rng(0)

    def said(share: float) -> Codes:
        return np.where(random.random(codes.shape) < share, codes, 1 - codes)

    test = TestSet(codes, np.arange(30_000) // 60, counting=[0], space=space)
    seeds = test.measure([[said(share) for share in (0.4, 0.5, 0.6)]]).balanced
    deviation = float(seeds.runs.std(ddof=1)) / math.sqrt(3)
    assert seeds.error == pytest.approx((deviation, 2), rel=0.05)
    generators = test.measure([[said(share), said(share)] for share in (0.4, 0.5, 0.6)]).balanced
    assert generators.error == pytest.approx((0.1 / math.sqrt(3), 2), rel=0.1)
    # A baseline has no generator; its seeds are those of every generator.
    base = test.measure([[said(0.3), said(0.3)]]).balanced
    assert (generators - base).runs.shape == (3, 2)
    assert (generators - base).value == pytest.approx(0.2, abs=0.01)


def test_noise_that_every_part_holds_is_counted_once() -> None:
    assert list(standard_error((0.04, 9), (0.0, 1))) == pytest.approx([0.2, 8])
    error, freedom = standard_error((0.03, 16), (0.02, 6), counted_twice=0.01)
    assert error == pytest.approx(0.2)
    assert freedom == pytest.approx(0.04**2 / (0.03**2 / 15 + 0.02**2 / 5))
    # It cannot make the sum smaller than any of its parts.
    assert standard_error((0.03, 16), (0.02, 6), counted_twice=1.0)[0] == pytest.approx(math.sqrt(0.03))
    assert standard_error((0.0, 16), (0.0, 6))[0] == 0


@pytest.mark.parametrize(
    ("share", "freedom", "quantile"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 14, 2.1448), (0.8, 5, 0.9195), (0.975, 1e9, 1.9647)],
)
def test_quantiles_are_those_of_student(share: float, freedom: float, quantile: float) -> None:
    assert t_quantile(share, freedom) == pytest.approx(quantile, abs=1e-3)


def test_a_true_difference_is_seen_and_none_is_not_made_up() -> None:
    random = np.random.default_rng(1)
    codes = labels(600)
    test = TestSet(codes, np.arange(600), counting=[0, 1], space=SPACE)

    def arm(share: float) -> list[list[Codes]]:
        return [[np.where(random.random(codes.shape) < share, codes, (codes + 1) % 2) for _ in range(3)]]

    base, same, better = (test.measure(arm(share)).balanced for share in (0.7, 0.7, 0.85))
    assert (better - base).interval().low > 0.05
    nothing = (same - base).interval()
    assert nothing.low < 0 < nothing.high
    assert surely_below(base - better, chances=2)
    assert not surely_below(same - base, chances=2)
    # What would be seen 8 times in 10 lies between one and two half widths of the interval.
    half = (nothing.high - nothing.low) / 2
    assert half < (same - base).smallest_gain < 2 * half


def test_without_groups_or_labels_there_is_no_figure() -> None:
    codes = labels(6)
    codes[:, 0] = -1
    found = TestSet(codes, np.arange(6), counting=[0, 1], space=SPACE).measure([[labels(6)]])
    assert math.isnan(found.worst.value)
    assert found.worst_group == -1
    assert math.isnan(found.worst.interval().low)
    assert math.isnan(found.attributes[0].value)
    assert found.balanced.value == 1.0
    assert math.isnan(found.balanced.interval().low)
    assert math.isnan(found.balanced.smallest_gain)
