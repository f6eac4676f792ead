"""Training batches: which image stands where, and what augmentation may do to it."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augmentor.errors import ImageError
from augmentor.loading import Draw, StepSampler, TrainingImages, default_workers, training_batches
from augmentor.recipe import ImageSettings

PLAIN = ImageSettings(size=8, flip=False)


def make_images(
    folder: Path, settings: ImageSettings = PLAIN, *, count: int = 5, broken: tuple[int, ...] = (), seed: int = 0
) -> TrainingImages:
    """Images of 8 x 8 px; red is the row's number times 10, green runs from left to right, blue from the top."""
    paths = []
    for i in range(count):
        path = folder / f"{i}.png"
        paths.append(path)
        if i in broken:
            path.write_bytes(b"broken")
            continue
        pixels = np.zeros((8, 8, 3), dtype=np.uint8)
        pixels[..., 0] = 10 * i
        pixels[..., 1] = np.arange(8) * 30
        pixels[..., 2] = np.arange(8)[:, None] * 30
        Image.fromarray(pixels).save(path)
    codes = np.array([[i % 3, i % 2 - 1] for i in range(count)], dtype=np.int16)
    return TrainingImages(paths=tuple(paths), codes=codes, settings=settings, seed=seed)


# ---- one image ----


def test_a_sample_is_the_rows_image_and_codes(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    sample = images[Draw(row=3, place=17)]
    assert sample.image.shape == (3, 8, 8)
    assert sample.image.dtype == torch.uint8
    assert sample.image.is_contiguous()
    assert set(sample.image[0].flatten().tolist()) == {30}
    assert sample.image[1, 0].tolist() == list(range(0, 240, 30))
    assert sample.codes.dtype == torch.int64
    assert sample.codes.tolist() == [0, 0]
    assert sample.failures == ()
    assert len(images) == 5


def test_a_place_decides_crop_and_mirroring(tmp_path: Path) -> None:
    settings = ImageSettings(size=8, flip=True, random_crop=1.5)
    images, others = make_images(tmp_path, settings), make_images(tmp_path, settings, seed=1)
    shown = [images[Draw(0, place)].image for place in range(40)]
    for place in (0, 7, 39):
        assert torch.equal(images[Draw(0, place)].image, shown[place])
    assert len({tuple(image.flatten().tolist()) for image in shown}) > 10
    assert any(not torch.equal(others[Draw(0, place)].image, shown[place]) for place in range(5))
    # Green grows to the right in an image that is not mirrored, and blue always grows downwards.
    mirrored = [bool(image[1, 0, 0] > image[1, 0, -1]) for image in shown]
    assert 8 < sum(mirrored) < 32
    assert all(image[2, 0, 0] < image[2, -1, 0] for image in shown)
    assert all(image.shape == (3, 8, 8) for image in shown)


def test_nothing_is_mirrored_where_the_recipe_forbids_it(tmp_path: Path) -> None:
    images = make_images(tmp_path, ImageSettings(size=8, flip=False))
    first = images[Draw(2, 0)].image
    assert all(torch.equal(images[Draw(2, place)].image, first) for place in range(30))


def test_size_channels_and_crop(tmp_path: Path) -> None:
    grey = make_images(tmp_path, ImageSettings(size=(4, 6), channels=1, flip=False))
    assert grey[Draw(0, 0)].image.shape == (1, 4, 6)
    centre = make_images(tmp_path, ImageSettings(size=4, crop=4, flip=False))
    # The centred square of 4 px keeps its pixels: columns 2 to 5.
    assert centre[Draw(1, 0)].image[1, 0].tolist() == [60, 90, 120, 150]


def test_a_broken_image_is_replaced_and_reported(tmp_path: Path) -> None:
    images = make_images(tmp_path, broken=(3, 4))
    sample = images[Draw(row=3, place=0)]
    assert set(sample.image[0].flatten().tolist()) == {0}  # rows 3 and 4 are broken, the next one is row 0
    assert sample.codes.tolist() == images.codes[0].tolist()
    assert [failure.row for failure in sample.failures] == [3, 4]
    assert "3.png" in sample.failures[0].reason
    assert images[Draw(row=1, place=0)].failures == ()


def test_a_folder_of_broken_images_is_no_training_set(tmp_path: Path) -> None:
    images = make_images(tmp_path, broken=(0, 1, 2, 3, 4))
    with pytest.raises(ImageError, match=r"5 images in a row cannot be read; the first: .*2\.png"):
        images[Draw(row=2, place=0)]


# ---- the order ----


def draws(sampler: StepSampler, batches: int) -> list[list[Draw]]:
    return list(itertools.islice(sampler, batches))


@pytest.mark.parametrize(("rows", "batch_size"), [(7, 3), (4, 4), (2, 5), (1, 2)])
def test_epochs_are_permutations(rows: int, batch_size: int) -> None:
    batches = draws(StepSampler(rows=rows, batch_size=batch_size, seed=1), 3 * rows)
    assert all(len(batch) == batch_size for batch in batches)
    flat = [draw for batch in batches for draw in batch]
    assert [draw.place for draw in flat] == list(range(len(flat)))
    epochs = [tuple(draw.row for draw in flat[start : start + rows]) for start in range(0, 3 * rows, rows)]
    assert all(sorted(epoch) == list(range(rows)) for epoch in epochs)
    if rows == 7:
        assert len(set(epochs)) == len(epochs)


@pytest.mark.parametrize(("rows", "batch_size"), [(7, 3), (4, 4), (2, 5)])
@pytest.mark.parametrize("first_step", [1, 2, 5, 11])
def test_starting_later_skips_batches(rows: int, batch_size: int, first_step: int) -> None:
    whole = draws(StepSampler(rows=rows, batch_size=batch_size, seed=1), 20)
    later = draws(StepSampler(rows=rows, batch_size=batch_size, seed=1, first_step=first_step), 20 - first_step)
    assert later == whole[first_step:]


def test_another_seed_is_another_order() -> None:
    first, second = (draws(StepSampler(rows=50, batch_size=50, seed=seed), 1) for seed in (0, 1))
    assert first != second


# ---- batches ----


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_and_what_broke(workers: int, tmp_path: Path) -> None:
    images = make_images(tmp_path, ImageSettings(size=8, flip=True, random_crop=1.25), broken=(2,))
    failures: dict[int, str] = {}
    found = list(
        itertools.islice(
            training_batches(
                images, batch_size=3, first_step=2, workers=workers, pin_memory=False, failures=failures
            ),
            3,
        )
    )
    wanted = draws(StepSampler(rows=5, batch_size=3, seed=0, first_step=2), 3)
    for batch, drawn in zip(found, wanted, strict=True):
        assert batch.images.shape == (3, 3, 8, 8)
        assert batch.codes.shape == (3, 2)
        for image, codes, draw in zip(batch.images, batch.codes, drawn, strict=True):
            assert torch.equal(image, images[draw].image)
            assert torch.equal(codes, images[draw].codes)
    assert list(failures) == [2]
    assert "2.png" in failures[2]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_states_are_untouched(workers: int, tmp_path: Path) -> None:
    images = make_images(tmp_path, ImageSettings(size=8, flip=True, random_crop=1.25))
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state(legacy=False))
    next(training_batches(images, batch_size=2, first_step=0, workers=workers, pin_memory=False, failures={}))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state(legacy=False)) == before[2]


def test_default_workers_leave_a_core() -> None:
    assert 1 <= default_workers() <= 8
