"""The stages of a generator: together equal to a forward pass, the first independent of the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from stargan.networks import TranslatingGenerator, build_generator

Network = TypeVar("Network", bound=nn.Module)
Noise = Callable[..., Tensor]
Randomised = Callable[[Network], Network]

CONCAT: list[dict[str, object]] = [
    {},
    {"spectral": True, "output": "masked", "skips": True},
    {"norm": "none", "padding": "reflection", "output": "residual"},
    {"norm": "batch"},
]
BLIND: list[dict[str, object]] = [
    {"conditioning": "norm", "output": "masked", "skips": True},
    {"kind": "encoder-decoder", "image_size": (16, 24), "output": "residual"},
    {"kind": "cyclegan-resnet"},
    {"kind": "pix2pix-unet", "downsamplings": 3, "norm": "batch"},
]


def make(arguments: dict[str, object], channels: int = 3) -> TranslatingGenerator:
    small = {"vector_size": 3, "image_channels": channels, "width": 4, "downsamplings": 1}
    return build_generator({**small, **arguments}).eval()


@pytest.mark.parametrize("arguments", [*CONCAT, *BLIND])
def test_both_stages_are_the_whole(
    arguments: dict[str, object], noise: Noise, randomised: Randomised[TranslatingGenerator]
) -> None:
    generator = randomised(make(arguments))
    images, vectors = noise(3, 3, 16, 24), torch.eye(3)
    found = generator.decoder_stage(generator.encoder_stage(images), images, vectors)
    assert (found - generator(images, vectors)).abs().max() < 1e-5


@pytest.mark.parametrize("arguments", CONCAT)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 24), (8, 10), (6, 32), (4, 4)])
def test_the_first_convolution_can_be_split(
    arguments: dict[str, object],
    channels: int,
    size: tuple[int, int],
    noise: Noise,
    randomised: Randomised[TranslatingGenerator],
) -> None:
    """Inside and at the border, also where the image is smaller than the 7 x 7 kernel."""
    generator = randomised(make(arguments, channels)).double()
    image, vectors = noise(1, channels, *size, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64)
    encoded = generator.encoder_stage(image)
    completed = generator.finish_encoding(tuple(maps.expand(5, -1, -1, -1) for maps in encoded), vectors)
    for found, expected in zip(completed, generator.encode(image.expand(5, -1, -1, -1), vectors), strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-9
    assert (completed[0][0] - completed[0][1]).abs().max() > 1e-3


NOISY: list[dict[str, object]] = [{}, {"norm": "batch"}, *BLIND[:2]]


@pytest.mark.parametrize("arguments", NOISY)
def test_noise_is_read_with_the_labels(
    arguments: dict[str, object], noise: Noise, randomised: Randomised[TranslatingGenerator]
) -> None:
    """Other noise is another translation, in both stages as in one pass; without any it is zero."""
    generator = randomised(make({**arguments, "noise": 5}))
    images, labels = noise(3, 3, 16, 24), torch.eye(3)
    looks = [torch.cat([torch.full((3, 5), value), labels], dim=1) for value in (0.0, 1.0)]
    plain, other = (generator(images, vectors) for vectors in looks)
    assert torch.equal(generator(images, labels), plain)
    assert (plain - other).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    encoded = generator.encoder_stage(images)
    for vectors, expected in ((labels, plain), *zip(looks, (plain, other), strict=True)):
        assert (generator.decoder_stage(encoded, images, vectors) - expected).abs().max() < 1e-5


def test_who_reads_labels_when(noise: Noise) -> None:
    images, vectors = noise(2, 3, 16, 24), torch.eye(3)[:2]
    for arguments in CONCAT:
        generator = make(arguments)
        one, other = generator.encode(images, vectors), generator.encode(images, vectors.flip(0))
        assert not torch.equal(one[-1], other[-1])
    for arguments in BLIND:
        generator = make(arguments)
        for found, expected in zip(
            generator.encoder_stage(images), generator.encode(images, vectors), strict=True
        ):
            assert torch.equal(found, expected)
