"""Pixels in other sizes: cut and resized as decoding does it, or shrunk to fit."""

from __future__ import annotations

import numpy as np
from PIL import Image

from augmentor.images.codec import REDUCING_GAP, Pixels, crop_box, to_image

DEFAULT_SIDE = 128
"""Pixels of the sides of the images that a model is trained on, unless a recipe says otherwise."""

LONGEST_SIDE = 4096
"""Pixels. A map of 64 channels at 4096 x 4096 px fills 4 GB, and a network keeps dozens of maps of an image."""


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
