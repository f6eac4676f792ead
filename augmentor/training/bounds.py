"""The largest numbers that make sense in a recipe: beyond them a run ends for want of memory, or never begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from augmentor.images import LONGEST_SIDE
from stargan.networks import build_discriminator, build_generator

MOST = 1_000_000_000
"""Of any whole number that has no bound of its own. A billion steps take years on any machine."""

MOST_WIDTH = 4096
"""Channels; the paper's networks begin with 64, and double them at every halving of the image."""

MOST_BLOCKS = 1000
"""Residual blocks one after another; the paper has 6."""

MOST_DILATION = 64
"""Pixels between the points of a convolution, which pads its input by as many on each side."""

MOST_LATENT = 1 << 20
"""Entries of a latent vector; an image of 512 x 512 px has not even as many."""

MOST_IMAGES = 65_536
"""In a batch."""

MOST_WORKERS = 1024
"""Threads or processes that load images; no machine has so many cores for one run."""

_MOST_WEIGHTS = 1_000_000_000
"""Of one network. Weights, gradients and Adam's two averages take 16 bytes each: 16 GB; the paper's D has 45
million weights."""

_MOST_BYTES = 1 << 40
"""Of the first feature maps of a batch, of which training keeps dozens as large: a terabyte fits nowhere."""


_ALSO = {"generator": "blocks, downsamplings or latent", "discriminator": "depth"}
"""What a network's weights grow with besides its width."""


def check_side(pixels: int) -> None:
    """Refuse a side of an image that no network can be made for.

    Raises:
        ValueError: with the reason.
    """
    if pixels < 4:
        raise ValueError("sides must be at least 4 px")
    if pixels > LONGEST_SIDE:
        raise ValueError(
            f"sides must be at most {LONGEST_SIDE} px, not {_short(pixels)}: a network keeps dozens of maps as "
            "large as the image. Train at 64 to 512 px; expand --size original edits files of any size with that"
        )


def at_most(most: int, why: str) -> Callable[[int], int]:
    """Return what lets whole numbers pass up to a bound.

    Args:
        most: the bound.
        why: the reason, for the message.
    """

    def passed(value: int) -> int:
        if value > most:
            raise ValueError(f"{_short(value)} is more than {most:,}: {why}")
        return value

    return passed


def refuse_giants(
    *,
    image_size: tuple[int, int],
    image_channels: int,
    batch_size: int,
    generator: Mapping[str, object],
    discriminator: Mapping[str, object],
) -> None:
    """Refuse networks, and batches, that no machine holds.

    Args:
        image_size: (height, width) in pixels.
        image_channels: 1 or 3.
        batch_size: images in a batch.
        generator: a recipe's section `generator`, checked by `check_networks`.
        discriminator: likewise.

    Raises:
        ValueError: naming the keys, the reason and the fix.
    """
    height, width = image_size
    # Spectral norm adds no weights, and takes seconds to set up.
    data = {"vector_size": 1, "image_channels": image_channels, "image_size": image_size}
    # First, for it is quickly found: a network of huge layers may be slow to build, even without memory.
    for section, settings in (("generator", generator), ("discriminator", discriminator)):
        halved = 1 if section == "generator" and settings.get("kind", "resnet") == "resnet" else 4
        maps = batch_size * height * width // halved * int(str(settings["width"])) * 4
        if maps > _MOST_BYTES:
            raise ValueError(
                f"training.batch_size = {batch_size:,}, images.size = {height} x {width} px and {section}.width = "
                f"{settings['width']:,}: the first feature maps of a batch alone take {maps / 1e9:,.0f} GB, and "
                "training keeps dozens like them. Make one of the three smaller"
            )
    with torch.device("meta"):  # Shapes without memory: nothing is drawn either.
        networks = {
            "generator": build_generator({**data, **generator, "spectral": False}),
            "discriminator": build_discriminator({**data, **discriminator, "spectral": False}),
        }
    for section, network in networks.items():
        weights = sum(weight.numel() for weight in network.parameters())
        if weights > _MOST_WEIGHTS:
            raise ValueError(
                f"the {section} would have {weights:,} weights, which take {16 * weights / 1e9:,.0f} GB to train; "
                f"there may be {_MOST_WEIGHTS:,}. Make {section}.width or {_ALSO[section]} smaller"
            )


def _short(value: int) -> str:
    """Return a number that may have thousands of digits."""
    return f"{value:,}" if value < 10**15 else "a number of more than 15 digits"
