"""Pixel arrays and their sizes: crops, resizing, and sizes as users write them."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from augmentor.errors import AugmentorError, did_you_mean
from augmentor.storage import MAX_PIXELS

Pixels: TypeAlias = NDArray[np.uint8]
"""An image: uint8 (H, W, C), C = 1 or 3."""

OutputSize: TypeAlias = Literal["model", "original"] | tuple[int, int]
"""The size of the written images: the model's, each source's own, or one (height, width) in pixels."""

REDUCING_GAP = 3.0
"""Pillow's `reducing_gap`: how much larger than the result an image stays for bicubic, after box averaging."""

DEFAULT_SIDE = 128
"""The default size of the images that a model is trained on."""

LONGEST_SIDE = 4096
"""Pixels: a map of 64 channels at 4096 x 4096 px fills 4 GB, and a network keeps dozens of maps."""


_SIZE = re.compile(r"([0-9]{1,9})(?:\s*x\s*([0-9]{1,9}))?")


def parse_size(text: str, flag: str) -> tuple[int, int]:
    """Read the size of a network's images, "128" or WIDTHxHEIGHT, as (height, width); `flag` is for messages.

    Raises:
        AugmentorError: it is neither, or a side is 0 or above `LONGEST_SIDE`.
    """
    sides = _SIZE.fullmatch(text.strip().lower())
    width, height = (0, 0) if sides is None else (int(sides[1]), int(sides[2] or sides[1]))
    if not (width and height):
        raise AugmentorError(f"{flag}: {text!r} is not a number of pixels like 128, or WIDTHxHEIGHT like 256x192")
    if max(width, height) > LONGEST_SIDE:
        raise AugmentorError(f"{flag}: {text} is more than {LONGEST_SIDE} px, which no network can process")
    return height, width


def parse_output_size(text: str) -> OutputSize:
    """Read the `--size` of written images: model, original, or WIDTHxHEIGHT in pixels.

    Raises:
        AugmentorError: it is none of these, or has no pixels or more than `MAX_PIXELS`.
    """
    word = text.strip().lower()
    match word:
        case "model" | "original":
            return word
    sides = _SIZE.fullmatch(word)
    if sides is None or sides[2] is None:
        hint = did_you_mean(word, ["model", "original"]) if sides is None else f" Did you mean {word}x{word}?"
        raise AugmentorError(f"--size: {text!r} is not model, original or WIDTHxHEIGHT like 256x192.{hint}")
    width, height = int(sides[1]), int(sides[2])
    if not 1 <= width * height <= MAX_PIXELS:
        raise AugmentorError(f"--size: {text} must have between 1 and {MAX_PIXELS:,} pixels")
    return height, width


def to_image(pixels: Pixels) -> Image.Image:
    """Return uint8 (H, W, C) pixels, C = 1 or 3, as a Pillow image of mode L or RGB."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise ValueError(f"pixels must be uint8 (H, W, 1 or 3), not {pixels.dtype} {pixels.shape}")
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def crop_box(width: int, height: int, *, size: tuple[int, int] | None, crop: int | None) -> tuple[int, ...]:
    """Return the centred part of an image that is kept, as (left, top, right, bottom) in whole pixels.

    Of `size`, (height, width), only the proportions count; None keeps what `crop` leaves, the side in pixels of a
    square that is cut out first, clipped to the image.
    """
    kept_width = min(width, crop or width)
    kept_height = min(height, crop or height)
    if size is not None:
        wanted_height, wanted_width = size
        fitting_width = max(1, round(kept_height * wanted_width / wanted_height))
        fitting_height = max(1, round(kept_width * wanted_height / wanted_width))
        kept_width, kept_height = min(kept_width, fitting_width), min(kept_height, fitting_height)
    left, top = (width - kept_width) // 2, (height - kept_height) // 2
    return left, top, left + kept_width, top + kept_height


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize the largest centred rectangle of the wanted (height, width)'s proportions, as `decode` does."""
    box = crop_box(pixels.shape[1], pixels.shape[0], size=size, crop=None)
    image = to_image(pixels).crop((box[0], box[1], box[2], box[3]))
    image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    return np.asarray(image, dtype=np.uint8).reshape(*size, pixels.shape[2]).copy()


def fit(pixels: Pixels, longest: int) -> Pixels:
    """Shrink an image, in its proportions, until no side is longer than `longest` pixels."""
    height, width, channels = pixels.shape
    if max(height, width) <= longest:
        return pixels
    image = to_image(pixels)
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels).copy()
