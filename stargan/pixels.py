"""Conversion between uint8 pixels and the networks' range [-1, 1]."""

import torch
from torch import Tensor


def to_signed(images: Tensor) -> Tensor:
    """Map uint8 images to floats in [-1, 1].

    Args:
        images: (..., H, W) uint8 in 0..255.

    Returns:
        Same shape, float32: 0 becomes -1, 255 becomes 1.

    Raises:
        TypeError: the images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"expected uint8 images, got {images.dtype}")
    return images.float() / 127.5 - 1.0


def to_uint8(images: Tensor) -> Tensor:
    """Map floats in [-1, 1] to uint8 pixels, rounded to the nearest and clamped.

    Args:
        images: (..., H, W) float.

    Returns:
        Same shape, uint8 in 0..255.
    """
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
