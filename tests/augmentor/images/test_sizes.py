"""Sizes as users write them, and resizing: the same as decoding does it, never larger when shrunk to fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmentor.errors import AugmentorError
from augmentor.images import OutputSize, Pixels, decode, fit, parse_output_size, parse_size, resize


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


@pytest.mark.parametrize(
    ("text", "expected"), [("128", (128, 128)), (" 256X192 ", (192, 256)), ("64 x 32", (32, 64))]
)
def test_model_sizes(text: str, expected: tuple[int, int]) -> None:
    assert parse_size(text, "--model-size") == expected


@pytest.mark.parametrize("text", ["", "big", "128x", "-4", "0", "1.5", "0x8", "8x0"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(AugmentorError, match=r"--model-size: .* is not a number of pixels like 128"):
        parse_size(text, "--model-size")


@pytest.mark.parametrize("text", ["4097", "999999", "128x5000", "5000x128"])
def test_a_size_that_no_machine_holds(text: str) -> None:
    with pytest.raises(AugmentorError, match=f"--model-size: {text} is more than 4096 px"):
        parse_size(text, "--model-size")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("model", "model"),
        (" Original", "original"),
        ("256x192", (192, 256)),
        ("640 X 480", (480, 640)),
        ("1x1", (1, 1)),
    ],
)
def test_output_sizes(text: str, size: OutputSize) -> None:
    assert parse_output_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("orignal", r"'orignal' is not model, original or WIDTHxHEIGHT like 256x192\. Did you mean 'original'\?"),
        ("256", r"Did you mean 256x256\?"),
        ("", "'' is not model"),
        ("256x", "'256x' is not model"),
        ("-3x4", "'-3x4' is not model"),
        ("0x4", "0x4 must have between 1 and 178,956,970 pixels"),
        ("99999x99999", "99999x99999 must have between"),
    ],
)
def test_what_is_no_output_size(text: str, message: str) -> None:
    with pytest.raises(AugmentorError, match=f"--size: .*{message}"):
        parse_output_size(text)
