"""Full resolution: which size is written, where in it lies what the model sees, and originals that come and go."""

from __future__ import annotations

import threading
from pathlib import Path

import torch
from torch import Tensor

from augmentor.errors import AugmentorError, ImageError
from augmentor.images.codec import Pixels, crop_box, decode, upright_size
from augmentor.images.sizes import OutputSize, fit
from augmentor.storage import ANYWHERE, Access
from stargan.checkpoints import Model
from stargan.inference import Box, blend, edits_input


def refuse_painters(model: Model, size: OutputSize) -> None:
    """Raise where another size than the model's is asked of a model that cannot change a larger original.

    Raises:
        AugmentorError: the model paints whole images.
    """
    if size != "model" and not edits_input(model):
        height, width = model.image_size
        raise AugmentorError(
            f"--size: this model paints every pixel anew, so that nothing of the original would stay sharp beyond "
            f'{width}x{height}. Train one with generator.output = "masked", which says what it changes, or use '
            "--size model"
        )


def seen_box(
    height: int, width: int, *, shown: tuple[int, int] | None, model: tuple[int, int], crop: int | None
) -> Box:
    """Return where in the picture that is written the part lies that the model sees.

    Args:
        height: the source's, upright, in pixels.
        width: the source's, upright, in pixels.
        shown: (height, width) that the source is cut and resized to for writing; None keeps all of it.
        model: (height, width) of the model's images.
        crop: side of the centred square that is cut out of the source first, in source pixels, or None.

    Returns:
        In pixels of the picture that is written; it reaches beyond it where `shown` cuts off what the model sees.
    """
    left, top, right, bottom = crop_box(width, height, size=model, crop=crop)
    if shown is None:
        return Box(left, top, right - left, bottom - top)
    kept_left, kept_top, kept_right, kept_bottom = crop_box(width, height, size=shown, crop=crop)
    seen = Box(left - kept_left, top - kept_top, right - left, bottom - top)
    return _scaled(seen, across=shown[1] / (kept_right - kept_left), down=shown[0] / (kept_bottom - kept_top))


def _scaled(box: Box, *, across: float, down: float) -> Box:
    """Return where a box lies in a picture that was resized; never less than a pixel of it."""
    left, right = round(box.left * across), round((box.left + box.width) * across)
    top, bottom = round(box.top * down), round((box.top + box.height) * down)
    return Box(left, top, max(1, right - left), max(1, bottom - top))


class Original:
    """A source at the size that is written. Read when it is first needed, and forgotten after its last use.

    So memory holds the few originals that are being worked on, however many wait. Several threads may use one.

    Args:
        path: the image's file.
        size: what is written, not "model".
        model: whose changes are blended in.
        crop: side of the centred square that is cut out first, in source pixels, or None.
        uses: how many times it will be used.
        longest: pixels of the longest side to which it is shrunk, for people to look at; None leaves it as it is.
        access: where the file may lie, and how many pixels it may have.
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
        """Return the image as it is, uint8 (H, W, C); counts as a use.

        Raises:
            ImageError: the file cannot be read.
        """
        return self._use()[0]

    def changed(self, change: Tensor) -> Pixels:
        """Return the image with one of `Translator.changes` blended in, uint8 (H, W, C); counts as a use.

        Raises:
            ImageError: the file cannot be read.
        """
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
                # Whatever else is made of this source fails as well: its row is either whole or a failure.
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
