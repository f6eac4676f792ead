"""Measures of translations, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from augmentor.judge.measures import (
    change_outside,
    changed_attributes,
    detail_distance,
    detail_ratio,
    errors_by_change,
    hue_introduced,
    kinds_of_change,
    looks_ratio,
    mask_share,
    target_shares,
)
from stargan.checkpoints import Model
from stargan.labels import UNKNOWN, LabelSpace
from stargan.networks import Generator, OutputKind


def flat(*levels: int, channels: int = 3) -> Tensor:
    """Images of 2 x 2 px of one grey level each."""
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, channels, 2, 2).clone()


def test_shares_of_changed_and_kept_values(space: LabelSpace) -> None:
    own = torch.tensor([[0, 0], [0, 0], [0, 0], [1, UNKNOWN], [2, 1]])
    targets = torch.tensor([[1, 1], [1, 1], [2, 0], [1, 1], [2, UNKNOWN]])
    predicted = torch.tensor([[1, 1], [1, 0], [0, 0], [1, 0], [2, 0]])
    found = target_shares(predicted, targets, own, space)
    # hair has to change in rows 0, 1 and 2, and is kept in 3 and 4; glasses change in 0, 1 and (from unknown) 3.
    assert found.changed == {"hair": pytest.approx(2 / 3), "glasses": pytest.approx(1 / 3)}
    assert found.kept == {"hair": 1.0, "glasses": 1.0}
    assert found.several == 0.5
    assert found.all_right == pytest.approx(2 / 5)


def test_kinds_of_change() -> None:
    own, targets = (
        torch.tensor([[0, 0], [0, 0], [0, 1], [0, 1]]),
        torch.tensor([[1, 0], [1, 1], [0, UNKNOWN], [0, 0]]),
    )
    changed = changed_attributes(targets, own)
    assert kinds_of_change(changed, ("tone", "style")) == ["tone", "tone + style", "", "style"]


def test_errors_by_kind_of_change() -> None:
    sources, truth, made = flat(100, 100, 50), flat(120, 60, 90), flat(110, 60, 50)
    found = errors_by_change(made, sources, truth, ["tone", "style", "style"])
    assert list(found) == ["all", "style", "tone"]
    assert (found["tone"].pairs, found["tone"].error, found["tone"].untouched) == (1, 10, 20)
    assert found["tone"].ratio == 0.5
    assert found["style"].ratio == (0 + 40) / (40 + 40)
    assert found["all"].ratio == (10 + 0 + 40) / (20 + 40 + 40)


def test_identity_scores_exactly_one_and_the_truth_zero() -> None:
    random = torch.Generator().manual_seed(0)
    sources, truth = torch.randint(0, 256, (2, 300, 3, 4, 4), generator=random, dtype=torch.uint8)
    kinds = ["tone"] * 200 + ["tone + style"] * 100
    assert [each.ratio for each in errors_by_change(sources, sources, truth, kinds).values()] == [1.0, 1.0, 1.0]
    assert [each.ratio for each in errors_by_change(truth, sources, truth, kinds).values()] == [0.0, 0.0, 0.0]
    assert math.isnan(errors_by_change(truth, sources, sources, kinds)["all"].ratio)


def test_change_outside_of_the_true_change() -> None:
    source, truth = flat(100), flat(100)
    truth[0, 1, 0, 0] = 200  # truly changes, in one channel
    truth[0, :, 0, 1] = 104  # as good as equal
    truth[0, :, 1, 0] = 105  # changes
    made = source.clone()
    made[0, :, 0, 0] = 0
    made[0, :, 1, 0] = 0
    made[0, 0, 0, 1] = 130  # outside: 30 in one of three channels of one of two pixels
    assert change_outside(made, source, truth) == 5
    assert change_outside(source, source, truth) == 0
    assert math.isnan(change_outside(flat(0), flat(0), flat(255)))


def test_hue_in_grey_images() -> None:
    sources = flat(100, 100, 100)
    sources[2, 0] = 180  # is coloured, and does not count
    made = sources.clone()
    made[0, 2, 0, 0] = 140  # 40 in one of four pixels
    made[2, 0] = 0
    assert hue_introduced(made, sources) == 5
    assert hue_introduced(sources, sources) == 0
    assert math.isnan(hue_introduced(made[2:], sources[2:]))
    assert hue_introduced(flat(1, channels=1), flat(9, channels=1)) == 0


def model(space: LabelSpace, output: OutputKind) -> Model:
    generator = Generator(vector_size=space.vector_size, width=2, downsamplings=0, blocks=0, output=output)
    return Model(generator=generator.eval(), space=space, image_size=(8, 8), step=1, settings={}, sha256="")


def test_share_of_the_mask(space: LabelSpace) -> None:
    masked = model(space, "masked")
    masker = masked.generator.get_submodule("masker")
    assert isinstance(masker, nn.Conv2d)
    assert masker.bias is not None
    nn.init.zeros_(masker.weight)
    nn.init.constant_(masker.bias, math.log(0.25 / 0.75))
    images = torch.zeros(40, 3, 8, 8, dtype=torch.uint8)
    targets = torch.zeros(40, 2, dtype=torch.int64)
    assert mask_share(masked, images, targets) == pytest.approx(0.25)
    asked: list[str] = []

    def stop() -> bool:
        asked.append("after a batch")
        return False

    assert mask_share(masked, images, targets, go_on=stop) == pytest.approx(0.25)
    assert len(asked) == 1
    assert mask_share(masked, images[:0], targets[:0]) is None
    assert mask_share(model(space, "direct"), images, targets) is None


def textured(count: int, seed: int, *, strength: float = 20.0) -> Tensor:
    """Images of 16 px: a level of their own, with noise of a standard deviation in grey levels."""
    random = torch.Generator().manual_seed(seed)
    levels = torch.randint(60, 190, (count, 1, 1, 1), generator=random)
    noise = strength * torch.randn(count, 3, 16, 16, generator=random)
    return (levels + noise).round().clamp(0, 255).byte()


def test_detail_of_untouched_blurred_and_speckled_images() -> None:
    sources, others = textured(80, 0), textured(60, 1)
    blurred = nn.functional.avg_pool2d(sources.float(), 3, 1, 1, count_include_pad=False).byte()
    noise = 20 * torch.randn(80, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    speckled = (sources.float() + noise).round().clamp(0, 255).byte()
    assert detail_ratio(sources, sources, others) == pytest.approx(1, abs=0.5)
    assert detail_ratio(blurred, sources, others) > 5
    assert detail_ratio(speckled, sources, others) > 5
    brighter = (sources.int() + 9).clamp(0, 255).byte()
    assert detail_ratio(brighter, sources, others) == pytest.approx(1, abs=0.5)
    assert math.isnan(detail_ratio(sources[:0], sources[:0], others))
    assert math.isnan(detail_ratio(flat(9), flat(9), flat(9)))


def test_detail_distance_of_noise_by_hand() -> None:
    """Projections of Gaussian patches are Gaussian: their distance grows with the difference of the strengths."""
    weak, strong, twice = (textured(200, seed, strength=each) for seed, each in enumerate((10.0, 20.0, 30.0)))
    one, two = detail_distance(weak, strong), detail_distance(weak, twice)
    # The mean of |z| of a Gaussian is 0.8 of its standard deviation, which is below 10: the coarse part is gone.
    assert 0.8 * 10 * 0.6 < one < 0.8 * 10
    assert two == pytest.approx(2 * one, rel=0.1)


def test_looks_beside_subjects_by_hand() -> None:
    # Two subjects at 0 and 10, and their looks 3 apart; another target lies far away and has one subject alone.
    features = torch.tensor([[[0.0], [3.0]], [[10.0], [13.0]], [[100.0], [103.0]], [[105.0], [108.0]]])
    targets, subjects = torch.tensor([[0], [0], [1], [1]]), torch.tensor([0, 1, 2, 2])
    assert looks_ratio(features, targets, subjects) == pytest.approx(0.3)
    assert math.isnan(looks_ratio(features[:, :1], targets, subjects))
    assert math.isnan(looks_ratio(features[2:], targets[2:], subjects[2:]))
    assert math.isnan(looks_ratio(features[:0], targets[:0], subjects[:0]))
