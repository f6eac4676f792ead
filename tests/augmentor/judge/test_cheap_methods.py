"""Translations by colour statistics: what each method must reach on images that it can translate exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from augmentor.judge.cheap_methods import (
    Colours,
    apply_polynomial,
    cheap_translations,
    fit_polynomial,
    transfer_colours,
    true_pairs,
)
from augmentor.judge.data import LabelledImages
from augmentor.judge.measures import errors_by_change


def noise(count: int, seed: int, *, channels: int = 3, low: int = 40, high: int = 160) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, (count, channels, 8, 8), generator=random, dtype=torch.uint8)


def curve(images: Tensor) -> Tensor:
    """A colour curve of degree 2 that mixes channels."""
    x = images.double() / 255
    return (255 * (0.1 + 0.5 * x + 0.3 * x * x.roll(1, dims=1))).round().byte()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_method_on_pairs_of_a_known_curve(channels: int) -> None:
    sources = noise(40, 0, channels=channels)
    train = LabelledImages(
        images=torch.cat([sources, curve(sources)]), codes=torch.tensor([[0]] * 40 + [[1]] * 40)
    )
    pairs = true_pairs([str(i % 40) for i in range(80)], train.codes, (0,))
    assert len(pairs) == 80
    images = noise(12, 1, channels=channels)
    own, targets = torch.zeros(12, 1, dtype=torch.int64), torch.ones(12, 1, dtype=torch.int64)
    made = cheap_translations(images, own, targets, train=train, columns=(0,), pairs=pairs)
    assert list(made) == ["identity", "mean colour shift", "colour transfer", "colour polynomial"]
    truth = curve(images)
    ratios = {name: errors_by_change(each, images, truth, ["x"] * 12)["all"].ratio for name, each in made.items()}
    assert ratios["identity"] == 1.0
    assert ratios["colour polynomial"] < 0.05
    assert ratios["colour polynomial"] < ratios["colour transfer"] < 1
    assert ratios["mean colour shift"] < 1
    assert all(each.shape == images.shape and each.dtype == torch.uint8 for each in made.values())


def test_the_shift_is_the_difference_of_the_domains_means() -> None:
    train = LabelledImages(
        images=torch.tensor([10, 30, 70, 110], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2),
        codes=torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]),
    )
    image = torch.full((3, 1, 2, 2), 100, dtype=torch.uint8)
    own, targets = torch.tensor([[0, 0], [1, 0], [0, 0]]), torch.tensor([[1, 0], [0, 1], [2, 0]])
    made = cheap_translations(image, own, targets, train=train, columns=(0,))
    # By the first attribute alone: mean 20 and 90; there is no training image of its third value.
    assert made["mean colour shift"][:, 0, 0, 0].tolist() == [170, 30, 100]
    assert torch.equal(made["colour transfer"][2], image[2])
    assert "colour polynomial" not in made


def test_transferred_colours_have_the_mean_and_covariance() -> None:
    images = noise(5, 0).double()
    factor = torch.tensor([[9.0, 0, 0], [3, 7, 0], [1, 2, 5]], dtype=torch.float64)
    wanted = Colours(torch.tensor([90.0, 120, 100], dtype=torch.float64), factor @ factor.T)
    for made in transfer_colours(images, wanted):
        colours = made.flatten(1)
        assert torch.allclose(colours.mean(dim=1), wanted.mean)
        assert torch.allclose(torch.cov(colours, correction=0), wanted.covariance, rtol=1e-3, atol=1e-2)


def test_one_channel_is_mapped_by_its_mean_and_deviation() -> None:
    image = torch.tensor([10.0, 20.0, 30.0, 40.0], dtype=torch.float64).view(1, 1, 2, 2)  # mean 25, variance 125
    wanted = Colours(torch.tensor([100.0], dtype=torch.float64), torch.tensor([[500.0]], dtype=torch.float64))
    assert transfer_colours(image, wanted).flatten().tolist() == pytest.approx([70, 90, 110, 130], rel=1e-3)


def test_the_polynomial_finds_its_weights() -> None:
    images = noise(30, 0)
    weights = fit_polynomial(images, images)
    assert weights.shape == (10, 3)
    assert torch.allclose(apply_polynomial(images.double(), weights), images.double(), atol=1e-3)
    # One colour only: many polynomials fit, and any of them will do.
    flat = torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)
    made = apply_polynomial(flat.double(), fit_polynomial(flat, flat + 10))
    assert torch.allclose(made, torch.full_like(made, 17), atol=1e-3)


def test_pairs_are_of_one_design_and_keep_the_other_labels() -> None:
    codes = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 0], [0, 0]])
    assert true_pairs(["a", "a", "a", "b", "a"], codes, (0,)).tolist() == [[0, 1], [1, 0], [1, 4], [4, 1]]
    assert true_pairs(["a", "b"], codes[:2], (0,)).shape == (0, 2)
