"""Full resolution: originals into which the model's changes are blended, and the region that the model sees."""

from __future__ import annotations

import threading
from pathlib import Path

import torch
from torch import Tensor

from augmentor.errors import AugmentorError, ImageError
from augmentor.images.decode import decode, upright_size
from augmentor.images.sizes import OutputSize, Pixels, crop_box, fit
from augmentor.storage import ANYWHERE, Access
from stargan.checkpoints import Model
from stargan.inference import Box, blend, edits_input


def check_output_size(model: Model, size: OutputSize) -> None:
    """Refuse an output size other than the model's for a model whose changes cannot be scaled."""
    if size != "model" and not edits_input(model):
        height, width = model.image_size
        raise AugmentorError(
            f"--size: this model generates every pixel, so that nothing of the original would stay sharp beyond "
            f'{width}x{height}. Train one with generator.output = "masked", which outputs its changes, or use '
            "--size model"
        )


def seen_box(
    height: int, width: int, *, shown: tuple[int, int] | None, model: tuple[int, int], crop: int | None
) -> Box:
    """Return the region that the model sees, in pixels of the written image; it may extend beyond the image.

    The source of (height, width) pixels is cropped to a square of `crop` source pixels, then to the proportions of
    `model`, (height, width), for the model; to those of `shown`, if any, for writing.
    """
    left, top, right, bottom = crop_box(width, height, size=model, crop=crop)
    if shown is None:
        return Box(left, top, right - left, bottom - top)
    kept_left, kept_top, kept_right, kept_bottom = crop_box(width, height, size=shown, crop=crop)
    seen = Box(left - kept_left, top - kept_top, right - left, bottom - top)
    return _scaled(seen, across=shown[1] / (kept_right - kept_left), down=shown[0] / (kept_bottom - kept_top))


def _scaled(box: Box, *, across: float, down: float) -> Box:
    """Return a box in the coordinates of a resized image, at least one pixel wide and high."""
    left, right = round(box.left * across), round((box.left + box.width) * across)
    top, bottom = round(box.top * down), round((box.top + box.height) * down)
    return Box(left, top, max(1, right - left), max(1, bottom - top))


class Original:
    """A source image at the output size, read at its first use and released after its last one. Thread-safe.

    Args:
        path: the image's file.
        size: of the output, not "model".
        model: whose changes are blended in.
        crop: side of the centred square that is cut out first, in source pixels, or None.
        uses: how many times it will be used.
        longest: pixels to which the longest side is shrunk, for previews; None for no limit.
        access: the access rules.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: OutputSize,
        model: Model,
        crop: int | None,
        uses: int,
        longest: int | None = None,
        access: Access = ANYWHERE,
    ) -> None:
        self._access = access
        self._path = path
        self._shown = size if isinstance(size, tuple) else None
        self._model = model
        self._crop = crop
        self._uses = uses
        self._longest = longest
        self._lock = threading.Lock()
        self._held: tuple[Pixels, Box] | None = None
        self._error: ImageError | None = None

    def pixels(self) -> Pixels:
        """Return the image as it is, uint8 (H, W, C); counts as a use."""
        return self._use()[0]

    def changed(self, change: Tensor) -> Pixels:
        """Return the image with one of `Translator.changes` blended in, uint8 (H, W, C); counts as a use."""
        pixels, box = self._use()
        blended: Pixels = blend(torch.from_numpy(pixels).permute(2, 0, 1), change, box).permute(1, 2, 0).numpy()
        return blended

    def _use(self) -> tuple[Pixels, Box]:
        with self._lock:
            if self._error is not None:
                raise self._error
            try:
                held = self._read() if self._held is None else self._held
            except ImageError as error:
                # All other translations of this source fail as well: a row is written completely or is a failure.
                self._error = error
                raise
            self._uses -= 1
            self._held = held if self._uses > 0 else None
        return held

    def _read(self) -> tuple[Pixels, Box]:
        channels, shown = self._model.image_channels, self._shown
        if shown is None:
            pixels = decode(self._path, channels=channels, access=self._access)
            height, width = pixels.shape[:2]
        else:
            pixels = decode(self._path, channels=channels, size=shown, crop=self._crop, access=self._access)
            height, width = upright_size(self._path, access=self._access)
        box = seen_box(height, width, shown=shown, model=self._model.image_size, crop=self._crop)
        if self._longest is None:
            return pixels, box
        small = fit(pixels, self._longest)
        return small, _scaled(box, across=small.shape[1] / pixels.shape[1], down=small.shape[0] / pixels.shape[0])
