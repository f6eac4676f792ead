"""Any pixels survive PNG; whole files of every kind are read; damaged ones are read or refused, never else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.images import decode, decode_bytes, encode
from augmentor.images.decode import upright_size

if TYPE_CHECKING:
    from tests.fuzz_images import whole_images
else:  # pytest finds what stands beside conftest.py without the folder's name.
    from fuzz_images import whole_images

WHOLE = whole_images()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3])), seed=st.integers(0, 2**32)
)
def test_any_pixels_survive_png(shape: tuple[int, int, int], seed: int) -> None:
    channels = shape[2]
    pixels = np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)
    data = encode(pixels, "png")
    assert np.array_equal(decode_bytes(data, channels=channels), pixels)
    assert encode(pixels, "png") == data


@pytest.mark.parametrize("name", sorted({name for name, _ in WHOLE}))
def test_whole_files_of_every_kind_are_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / "image"
    for number, data in enumerate(data for other, data in WHOLE if other == name):
        file.write_bytes(data)
        pixels = decode(file, channels=3)
        assert (str(pixels.dtype), pixels.ndim, pixels.shape[2]) == ("uint8", 3, 3), f"{name} {number}"
        assert upright_size(file) == pixels.shape[:2], f"{name} {number}"
        assert decode(file, channels=1, size=(8, 6), crop=5).shape == (8, 6, 1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), crop=st.none() | st.integers(1, 80), data=st.data())
def test_any_size_and_crop_give_that_size(
    size: tuple[int, int], crop: int | None, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 60), st.integers(1, 60)))
    file = tmp_path_factory.getbasetemp() / "resized.png"
    file.write_bytes(encode(np.full((*shape, 3), 90, dtype=np.uint8), "png"))
    pixels = decode(file, channels=3, size=size, crop=crop)
    assert pixels.shape == (*size, 3)
    assert (pixels == 90).all()
