"""What is asked of translations, read from real images, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from augmentor.judge.thresholds import AgreementReference
from stargan.labels import UNKNOWN, Attribute, LabelSpace

BOTH = torch.tensor([True, True])


def measured(
    probabilities: Tensor, codes: Tensor, space: LabelSpace, *, trusted: Tensor = BOTH
) -> AgreementReference:
    return AgreementReference(probabilities=probabilities, codes=codes, space=space, trusted=trusted)


def sure(most_wrong: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes, and the probabilities of a judge of glasses that is wrong by 0 to `most_wrong`, evenly."""
    codes = torch.tensor([[UNKNOWN, i % 2] for i in range(100)])
    probabilities = torch.full((100, 4), 1 / 3, dtype=torch.float64)
    wrong = torch.linspace(0, most_wrong, 100, dtype=torch.float64)
    probabilities[:, 3] = torch.where(codes[:, 1] == 1, 1 - wrong, wrong)
    return probabilities, codes


def test_the_automatic_agreement_of_a_poor_judge_rejects_98_of_100_false_offers(space: LabelSpace) -> None:
    reference = measured(*sure(0.99), space)
    # False offers are at 0, 0.01, ... 0.99, true ones at 1, 0.99, ... 0.01.
    offers = reference.offers
    assert reference.threshold == pytest.approx(0.97, abs=1e-9)
    assert offers is not None
    assert (offers.true, offers.false, offers.false_rejected) == (100, 100, 0.98)
    assert offers.true_kept == pytest.approx(0.03, abs=0.011)


def test_the_automatic_agreement_of_a_good_judge_asks_what_seven_of_ten_real_images_reach(
    space: LabelSpace,
) -> None:
    reference = measured(*sure(0.396), space)
    # True offers are at 1, 0.996, ... 0.604; three of ten at 0.7228 or below; false ones at 0.396 at most.
    offers = reference.offers
    assert reference.threshold == pytest.approx(0.604 + 0.3 * 0.396)
    assert offers is not None
    assert (offers.true_kept, offers.false_rejected) == (0.7, 1.0)


def test_the_automatic_agreement_of_a_sure_judge_is_not_more_than_sure(space: LabelSpace) -> None:
    reference = measured(*sure(0.01), space)
    offers = reference.offers
    assert reference.threshold == 0.9
    assert offers is not None
    assert (offers.true_kept, offers.false_rejected) == (1.0, 1.0)


def test_false_offers_change_one_attribute_and_count_what_is_trusted(space: LabelSpace) -> None:
    codes = torch.tensor([[0, 1], [2, UNKNOWN]] * 20)
    even = torch.cat([torch.full((40, 3), 1 / 3), torch.full((40, 1), 0.5)], dim=1)
    offers = measured(even, codes, space).offers
    assert offers is not None
    # Two other hair colours for all, the other glasses for half.
    assert (offers.true, offers.false) == (40, 2 * 40 + 20)
    # A coin's toss: what rejects the false rejects the true.
    assert offers.true_kept == 0
    offers = measured(even, codes, space, trusted=torch.tensor([False, True])).offers
    assert offers is not None
    assert (offers.true, offers.false) == (20, 20)


def test_too_few_images_and_no_trust(space: LabelSpace) -> None:
    codes, even = torch.tensor([[0, 1]] * 31), torch.full((31, 4), 0.5)
    few, nothing = measured(even, codes, space), measured(even, codes, space, trusted=~BOTH)
    assert (few.threshold, few.offers, few.lowered()) == (0.5, None, [])
    assert (nothing.threshold, nothing.offers, nothing.lowered()) == (None, None, [])
    own = torch.tensor([[1, 1]])
    assert few.requirements(codes[:1], own).least.tolist() == [0.5]
    assert nothing.requirements(codes[:1], own).least.isnan().all()


# ---- combinations that the judge knows less well ----


def lopsided(space: LabelSpace, *, red_with_glasses: int = 10) -> AgreementReference:
    """A judge that is sure of all, but for the glasses of the red-haired, of which it is less sure."""
    hair = [0] * 40 + [2] * 40
    glasses = [i % 2 for i in range(40)] + [0] * (40 - red_with_glasses) + [1] * red_with_glasses
    codes = torch.tensor([hair, glasses]).T.contiguous()
    probabilities = torch.zeros(80, 4, dtype=torch.float64)
    probabilities[torch.arange(80), codes[:, 0]] = 1
    probabilities[:, 3] = torch.where(codes[:, 1] == 1, 0.98, 0.02)
    red = (codes[:, 0] == 2) & (codes[:, 1] == 1)
    probabilities[red, 3] = torch.linspace(0.1, 0.1 * red_with_glasses, red_with_glasses, dtype=torch.float64)
    return measured(probabilities, codes, space)


def test_a_pair_of_values_asks_what_its_own_real_images_reach(space: LabelSpace) -> None:
    reference = lopsided(space)
    assert reference.threshold == 0.9
    black, red = torch.tensor([0, 1]), torch.tensor([2, 1])
    bare, other = torch.tensor([2, 0]), torch.tensor([0, 0])
    # Of 0.1, 0.2, ... 1.0 seven of ten reach 0.37; of black hair with glasses all reach more than is asked.
    expected = pytest.approx(0.37)
    targets, own = torch.stack([red, red, black, bare, red]), torch.stack([bare, other, red, red, red])
    asked = reference.requirements(targets, own)
    assert asked.least.tolist() == [expected, expected, 0.9, 0.9, 0.9]
    assert asked.counted.all()


def test_the_judge_is_not_asked_about_a_kept_value_that_it_doubts_there(space: LabelSpace) -> None:
    reference = lopsided(space)
    asked = reference.requirements(torch.tensor([[2, 1], [2, UNKNOWN]]), torch.tensor([[0, 1], [0, 1]]))
    # Of the red-haired with glasses it knows the hair: the new hair must be as sure as any, the glasses are the
    # source's.
    assert asked.counted.tolist() == [[True, False], [True, True]]
    assert asked.least.tolist() == [0.9, 0.9]


def test_the_pairs_of_which_less_is_asked(space: LabelSpace) -> None:
    ((values, least),) = lopsided(space).lowered()
    assert values == ((0, 2), (1, 1))
    assert least == pytest.approx(0.37)


def test_of_few_images_nothing_is_read(space: LabelSpace) -> None:
    reference = lopsided(space, red_with_glasses=7)
    assert reference.requirements(torch.tensor([[2, 1]]), torch.tensor([[0, 0]])).least.tolist() == [
        reference.threshold
    ]
    assert reference.lowered() == []


def test_a_pair_still_rejects_98_of_100_of_its_own_false_offers(space: LabelSpace) -> None:
    """A judge that sees glasses on every red head must not let bare faces through."""
    reference = lopsided(space)
    probabilities = reference.probabilities.clone()
    bare = (reference.codes[:, 0] == 2) & (reference.codes[:, 1] == 0)
    probabilities[bare, 3] = 0.6
    misled = measured(probabilities, reference.codes, space)
    least = misled.requirements(torch.tensor([[2, 1]]), torch.tensor([[2, 0]])).least
    assert least.tolist() == [pytest.approx(0.6)]
    assert float(least) > 0.6


def test_what_may_be_chance_lowers_nothing(space: LabelSpace) -> None:
    """One in eight of all fall short: three of ten may by chance, ten of ten do not."""
    codes = torch.tensor([[0, i % 2] for i in range(60)] + [[2, 1]] * 10)
    probabilities = torch.zeros(70, 4, dtype=torch.float64)
    probabilities[torch.arange(70), codes[:, 0]] = 1
    probabilities[:, 3] = torch.where(codes[:, 1] == 1, 0.95, 0.05)
    probabilities[:6, 3] = torch.where(codes[:6, 1] == 1, 0.8, 0.2)
    red, black = torch.tensor([[2, 1]]), torch.tensor([[0, 0]])

    def asked(short: int) -> float:
        found = probabilities.clone()
        found[60 : 60 + short, 3] = 0.5
        reference = measured(found, codes, space)
        assert reference.threshold == 0.9
        return float(reference.requirements(red, black).least)

    assert asked(short=3) == 0.9
    assert asked(short=10) == pytest.approx(0.5)


def test_a_value_without_validation_images_does_not_count(space: LabelSpace) -> None:
    codes = torch.tensor([[0, i % 2] for i in range(60)])
    probabilities = torch.full((60, 4), 0.9)
    reference = measured(probabilities, codes, space)
    targets, own = torch.tensor([[2, 1], [0, 1], [UNKNOWN, 1]]), torch.tensor([[0, 1], [1, 1], [0, 0]])
    assert reference.requirements(targets, own).counted.tolist() == [[False, True], [True, True], [True, True]]
    assert (reference.knows(0, 0), reference.knows(0, 2)) == (True, False)
    few = measured(probabilities[:9], codes[:9], space)
    assert few.requirements(targets, own).counted.tolist() == [[False, True], [True, True], [True, True]]


def test_of_a_judge_that_knows_all_pairs_alike_less_is_rarely_asked() -> None:
    space = LabelSpace(
        attributes=tuple(
            Attribute(name=name, kind="categorical", values=tuple("abcdef")) for name in ("tone", "style")
        )
    )
    codes = torch.tensor([[i % 6, i // 6 % 6] for i in range(432)])
    found = {True: 0, False: 0}
    for seed in range(40):
        random = torch.Generator().manual_seed(seed)
        probabilities = torch.full((432, 12), 0.02, dtype=torch.float64)
        for column in range(2):
            own = 1 - torch.rand(432, generator=random, dtype=torch.float64) ** 3
            probabilities[torch.arange(432), 6 * column + codes[:, column]] = own
        for corrected in found:
            half = (torch.arange(432) // 36 % 2 == 0) if corrected else None
            reference = AgreementReference(
                probabilities=probabilities, codes=codes, space=space, trusted=BOTH, half=half
            )
            found[corrected] += bool(reference.lowered())
    # 36 pairs with 12 images each: without a correction most judges ask less of some.
    assert found[False] > 20
    assert found[True] <= 6
