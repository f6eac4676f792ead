"""Pixels in other sizes: the same as decoding makes them, never larger when shrunk to fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmentor.images import Pixels, decode, fit, resize


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    return np.random.default_rng(0).integers(256, size=(height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "size"), [(48, 64, (48, 64)), (48, 65, (16, 16)), (9, 7, (30, 41))])
def test_resized_as_decoding_does_it(
    height: int, width: int, size: tuple[int, int], channels: int, tmp_path: Path
) -> None:
    pixels = noise(height, width, channels)
    Image.fromarray(pixels.squeeze()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(resize(pixels, size), decode(tmp_path / "a.png", size=size, channels=channels))


def test_fit_shrinks_in_proportion_and_never_enlarges() -> None:
    assert fit(noise(700, 900), 256).shape == (199, 256, 3)
    assert fit(noise(300, 10, 1), 100).shape == (100, 3, 1)
    small = noise(20, 30)
    assert fit(small, 30) is small
