"""Scores of translations by hand: agreement, realism, preserved."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from augmentor.judge.gate import Scorer
from augmentor.judge.scores import quantiles_of, shares_below, similarities
from stargan.labels import UNKNOWN, LabelSpace
from stargan.networks import Discriminator
from tests.augmentor.judge.conftest import MakeKept

WHITE, BLACK = 255, 0


def picture(*channels: int) -> torch.Tensor:
    """A 4 x 4 picture of one colour, (1, 3, 4, 4) uint8."""
    return torch.tensor(channels, dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4).contiguous()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_agreement_by_hand(make_kept: MakeKept) -> None:
    kept = make_kept()
    green = picture(BLACK, WHITE, BLACK)  # features -1, 1, -1: hair logits -2, 2, -2, glasses -3
    pictures = green.repeat(4, 1, 1, 1)
    targets = torch.tensor([[1, 0], [0, 1], [UNKNOWN, 1], [UNKNOWN, UNKNOWN]])
    found = Scorer(kept, None).score(pictures, pictures, targets, targets)
    blond, black = math.exp(2) / (math.exp(2) + 2 * math.exp(-2)), math.exp(-2) / (math.exp(2) + 2 * math.exp(-2))
    no, yes = sigmoid(3), sigmoid(-3)
    expected = np.array([[blond, no], [black, yes], [np.nan, yes], [np.nan, np.nan]])
    np.testing.assert_allclose(found.per_attribute, expected, rtol=1e-5)
    np.testing.assert_allclose(found.agreement, [blond * no, black * yes, yes, np.nan], rtol=1e-5)
    assert np.isnan(found.realism).all()
    np.testing.assert_allclose(found.preserved, 1)
    assert found.agreement.dtype == found.preserved.dtype == found.realism.dtype == np.float64


def test_temperatures_count(make_kept: MakeKept) -> None:
    kept = make_kept()
    kept.judge.temperatures[1] = 3
    green, target = picture(BLACK, WHITE, BLACK), torch.tensor([[UNKNOWN, 0]])
    assert Scorer(kept, None).score(green, green, target, target).agreement == pytest.approx([sigmoid(1)])
    assert kept.judge.calibrated(kept.judge.outputs(green).logits)[0, 3] == pytest.approx(sigmoid(-1))
    assert kept.judge.calibrated(kept.judge.outputs(green).logits)[0, :3].sum() == pytest.approx(1)


def test_an_attribute_that_is_not_trusted_leaves_the_agreement(make_kept: MakeKept) -> None:
    green = picture(BLACK, WHITE, BLACK).repeat(2, 1, 1, 1)
    targets = torch.tensor([[0, 0], [0, UNKNOWN]])
    found = Scorer(make_kept(trusted=(False, True)), None).score(green, green, targets, targets)
    assert found.agreement[0] == pytest.approx(sigmoid(3))
    assert math.isnan(found.agreement[1])
    assert found.per_attribute[1, 0] < 0.1  # said, though not asked for


def test_realism_is_a_share_of_real_images(make_kept: MakeKept, brightness: Discriminator) -> None:
    scorer = Scorer(make_kept(realism=(-1.0, -0.5, 0.0, 0.5)), brightness)
    pictures = torch.cat([picture(BLACK, BLACK, BLACK), picture(WHITE, WHITE, WHITE), picture(51, 51, 51)])
    targets = torch.tensor([[0, 0]] * 3)  # brightness -1, 1 and -0.6
    assert scorer.score(pictures, pictures, targets, targets).realism.tolist() == [0.25, 1.0, 0.25]
    # With glasses asked for, D adds one: 0, 2 and 0.4.
    targets = torch.tensor([[0, 1]] * 3)
    assert scorer.score(pictures, pictures, targets, targets).realism.tolist() == [0.75, 1.0, 0.75]


def test_quantiles_and_shares() -> None:
    assert quantiles_of(torch.tensor([3.0, 1.0, 2.0])) == (1.0, 2.0, 3.0)
    many = quantiles_of(torch.arange(5001).flip(0))
    assert len(many) == 1001
    assert (many[0], many[1], many[-1]) == (0, 5, 5000)
    shares = shares_below(torch.tensor([0.5, 1.0, 9.0]).double(), torch.tensor([1.0, 2.0]).double())
    assert shares.tolist() == [0, 0.5, 1]


def test_preserved_looks_away_from_what_had_to_change(space: LabelSpace) -> None:
    # Hair is read from the first three features, glasses from the fourth; the fifth and sixth say who it is.
    head = torch.zeros(4, 6)
    head[range(4), range(4)] = 2.0
    one = torch.tensor([[1.0, 0, 0, 5, 3, 4]]).repeat(3, 1)
    other = torch.tensor([[0.0, 9, 0, 5, 3, 4], [0, 9, 0, 5, 3, 4], [1, 0, 0, 0, -3, -4]])
    changed = torch.tensor([[True, False], [False, False], [False, True]])
    found = similarities(one, other, changed, mean=torch.zeros(6), head=head, space=space)
    assert found[0] == pytest.approx(1)  # only the hair differs, and had to
    assert found[1] == pytest.approx(50 / math.sqrt(51 * 131))
    assert found[2] == pytest.approx((1 - 25) / 26)  # the glasses are gone as they should, but it is someone else
    # Around the mean: what all have in common is no likeness.
    centred = similarities(one, other, changed, mean=torch.tensor([0.0, 0, 0, 5, 0, 0]), head=head, space=space)
    assert centred[1] == pytest.approx(25 / math.sqrt(26 * 106))
    assert similarities(one[:0], other[:0], changed[:0], mean=torch.zeros(6), head=head, space=space).shape == (0,)


def test_equal_sources_in_a_row_are_looked_at_once(make_kept: MakeKept) -> None:
    kept, looked = make_kept(), list[int]()
    kept.judge.network.body.register_forward_hook(lambda _module, given, _made: looked.append(len(given[0])))
    a, b = picture(WHITE, BLACK, BLACK), picture(BLACK, BLACK, WHITE)
    sources, pictures = torch.cat([a, a, b, a]), torch.cat([a, b, b, b])
    targets = torch.tensor([[UNKNOWN, UNKNOWN]] * 4)
    found = Scorer(kept, None).score(pictures, sources, targets, targets)
    assert looked == [4, 3]
    # Red against blue, (1, -1, -1) and (-1, -1, 1): their cosine is -1/3.
    np.testing.assert_allclose(found.preserved, [1, -1 / 3, 1, -1 / 3])
    empty = Scorer(kept, None).score(a[:0], a[:0], targets[:0], targets[:0])
    assert [column.shape for column in empty] == [(0,), (0, 2), (0,), (0,), (0,), (0,), (0,)]
