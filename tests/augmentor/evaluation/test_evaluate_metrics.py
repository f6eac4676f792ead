"""Figures by hand, and intervals that mean what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from augmentor.evaluation.metrics import LabelGroup, TestSet, difference, interval
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
    test = TestSet(codes, np.arange(len(codes)), counting=[0, 1], space=SPACE, seeds=1)
    assert test.groups == (LabelGroup(codes=(0, 0), images=12), LabelGroup(codes=(1, 1), images=12))
    found = test.measure([said])
    assert found.attributes == pytest.approx([(11 / 14 + 1 + 1) / 3, ((8 + 4) / 16 + 6 / 12) / 2])
    assert found.groups == pytest.approx([6 / 12, 6 / 12])
    assert found.balanced == pytest.approx(found.attributes.mean())
    assert found.worst == pytest.approx(0.5)
    assert list(found.seeds[0]) == pytest.approx([found.balanced, 0.5])


def test_only_what_counts_counts() -> None:
    codes = labels(60)
    said = codes.copy()
    said[:, 0] = 0  # the hue is always said to be r, and does not count
    test = TestSet(codes, np.arange(60), counting=[1], space=SPACE, seeds=1)
    found = test.measure([said])
    assert (found.balanced, found.worst) == (1.0, 1.0)
    assert found.attributes == pytest.approx([1 / 3, 1.0])
    assert [group.images for group in test.groups] == [30, 30]


def test_seeds_are_averaged_before_the_worst_group_is_looked_for() -> None:
    codes = labels(60)[:, 1:]
    space = LabelSpace(attributes=SPACE.attributes[1:])
    first, second = codes.copy(), codes.copy()
    first[codes == 0] = 1
    second[codes == 1] = 0
    found = TestSet(codes, np.arange(60), counting=[0], space=space, seeds=2).measure([first, second])
    assert (found.worst, found.seeds) == (0.5, [(0.5, 0.0), (0.5, 0.0)])


def test_an_arm_does_not_differ_from_itself() -> None:
    random = np.random.default_rng(0)
    codes = labels(60)
    said = np.where(random.random(codes.shape) < 0.3, 0, codes)
    test = TestSet(codes, np.arange(60) // 4, counting=[0, 1], space=SPACE, seeds=2)
    ours, theirs = test.measure([said, codes]), test.measure([said, codes])
    for name in ("balanced", "worst"):
        each = difference(name, ours, theirs)
        assert (each.value, each.low, each.high) == (0, 0, 0)


def test_images_of_one_unit_are_not_so_many_proofs() -> None:
    random = np.random.default_rng(0)
    codes = labels(400)
    right = random.random(20) < 0.7  # all images of a unit are right, or all wrong
    said = np.where(right[np.arange(400) // 20, None], codes, (codes + 1) % 2)
    widths = []
    for units in (np.arange(400), np.arange(400) // 20):
        found = TestSet(codes, units, counting=[1], space=SPACE, seeds=1).measure([said])
        each = found.interval("balanced")
        assert each.low < each.value < each.high
        widths.append(each.high - each.low)
    assert widths[1] > 3 * widths[0]


def test_few_seeds_spread_as_their_mean_does() -> None:
    # About 0.4, 0.5 and 0.6 on so many units that only the seeds matter: then the deviation of the replicates is
    # the standard error of a mean of three, not the smaller one that drawing three of three would give.
    codes = np.zeros((30_000, 1), dtype=np.int64)
    codes[::2] = 1
    space = LabelSpace(attributes=SPACE.attributes[1:])
    random = np.random.default_rng(0)
    said = [np.where(random.random(codes.shape) < share, codes, 1 - codes) for share in (0.4, 0.5, 0.6)]
    test = TestSet(codes, np.arange(30_000) // 60, counting=[0], space=space, seeds=3)
    found = test.measure(said)
    error = np.std([balanced for balanced, _ in found.seeds], ddof=1) / math.sqrt(3)
    assert float(found.replicates["balanced"].std()) == pytest.approx(float(error), rel=0.06)


def test_a_true_difference_is_seen_and_none_is_not_made_up() -> None:
    random = np.random.default_rng(1)
    codes = labels(600)
    test = TestSet(codes, np.arange(600), counting=[0, 1], space=SPACE, seeds=3)

    def arm(share: float) -> list[Codes]:
        return [np.where(random.random(codes.shape) < share, codes, (codes + 1) % 2) for _ in range(3)]

    base, same, better = (test.measure(arm(share)) for share in (0.7, 0.7, 0.85))
    assert difference("balanced", better, base).low > 0.05
    nothing = difference("balanced", same, base)
    assert nothing.low < 0 < nothing.high


def test_without_groups_or_labels_there_is_no_figure() -> None:
    codes = labels(6)
    codes[:, 0] = -1
    found = TestSet(codes, np.arange(6), counting=[0, 1], space=SPACE, seeds=1).measure([labels(6)])
    assert math.isnan(found.worst)
    assert found.worst_group == -1
    assert math.isnan(found.interval("worst").low)
    assert math.isnan(found.attributes[0])
    assert found.balanced == 1.0
    assert math.isnan(interval(0.5, np.full(10, np.nan)).high)
