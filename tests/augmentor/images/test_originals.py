"""Sizes that are written, where in them lies what the model sees, and originals that do not stay in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augmentor.errors import ImageError
from augmentor.images import Pixels, decode
from augmentor.images import full_resolution as fullsize
from augmentor.images.full_resolution import Original, seen_box
from augmentor.storage.access import Access
from stargan.checkpoints import Model
from stargan.inference import Box
from stargan.labels import LabelSpace
from stargan.networks import Generator


@pytest.fixture
def model(space: LabelSpace) -> Model:
    """A model of 16 x 24 px (height, width); its generator is not asked here."""
    generator = Generator(vector_size=4, width=4, downsamplings=1, blocks=1, output="masked")
    return Model(generator=generator, space=space, image_size=(16, 24), step=0, settings={}, sha256="")


# ---- what the model sees ----


@pytest.mark.parametrize(
    ("height", "width", "shown", "model", "crop", "box"),
    [
        (700, 900, None, (64, 64), None, Box(100, 0, 700, 700)),
        (900, 700, None, (64, 64), None, Box(0, 100, 700, 700)),
        (701, 333, None, (64, 64), 178, Box(77, 261, 178, 178)),
        (701, 333, None, (32, 64), 178, Box(77, 306, 178, 89)),
        # The model's proportions: it sees all of what is written.
        (700, 900, (256, 256), (64, 64), None, Box(0, 0, 256, 256)),
        (218, 178, (256, 256), (128, 128), 100, Box(0, 0, 256, 256)),
        # A square in the middle of a wide picture of the same file.
        (600, 800, (300, 400), (64, 64), None, Box(50, 0, 300, 300)),
        # The model sees 600 x 600, what is written shows 600 x 300 of it.
        (600, 600, (100, 200), (64, 64), None, Box(0, -50, 200, 200)),
        # A column of one pixel, of which the model sees the middle.
        (500, 1, (1, 1), (64, 64), None, Box(0, 0, 1, 1)),
    ],
)
def test_the_part_that_the_model_sees(
    height: int, width: int, shown: tuple[int, int] | None, model: tuple[int, int], crop: int | None, box: Box
) -> None:
    assert seen_box(height, width, shown=shown, model=model, crop=crop) == box


# ---- originals ----


def noise(path: Path, height: int = 61, width: int = 90) -> Path:
    pixels = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_an_original_with_and_without_a_change(model: Model, tmp_path: Path) -> None:
    path = noise(tmp_path / "a.png")
    original = Original(path, size="original", model=model, crop=None, uses=2)
    pixels = original.pixels()
    np.testing.assert_array_equal(pixels, decode(path, channels=3))
    # 3:2 fits 90 x 60 of 90 x 61; a change of 0.4 in the networks' range of 2 is 51 grey levels of 255.
    brighter = original.changed(torch.full((3, 16, 24), 0.4)).astype(int)
    expected = pixels.astype(int)
    expected[:60] = (expected[:60] + 51).clip(0, 255)
    np.testing.assert_array_equal(brighter, expected)


def test_a_given_size_is_cut_like_the_training_images(model: Model, tmp_path: Path) -> None:
    path = noise(tmp_path / "a.png")
    original = Original(path, size=(40, 40), model=model, crop=50, uses=2)
    pixels = original.pixels()
    np.testing.assert_array_equal(pixels, decode(path, channels=3, size=(40, 40), crop=50))
    brighter = original.changed(torch.full((3, 16, 24), 2.0))
    # The square is rows 5 to 55 of 61, of which the model sees 14 to 47: 7 to 34 of 40.
    assert (brighter[7:34] == 255).all()
    np.testing.assert_array_equal(brighter[:7], pixels[:7])
    np.testing.assert_array_equal(brighter[34:], pixels[34:])


def test_an_original_is_read_once_and_forgotten(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []

    def counting(path: Path, *, channels: int, access: Access) -> Pixels:
        reads.append(path)
        return decode(path, channels=channels, access=access)

    monkeypatch.setattr(fullsize, "decode", counting)
    original = Original(noise(tmp_path / "a.png"), size="original", model=model, crop=None, uses=9)
    with ThreadPoolExecutor(4) as pool:
        changed = list(pool.map(original.changed, torch.zeros(8, 3, 16, 24)))
    assert len(reads) == 1
    assert original._held is not None
    np.testing.assert_array_equal(original.pixels(), changed[0])
    assert len(reads) == 1
    assert original._held is None


def test_an_original_that_cannot_be_read_fails_every_use(model: Model, tmp_path: Path) -> None:
    original = Original(tmp_path / "a.png", size="original", model=model, crop=None, uses=2)
    with pytest.raises(ImageError, match="does not exist"):
        original.pixels()
    noise(tmp_path / "a.png")  # A row is whole or a failure, whatever comes later.
    with pytest.raises(ImageError, match="does not exist"):
        original.changed(torch.zeros(3, 16, 24))


def test_an_original_shrunk_for_people(model: Model, tmp_path: Path) -> None:
    path = noise(tmp_path / "a.png", 400, 100)
    original = Original(path, size="original", model=model, crop=None, uses=2, longest=80)
    pixels, brighter = original.pixels(), original.changed(torch.full((3, 16, 24), 2.0))
    assert pixels.shape == (80, 20, 3)
    # The model sees rows 166 to 233 of 400, and so 33 to 47 of 80.
    assert (brighter[33:47] == 255).all()
    np.testing.assert_array_equal(
        np.delete(brighter, np.s_[33:47], axis=0), np.delete(pixels, np.s_[33:47], axis=0)
    )
