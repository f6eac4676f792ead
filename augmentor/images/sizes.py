"""Image sizes: as users write them, and resizing of decoded pixels."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image

from augmentor.errors import AugmentorError, did_you_mean
from augmentor.images.codec import REDUCING_GAP, Pixels, crop_box, to_image
from augmentor.storage import MAX_PIXELS

OutputSize: TypeAlias = Literal["model", "original"] | tuple[int, int]
"""The size of the written images: the model's, each source's own, or one (height, width) in pixels."""

DEFAULT_SIDE = 128
"""Pixels of the sides of the images that a model is trained on, unless a recipe says otherwise."""

LONGEST_SIDE = 4096
"""Pixels. A map of 64 channels at 4096 x 4096 px fills 4 GB, and a network keeps dozens of maps of an image."""


_SIZE = re.compile(r"([0-9]{1,9})(?:\s*x\s*([0-9]{1,9}))?")
"""A number of pixels, or WIDTHxHEIGHT."""


def parse_size(text: str, flag: str) -> tuple[int, int]:
    """Read the size of a network's images, "128" or WIDTHxHEIGHT, as (height, width) in pixels.

    Args:
        text: what the user wrote.
        flag: the option, for messages.

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
    """Read `--size` of images that are written: model, original, or WIDTHxHEIGHT in pixels.

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


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Cut out the largest centred rectangle of the wanted proportions and resize it, as `decode` does.

    Args:
        pixels: uint8 (H, W, C), C = 1 or 3.
        size: wanted (height, width).
    """
    box = crop_box(pixels.shape[1], pixels.shape[0], size=size, crop=None)
    image = to_image(pixels).crop((box[0], box[1], box[2], box[3]))
    image = image.resize((size[1], size[0]), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    return np.asarray(image, dtype=np.uint8).reshape(*size, pixels.shape[2]).copy()


def fit(pixels: Pixels, longest: int) -> Pixels:
    """Shrink an image, in its proportions, until no side is longer than `longest` pixels; a smaller one stays.

    Args:
        pixels: uint8 (H, W, C), C = 1 or 3.
        longest: pixels.
    """
    height, width, channels = pixels.shape
    if max(height, width) <= longest:
        return pixels
    image = to_image(pixels)
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels).copy()
