"""Changes that a model made at its own size, added to originals of any size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stargan.checkpoints import Model
from stargan.pixels import to_signed, to_uint8

_BAND = 1 << 15
"""Values that are blended at once. So few stay in the cache, need no memory to speak of however large the image
is, and are no work that torch would divide among threads, so that many images can be blended side by side."""


class Box(NamedTuple):
    """The part of an image that the model saw, in whole pixels; it may reach beyond the image's edges."""

    left: int
    top: int
    width: int
    height: int


def edits_input(model: Model) -> bool:
    """Return whether a model's generator changes its input rather than painting a new image in its place.

    Only then does the change keep to what is translated, so that it can be added to an original of any size;
    the difference to an image that was painted as a whole is everywhere, and would blur all of the original.
    """
    return model.generator.arguments.get("output", "direct") != "direct"


@torch.no_grad()
def blend(original: Tensor, change: Tensor, box: Box) -> Tensor:
    """Add a change that was computed at the model's size to the part of an original that the model saw.

    The change is resampled to the box bilinearly, pixel centres on pixel centres. What it leaves alone, and all
    outside the box, keeps its exact pixels. Several threads may call this at once.

    Args:
        original: (C, h, w) uint8, of any size and memory layout.
        change: (C, H, W) float32, one of `Translator.changes`.
        box: where the image that the change belongs to lies in the original.

    Returns:
        (C, h, w) uint8, in the original's memory layout.

    Raises:
        ValueError: the channels differ, or the box is empty.
    """
    channels, height, width = original.shape
    if change.shape[0] != channels:
        raise ValueError(f"a change of {change.shape[0]} channels for an original of {channels}")
    if min(box.width, box.height) < 1:
        raise ValueError(f"the box {tuple(box)} is empty")
    left, right = max(box.left, 0), min(box.left + box.width, width)
    top, bottom = max(box.top, 0), min(box.top + box.height, height)
    blended = original.clone()
    if left >= right or top >= bottom:
        return blended
    before, after, weights = _taps(change.shape[2], box.width, left - box.left, right - box.left)
    wide = torch.lerp(change[:, :, before], change[:, :, after], weights)
    rows = max(1, _BAND // (channels * (right - left)))
    for start in range(top, bottom, rows):
        stop = min(start + rows, bottom)
        before, after, weights = _taps(change.shape[1], box.height, start - box.top, stop - box.top)
        full = torch.lerp(wide[:, before], wide[:, after], weights[:, None])
        band = blended[:, start:stop, left:right]
        band.copy_(to_uint8(to_signed(band) + full))
    return blended


def _taps(samples: int, pixels: int, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the samples before and after each of the pixels `start` to `stop`, and how near the latter are.

    Args:
        samples: how many samples are spread over the line.
        pixels: how many pixels the same line has.
        start: the first pixel wanted.
        stop: the pixel after the last one wanted.
    """
    places = ((torch.arange(start, stop) + 0.5) * (samples / pixels) - 0.5).clamp(0, samples - 1)
    before = places.floor().long()
    return before, (before + 1).clamp(max=samples - 1), places - before
