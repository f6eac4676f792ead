"""Training targets: the mixture's shares, combinations without a row, label sets, and targets of a request."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from augmentor.errors import DomainError
from augmentor.training.targets import (
    Codes,
    TargetPolicy,
    joint_rarity,
    requested_policy,
    target_mixture,
)
from stargan.labels import UNKNOWN, Attribute, LabelSpace

TONE = Attribute(name="tone", kind="categorical", values=("light", "medium", "dark"))
SPACE = LabelSpace(attributes=(TONE, Attribute(name="woman")))
JOINT = LabelSpace(
    attributes=(*SPACE.attributes, Attribute(name="mood", kind="categorical", values=("sad", "glad"))),
    label_sets=(("tone", "woman"), ("mood",)),
)

# No dark woman among the rows, and one row in five dark.
ROWS = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]] * 20, dtype=np.int16)

DRAWS = 3000


def asked(policy: TargetPolicy, own: list[int], drawn: list[int]) -> Counter[tuple[int, ...]]:
    """How often each target comes up for one image and one drawn row."""
    random = np.random.default_rng(0)
    targets: list[Codes] = [policy(np.array(own), np.array(drawn), random) for _ in range(DRAWS)]
    return Counter(tuple(target.tolist()) for target in targets)


def test_a_third_is_drawn_a_third_changes_one_attribute_a_third_is_a_product() -> None:
    found = asked(target_mixture(ROWS, SPACE, balanced=False), own=[0, 0], drawn=[1, 1])
    # A change of one attribute names that attribute alone; tone has two other values, woman one.
    single = {target: count / DRAWS for target, count in found.items() if UNKNOWN in target}
    assert set(single) == {(1, UNKNOWN), (2, UNKNOWN), (UNKNOWN, 1)}
    assert sum(single.values()) == pytest.approx(1 / 3, abs=0.03)
    assert single[(UNKNOWN, 1)] == pytest.approx(1 / 6, abs=0.03)
    assert single[(2, UNKNOWN)] == pytest.approx(1 / 12, abs=0.02)
    # The dark woman has no row: only the product requests her, as often as dark (1 / 5) times woman (2 / 5).
    assert found[(2, 1)] / DRAWS == pytest.approx(1 / 3 * 1 / 5 * 2 / 5, abs=0.01)
    assert found[(1, 1)] / DRAWS == pytest.approx(1 / 3 + 1 / 3 * 2 / 5 * 2 / 5, abs=0.03)


def test_a_balanced_product_has_every_value_as_often() -> None:
    found = asked(target_mixture(ROWS, SPACE, balanced=True), own=[0, 0], drawn=[1, 1])
    assert found[(2, 1)] / DRAWS == pytest.approx(1 / 3 * 1 / 3 * 1 / 2, abs=0.015)


def test_joint_rarity_draws_all_domains_equally_often() -> None:
    weights = joint_rarity(np.array([[0, 0]] * 8 + [[1, 1]] * 2, dtype=np.int16))
    assert weights[:8].sum() == pytest.approx(0.5)
    assert weights[8:].sum() == pytest.approx(0.5)


def test_a_value_without_a_row_is_never_requested_and_an_unknown_value_may_become_any() -> None:
    rows = ROWS[ROWS[:, 0] != 2]
    found = asked(target_mixture(rows, SPACE, balanced=True), own=[UNKNOWN, 1], drawn=[0, 1])
    assert {target[0] for target in found} == {UNKNOWN, 0, 1}
    assert (UNKNOWN, 0) in found
    assert (UNKNOWN, 1) not in found


def test_an_attribute_of_one_value_is_left_alone() -> None:
    rows = np.array([[0, 1], [1, 1]] * 3, dtype=np.int16)
    found = asked(target_mixture(rows, SPACE, balanced=False), own=[0, 1], drawn=[1, 1])
    assert set(found) <= {(1, 1), (1, UNKNOWN), (0, UNKNOWN)}


def test_a_mixture_stays_in_the_drawn_rows_label_set() -> None:
    rows = np.array([[0, 0, UNKNOWN], [1, 1, UNKNOWN], [UNKNOWN, UNKNOWN, 0], [UNKNOWN, UNKNOWN, 1]] * 3)
    policy = target_mixture(rows, JOINT, balanced=False)
    people = asked(policy, own=[0, 0, UNKNOWN], drawn=[1, 1, UNKNOWN])
    assert {target[2] for target in people} == {UNKNOWN}
    moods = asked(policy, own=[0, 0, UNKNOWN], drawn=[UNKNOWN, UNKNOWN, 1])
    assert {target[:2] for target in moods} == {(UNKNOWN, UNKNOWN)}
    assert {target[2] for target in moods} == {0, 1}


def test_requested_domains_are_the_only_targets() -> None:
    policy = requested_policy(ROWS, SPACE, domains=["tone=~"], balance=[])
    found = asked(policy, own=[0, 1], drawn=[2, 0])
    assert set(found) == {(1, 1), (2, 1)}
    assert found[(1, 1)] / DRAWS == pytest.approx(0.5, abs=0.03)
    # A row that the request leaves alone keeps its domain.
    only_dark = requested_policy(ROWS, SPACE, domains=["tone=dark"], balance=[])
    assert set(asked(only_dark, own=[2, 0], drawn=[0, 0])) == {(2, 0)}


def test_a_balance_requests_what_is_missing_by_its_share() -> None:
    policy = requested_policy(ROWS[:-20], SPACE, domains=[], balance=["tone", "woman"])
    found = asked(policy, own=[0, 0], drawn=[0, 0])
    counts = Counter(map(tuple, ROWS[:-20].tolist()))
    most = max(counts.values())
    missing = {(a, b): most - counts[(a, b)] for a in range(3) for b in range(2)}
    total = sum(missing.values())
    assert {target: count / DRAWS for target, count in found.items()} == pytest.approx(
        {target: lacking / total for target, lacking in missing.items() if lacking}, abs=0.03
    )


def test_nothing_to_fill_up_and_unknown_names_are_refused() -> None:
    with pytest.raises(DomainError, match="there is nothing to fill up"):
        requested_policy(ROWS[:2], SPACE, domains=[], balance=["woman"])
    with pytest.raises(DomainError, match="tome"):
        requested_policy(ROWS, SPACE, domains=["tome=dark"], balance=[])
