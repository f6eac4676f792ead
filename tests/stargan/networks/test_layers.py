"""Norms, convolutions and spectral norm, worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stargan.networks.layers import (
    NORMS,
    BatchNorm,
    ConvUnit,
    InstanceNorm,
    ModulatedNorm,
    NoNorm,
    Norm,
    Padding,
    normalise_spectrally,
    same_convolution,
    upsample,
)


def modulated(norm: ModulatedNorm) -> ModulatedNorm:
    """Scale 2 + (1, -3) c, shift 0.5 + (0.25, 0) c for the vector c."""
    assert norm.modulation is not None
    with torch.no_grad():
        norm.weight.fill_(2.0)
        norm.bias.fill_(0.5)
        norm.modulation.weight.copy_(torch.tensor([[1.0, -3.0], [0.25, 0.0]]))
    return norm


def row(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


# (1, 0): scale 2 + 1, shift 0.5 + 0.25. (0, 1): scale 2 - 3, shift 0.5.
MODULATED = {(1.0, 0.0): (3.0, 0.75), (0.0, 1.0): (-1.0, 0.5)}


@pytest.mark.parametrize("vector", MODULATED)
@pytest.mark.parametrize(
    ("norm", "normal"),
    # Mean 2 and variance 1 of (1, 3), in an image as in a batch of one; without a norm they stay.
    [(InstanceNorm, (-1.0, 1.0)), (BatchNorm, (-1.0, 1.0)), (NoNorm, (1.0, 3.0))],
)
def test_a_vector_modulates_every_norm(
    norm: type[ModulatedNorm], normal: tuple[float, float], vector: tuple[float, float]
) -> None:
    scale, shift = MODULATED[vector]
    found = modulated(norm(channels=1, vector_size=2))(row(1.0, 3.0), torch.tensor([vector]))
    assert found.flatten().tolist() == pytest.approx([scale * value + shift for value in normal], abs=1e-4)


def test_a_norm_without_a_vector_learns_scale_and_shift() -> None:
    for norm, normal in ((InstanceNorm, (-1.0, 1.0)), (BatchNorm, (-1.0, 1.0)), (NoNorm, (1.0, 3.0))):
        layer = norm(channels=1)
        assert layer.modulation is None
        with torch.no_grad():
            layer.weight.fill_(3.0)
            layer.bias.fill_(-1.0)
        found = layer(row(1.0, 3.0)).flatten().tolist()
        assert found == pytest.approx([3 * value - 1 for value in normal], abs=1e-4)


def test_only_batch_norm_has_statistics_and_eval_uses_them() -> None:
    assert {name: len(list(norm(channels=2).buffers())) for name, norm in NORMS.items()} == {
        "instance": 0,
        "batch": 2,
        "none": 0,
    }
    norm = BatchNorm(channels=1)
    features = torch.tensor([1.0, 3.0, 5.0, 7.0]).view(2, 1, 1, 2)
    # Mean 4, variance 5, over both images; the running ones move by 0.1 to the mean and the unbiased variance.
    expected = [value / 5**0.5 for value in (-3, -1, 1, 3)]
    assert norm(features).flatten().tolist() == pytest.approx(expected, abs=1e-4)
    assert norm.running_mean.item() == pytest.approx(0.4)
    assert norm.running_var.item() == pytest.approx(0.9 + 0.1 * 20 / 3)
    norm.eval()
    first = (1.0 - 0.4) / (0.9 + 0.1 * 20 / 3) ** 0.5
    assert norm(features[:1]).flatten()[0].item() == pytest.approx(first, abs=1e-4)
    assert norm.running_mean.item() == pytest.approx(0.4)


def test_a_skip_is_added_ahead_of_the_norm() -> None:
    unit = ConvUnit(nn.Identity(), channels=1)
    features, skip, vectors = row(1.0, 2.0), row(0.0, 5.0), torch.zeros(1, 0)
    # (1, 7): mean 4, variance 9; the norm makes it -1 and 1, the ReLU 0 and 1.
    assert unit(features, vectors, skip).flatten().tolist() == pytest.approx([0.0, 1.0], abs=1e-4)


@pytest.mark.parametrize(
    ("padding", "dilation", "expected"),
    [
        # A kernel of ones over 1 2 4 8 in every row. Two rows of them with zeros around, and the first row is
        # summed twice; four rows, mirrored, and it is summed three times.
        ("zero", 1, [2 * 3.0, 2 * 7.0, 2 * 14.0, 2 * 12.0]),
        ("reflection", 1, [3 * 5.0, 3 * 7.0, 3 * 14.0, 3 * 16.0]),
        # Taps two apart: the mirrored border of 1 2 4 8 is 4 2 | 1 2 4 8 | 4 2.
        ("reflection", 2, [3 * 9.0, 3 * 12.0, 3 * 9.0, 3 * 12.0]),
    ],
)
def test_borders_by_hand(padding: Padding, dilation: int, expected: list[float]) -> None:
    images = torch.tensor([1.0, 2.0, 4.0, 8.0]).expand(1, 1, 2 if padding == "zero" else 4, 4)
    convolution = same_convolution(1, 1, 3, padding=padding, dilation=dilation)
    nn.init.ones_(convolution.weight)
    assert convolution(images)[0, 0, 0].tolist() == pytest.approx(expected)
    assert convolution(images).shape == images.shape


def test_upsampling_doubles_the_sides() -> None:
    assert upsample("transposed", 4, 2)(torch.zeros(1, 4, 3, 5)).shape == (1, 2, 6, 10)
    nearest = upsample("nearest", 1, 1)
    for weight in nearest.parameters():
        nn.init.zeros_(weight)
        weight.data[0, 0, 1, 1] = 1.0
    assert nearest(row(1.0, 2.0))[0, 0].tolist() == [[1.0, 1.0, 2.0, 2.0]] * 2


@pytest.mark.parametrize(
    "make",
    [lambda: nn.Conv2d(3, 8, 4), lambda: nn.ConvTranspose2d(6, 4, 4), lambda: nn.Linear(5, 7, bias=False)],
    ids=["convolution", "transposed", "linear"],
)
def test_spectral_norm_makes_the_largest_singular_value_one(
    make: Callable[[], nn.Conv2d | nn.ConvTranspose2d | nn.Linear],
) -> None:
    layer = make()
    with torch.no_grad():
        layer.weight.mul_(20)
    network = nn.Sequential(layer)
    normalise_spectrally(network)
    for _ in range(300):
        weight = layer.weight
    outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    matrix = weight.detach().transpose(0, outputs).flatten(1)
    assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, abs=1e-3)
    network.eval()
    assert torch.equal(layer.weight, layer.weight)


@pytest.mark.parametrize("norm", NORMS)
def test_a_constant_added_to_an_image_survives_all_but_instance_norm(
    norm: Norm, noise: Callable[..., Tensor]
) -> None:
    layer = NORMS[norm](channels=1)
    images = noise(2, 1, 4, 4)
    images[1] = images[0] + 1
    first, second = layer(images)
    difference = (first - second).abs().max().item()
    assert difference == pytest.approx(0, abs=1e-4) if norm == "instance" else difference > 0.1
