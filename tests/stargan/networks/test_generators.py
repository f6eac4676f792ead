"""The paper's generator and its variants: sizes, re-implementations, and what an output may depend on."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks import (
    Conditioning,
    Generator,
    Norm,
    OutputKind,
    Padding,
    Upsampling,
)

Network = TypeVar("Network", bound=nn.Module)
Noise = Callable[..., Tensor]
Randomised = Callable[[Network], Network]


class Variant(NamedTuple):
    """The arguments that choose what a generator is made of."""

    conditioning: Conditioning = "concat"
    output: OutputKind = "direct"
    upsampling: Upsampling = "transposed"
    norm: Norm = "instance"
    padding: Padding = "zero"
    dilation: int = 1
    spectral: bool = False
    skips: bool = False


def make(variant: Variant = Variant(), *, channels: int = 3, downsamplings: int = 2) -> Generator:  # noqa: B008 - immutable
    return Generator(
        vector_size=3, image_channels=channels, width=4, downsamplings=downsamplings, blocks=2, **variant._asdict()
    )


PAPER = Variant()
EDITOR = Variant("norm", "masked", "nearest")
RESIDUAL = Variant("norm", "residual", "nearest", padding="reflection", dilation=2, skips=True)
PLAIN = Variant("concat", "masked", norm="none", padding="reflection", spectral=True, skips=True)
BATCH = Variant("norm", "direct", norm="batch", spectral=True)
WITHOUT_BATCHES = pytest.mark.parametrize("variant", [PAPER, EDITOR, RESIDUAL, PLAIN])
ALL = pytest.mark.parametrize("variant", [PAPER, EDITOR, RESIDUAL, PLAIN, BATCH])


def test_parameter_count_is_the_papers() -> None:
    with torch.device("meta"):
        assert sum(weight.numel() for weight in Generator(vector_size=5).parameters()) == 8_430_528


# ---- the same again, written down independently ----


def plain_norm(x: Tensor) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean(dim=(2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def papers_generator(w: dict[str, Tensor], images: Tensor, vectors: Tensor) -> Tensor:
    """Table 4 of the paper, layer by layer."""

    def norm(x: Tensor, unit: str) -> Tensor:
        scale, shift = w[f"{unit}.norm.weight"], w[f"{unit}.norm.bias"]
        return plain_norm(x) * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

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


def test_the_papers_generator_agrees_with_a_plain_reimplementation(
    noise: Noise, randomised: Randomised[Generator]
) -> None:
    generator = randomised(Generator(vector_size=5, width=16).double())
    images, vectors = noise(2, 3, 32, 24, dtype=torch.float64), torch.eye(5, dtype=torch.float64)[:2]
    with torch.no_grad():
        expected = papers_generator(dict(generator.state_dict()), images, vectors)
        found = generator(images, vectors)
    assert expected.std() > 0.1
    assert (found - expected).abs().max() < 1e-6


def mirrored(x: Tensor, weight: Tensor, dilation: int = 1) -> Tensor:
    reach = weight.shape[-1] // 2 * dilation
    h, w = x.shape[2:]
    rows = [abs(i) if i < h else 2 * (h - 1) - i for i in range(-reach, h + reach)]
    columns = [abs(i) if i < w else 2 * (w - 1) - i for i in range(-reach, w + reach)]
    return functional.conv2d(x[:, :, rows][:, :, :, columns], weight, dilation=dilation)


def test_a_residual_u_net_agrees_with_a_plain_reimplementation(
    noise: Noise, randomised: Randomised[Generator]
) -> None:
    """Everything that the paper's has not: FiLM, reflection, dilation, skips, nearest upsampling, residual."""
    generator = randomised(make(RESIDUAL).double())
    w: dict[str, Tensor] = generator.state_dict()
    images, vectors = noise(2, 3, 16, 24, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[:2]

    def norm(x: Tensor, unit: str) -> Tensor:
        scale, shift = w[f"{unit}.norm.weight"], w[f"{unit}.norm.bias"]
        if f"{unit}.norm.modulation.weight" in w:
            told = vectors @ w[f"{unit}.norm.modulation.weight"].T
            scale, shift = scale + told[:, : len(scale)], shift + told[:, len(scale) :]
            return plain_norm(x) * scale[..., None, None] + shift[..., None, None]
        return plain_norm(x) * scale[:, None, None] + shift[:, None, None]

    with torch.no_grad():
        full = norm(mirrored(images, w["encoder.0.convolution.weight"]), "encoder.0").relu()
        half = functional.conv2d(full, w["encoder.1.convolution.weight"], stride=2, padding=1)
        half = norm(half, "encoder.1").relu()
        x = functional.conv2d(half, w["encoder.2.convolution.weight"], stride=2, padding=1)
        x = norm(x, "encoder.2").relu()
        for first, second in (("blocks.0.first", "blocks.0.second"), ("blocks.1.first", "blocks.1.second")):
            h = norm(mirrored(x, w[f"{first}.convolution.weight"], 2), first).relu()
            x = x + norm(mirrored(h, w[f"{second}.convolution.weight"], 2), second)
        for i, skip in enumerate((half, full)):
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = functional.conv2d(x, w[f"decoder.{i}.convolution.1.weight"], padding=1) + skip
            x = norm(x, f"decoder.{i}").relu()
        change = 2 * mirrored(x, w["painter.weight"]).tanh()
        expected = (images + change).clamp(-1, 1)
        found = generator(images, vectors)
    assert change.std() > 0.1
    assert 0.01 < (expected.abs() == 1).double().mean() < 0.9
    assert (found - expected).abs().max() < 1e-6


# ---- sizes ----


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("output", ["direct", "masked", "residual"])
@pytest.mark.parametrize("conditioning", ["concat", "norm"])
def test_every_combination_keeps_the_shape_and_the_range(
    conditioning: Conditioning, output: OutputKind, norm: Norm, noise: Noise
) -> None:
    images, vectors = noise(2, 3, 12, 20), torch.eye(3)[:2]
    for upsampling, padding, spectral, skips in itertools.product(
        ("transposed", "nearest"), ("zero", "reflection"), (False, True), (False, True)
    ):
        generator = make(Variant(conditioning, output, upsampling, norm, padding, 2, spectral, skips))  # type: ignore[arg-type]
        translated, mask = generator.translate(images, vectors)
        assert translated.shape == images.shape
        assert translated.abs().max() <= 1
        assert (mask is not None) == (output == "masked")
        assert mask is None or mask.shape == (2, 1, 12, 20)


@ALL
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("height", "width", "halvings"), [(28, 28, 2), (12, 20, 2), (16, 32, 3), (7, 5, 0)])
def test_any_channels_and_sizes_that_the_downsamplings_divide(
    variant: Variant, channels: int, height: int, width: int, halvings: int, noise: Noise
) -> None:
    images = noise(2, channels, height, width)
    generator = make(variant._replace(dilation=1), channels=channels, downsamplings=halvings)
    assert generator(images, torch.eye(3)[:2]).shape == images.shape


# ---- what an output depends on ----


@WITHOUT_BATCHES
def test_train_and_eval_are_equal(variant: Variant, noise: Noise, randomised: Randomised[Generator]) -> None:
    generator = randomised(make(variant._replace(spectral=False)))
    images, vectors = noise(2, 3, 16, 16), torch.eye(3)[:2]
    trained = [generator.train()(images, vectors) for _ in range(3)][-1]
    assert torch.equal(generator.eval()(images, vectors), trained)
    assert not list(generator.buffers())


def test_batch_norm_learns_its_statistics(noise: Noise) -> None:
    generator = make(Variant("norm", norm="batch"))
    images, vectors = noise(2, 3, 16, 16), torch.eye(3)[:2]
    before = generator.eval()(images, vectors)
    for _ in range(100):
        trained = generator.train()(images, vectors)
    after = generator.eval()(images, vectors)
    # The running variance is unbiased, the batch's is not: they differ by up to 3 % a layer.
    assert (after - trained).abs().mean() < 0.1 * (before - trained).abs().mean()
    assert all(torch.isfinite(buffer).all() for buffer in generator.buffers())
    alone = generator(images[:1], vectors[:1])
    torch.testing.assert_close(alone, after[:1], rtol=0, atol=1e-5)


@WITHOUT_BATCHES
def test_an_output_does_not_depend_on_the_batch(
    variant: Variant, noise: Noise, randomised: Randomised[Generator]
) -> None:
    generator = randomised(make(variant)).eval()
    images, vectors = noise(5, 3, 16, 16), torch.eye(3)[[0, 1, 2, 1, 0]]
    together = generator(images, vectors)
    for i in range(5):
        alone = generator(images[i : i + 1], vectors[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-5)


@ALL
def test_the_vector_matters(variant: Variant, noise: Noise, randomised: Randomised[Generator]) -> None:
    generator = randomised(make(variant)).eval()
    image = noise(1, 3, 16, 16)
    first, second = (generator(image, torch.eye(3)[i : i + 1]) for i in (0, 1))
    assert (first - second).abs().max() > 1e-3


def test_reflected_planes_are_removed_by_instance_norm(noise: Noise, randomised: Randomised[Generator]) -> None:
    """Why `check_networks` refuses this combination, and no other of concat and reflection."""
    image = noise(1, 3, 16, 16)
    for norm, padding, obeys in (
        ("instance", "reflection", False),
        ("instance", "zero", True),
        ("none", "reflection", True),
        ("batch", "reflection", True),
    ):
        generator = randomised(make(Variant(norm=norm, padding=padding))).double().eval()  # type: ignore[arg-type]
        first, second = (generator(image.double(), torch.eye(3).double()[i : i + 1]) for i in (0, 1))
        difference = (first - second).abs().max()
        assert difference > 1e-3 if obeys else difference < 1e-6


def test_with_norm_conditioning_the_encoder_ignores_the_vector(noise: Noise) -> None:
    for variant in (EDITOR, RESIDUAL):
        generator = make(variant)
        images = noise(1, 3, 16, 16)
        first, second = torch.eye(3)[:1], torch.eye(3)[1:2]
        features = generator.encode(images, first)
        for found, expected in zip(features, generator.encode(images, second), strict=True):
            assert torch.equal(found, expected)
        assert torch.equal(generator.paint(features, images, second)[0], generator(images, second))


def test_features_end_with_the_bottleneck(noise: Noise) -> None:
    images, vectors = noise(2, 3, 16, 24), torch.eye(3)[:2]
    without = make(EDITOR).encode(images, vectors)
    assert [tuple(x.shape) for x in without] == [(2, 16, 4, 6)]
    features = make(EDITOR._replace(skips=True)).encode(images, vectors)
    assert [tuple(x.shape) for x in features] == [(2, 4, 16, 24), (2, 8, 8, 12), (2, 16, 4, 6)]


def test_skips_bring_what_the_bottleneck_lost(noise: Noise) -> None:
    generator = make(RESIDUAL._replace(output="direct"))
    images, vectors = noise(1, 3, 16, 16), torch.eye(3)[:1]
    *skips, bottleneck = generator.encode(images, vectors)
    whole = generator.paint((*skips, bottleneck), images, vectors)[0]
    for i in range(len(skips)):
        lacking = [torch.zeros_like(x) if i == j else x for j, x in enumerate(skips)]
        assert (generator.paint((*lacking, bottleneck), images, vectors)[0] - whole).abs().max() > 0.01


# ---- outputs ----


def test_a_closed_mask_returns_the_input(noise: Noise, randomised: Randomised[Generator]) -> None:
    generator = randomised(make(Variant(output="masked")))
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


def test_a_new_mask_starts_open(noise: Noise) -> None:
    _, mask = make(Variant(output="masked")).translate(noise(1, 3, 16, 16), torch.eye(3)[:1])
    assert mask is not None
    assert mask.mean().item() == pytest.approx(0.73, abs=0.15)


def test_no_change_returns_the_input_and_a_large_one_stays_in_range(noise: Noise) -> None:
    generator = make(RESIDUAL)
    images, vectors = noise(2, 3, 16, 16), torch.eye(3)[:2]
    images[0, :, :4], images[0, :, 4:8] = -1, 1
    nn.init.zeros_(generator.painter.weight)
    assert torch.equal(generator(images, vectors), images)
    # What the painter reads is never negative, so that large weights saturate the change at 2 or at 0.
    nn.init.constant_(generator.painter.weight, 1e6)
    translated = generator(images, vectors)
    assert translated.max() == 1
    assert (translated == 1).float().mean() > 0.99


@pytest.mark.parametrize("spectral", [False, True])
def test_a_new_residual_generator_is_nearly_the_identity_and_can_learn(spectral: bool, noise: Noise) -> None:
    generator = make(RESIDUAL._replace(spectral=spectral))
    images, vectors = 0.9 * noise(2, 3, 16, 16), torch.eye(3)[:2]
    translated = generator(images, vectors)
    assert 0 < (translated - images).abs().max() < 0.1
    translated.square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in generator.parameters())


# ---- kept and copied ----


@ALL
def test_copies_and_files_translate_alike(
    variant: Variant, noise: Noise, randomised: Randomised[Generator]
) -> None:
    generator = randomised(make(variant))
    images, vectors = noise(2, 3, 16, 16), torch.eye(3)[:2]
    generator(images, vectors)  # moves the buffers
    copied = copy.deepcopy(generator).requires_grad_(False).eval()
    loaded = make(variant).eval()
    loaded.load_state_dict(load(save(generator.state_dict())))
    expected = generator.eval()(images, vectors)
    assert torch.equal(copied(images, vectors), expected)
    assert torch.equal(loaded(images, vectors), expected)
    with torch.no_grad():
        for weight in generator.parameters():
            weight.add_(0.1)
    assert torch.equal(copied(images, vectors), expected)
    assert not torch.equal(generator(images, vectors), expected)


def test_spectral_norm_reaches_every_layer() -> None:
    generator = make(BATCH)
    layers = [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    assert len(layers) == 3 + 2 * 2 * 2 + 2 * 2 + 1
    for layer in layers:
        for _ in range(100):
            weight = layer.weight.detach()
        matrix = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
        assert torch.linalg.matrix_norm(matrix.flatten(1), 2).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("variant", [EDITOR, RESIDUAL, BATCH, PLAIN])
def test_outputs_are_float32_under_autocast(variant: Variant, noise: Noise) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        translated, mask = make(variant).translate(noise(2, 3, 16, 16), torch.eye(3)[:2])
    assert translated.dtype == torch.float32
    assert mask is None or mask.dtype == torch.float32
