"""The networks: sizes, an independent re-implementation, and what an output may depend on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks import (
    Conditioning,
    Generator,
    InstanceNorm,
    Output,
    PatchDiscriminator,
    Upsampling,
    check_sizes,
)

Network = TypeVar("Network", bound=nn.Module)


@pytest.fixture(autouse=True)
def same_weights() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def randomised(network: Network) -> Network:
    """Move every weight away from its start, so that norms scale and shift."""
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=random, dtype=weight.dtype))
    return network


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(6), dtype=dtype) * 2 - 1


def test_parameter_counts_are_the_papers() -> None:
    with torch.device("meta"):
        assert parameters(Generator(vector_size=5)) == 8_430_528
        assert parameters(PatchDiscriminator(vector_size=5, image_size=(128, 128))) == 44_762_048


def reference_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=(2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def reference_generator(w: dict[str, Tensor], images: Tensor, vectors: Tensor) -> Tensor:
    """Table 4 of the paper, layer by layer."""

    def norm(x: Tensor, unit: str) -> Tensor:
        return reference_norm(x, w[f"{unit}.norm.weight"], w[f"{unit}.norm.bias"])

    n, _, height, width = images.shape
    planes = torch.ones(n, vectors.shape[1], height, width, dtype=images.dtype) * vectors.view(n, -1, 1, 1)
    x = torch.cat([images, planes], 1)
    x = norm(functional.conv2d(x, w["encoder.0.convolution.weight"], padding=3), "encoder.0").relu()
    for i in (1, 2):
        x = functional.conv2d(x, w[f"encoder.{i}.convolution.weight"], stride=2, padding=1)
        x = norm(x, f"encoder.{i}").relu()
    for i in range(6):
        first, second = f"blocks.{i}.first", f"blocks.{i}.second"
        h = norm(functional.conv2d(x, w[f"{first}.convolution.weight"], padding=1), first).relu()
        x = x + norm(functional.conv2d(h, w[f"{second}.convolution.weight"], padding=1), second)
    for i in (0, 1):
        x = functional.conv_transpose2d(x, w[f"decoder.{i}.convolution.weight"], stride=2, padding=1)
        x = norm(x, f"decoder.{i}").relu()
    return functional.conv2d(x, w["painter.weight"], padding=3).tanh()


def test_generator_agrees_with_a_plain_reimplementation() -> None:
    generator = randomised(Generator(vector_size=5).double())
    images, vectors = noise(2, 3, 32, 32, dtype=torch.float64), torch.eye(5, dtype=torch.float64)[:2]
    with torch.no_grad():
        expected = reference_generator(dict(generator.state_dict()), images, vectors)
        found = generator(images, vectors)
    assert expected.std() > 0.1
    assert (found - expected).abs().max() < 1e-6


def test_discriminator_agrees_with_a_plain_reimplementation() -> None:
    with torch.no_grad():
        discriminator = PatchDiscriminator(vector_size=5, image_size=(128, 128)).double()
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


def tiny(
    *,
    channels: int = 3,
    downsamplings: int = 2,
    conditioning: Conditioning = "concat",
    output: Output = "direct",
    upsampling: Upsampling = "transposed",
) -> Generator:
    return randomised(
        Generator(
            vector_size=3,
            image_channels=channels,
            width=4,
            downsamplings=downsamplings,
            blocks=2,
            conditioning=conditioning,
            output=output,
            upsampling=upsampling,
        )
    )


VARIANTS = pytest.mark.parametrize(
    ("conditioning", "output", "upsampling"),
    [("concat", "direct", "transposed"), ("norm", "masked", "nearest"), ("norm", "direct", "transposed")],
)


@VARIANTS
def test_train_and_eval_are_equal(conditioning: Conditioning, output: Output, upsampling: Upsampling) -> None:
    generator = tiny(conditioning=conditioning, output=output, upsampling=upsampling)
    images, vectors = noise(2, 3, 16, 16), torch.eye(3)[:2]
    trained = [generator.train()(images, vectors) for _ in range(3)][-1]
    assert torch.equal(generator.eval()(images, vectors), trained)
    assert not list(generator.buffers())
    discriminator = PatchDiscriminator(vector_size=3, image_size=(16, 16), width=4, depth=2)
    before, after = discriminator.train()(images, vectors), discriminator.eval()(images, vectors)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


@VARIANTS
def test_an_output_does_not_depend_on_the_batch(
    conditioning: Conditioning, output: Output, upsampling: Upsampling
) -> None:
    generator = tiny(conditioning=conditioning, output=output, upsampling=upsampling)
    images, vectors = noise(5, 3, 16, 16), torch.eye(3)[[0, 1, 2, 1, 0]]
    together = generator(images, vectors)
    for i in range(5):
        alone = generator(images[i : i + 1], vectors[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


@VARIANTS
def test_the_vector_matters(conditioning: Conditioning, output: Output, upsampling: Upsampling) -> None:
    generator = tiny(conditioning=conditioning, output=output, upsampling=upsampling)
    image = noise(1, 3, 16, 16)
    first, second = (generator(image, torch.eye(3)[i : i + 1]) for i in (0, 1))
    assert (first - second).abs().max() > 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "halvings"), [(16, 16, 2), (12, 20, 2), (8, 24, 3), (7, 5, 0)])
@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_any_size_that_the_depths_divide(
    channels: int, height: int, width: int, halvings: int, upsampling: Upsampling
) -> None:
    check_sizes(image_size=(height, width), downsamplings=halvings, depth=halvings)
    images = noise(2, channels, height, width)
    generator = tiny(channels=channels, downsamplings=halvings, upsampling=upsampling)
    translated = generator(images, torch.eye(3)[:2])
    assert translated.shape == images.shape
    assert translated.abs().max() <= 1
    discriminator = PatchDiscriminator(
        vector_size=3, image_size=(height, width), image_channels=channels, width=4, depth=max(halvings, 1)
    )
    if halvings:
        scores, logits = discriminator(translated, torch.eye(3)[:2])
        assert scores.shape == (2, 1, height >> halvings, width >> halvings)
        assert logits.shape == (2, 3)


def test_a_closed_mask_returns_the_input() -> None:
    generator = tiny(output="masked")
    assert generator.masker is not None
    assert generator.masker.bias is not None
    images, vectors = noise(2, 3, 16, 16), torch.eye(3)[:2]
    nn.init.zeros_(generator.masker.weight)
    nn.init.constant_(generator.masker.bias, -1e4)
    translated, mask = generator.translate(images, vectors)
    assert mask is not None
    assert mask.shape == (2, 1, 16, 16)
    assert mask.abs().max() == 0
    assert torch.equal(translated, images)
    nn.init.constant_(generator.masker.bias, 1e4)
    painted, open_mask = generator.translate(images, vectors)
    assert open_mask is not None
    assert open_mask.min() == 1
    assert (painted - images).abs().mean() > 0.1


def test_a_new_mask_starts_open() -> None:
    generator = Generator(vector_size=3, width=4, blocks=1, output="masked")
    _, mask = generator.translate(noise(1, 3, 16, 16), torch.eye(3)[:1])
    assert mask is not None
    assert mask.mean().item() == pytest.approx(0.73, abs=0.15)


def test_the_norm_by_hand() -> None:
    norm = InstanceNorm(channels=1, vector_size=2)
    assert norm.modulation is not None
    with torch.no_grad():
        norm.weight.fill_(2.0)
        norm.bias.fill_(0.5)
        norm.modulation.weight.copy_(torch.tensor([[1.0, -3.0], [0.25, 0.0]]))
    features = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    # Mean 2, variance 1: -1 and 1. Vector (1, 0): scale 2 + 1, shift 0.5 + 0.25 -> -2.25, 3.75.
    # Vector (0, 1): scale 2 - 3, shift 0.5 -> 1.5, -0.5.
    for vector, expected in (((1.0, 0.0), [-2.25, 3.75]), ((0.0, 1.0), [1.5, -0.5])):
        found = norm(features, torch.tensor([vector])).flatten().tolist()
        assert found == pytest.approx(expected, abs=1e-4)


def test_with_norm_conditioning_the_encoder_ignores_the_vector() -> None:
    generator = tiny(conditioning="norm")
    images = noise(1, 3, 16, 16)
    first, second = torch.eye(3)[:1], torch.eye(3)[1:2]
    features = generator.encode(images, first)
    assert torch.equal(features, generator.encode(images, second))
    assert torch.equal(generator.paint(features, images, second)[0], generator(images, second))


def test_arguments_rebuild_the_networks() -> None:
    generator = tiny(channels=1, conditioning="norm", output="masked", upsampling="nearest")
    again = Generator(**generator.arguments)
    again.load_state_dict(generator.state_dict())
    images, vectors = noise(1, 1, 8, 8), torch.eye(3)[:1]
    assert torch.equal(again(images, vectors), generator(images, vectors))
    discriminator = PatchDiscriminator(
        vector_size=2, image_size=(8, 16), image_channels=1, width=4, depth=2, matches=True
    )
    PatchDiscriminator(**discriminator.arguments).load_state_dict(discriminator.state_dict())


def test_matching_adds_a_projection_of_the_domain() -> None:
    discriminator = PatchDiscriminator(vector_size=2, image_size=(16, 8), width=4, depth=2, matches=True)
    assert discriminator.match_head is not None
    images = noise(3, 3, 16, 8)
    plain = discriminator.source_head(discriminator.features(images))
    no, yes = discriminator.match_head(discriminator.features(images)).split(1, dim=1)
    for vector, expected in (((0.0, 0.0), plain), ((1.0, 0.0), plain + no), ((-1.0, 1.0), plain - no + yes)):
        scores, _ = discriminator(images, torch.tensor([vector] * 3))
        torch.testing.assert_close(scores, expected)


def test_the_papers_discriminator_ignores_the_domain() -> None:
    discriminator = PatchDiscriminator(vector_size=2, image_size=(16, 8), width=4, depth=2)
    images = noise(1, 3, 16, 8)
    first, second = (discriminator(images, torch.eye(2)[i : i + 1])[0] for i in (0, 1))
    assert torch.equal(first, second)


def test_outputs_are_float32_under_autocast() -> None:
    discriminator = PatchDiscriminator(vector_size=3, image_size=(16, 16), width=4, depth=2)
    with torch.autocast("cpu", torch.bfloat16):
        translated, mask = tiny(output="masked").translate(noise(1, 3, 16, 16), torch.eye(3)[:1])
        scores, logits = discriminator(translated, torch.eye(3)[:1])
    assert mask is not None
    assert {t.dtype for t in (translated, mask, scores, logits)} == {torch.float32}


@pytest.mark.parametrize(
    ("image_size", "downsamplings", "depth", "message"),
    [
        (
            (48, 48),
            2,
            6,
            r"discriminator\.depth = 6 halves an image side of 48 px more often .* at most 4, or another",
        ),
        ((128, 100), 3, 2, r"generator\.downsamplings = 3 halves an image side of 100 px .* at most 2"),
        ((15, 16), 1, 1, r"generator\.downsamplings = 1 halves an image side of 15 px .* at most 0"),
        ((4, 4), 2, 1, r"generator\.downsamplings = 2 shrinks an image of 4 x 4 px to one pixel.* at most 1"),
    ],
)
def test_sizes_that_do_not_fit(image_size: tuple[int, int], downsamplings: int, depth: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_sizes(image_size=image_size, downsamplings=downsamplings, depth=depth)


def test_sizes_that_fit() -> None:
    check_sizes(image_size=(64, 64), downsamplings=2, depth=6)
    check_sizes(image_size=(96, 160), downsamplings=3, depth=5)
    check_sizes(image_size=(4, 8), downsamplings=2, depth=2)
