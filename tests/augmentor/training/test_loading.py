"""Training images: read, cropped, mirrored, cut, replaced where broken, and batched."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any, Literal
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from augmentor.data.manifest import Partners
from augmentor.errors import ImageError, StalledError
from augmentor.images import Pixels, decode
from augmentor.storage import workers
from augmentor.storage.access import Access
from augmentor.training import loading
from augmentor.training.cache import ImageCache
from augmentor.training.loading import TrainingImages, TrainingSample, default_workers, training_batches
from augmentor.training.sampler import Draw, StepSampler
from augmentor.training.settings import ImageSettings
from stargan.labels import Attribute, LabelSpace
from stargan.training import Batch
from tests.augmentor.loaded import draws
from tests.hanging import wait_for_the_end
from tests.waiting import PATIENCE, scaled

HAIR = Attribute(name="hair", kind="categorical", values=("black", "blond", "brown"))

TWO_ATTRIBUTES = LabelSpace(attributes=(HAIR, Attribute(name="glasses")))

JOINT_SPACE = LabelSpace(
    attributes=(*TWO_ATTRIBUTES.attributes, Attribute(name="mood", kind="categorical", values=("a", "b", "c"))),
    label_sets=(("hair", "glasses"), ("mood",)),
)

PLAIN = ImageSettings(size=8, flip=False, random_crop=1.0)


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
    return TrainingImages(paths=tuple(paths), codes=codes, space=TWO_ATTRIBUTES, settings=settings, seed=seed)


def wanted(images: TrainingImages, *, row: int, target: int) -> list[int]:
    """The target of a row's image when another row's domain was drawn."""
    found = images[Draw(row, 0, target)].target
    assert found is not None
    return list(found.tolist())


# ---- one image ----


def test_a_sample_is_the_rows_image_and_codes(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    sample = images[Draw(row=3, position=17)]
    assert sample.image.shape == (3, 8, 8)
    assert sample.image.dtype == torch.uint8
    assert sample.image.is_contiguous()
    assert set(sample.image[0].flatten().tolist()) == {30}
    assert sample.image[1, 0].tolist() == list(range(0, 240, 30))
    assert sample.codes.dtype == torch.int64
    assert sample.codes.tolist() == [0, 0]
    assert sample.target is None
    assert sample.failures == {}
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


@pytest.mark.parametrize(("side", "size", "factor"), [(32, 28, 1.143), (260, 256, 1.0157), (286, 256, 1.117)])
def test_crops_of_the_papers_are_windows_of_the_file(side: int, size: int, factor: float, tmp_path: Path) -> None:
    """28 px of 32 (digits), 256 of 260 and of 286 (CycleGAN's and pix2pix's): nothing is resized on the way."""
    pixels = np.random.default_rng(0).integers(256, size=(side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    images = TrainingImages(
        paths=(tmp_path / "0.png",),
        codes=np.array([[0, 0]], dtype=np.int16),
        space=TWO_ATTRIBUTES,
        settings=ImageSettings(size=size, flip=False, random_crop=factor),
        seed=0,
    )
    room, corners = side - size + 1, set()
    for place in range(12):
        made = images[Draw(0, place)].image.permute(1, 2, 0).numpy()
        starts = [
            (top, left)
            for top in range(room)
            for left in range(room)
            if np.array_equal(pixels[top : top + 8, left : left + 8], made[:8, :8])
        ]
        assert len(starts) == 1
        ((top, left),) = starts
        assert np.array_equal(pixels[top : top + size, left : left + size], made)
        corners.add((top, left))
    assert len(corners) > 5


def test_nothing_is_mirrored_where_the_recipe_forbids_it(tmp_path: Path) -> None:
    images = make_images(tmp_path, ImageSettings(size=8, flip=False, random_crop=1.0))
    first = images[Draw(2, 0)].image
    assert all(torch.equal(images[Draw(2, place)].image, first) for place in range(30))


def test_size_channels_and_crop(tmp_path: Path) -> None:
    grey = make_images(tmp_path, ImageSettings(size=(4, 6), channels=1, flip=False, random_crop=1.0))
    assert grey[Draw(0, 0)].image.shape == (1, 4, 6)
    centre = make_images(tmp_path, ImageSettings(size=4, crop=4, flip=False, random_crop=1.0))
    # The centred square of 4 px keeps its pixels: columns 2 to 5.
    assert centre[Draw(1, 0)].image[1, 0].tolist() == [60, 90, 120, 150]


def test_a_broken_image_is_replaced_and_reported(tmp_path: Path) -> None:
    images = make_images(tmp_path, broken=(3, 4))
    sample = images[Draw(row=3, position=0)]
    assert set(sample.image[0].flatten().tolist()) == {0}  # rows 3 and 4 are broken, the next one is row 0
    assert sample.codes.tolist() == images.codes[0].tolist()
    assert list(sample.failures) == [3, 4]
    assert "3.png" in next(iter(sample.failures.values()))
    assert images[Draw(row=1, position=0)].failures == {}


# ---- pairs ----


def paired(
    folder: Path,
    settings: ImageSettings = PLAIN,
    *,
    broken: tuple[int, ...] = (),
    share: float = 1.0,
    only: bool = False,
) -> TrainingImages:
    """Rows 0 and 1 are one picture, of hair 0 and 1; rows 2 and 4 are one, of hair 2 and 1; row 3 has no pair."""
    images = make_images(folder, settings, broken=broken)
    partners = Partners.of(np.array([5, 5, 2, -1, 2]), images.codes)
    return dataclasses.replace(images, partners=partners, paired_share=share, only_paired=only)


def found_partner(sample: TrainingSample) -> int | None:
    """The row that is the partner of a sample, by its red."""
    return None if sample.partner is None else int(sample.partner[0, 0, 0]) // 10


def test_a_partner_is_the_true_image_of_the_target(tmp_path: Path) -> None:
    images = paired(tmp_path)
    sample = images[Draw(0, 7)]
    assert sample.partner is not None
    assert (sample.partner.dtype, sample.partner.is_contiguous()) == (torch.uint8, True)
    assert found_partner(sample) == 1
    # The labels of row 1; the drawn row counts for nothing.
    assert sample.target is not None
    assert sample.target.tolist() == wanted(images, row=0, target=2) == [1, 0]
    # Row 4 does not know the second attribute, nor does row 2.
    assert wanted(images, row=2, target=3) == [1, -1]
    assert images[Draw(3, 0)].partner is None


def test_of_several_partners_one_is_drawn(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    partners = Partners.of(np.array([5, 5, 2, 5, 2]), images.codes)
    images = dataclasses.replace(images, partners=partners, paired_share=1.0)
    shown = [found_partner(images[Draw(1, position)]) for position in range(40)]
    assert 10 < shown.count(0) < 30
    assert shown.count(0) + shown.count(3) == 40
    assert shown == [found_partner(images[Draw(1, position)]) for position in range(40)]


@pytest.mark.parametrize("sub_regions", [0.0, 0.5])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_partner_is_cropped_and_mirrored_as_its_image(
    tmp_path: Path, sub_regions: float, channels: Literal[1, 3]
) -> None:
    settings = ImageSettings(size=4, random_crop=1.5, sub_regions=sub_regions, channels=channels)
    images = paired(tmp_path, settings)
    alone = dataclasses.replace(images, partners=None)
    seen = set()
    for position in range(40):
        sample = images[Draw(0, position)]
        assert sample.partner is not None
        # Images differ in red alone, so that green and blue say where they were cut, and which way round.
        difference = sample.partner.int() - sample.image.int()
        assert (
            (difference[1:] == 0).all() if channels == 3 else (difference - difference[0, 0, 0]).abs().max() <= 1
        )
        assert torch.equal(sample.image, alone[Draw(0, position)].image)
        seen.add(tuple(sample.image.flatten().tolist()))
    assert len(seen) > 10


def test_a_share_of_the_draws_is_paired(tmp_path: Path) -> None:
    images = paired(tmp_path, share=0.3)
    policy = Mock(return_value=np.array([2, 1]))
    images = dataclasses.replace(images, policy=policy)
    samples = [images[Draw(0, position, 2)] for position in range(300)]
    taken = [sample for sample in samples if sample.partner is not None]
    assert 60 < len(taken) < 120
    # The other draws have the policy's target, as without pairs.
    assert policy.call_count == 300 - len(taken)
    assert all(sample.target.tolist() == [1, 0] for sample in taken if sample.target is not None)
    assert all(sample.target is not None for sample in samples)
    none = paired(tmp_path, share=0.0)
    assert all(none[Draw(0, position, 2)].partner is None for position in range(20))


def test_an_unreadable_partner_is_reported_and_the_draw_is_unpaired(tmp_path: Path) -> None:
    images = paired(tmp_path, broken=(1,))
    sample = images[Draw(0, 0, 2)]
    assert sample.partner is None
    assert sample.target is not None
    assert sample.target.tolist() == [2, -1]
    assert list(sample.failures) == [1]
    assert "1.png" in sample.failures[1]
    only = paired(tmp_path, broken=(1,), only=True)[Draw(0, 0)]
    # The next row whose partner can be read is row 2; row 1 is broken itself.
    assert (int(only.image[0, 0, 0]) // 10, found_partner(only)) == (2, 4)
    assert list(only.failures) == [1]


def test_rows_without_a_partner_are_no_substitutes_where_all_are_paired(tmp_path: Path) -> None:
    images = paired(tmp_path, broken=(2,), only=True)
    images = dataclasses.replace(images, partners=Partners.of(np.array([0, 0, 1, -1, 1]), images.codes))
    sample = images[Draw(2, 0)]
    assert (int(sample.image[0, 0, 0]) // 10, found_partner(sample)) == (0, 1)


def test_partners_of_another_size_are_reported_where_files_are_cut(tmp_path: Path) -> None:
    images = paired(tmp_path, ImageSettings(size=4, random_crop=1.0, sub_regions=0.999))
    Image.new("RGB", (16, 8)).save(tmp_path / "1.png")
    sample = images[Draw(0, 0, 2)]
    assert sample.partner is None
    assert sample.failures == {1: f"{tmp_path / '1.png'}: 16x8 px, but its partner {tmp_path / '0.png'} is 8x8 px"}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("workers", [0, 1])
def test_batches_hold_partners(tmp_path: Path, cached: bool, workers: int) -> None:
    images = paired(tmp_path, share=0.6)
    if cached:
        images = dataclasses.replace(images, cache=ImageCache(5, (8, 8, 3)))
    sampler = StepSampler(rows=5, batch_size=8, seed=0, target_weights=np.ones(5))
    made = training_batches(images, sampler, workers=workers, pin_memory=False, failures={})
    for batch, drawn in zip(itertools.islice(made, 4), draws(sampler, 4), strict=True):
        samples = [images[draw] for draw in drawn]
        assert batch.partners is not None
        assert batch.paired is not None
        assert (batch.partners.shape, batch.partners.dtype) == (batch.images.shape, torch.uint8)
        assert batch.paired.tolist() == [sample.partner is not None for sample in samples]
        for partner, sample in zip(batch.partners, samples, strict=True):
            assert torch.equal(partner, torch.zeros_like(partner) if sample.partner is None else sample.partner)


def test_a_batch_without_a_pair_holds_none(tmp_path: Path) -> None:
    images = paired(tmp_path, share=0.0)
    sampler = StepSampler(rows=5, batch_size=4, seed=0, target_weights=np.ones(5))
    batch = next(training_batches(images, sampler, workers=0, pin_memory=False, failures={}))
    assert (batch.partners, batch.paired) == (None, None)


def test_a_folder_of_broken_images_is_no_training_set(tmp_path: Path) -> None:
    images = make_images(tmp_path, broken=(0, 1, 2, 3, 4))
    with pytest.raises(ImageError, match=r"5 images in a row cannot be read; the first: .*2\.png"):
        images[Draw(row=2, position=0)]


def test_a_target_is_the_drawn_rows_domain_but_never_less_than_the_images_own(tmp_path: Path) -> None:
    images = make_images(tmp_path)
    assert images.codes.tolist() == [[0, -1], [1, 0], [2, -1], [0, 0], [1, -1]]
    target = images[Draw(row=1, position=0, target=2)].target
    assert target is not None
    assert target.dtype == torch.int64
    assert target.tolist() == [2, 0]  # row 2 does not know the second attribute, row 1 does
    assert wanted(images, row=2, target=3) == [0, 0]
    assert wanted(images, row=3, target=3) == [0, 0]


def test_a_target_of_another_label_set_stands_alone(tmp_path: Path) -> None:
    codes = np.array([[1, 0, -1], [0, -1, -1], [-1, -1, 2], [-1, -1, 0]], dtype=np.int16)
    joint = make_images(tmp_path, count=4)
    joint = dataclasses.replace(joint, codes=codes, space=JOINT_SPACE, label_sets=np.array([0, 0, 1, 1]))
    assert wanted(joint, row=0, target=1) == [0, 0, -1]
    assert wanted(joint, row=0, target=2) == [-1, -1, 2]
    assert wanted(joint, row=2, target=1) == [0, -1, -1]
    assert wanted(joint, row=2, target=3) == [-1, -1, 0]


def test_a_broken_image_is_replaced_within_its_label_set(tmp_path: Path) -> None:
    images = dataclasses.replace(
        make_images(tmp_path, broken=(1, 3)), label_sets=np.array([0, 1, 0, 1, 1]), settings=PLAIN
    )
    assert images[Draw(row=1, position=0)].codes.tolist() == images.codes[4].tolist()
    assert list(images[Draw(row=3, position=0)].failures) == [3]
    nothing_left = dataclasses.replace(images, label_sets=np.array([0, 1, 0, 1, 0]))
    with pytest.raises(ImageError, match=r"2 images in a row cannot be read; the first: .*3\.png"):
        nothing_left[Draw(row=3, position=0)]


# ---- sub-regions ----


def make_large(folder: Path, *, height: int, width: int, **settings: Any) -> tuple[TrainingImages, Tensor]:
    """One image whose pixels are all different, uint8 (3, H, W), to be shown at 8 px."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([y, x, (y * width + x) % 251], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "large.png")
    images = TrainingImages(
        paths=(folder / "large.png",),
        codes=np.zeros((1, 2), dtype=np.int16),
        space=TWO_ATTRIBUTES,
        settings=ImageSettings(**{"size": 8, "random_crop": 1.0, **settings}),
        seed=0,
    )
    return images, torch.from_numpy(pixels).permute(2, 0, 1)


def is_cut_of(image: Tensor, original: Tensor) -> bool:
    top, left = int(image[0, 0, 0]), int(image[1, 0, 0])
    return torch.equal(image, original[:, top : top + 8, left : left + 8])


def test_sub_regions_are_cuts_of_the_original_in_their_share(tmp_path: Path) -> None:
    images, original = make_large(tmp_path, height=40, width=24, sub_regions=0.25, flip=False)
    shown = [images[Draw(0, place)].image for place in range(400)]
    cuts = [image for image in shown if is_cut_of(image, original)]
    assert len(cuts) == pytest.approx(100, abs=30)  # three and a half standard deviations
    # Every part of the image is shown: 33 tops, the whole height included, and 17 lefts.
    tops, lefts = ({int(cut[channel, 0, 0]) for cut in cuts} for channel in (0, 1))
    assert min(tops) <= 2
    assert max(tops) >= 30
    assert min(lefts) <= 1
    assert max(lefts) >= 15
    whole = decode(images.paths[0], size=(8, 8), channels=3)
    others = [image for image in shown if not is_cut_of(image, original)]
    assert all(torch.equal(image, torch.from_numpy(whole).permute(2, 0, 1)) for image in others)
    for place in (0, 1, 2, 3, 399):
        assert torch.equal(images[Draw(0, place)].image, shown[place])


def test_sub_regions_stay_within_the_crop_and_are_mirrored(tmp_path: Path) -> None:
    images, original = make_large(tmp_path, height=30, width=40, sub_regions=0.9, crop=12, flip=True)
    shown = [images[Draw(0, place)].image for place in range(80)]
    plain = [image for image in shown if is_cut_of(image, original)]
    mirrored = [image for image in shown if is_cut_of(image.flip(2), original)]
    assert len(plain) > 20
    assert len(mirrored) > 20
    for image in plain:
        assert 9 <= int(image[0, 0, 0]) <= 13  # rows 9 to 20 and columns 14 to 25 are the centred square of 12 px
        assert 14 <= int(image[1, 0, 0]) <= 18


def test_an_image_that_is_too_small_for_a_cut_is_enlarged_to_cover_it(tmp_path: Path) -> None:
    images, _ = make_large(tmp_path, height=4, width=12, sub_regions=0.99, flip=False)
    shown = [images[Draw(0, place)].image for place in range(60)]
    assert all(image.shape == (3, 8, 8) for image in shown)
    # Enlarged twice, to 8 x 24 px: a cut spans the whole height, but a third of the width.
    wide = torch.from_numpy(decode(images.paths[0], size=(8, 24), channels=3)).permute(2, 0, 1)
    cuts = [any(torch.equal(image, wide[:, :, left : left + 8]) for left in range(17)) for image in shown]
    assert sum(cuts) >= 55


def test_an_image_of_one_row_is_not_enlarged_without_end(tmp_path: Path) -> None:
    # 8 px high it would be 8 x 1,600,000.
    images, _ = make_large(tmp_path, height=1, width=200_000, sub_regions=0.99, flip=False)
    tracemalloc.start()
    shown = [images[Draw(0, place)].image for place in range(3)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(image.shape == (3, 8, 8) for image in shown)
    assert peak < 20e6


def test_an_image_elsewhere_is_replaced_and_reported(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    images = make_images(tmp_path / "inside")
    outside = make_images(tmp_path, count=1).paths[0]
    images = dataclasses.replace(
        images, paths=(outside, *images.paths[1:]), access=Access(folders=(tmp_path / "inside",))
    )
    sample = images[Draw(row=0, position=0)]
    assert set(sample.image[0].flatten().tolist()) == {10}  # the next row's
    assert list(sample.failures) == [0]
    assert "--allow-outside" in next(iter(sample.failures.values()))


def test_without_sub_regions_nothing_changes(tmp_path: Path) -> None:
    images = make_images(tmp_path, ImageSettings(size=8, flip=True, random_crop=1.5))
    random_numbers = np.random.default_rng((0, 5))
    top, left = (int(random_numbers.integers(5)) for _ in range(2))
    pixels = decode(images.paths[3], size=(12, 12), channels=3)[top : top + 8, left : left + 8]
    if random_numbers.random() < 0.5:
        pixels = pixels[:, ::-1]
    assert np.array_equal(images[Draw(3, 5)].image.permute(1, 2, 0).numpy(), pixels)


# ---- resuming ----


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_batches_are_those_of_an_undisturbed_run(workers: int, tmp_path: Path) -> None:
    settings = ImageSettings(size=6, flip=True, random_crop=1.25, sub_regions=0.5)
    images = dataclasses.replace(make_images(tmp_path, settings), label_sets=np.array([0, 0, 0, 1, 1]))
    weights = np.arange(1.0, 6.0)
    sampler = StepSampler(
        rows=5,
        batch_size=3,
        seed=images.seed,
        label_sets=images.label_sets,
        joint="alternating",
        source_weights=weights,
        target_weights=weights,
    )

    def batches(first_step: int, count: int) -> list[Batch]:
        found = training_batches(
            images,
            dataclasses.replace(sampler, first_step=first_step),
            workers=workers,
            pin_memory=False,
            failures={},
        )
        return list(itertools.islice(found, count))

    whole, later = batches(0, 7), batches(3, 4)
    for before, after in zip(whole[3:], later, strict=True):
        assert before.targets is not None
        assert after.targets is not None
        assert before.targets.shape == (3, 2)
        for name in ("images", "codes", "targets"):
            assert torch.equal(getattr(before, name), getattr(after, name))


# ---- batches ----


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_and_what_broke(workers: int, tmp_path: Path) -> None:
    images = make_images(tmp_path, ImageSettings(size=8, flip=True, random_crop=1.25), broken=(2,))
    failures: dict[int, str] = {}
    sampler = StepSampler(rows=5, batch_size=3, seed=0, first_step=2)
    made = training_batches(images, sampler, workers=workers, pin_memory=False, failures=failures)
    found = list(itertools.islice(made, 3))
    wanted = draws(sampler, 3)
    for batch, drawn in zip(found, wanted, strict=True):
        assert batch.images.shape == (3, 3, 8, 8)
        assert batch.codes.shape == (3, 2)
        assert batch.targets is None
        for image, codes, draw in zip(batch.images, batch.codes, drawn, strict=True):
            assert torch.equal(image, images[draw].image)
            assert torch.equal(codes, images[draw].codes)
    assert list(failures) == [2]
    assert "2.png" in failures[2]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_states_are_untouched(workers: int, tmp_path: Path) -> None:
    images = make_images(tmp_path, ImageSettings(size=8, flip=True, random_crop=1.25))
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state(legacy=False))
    sampler = StepSampler(rows=5, batch_size=2, seed=0)
    next(training_batches(images, sampler, workers=workers, pin_memory=False, failures={}))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state(legacy=False)) == before[2]


@pytest.mark.parametrize("cached", [False, True])
def test_reading_that_hangs_ends_with_a_message(
    cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_images(tmp_path)
    if cached:
        images = dataclasses.replace(images, cache=ImageCache(5, (8, 8, 3)))
    free = threading.Event()  # A forked process has its own, which nobody sets.

    def hang(path: Path, **rest: Any) -> Pixels:
        if path.name == "3.png":
            free.wait()
        return decode(path, **rest)

    monkeypatch.setattr(loading, "decode", hang)
    limit = scaled(1)
    monkeypatch.setattr(workers, "STALLED_SECONDS", limit)
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.2)
    sampler = StepSampler(rows=5, batch_size=5, seed=0)
    batches = training_batches(images, sampler, workers=1, pin_memory=False, failures={})
    said = (
        "reading .*png or the others of its batch"
        if cached
        else f"1 processes read training images below {tmp_path}"
    )
    with pytest.raises(StalledError, match=f"nothing has moved for {limit:g} seconds while {said}"):
        next(batches)
    free.set()
    assert not multiprocessing.active_children()
    wait_for_the_end()


FULL = """
import os, resource, sys
from pathlib import Path
from test_loading import make_images
from augmentor.errors import SharedMemoryError
from augmentor.training.loading import training_batches
from augmentor.training.sampler import StepSampler
from augmentor.training.settings import ImageSettings

images = make_images(Path(sys.argv[1]), ImageSettings(size=64))
for limit, workers in ((0, 1), (100_000, 1), (300_000, 1), (0, 0)):
    if child := os.fork():
        os.waitpid(child, 0)
        continue
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sampler = StepSampler(rows=5, batch_size=16, seed=0)
    batches = training_batches(images, sampler, workers=workers, pin_memory=False, failures={})
    try:
        print(list(next(batches).images.shape), flush=True)
    except SharedMemoryError as error:
        print(error, flush=True)
    batches.close()
    os._exit(0)
"""
"""Loads a batch of 196,608 bytes where no file, also of shared memory, may be longer than a limit."""


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="shares memory in another way")  # noqa: S108
def test_shared_memory_that_is_full(tmp_path: Path) -> None:
    """The semaphores of a queue find no room, or a batch does not; without processes none is needed."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    no_queue, no_batch, *good = done.stdout.splitlines()
    assert good == ["[16, 3, 64, 64]"] * 2
    for said, reason in ((no_queue, "(File too large)"), (no_batch, "File too large (27))")):
        assert said.startswith("there is too little shared memory for several processes: /dev/shm has ")
        assert f"{reason}. Give it more (in a container: docker run --shm-size=2g)" in said
        assert said.endswith("or use --set training.workers=0 or --cache on, which need none")


def test_default_workers_leave_a_core() -> None:
    assert 1 <= default_workers() <= 8
