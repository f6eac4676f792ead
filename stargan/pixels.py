"""Conversion between uint8 pixels and the networks' range [-1, 1]."""

import torch
from torch import Tensor


def to_signed(images: Tensor) -> Tensor:
    """Map (..., H, W) uint8 images to float32 in [-1, 1] of the same shape; TypeError if they are not uint8."""
    if images.dtype != torch.uint8:
        raise TypeError(f"expected uint8 images, got {images.dtype}")
    return images.float() / 127.5 - 1.0


def to_uint8(images: Tensor) -> Tensor:
    """Map (..., H, W) floats in [-1, 1] to uint8 of the same shape, rounded to the nearest and clamped."""
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
