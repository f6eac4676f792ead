"""Blending of changes computed at the model's size into originals of any size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from stargan.checkpoints import Model
from stargan.pixels import to_signed, to_uint8

_BAND = 1 << 15
"""Values blended at once: they fit the cache, and torch uses one thread, so images are blended in parallel."""


class Box(NamedTuple):
    """The part of an original that was the model's input, in whole pixels; it may extend beyond the edges."""

    left: int
    top: int
    width: int
    height: int


def edits_input(model: Model) -> bool:
    """Return whether a model's generator edits its input (output "masked" or "residual").

    Only then are changes local, so that `blend` can add them to an original of another size without blurring it.
    """
    return bool(model.generator.arguments.get("output", "direct") != "direct")


@torch.no_grad()
def blend(original: Tensor, change: Tensor, box: Box) -> Tensor:
    """Add a change computed at the model's size to the box of an original that was the model's input.

    The change is resampled to the box bilinearly, with pixel centres aligned. Where it is 0, and outside of the
    box, pixels stay exactly equal. Thread-safe.

    Args:
        original: (C, h, w) uint8, of any size and memory layout; the result is alike.
        change: (C, H, W) float32, one of `Translator.changes`.
        box: the part of the original that the change belongs to.

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
    """Return the samples before and after each pixel in the range, and the weight of the latter, in [0, 1]."""
    places = ((torch.arange(start, stop) + 0.5) * (samples / pixels) - 0.5).clamp(0, samples - 1)
    before = places.floor().long()
    return before, (before + 1).clamp(max=samples - 1), places - before
