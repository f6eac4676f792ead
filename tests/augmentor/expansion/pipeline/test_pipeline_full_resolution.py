"""Originals at their own size: positions, memory, failures of single rows."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from augmentor.data.manifest import Manifest
from augmentor.images import Pixels, decode
from augmentor.images import full_resolution as fullsize
from augmentor.planning.items import Item
from augmentor.storage.access import Access
from stargan.checkpoints import Model
from tests.augmentor.expansion.pipeline.shards import Memory, make, make_items


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_full_images_are_in_their_places(batch_size: int, manifest: Manifest, model: Model) -> None:
    items, shard = make_items(manifest), Memory()
    failed, news = make(manifest, model, shard, items=items, batch_size=batch_size, size="original")
    good = {place: item for place, item in enumerate(items) if item.row not in (2, 5)}
    assert set(shard.images) == set(good)
    assert (failed, news[-1]) == (2, len(items))
    for place, item in good.items():
        row, pixels = shard.images[place]
        whole = decode(manifest.image_path(item.row), channels=3)
        assert (row.codes, row.is_synthetic, row.source_id) == (item.target, item.is_synthetic, f"face {item.row}")
        # Of 24 x 20 px the model sees the middle 20 x 20.
        assert np.array_equal(pixels[:, :2], whole[:, :2])
        assert np.array_equal(pixels[:, 22:], whole[:, 22:])
        assert np.array_equal(pixels, whole) != item.is_synthetic


def test_linked_files_beside_full_images(manifest: Manifest, model: Model) -> None:
    shard = Memory()
    make(manifest, model, shard, items=make_items(manifest), real="original", size="original")
    assert len(shard.links) == 6
    assert len(shard.images) == 4 * 5
    assert {pixels.shape for _, pixels in shard.images.values()} == {(20, 24, 3)}


@pytest.mark.usefixtures("too_large_an_original")
def test_an_original_that_cannot_be_read_fails_its_row_alone(manifest: Manifest, model: Model) -> None:
    shard = Memory()
    failed, _ = make(manifest, model, shard, items=make_items(manifest), size="original")
    assert shard.failures is not None
    assert [failure.id for failure in shard.failures] == ["face 2", "face 3", "face 5"]
    assert shard.failures[1].reason == "there is not enough memory to unpack the image"
    assert failed == 3
    assert {row.source_id for row, _ in shard.images.values()} == {f"face {i}" for i in (0, 1, 4, 6, 7)}


def test_few_originals_are_in_memory_at_once(
    manifest: Manifest, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[weakref.ref[Pixels]] = []
    most = 0

    def watching(path: Path, *, channels: int, access: Access) -> Pixels:
        nonlocal most
        pixels = decode(path, channels=channels, access=access)
        read.append(weakref.ref(pixels))
        most = max(most, sum(original() is not None for original in read))
        return pixels

    monkeypatch.setattr(fullsize, "decode", watching)

    # 200 sources, the first row and the second in turn, each real and with three translations.
    items = [
        Item(position=position, row=position // 4 % 2, target=(2, 1), is_synthetic=position % 4 > 0)
        for position in range(800)
    ]
    shard = Memory()  # which keeps copies
    make(manifest, model, shard, items=items, batch_size=32, size="original")
    assert (len(shard.images), len(read)) == (800, 200)
    # One in each of two threads; one that waits for the next batch; room for threads that overtake each other.
    assert most <= 6
