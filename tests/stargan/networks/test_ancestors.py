"""CycleGAN's and pix2pix's generators: the same again from plain functions, and no ear for labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks import CycleGanResnet, Norm, TranslatingGenerator, build_generator
from stargan.networks.ancestors import Pix2PixUnet

Network = TypeVar("Network", bound=nn.Module)
Noise = Callable[..., Tensor]
Randomised = Callable[[Network], Network]


def resnet(norm: Norm = "instance") -> CycleGanResnet:
    return CycleGanResnet(vector_size=2, image_channels=3, width=4, blocks=2, norm=norm)


def unet(norm: Norm = "batch") -> Pix2PixUnet:
    return Pix2PixUnet(vector_size=2, image_channels=1, width=2, downsamplings=5, norm=norm)


def with_statistics(network: nn.Module) -> nn.Module:
    """Give batch norms running statistics that are not their start."""
    random = torch.Generator().manual_seed(9)
    for name, buffer in network.named_buffers():
        buffer.copy_(torch.rand(buffer.shape, generator=random) + (0.5 if name.endswith("var") else 0))
    return network


# ---- the same again, written down independently ----


def normal(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean = weights.get(f"{name}.running_mean", x.mean(dim=(2, 3), keepdim=True).squeeze(0).flatten())
    variance = weights.get(f"{name}.running_var", x.var(dim=(2, 3), correction=0).flatten())
    mean, variance, scale, shift = (
        part[None, :, None, None] for part in (mean, variance, weights[f"{name}.weight"], weights[f"{name}.bias"])
    )
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def mirrored(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = weights[f"{name}.weight"]
    side = weight.shape[-1] // 2
    padded = torch.cat([x[:, :, 1 : side + 1].flip(2), x, x[:, :, -side - 1 : -1].flip(2)], dim=2)
    padded = torch.cat([padded[..., 1 : side + 1].flip(3), padded, padded[..., -side - 1 : -1].flip(3)], dim=3)
    return functional.conv2d(padded, weight, weights.get(f"{name}.bias"))


def plain_resnet(w: dict[str, Tensor], x: Tensor, *, blocks: int) -> Tensor:
    x = normal(w, "encoder.0.norm", mirrored(w, "encoder.0.convolution", x)).relu()
    for name in ("encoder.1", "encoder.2"):
        kernel, bias = w[f"{name}.convolution.weight"], w.get(f"{name}.convolution.bias")
        x = normal(w, f"{name}.norm", functional.conv2d(x, kernel, bias, stride=2, padding=1)).relu()
    for block in range(blocks):
        name = f"blocks.{block}"
        y = normal(w, f"{name}.first.norm", mirrored(w, f"{name}.first.convolution", x)).relu()
        x = x + normal(w, f"{name}.second.norm", mirrored(w, f"{name}.second.convolution", y))
    for name in ("decoder.0", "decoder.1"):
        kernel, bias = w[f"{name}.convolution.weight"], w.get(f"{name}.convolution.bias")
        # The whole transposed convolution, cut to twice the size: one row and column off the start only.
        h, wide = 2 * x.shape[2], 2 * x.shape[3]
        x = functional.conv_transpose2d(x, kernel, bias, stride=2)[:, :, 1 : h + 1, 1 : wide + 1]
        x = normal(w, f"{name}.norm", x).relu()
    return mirrored(w, "painter", x).tanh()


def plain_unet(w: dict[str, Tensor], x: Tensor, *, depth: int) -> Tensor:
    def down(name: str, x: Tensor) -> Tensor:
        return functional.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), stride=2, padding=1)

    def up(name: str, x: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            x.clamp(min=0), w[f"{name}.weight"], w.get(f"{name}.bias"), stride=2, padding=1
        )

    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    def level(number: int, x: Tensor) -> Tensor:
        """Return a level's input joined with what it makes."""
        above = f"decoder.{depth - 1 - number}"
        if number == depth - 1:
            inner = down("bottom", leaky(x))
        else:
            name = f"encoder.{number - 1}"
            inner = level(number + 1, normal(w, f"{name}.norm", down(f"{name}.convolution", leaky(x))))
        return torch.cat([x, normal(w, f"{above}.norm", up(f"{above}.convolution", inner))], dim=1)

    return up("painter", level(1, down("stem", x))).tanh()


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_resnet_is_cyclegans(norm: Norm, noise: Noise, randomised: Randomised[CycleGanResnet]) -> None:
    generator = randomised(resnet(norm).double()).eval()
    with_statistics(generator)
    images = noise(1, 3, 16, 24, dtype=torch.float64)
    expected = plain_resnet(generator.state_dict(), images, blocks=2).float()
    torch.testing.assert_close(generator(images, torch.zeros(1, 2)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_unet_is_pix2pixs(norm: Norm, noise: Noise, randomised: Randomised[Pix2PixUnet]) -> None:
    generator = randomised(unet(norm).double()).eval()
    with_statistics(generator)
    images = noise(1, 1, 32, 64, dtype=torch.float64)
    expected = plain_unet(generator.state_dict(), images, depth=5).float()
    torch.testing.assert_close(generator(images, torch.zeros(1, 2)), expected, rtol=0, atol=1e-6)


def test_parameter_counts_are_the_published_ones() -> None:
    def count(network: nn.Module, *, norms: bool) -> int:
        named = network.named_parameters()
        return sum(weight.numel() for name, weight in named if norms or ".norm." not in name)

    with torch.device("meta"):
        # 11.378 M and 54.414 M, as the original prints them; its instance norms have no weights.
        assert count(CycleGanResnet(vector_size=1, blocks=9), norms=False) == 11_378_179
        assert count(Pix2PixUnet(vector_size=1, norm="batch"), norms=True) == 54_413_955


@pytest.mark.parametrize("make", [resnet, unet])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_labels_are_not_heard_and_arguments_rebuild_it(
    make: Callable[[Norm], TranslatingGenerator], norm: Norm, noise: Noise
) -> None:
    generator = make(norm).eval()
    assert not generator.reads_labels
    again = build_generator(json.loads(json.dumps(generator.arguments))).eval()
    assert type(again) is type(generator)
    assert again.arguments == generator.arguments
    again.load_state_dict(generator.state_dict())
    images = noise(2, generator.image_channels, 64, 32)
    made = generator(images, torch.eye(2))
    assert made.shape == images.shape
    assert torch.equal(made, again(images, torch.zeros(2, 2)))


def test_a_unet_has_levels() -> None:
    with pytest.raises(ValueError, match="at least 2 downsamplings, not 1"):
        Pix2PixUnet(vector_size=1, downsamplings=1)
