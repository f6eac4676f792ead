"""uint8 to [-1, 1] and back."""

from __future__ import annotations

import pytest
import torch

from stargan.pixels import to_signed, to_uint8


def test_every_pixel_value_survives() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    signed = to_signed(pixels)
    assert signed.dtype == torch.float32
    assert signed.min() == -1
    assert signed.max() == 1
    assert torch.equal(to_uint8(signed), pixels)


def test_rounds_to_the_nearest_and_clamps() -> None:
    # (v + 1) * 127.5: 0 -> 127.5 -> 128 (to even), 0.01 -> 128.775 -> 129, -0.5 -> 63.75 -> 64.
    signed = torch.tensor([0.0, 0.01, -0.5, -7.0, 1.5])
    assert to_uint8(signed).tolist() == [128, 129, 64, 0, 255]


def test_half_precision_is_read_as_float() -> None:
    assert to_uint8(torch.tensor([-1.0, 1.0], dtype=torch.bfloat16)).tolist() == [0, 255]


def test_refuses_floats() -> None:
    with pytest.raises(TypeError, match=r"expected uint8 images, got torch\.float32"):
        to_signed(torch.zeros(1, 1, 2, 2))
