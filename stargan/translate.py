"""Translator: uint8 images and targets in, uint8 images out, of the model's size or blended into originals."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stargan.checkpoint import Model
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


class Translator:
    """Translates batches with a trained model.

    Args:
        model: what `load_model` returned.
        device: where to compute.
        batch_size: images that pass the generator at once; more are split.
    """

    def __init__(self, model: Model, *, device: torch.device, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.model = model
        self.batch_size = batch_size
        self._device = device
        self._generator = model.generator.to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def translate(self, images: Tensor, targets: Tensor) -> Tensor:
        """Translate each image into its target.

        Args:
            images: (N, C, H, W) uint8 on the CPU, of the model's size and channels.
            targets: (N, A) int64 codes, -1 leaves that attribute alone.

        Returns:
            (N, C, H, W) uint8 on the CPU.

        Raises:
            ValueError: the images are not of the model's size and channels, the counts differ, or the model
                translates in one direction and another is asked for.
        """
        translated = self._in_batches(
            images, targets, lambda signed, vectors: to_uint8(self._generator(signed, vectors))
        )
        return images if translated is None else translated

    @torch.inference_mode()
    def changes(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return what translating adds to each image, unrounded, for `blend` to add it to a larger original.

        Args:
            images: (N, C, H, W) uint8 on the CPU, of the model's size and channels.
            targets: (N, A) int64 codes, -1 leaves that attribute alone.

        Returns:
            (N, C, H, W) float32 on the CPU. Only `blend` knows the unit.

        Raises:
            ValueError: the images are not of the model's size and channels, the counts differ, or the model
                translates in one direction and another is asked for.
        """
        changes = self._in_batches(
            images, targets, lambda signed, vectors: self._generator(signed, vectors).float() - signed
        )
        return images.float() if changes is None else changes

    def _in_batches(
        self, images: Tensor, targets: Tensor, run: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor | None:
        """Return what `run` makes of all signed images and vectors, on the CPU; None if there is no image."""
        n, c, h, w = images.shape
        if (c, (h, w)) != (self.model.image_channels, self.model.image_size):
            want = (self.model.image_channels, *self.model.image_size)
            raise ValueError(f"the model translates images of shape {want}, got {(c, h, w)}")
        if len(targets) != n:
            raise ValueError(f"{n} images but {len(targets)} targets")
        if not bool(self.model.reaches(targets).all()):
            only = self.model.space.attributes[0]
            raise ValueError(f"the model translates into {only.name}={only.values[-1]} only")
        made = []
        for start in range(0, n, self.batch_size):
            stop = start + self.batch_size
            vectors = self.model.space.encode(targets[start:stop]).to(self._device)
            batch = images[start:stop].to(self._device, memory_format=torch.channels_last)
            made.append(run(to_signed(batch), vectors).cpu().contiguous())
        return torch.cat(made) if made else None


def knows_changes(model: Model) -> bool:
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
