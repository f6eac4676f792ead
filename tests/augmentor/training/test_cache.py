"""Images kept in memory: what is kept, when it is, and that training sees no difference."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augmentor.errors import ImageError, RecipeError
from augmentor.training.cache import ImageCache, available_memory, make_cache
from augmentor.training.loading import TrainingImages, training_batches
from augmentor.training.sampler import Draw, StepSampler
from augmentor.training.settings import Cache, ImageSettings
from stargan.labels import Attribute, LabelSpace
from stargan.training import Batch

SPACE = LabelSpace(attributes=(Attribute(name="hair", kind="categorical", values=("a", "b", "c")),))
AUGMENTED = ImageSettings(size=(6, 8), flip=True, random_crop=1.5)
COUNT = 7


def make_images(
    folder: Path, settings: ImageSettings = AUGMENTED, *, broken: tuple[int, ...] = ()
) -> TrainingImages:
    """Noise of 30 x 20 px, without a cache."""
    random = np.random.default_rng(0)
    paths = tuple(folder / f"{i}.png" for i in range(COUNT))
    for i, path in enumerate(paths):
        if i in broken:
            path.write_bytes(b"broken")
        else:
            Image.fromarray(random.integers(256, size=(20, 30, 3), dtype=np.uint8)).save(path)
    codes = np.array([[i % 3] for i in range(COUNT)], dtype=np.int16)
    return TrainingImages(paths=paths, codes=codes, space=SPACE, settings=settings, seed=4)


def cached(images: TrainingImages) -> TrainingImages:
    shape = (*images.settings.enlarged, images.settings.colours)
    return dataclasses.replace(images, cache=make_cache("on", rows=len(images), shape=shape))


def take(
    images: TrainingImages,
    count: int,
    *,
    workers: int = 0,
    first_step: int = 0,
    failures: dict[int, str] | None = None,
) -> list[Batch]:
    found = training_batches(
        images,
        StepSampler(
            rows=COUNT, batch_size=3, seed=images.seed, first_step=first_step, target_weights=np.ones(COUNT)
        ),
        workers=workers,
        pin_memory=False,
        failures={} if failures is None else failures,
    )
    return list(itertools.islice(found, count))


def assert_equal(found: list[Batch], wanted: list[Batch]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.images.is_contiguous()
        for a, b in zip(one, other, strict=True):
            if a is None or b is None:
                assert a is b
            else:
                assert torch.equal(a, b)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        AUGMENTED,
        ImageSettings(size=6, channels=1, crop=12, flip=False, random_crop=1.0),
        ImageSettings(size=8, flip=True, random_crop=1.25, sub_regions=0.5),
    ],
    ids=["augmented", "grey", "sub-regions"],
)
def test_batches_are_those_of_a_run_without(workers: int, settings: ImageSettings, tmp_path: Path) -> None:
    images = make_images(tmp_path, settings, broken=(2,))
    failures: tuple[dict[int, str], dict[int, str]] = ({}, {})
    plain = take(images, 12, failures=failures[0])
    assert_equal(take(cached(images), 12, workers=workers, failures=failures[1]), plain)
    assert failures[0] == failures[1]
    assert list(failures[1]) == [2]
    assert_equal(take(cached(images), 4, workers=workers, first_step=8), plain[8:])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_is_read_once(workers: int, tmp_path: Path) -> None:
    images = cached(make_images(tmp_path))
    assert images.cache is not None
    assert len(images.cache) == 0
    wanted = take(images, 9, workers=workers)
    assert len(images.cache) == COUNT
    for path in images.paths:
        path.unlink()
    assert_equal(take(images, 9, workers=workers), wanted)


def test_only_what_is_shown_is_kept(tmp_path: Path) -> None:
    images = cached(make_images(tmp_path))
    assert images.cache is not None
    first, again = images[Draw(5, 0)], images[Draw(5, 1)]
    assert len(images.cache) == 1
    assert images.cache.get(4) is None
    assert not torch.equal(first.image, again.image)
    kept = images.cache.get(5)
    assert kept is not None
    assert kept.shape == (9, 12, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_of_broken_images_ends_the_batches(workers: int, tmp_path: Path) -> None:
    images = cached(make_images(tmp_path, broken=tuple(range(COUNT))))
    with pytest.raises(ImageError, match=r"^7 images in a row cannot be read; the first: .*\.png"):
        take(images, 1, workers=workers)


def test_threads_end_with_the_batches(tmp_path: Path) -> None:
    sampler = StepSampler(rows=COUNT, batch_size=3, seed=0)
    found = training_batches(cached(make_images(tmp_path)), sampler, workers=2, pin_memory=False, failures={})
    next(found)
    assert any(thread.name.startswith("training-images") for thread in threading.enumerate())
    found.close()  # type: ignore[attr-defined]
    assert not any(thread.name.startswith("training-images") for thread in threading.enumerate())


# ---- whether to keep any ----


@pytest.mark.parametrize(
    ("choice", "share", "kept"),
    [("off", 0.0, False), ("auto", 0.2, True), ("auto", 0.3, False), ("on", 0.3, True)],
)
def test_what_is_kept_unasked_is_a_quarter_of_the_memory(choice: Cache, share: float, kept: bool) -> None:
    rows = round(share * available_memory() / (1024 * 1024 * 3))
    cache = make_cache(choice, rows=rows, shape=(1024, 1024, 3))  # not filled, so it takes no memory
    assert (cache is not None) == kept


def test_more_than_any_machine_has_is_refused_with_the_way_out() -> None:
    with pytest.raises(RecipeError, match=r"1,000,000,000,000 images of 128x64 px need 24,576,000\.0 GB .*'auto'"):
        ImageCache(10**12, (64, 128, 3))


def test_available_memory_is_some_and_no_more_than_the_machine_has() -> None:
    assert 1e7 < available_memory() < 1e14
