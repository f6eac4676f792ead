"""Training targets: the mixture's shares, combinations without a row, label sets, and targets of a request."""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from augmentor.errors import DomainError
from augmentor.training.targets import (
    Codes,
    HalfRequested,
    TargetPolicy,
    requested_policy,
    rows_of_request,
    target_mixture,
    translation_weights,
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


def request(rows: npt.NDArray[np.integer], **of: list[str]) -> TargetPolicy:
    """The part of a policy for a request that asks for nothing else."""
    policy = requested_policy(rows, SPACE, domains=of.get("domains", []), balance=of.get("balance", []))
    assert isinstance(policy, HalfRequested)
    return policy.requested


def test_every_other_target_is_one_of_the_request() -> None:
    policy = requested_policy(ROWS, SPACE, domains=["tone=dark,woman=1"], balance=[])
    found = asked(policy, own=[0, 0], drawn=[1, 0])
    mixed = asked(target_mixture(ROWS, SPACE, balanced=False), own=[0, 0], drawn=[1, 0])
    assert found[(2, 1)] / DRAWS == pytest.approx(0.5 + 0.5 * mixed[(2, 1)] / DRAWS, abs=0.03)
    assert found[(1, 0)] / DRAWS == pytest.approx(0.5 * mixed[(1, 0)] / DRAWS, abs=0.03)


def test_requested_domains_are_equally_likely() -> None:
    found = asked(request(ROWS, domains=["tone=~"]), own=[0, 1], drawn=[2, 0])
    assert set(found) == {(1, 1), (2, 1)}
    assert found[(1, 1)] / DRAWS == pytest.approx(0.5, abs=0.03)
    # A row that the request leaves alone keeps its domain.
    assert set(asked(request(ROWS, domains=["tone=dark"]), own=[2, 0], drawn=[0, 0])) == {(2, 0)}


def test_a_balance_requests_what_is_missing_by_its_share() -> None:
    found = asked(request(ROWS[:-20], balance=["tone", "woman"]), own=[0, 0], drawn=[0, 0])
    counts = Counter(map(tuple, ROWS[:-20].tolist()))
    most = max(counts.values())
    missing = {(a, b): most - counts[(a, b)] for a in range(3) for b in range(2)}
    total = sum(missing.values())
    assert {target: count / DRAWS for target, count in found.items()} == pytest.approx(
        {target: lacking / total for target, lacking in missing.items() if lacking}, abs=0.03
    )


# ---- how much translations count for D ----


def domains(*counts: tuple[list[int], int]) -> Tensor:
    return torch.tensor([domain for domain, count in counts for _ in range(count)])


def test_a_target_weighs_as_much_as_it_is_more_frequent_among_images() -> None:
    real = domains(([0, 0], 30), ([0, 1], 10), ([1, 0], 40), ([1, 1], 20))
    asked_for = domains(([0, 0], 25), ([0, 1], 25), ([1, 0], 25), ([1, 1], 25))
    weights = translation_weights(real.numpy(), asked_for, SPACE)
    # Shares of images / of targets, by pair: 1.2, 0.4, 1.6, 0.8; by single value: tone 0.8, 1.2, woman 1.4, 0.6.
    # The least of a domain's three counts: 0.8, 0.4, 1.2, 0.6; their mean is 0.75.
    found = weights(torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]))
    assert found.tolist() == pytest.approx([0.8 / 0.75, 0.4 / 0.75, 1.2 / 0.75, 0.6 / 0.75])
    assert weights(asked_for).mean().item() == pytest.approx(1)


def test_a_combination_without_an_image_weighs_nothing_and_none_more_than_twice_the_mean() -> None:
    real = domains(([0, 0], 50), ([2, 0], 40), ([1, 1], 10))
    asked_for = domains(([0, 0], 50), ([2, 0], 9), ([2, 1], 31), ([1, 1], 10))
    weights = translation_weights(real.numpy(), asked_for, SPACE)
    found = weights(torch.tensor([[2, 1], [2, 0], [0, 0]]))
    assert found[0] == 0
    # Dark: 40 images for 40 targets; not a woman: 90 for 59; both: 40 for 9.
    assert (found[1] / found[2]).item() == pytest.approx(1.0)


def test_rows_that_do_not_know_both_attributes_say_nothing_of_their_combination() -> None:
    real = domains(([0, UNKNOWN], 50), ([1, UNKNOWN], 50), ([UNKNOWN, 0], 50), ([UNKNOWN, 1], 50))
    asked_for = domains(([0, 0], 10), ([0, 1], 40), ([1, 0], 40), ([1, 1], 10))
    assert translation_weights(real.numpy(), asked_for, SPACE)(asked_for).tolist() == pytest.approx([1.0] * 100)
    only_tone = translation_weights(real.numpy(), domains(([0, UNKNOWN], 30), ([1, UNKNOWN], 70)), SPACE)
    found = only_tone(torch.tensor([[0, UNKNOWN], [1, UNKNOWN]]))
    assert (found[0] / found[1]).item() == pytest.approx((50 / 30) / (50 / 70))


def test_rows_count_as_often_as_they_are_shown() -> None:
    real = domains(([0, 0], 90), ([1, 1], 10)).numpy()
    asked_for = domains(([0, 0], 50), ([1, 1], 50))
    often = np.where(real[:, 0] == 1, 9.0, 1.0)
    weights = translation_weights(real, asked_for, SPACE, row_weights=often)
    assert weights(asked_for).tolist() == pytest.approx([1.0] * 100)


def test_targets_that_no_image_has_count_alike() -> None:
    real, asked_for = domains(([0, 0], 5)), domains(([2, 1], 3))
    assert translation_weights(real.numpy(), asked_for, SPACE)(asked_for).tolist() == [1, 1, 1]


def test_nothing_to_fill_up_and_unknown_names_are_refused() -> None:
    with pytest.raises(DomainError, match="there is nothing to fill up"):
        requested_policy(ROWS[:2], SPACE, domains=[], balance=["woman"])
    with pytest.raises(DomainError, match="tome"):
        requested_policy(ROWS, SPACE, domains=["tome=dark"], balance=[])


def test_rows_that_a_request_asks_for() -> None:
    codes = np.array([[0, 0], [1, 0], [2, 1], [2, UNKNOWN], [UNKNOWN, 1]])
    assert rows_of_request(codes, SPACE, ["tone=dark"]).tolist() == [False, False, True, True, False]
    assert rows_of_request(codes, SPACE, ["tone=dark,woman=1"]).tolist() == [False, False, True, False, False]
    both = rows_of_request(codes, SPACE, ["tone=light", "woman=~"])
    assert both.tolist() == [True, True, True, False, True]
