"""Both discriminators: sizes, independent re-implementations, and what a score may depend on."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks import Discriminator, Norm, PatchDiscriminator, StridedConvolution
from stargan.networks.discriminators import DcganDiscriminator

Network = TypeVar("Network", bound=nn.Module)
Noise = Callable[..., Tensor]
Randomised = Callable[[Network], Network]

KINDS = pytest.mark.parametrize("kind", [PatchDiscriminator, DcganDiscriminator])
Kind = type[PatchDiscriminator] | type[DcganDiscriminator]


def test_parameter_count_is_the_papers() -> None:
    with torch.device("meta"):
        discriminator = PatchDiscriminator(vector_size=5, image_size=(128, 128))
    assert sum(weight.numel() for weight in discriminator.parameters()) == 44_762_048


def test_patch_agrees_with_a_plain_reimplementation(noise: Noise) -> None:
    """Table 5 of the paper, layer by layer."""
    with torch.no_grad():
        discriminator = PatchDiscriminator(vector_size=5, image_size=(128, 128), width=16).double()
        for weight in discriminator.parameters():
            weight.mul_(1.5)  # so that scores are far from zero
        x = images = noise(1, 3, 128, 128, dtype=torch.float64)
        w = discriminator.state_dict()
        for i in range(6):
            weight, bias = w[f"features.{2 * i}.weight"], w[f"features.{2 * i}.bias"]
            x = functional.conv2d(x, weight, bias, stride=2, padding=1)
            x = torch.where(x > 0, x, 0.01 * x)
        expected_scores = functional.conv2d(x, w["source_head.weight"], padding=1)
        expected_logits = (x.flatten(1)[:, None] * w["domain_head.weight"].flatten(1)).sum(2)
        scores, logits = discriminator(images, torch.zeros(1, 5))
    assert scores.shape == (1, 1, 2, 2)
    assert logits.shape == (1, 5)
    assert expected_logits.abs().max() > 0.01
    assert (scores - expected_scores).abs().max() < 1e-6
    assert (logits - expected_logits).abs().max() < 1e-6


def test_dcgan_agrees_with_a_plain_reimplementation(noise: Noise, randomised: Randomised[nn.Module]) -> None:
    discriminator = randomised(
        DcganDiscriminator(
            vector_size=3, image_size=(16, 24), image_channels=1, width=4, depth=3, matches=True, norm="batch"
        ).double()
    )
    w = discriminator.state_dict()
    images, wanted = noise(4, 1, 16, 24, dtype=torch.float64), torch.tensor([[1.0, -1.0, 0.0]] * 4).double()
    # The first convolution has a bias and no norm: layers 0 (conv), 1 (leak), 2 (conv), 3 (norm), 4 (leak), ...
    with torch.no_grad():
        x = functional.conv2d(images, w["features.0.weight"], w["features.0.bias"], stride=2, padding=1)
        x = torch.where(x > 0, x, 0.2 * x)
        for i in (2, 5):
            x = functional.conv2d(x, w[f"features.{i}.weight"], stride=2, padding=1)
            mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
            x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
            x = x * w[f"features.{i + 1}.weight"][:, None, None] + w[f"features.{i + 1}.bias"][:, None, None]
            x = torch.where(x > 0, x, 0.2 * x)
        flat = x.flatten(1)
        expected_scores = flat @ w["source_head.weight"].T + w["source_head.bias"]
        expected_scores += (wanted * (flat @ w["match_head.weight"].T)).sum(1, keepdim=True)
        expected_logits = flat @ w["domain_head.weight"].T + w["domain_head.bias"]
        scores, logits = discriminator.train()(images, wanted)
    assert scores.shape == (4, 1, 1, 1)
    assert expected_scores.std() > 0.01
    assert (scores.flatten() - expected_scores.flatten()).abs().max() < 1e-6
    assert (logits - expected_logits).abs().max() < 1e-6


@KINDS
@pytest.mark.parametrize("norm", ["none", "instance", "batch"])
@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize(("channels", "size", "depth"), [(1, (28, 28), 2), (3, (16, 8), 2), (5, (8, 24), 3)])
def test_any_channels_and_sizes_that_the_depth_divides(
    kind: Kind, norm: Norm, spectral: bool, channels: int, size: tuple[int, int], depth: int, noise: Noise
) -> None:
    discriminator = kind(
        vector_size=3,
        image_size=size,
        image_channels=channels,
        width=4,
        depth=depth,
        matches=True,
        norm=norm,
        spectral=spectral,
    )
    images, wanted = noise(2, channels, *size), torch.eye(3)[:2]
    scores, logits = discriminator(images, wanted)
    patches = (size[0] >> depth, size[1] >> depth) if kind is PatchDiscriminator else (1, 1)
    assert scores.shape == (2, 1, *patches)
    assert logits.shape == (2, 3)
    assert sum("running" in name for name, _ in discriminator.named_buffers()) == (
        2 * (depth - 1) if norm == "batch" else 0
    )


@KINDS
def test_inner_activations_feed_each_other_and_the_heads(kind: Kind, noise: Noise) -> None:
    discriminator = kind(vector_size=3, image_size=(16, 16), width=4, depth=3, norm="instance", matches=True)
    images, wanted = noise(2, 3, 16, 16), torch.eye(3)[:2]
    inner = discriminator.inner(images, wanted)
    assert [tuple(x.shape) for x in inner] == [(2, 4, 8, 8), (2, 8, 4, 4), (2, 16, 2, 2)]
    convolutions = [layer for layer in discriminator.features if isinstance(layer, nn.Conv2d)]
    leak = 0.01 if kind is PatchDiscriminator else 0.2
    for (before, after), convolution in zip(pairwise((images, *inner)), convolutions, strict=True):
        x = convolution(before)
        if convolution is not convolutions[0]:
            x = functional.instance_norm(x)
        torch.testing.assert_close(after, functional.leaky_relu(x, leak))
    for found, expected in zip(discriminator.heads(inner[-1], wanted), discriminator(images, wanted), strict=True):
        assert torch.equal(found, expected)


@KINDS
@pytest.mark.parametrize("norm", ["none", "instance"])
def test_train_and_eval_are_equal_and_images_stand_alone(kind: Kind, norm: Norm, noise: Noise) -> None:
    discriminator = kind(vector_size=3, image_size=(16, 16), width=4, depth=2, norm=norm)
    images, wanted = noise(3, 3, 16, 16), torch.eye(3)
    before, after = discriminator.train()(images, wanted), discriminator.eval()(images, wanted)
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    alone = discriminator(images[1:2], wanted[1:2])
    for x, y in zip(before, alone, strict=True):
        torch.testing.assert_close(x[1:2], y, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n", "channels", "size"), [(1, 64, (2, 2)), (3, 96, (4, 6)), (2, 64, (2, 12))])
@pytest.mark.parametrize("bias", [False, True])
def test_small_maps_are_convolved_as_matrix_products(
    n: int, channels: int, size: tuple[int, int], bias: bool, noise: Noise
) -> None:
    """The same numbers in both directions and in the gradient of a gradient, which the penalties need."""
    layer = StridedConvolution(5, channels, bias=bias).double()

    def numbers(plain: bool) -> list[Tensor]:
        layer.always_convolves = plain
        images = noise(n, 5, *size, dtype=torch.float64).requires_grad_()
        made = layer(images)
        (slope,) = torch.autograd.grad(made.square().sum(), images, create_graph=True)
        return [made, slope, *torch.autograd.grad(slope.square().sum(), [images, *layer.parameters()])]

    found, wanted = numbers(plain=False), numbers(plain=True)
    assert found[0].shape == (n, channels, size[0] // 2, size[1] // 2)
    assert found[0].grad_fn.name() != wanted[0].grad_fn.name()  # type: ignore[union-attr]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def projected(discriminator: Discriminator, layer: nn.Conv2d | nn.Linear | None, images: Tensor) -> Tensor:
    assert layer is not None
    last = discriminator.inner(images, images)[-1]
    found: Tensor = layer(last if isinstance(layer, nn.Conv2d) else last.flatten(1))
    return found


@KINDS
def test_matching_adds_a_projection_of_the_domain(kind: Kind, noise: Noise) -> None:
    discriminator = kind(vector_size=2, image_size=(16, 8), width=4, depth=2, matches=True)
    images = noise(3, 3, 16, 8)
    plain = projected(discriminator, discriminator.source_head, images)
    no, yes = projected(discriminator, discriminator.match_head, images).chunk(2, dim=1)
    for vector, expected in (((0.0, 0.0), plain), ((1.0, 0.0), plain + no), ((-1.0, 1.0), plain - no + yes)):
        scores, _ = discriminator(images, torch.tensor([vector] * 3))
        torch.testing.assert_close(scores, expected.view_as(scores))


@KINDS
def test_without_matching_the_domain_is_not_read(kind: Kind, noise: Noise) -> None:
    discriminator = kind(vector_size=2, image_size=(16, 8), width=4, depth=2)
    images = noise(1, 3, 16, 8)
    first, second = (discriminator(images, torch.eye(2)[i : i + 1])[0] for i in (0, 1))
    assert torch.equal(first, second)


@KINDS
def test_spectral_norm_reaches_every_layer_and_both_penalties_pass(kind: Kind, noise: Noise) -> None:
    discriminator = kind(
        vector_size=3, image_size=(16, 16), width=4, depth=2, spectral=True, norm="instance", matches=True
    )
    images, wanted = noise(2, 3, 16, 16).requires_grad_(), torch.eye(3)[:2]
    for _ in range(30):
        discriminator(images, wanted)
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.01)
    # Two passes ahead of one backward, and a gradient of a gradient.
    real, fake = discriminator(images, wanted)[0], discriminator(images + 1, wanted)[0]
    (gradient,) = torch.autograd.grad(real.sum(), images, create_graph=True)
    (gradient.square().sum() + fake.mean()).backward()
    original = dict(discriminator.named_parameters())["features.0.parametrizations.weight.original"]
    assert original.grad is not None
    assert original.grad.abs().max() > 0


@KINDS
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_outputs_are_float32_under_autocast(kind: Kind, norm: Norm, noise: Noise) -> None:
    discriminator = kind(
        vector_size=3, image_size=(16, 16), width=4, depth=2, matches=True, norm=norm, spectral=True
    )
    with torch.autocast("cpu", torch.bfloat16):
        scores, logits = discriminator(noise(2, 3, 16, 16), torch.eye(3)[:2])
    assert {scores.dtype, logits.dtype} == {torch.float32}
