"""Verdicts, and thresholds read from real images, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from augmentor.quality import Gate, Scores, Thresholds, auto_agreement
from augmentor.quality.thresholds import preserved_pairs
from stargan.labels import UNKNOWN, LabelSpace

BOTH = torch.tensor([True, True])


def scores(**columns: list[float]) -> Scores:
    n = len(next(iter(columns.values())))
    nothing = np.full(n, np.nan)
    given = {name: np.array(column) for name, column in columns.items()}
    blank = {"agreement": nothing, "per_attribute": np.full((n, 2), np.nan), "realism": nothing}
    return Scores(**{**blank, "preserved": nothing, **given})


def test_verdicts() -> None:
    found = scores(
        agreement=[0.12, 0.41, np.nan, 0.9], realism=[0.5, np.nan, 0.5, 0.001], preserved=[0.1, 0.9, 0.2, 0.1]
    )
    gate = Gate(thresholds=Thresholds(agreement=0.41, realism=0.01, preserved=0.2))
    assert gate.verdicts(found) == [
        "agreement 0.12 < 0.41, preserved 0.10 < 0.20",
        "",
        "",
        "realism 0.00 < 0.01, preserved 0.10 < 0.20",
    ]
    assert Gate(thresholds=Thresholds()).verdicts(found) == [""] * 4
    assert Gate(thresholds=Thresholds(agreement=0.5)).verdicts(scores(agreement=[0.49999])) == [
        "agreement 0.49999 < 0.50000"
    ]


def sure(most_wrong: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes, and the probabilities of a judge of glasses that is wrong by 0 to `most_wrong`, evenly."""
    codes = torch.tensor([[UNKNOWN, i % 2] for i in range(100)])
    probabilities = torch.full((100, 4), 1 / 3, dtype=torch.float64)
    wrong = torch.linspace(0, most_wrong, 100, dtype=torch.float64)
    probabilities[:, 3] = torch.where(codes[:, 1] == 1, 1 - wrong, wrong)
    return probabilities, codes


def test_the_automatic_agreement_of_a_poor_judge_rejects_98_of_100_false_offers(space: LabelSpace) -> None:
    threshold, offers = auto_agreement(*sure(0.99), space, trusted=BOTH)
    # False offers are at 0, 0.01, ... 0.99, true ones at 1, 0.99, ... 0.01.
    assert threshold == pytest.approx(0.97, abs=1e-9)
    assert offers is not None
    assert (offers.true, offers.false, offers.false_rejected) == (100, 100, 0.98)
    assert offers.true_kept == pytest.approx(0.03, abs=0.011)


def test_the_automatic_agreement_of_a_good_judge_asks_what_seven_of_ten_real_images_reach(
    space: LabelSpace,
) -> None:
    threshold, offers = auto_agreement(*sure(0.396), space, trusted=BOTH)
    # True offers are at 1, 0.996, ... 0.604; three of ten at 0.7228 or below; false ones at 0.396 at most.
    assert threshold == pytest.approx(0.604 + 0.3 * 0.396)
    assert offers is not None
    assert (offers.true_kept, offers.false_rejected) == (0.7, 1.0)


def test_the_automatic_agreement_of_a_sure_judge_is_not_more_than_sure(space: LabelSpace) -> None:
    threshold, offers = auto_agreement(*sure(0.01), space, trusted=BOTH)
    assert threshold == 0.9
    assert offers is not None
    assert (offers.true_kept, offers.false_rejected) == (1.0, 1.0)


def test_false_offers_change_one_attribute_and_count_what_is_trusted(space: LabelSpace) -> None:
    codes = torch.tensor([[0, 1], [2, UNKNOWN]] * 20)
    even = torch.cat([torch.full((40, 3), 1 / 3), torch.full((40, 1), 0.5)], dim=1)
    _, offers = auto_agreement(even, codes, space, trusted=BOTH)
    assert offers is not None
    # Two other hair colours for all, the other glasses for half.
    assert (offers.true, offers.false) == (40, 2 * 40 + 20)
    # A coin's toss: what rejects the false rejects the true.
    assert offers.true_kept == 0
    _, offers = auto_agreement(even, codes, space, trusted=torch.tensor([False, True]))
    assert offers is not None
    assert (offers.true, offers.false) == (20, 20)


def test_too_few_images_and_no_trust(space: LabelSpace) -> None:
    codes, even = torch.tensor([[0, 1]] * 31), torch.full((31, 4), 0.5)
    assert auto_agreement(even, codes, space, trusted=BOTH) == (0.5, None)
    assert auto_agreement(even, codes, space, trusted=~BOTH) == (None, None)


def test_pairs_are_of_different_subjects(space: LabelSpace) -> None:
    groups = ["ann", "ann", "ben", "", "", "ben"]
    first, second, changed = preserved_pairs(torch.zeros(6, 2, dtype=torch.int64), groups, space)
    assert len(first) == len(second) == len(changed) > 6
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        assert one != other
        assert not groups[one] or groups[one] != groups[other]
    assert changed.sum(dim=1).tolist() == [1] * len(first)
    assert changed.any(dim=0).all()
    alone = preserved_pairs(torch.zeros(1, 2, dtype=torch.int64), ["ann"], space)
    assert [len(part) for part in alone] == [0, 0, 0]
