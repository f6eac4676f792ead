"""The encoder-decoder: sizes, an independent re-implementation, and what an output may depend on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks import Norm, OutputKind
from stargan.networks.encoder_decoder import EncoderDecoder

Network = TypeVar("Network", bound=nn.Module)
Noise = Callable[..., Tensor]
Randomised = Callable[[Network], Network]


def digits(*, norm: Norm = "batch", output: OutputKind = "direct", spectral: bool = False) -> EncoderDecoder:
    return EncoderDecoder(
        vector_size=2,
        image_size=(28, 28),
        image_channels=1,
        width=4,
        latent=16,
        norm=norm,
        output=output,
        spectral=spectral,
    )


def test_it_agrees_with_a_plain_reimplementation(noise: Noise, randomised: Randomised[EncoderDecoder]) -> None:
    generator = randomised(digits().double())
    w: dict[str, Tensor] = generator.state_dict()
    images, vectors = noise(4, 1, 28, 28, dtype=torch.float64), torch.eye(2, dtype=torch.float64)[[0, 1, 1, 0]]

    def unit(x: Tensor, name: str) -> Tensor:
        mean, variance = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        x = x * w[f"{name}.norm.weight"][:, None, None] + w[f"{name}.norm.bias"][:, None, None]
        return x.clamp(min=0)

    with torch.no_grad():
        x = images
        for name in ("encoder.0", "encoder.1"):
            x = unit(functional.conv2d(x, w[f"{name}.convolution.weight"], stride=2, padding=1), name)
        assert x.shape == (4, 8, 7, 7)
        latent = (x.flatten(1) @ w["squeeze.weight"].T + w["squeeze.bias"]).clamp(min=0)
        joined = torch.cat([latent, vectors], dim=1)
        x = (joined @ w["decoder.0.convolution.0.weight"].T).reshape(4, 8, 7, 7)
        x = unit(x, "decoder.0")
        x = functional.conv_transpose2d(x, w["decoder.1.convolution.weight"], stride=2, padding=1)
        x = unit(x, "decoder.1")
        x = functional.conv_transpose2d(x, w["painter.weight"], w["painter.bias"], stride=2, padding=1)
        expected = x.tanh()
        found = generator.train()(images, vectors)
    assert latent.shape == (4, 16)
    assert expected.std() > 0.05
    assert (found - expected).abs().max() < 1e-6


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("output", ["direct", "masked", "residual"])
@pytest.mark.parametrize(
    ("channels", "size", "downsamplings"), [(1, (28, 28), 2), (3, (16, 24), 3), (5, (6, 2), 1)]
)
def test_any_channels_and_sizes_that_the_downsamplings_divide(
    norm: Norm, output: OutputKind, channels: int, size: tuple[int, int], downsamplings: int, noise: Noise
) -> None:
    for spectral in (False, True):
        generator = EncoderDecoder(
            vector_size=3,
            image_size=size,
            image_channels=channels,
            width=4,
            downsamplings=downsamplings,
            output=output,
            norm=norm,
            spectral=spectral,
            latent=8,
        )
        images = noise(2, channels, *size)
        translated, mask = generator.translate(images, torch.eye(3)[:2])
        assert translated.shape == images.shape
        assert translated.abs().max() <= 1
        assert (mask is not None) == (output == "masked")
        assert mask is None or mask.shape == (2, 1, *size)


def test_the_encoder_ignores_the_vector_and_the_output_does_not(
    noise: Noise, randomised: Randomised[EncoderDecoder]
) -> None:
    generator = randomised(digits()).eval()
    images = noise(1, 1, 28, 28)
    first, second = torch.eye(2)[:1], torch.eye(2)[1:]
    (latent,) = generator.encode(images, first)
    assert latent.shape == (1, 16)
    assert latent.min() >= 0
    assert torch.equal(latent, generator.encode(images, second)[-1])
    assert torch.equal(generator.paint((latent,), images, second)[0], generator(images, second))
    assert (generator(images, first) - generator(images, second)).abs().max() > 1e-3


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_train_and_eval_are_equal(norm: Norm, noise: Noise) -> None:
    generator = digits(norm=norm)
    images, vectors = noise(2, 1, 28, 28), torch.eye(2)
    assert torch.equal(generator.train()(images, vectors), generator.eval()(images, vectors))
    assert not list(generator.buffers())


def test_no_change_returns_the_input(noise: Noise) -> None:
    images, vectors = noise(2, 1, 28, 28), torch.eye(2)
    masked, residual = digits(output="masked"), digits(output="residual")
    assert (residual(images, vectors) - images).abs().max() < 0.1
    assert masked.masker is not None
    for layer in (masked.masker, residual.painter):
        assert layer.bias is not None
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, -1e4 if layer is masked.masker else 0.0)
    assert torch.equal(masked(images, vectors), images)
    assert torch.equal(residual(images, vectors), images)


@pytest.mark.parametrize("spectral", [False, True])
def test_copies_and_files_translate_alike(spectral: bool, noise: Noise) -> None:
    generator = digits(spectral=spectral)
    images, vectors = noise(2, 1, 28, 28), torch.eye(2)
    generator(images, vectors)  # moves the buffers
    copied, loaded = copy.deepcopy(generator).eval(), digits(spectral=spectral).eval()
    loaded.load_state_dict(load(save(generator.state_dict())))
    expected = generator.eval()(images, vectors)
    assert torch.equal(copied(images, vectors), expected)
    assert torch.equal(loaded(images, vectors), expected)


def test_outputs_are_float32_under_autocast(noise: Noise) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        translated, mask = digits(output="masked", spectral=True).translate(noise(2, 1, 28, 28), torch.eye(2))
    assert mask is not None
    assert {translated.dtype, mask.dtype} == {torch.float32}
