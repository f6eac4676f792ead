"""One shard: every image at its position, with its labels, or a failure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from augmentor.data.manifest import Manifest
from augmentor.images import Pixels, decode
from augmentor.outputs.label_table import LabelRow
from augmentor.planning.items import Item
from stargan.checkpoints import Model
from stargan.inference import Translator
from stargan.labels import LabelSpace
from stargan.networks import Generator
from tests.augmentor.expansion.pipeline.shards import CPU, Memory, make, make_items


class Full(Memory):
    """A disk that is full after two images."""

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        if len(self.images) == 2:
            raise OSError(28, "No space left on device")
        super().add(position, row, pixels)


def test_every_image_is_in_its_place(manifest: Manifest, model: Model) -> None:
    items, shard = make_items(manifest), Memory()
    failed, news = make(manifest, model, shard, items=items)
    assert len(items) == 6 * 6 + 2
    good = {place: item for place, item in enumerate(items) if item.row not in (2, 5)}
    assert set(shard.images) == set(good)
    translator = Translator(model, device=CPU)
    for place, item in good.items():
        row, pixels = shard.images[place]
        source = decode(manifest.image_path(item.row), size=(16, 16), channels=3)
        assert (row.codes, row.is_synthetic, row.source_id) == (item.target, item.is_synthetic, f"face {item.row}")
        if item.is_synthetic:
            images = torch.from_numpy(source).permute(2, 0, 1)[None]
            expected = translator.translate(images, torch.tensor([item.target]))[0].permute(1, 2, 0).numpy()
            assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 1
        else:
            assert np.array_equal(pixels, source)
    assert (failed, news[-1]) == (2, len(items))


def test_rows_say_where_they_come_from(manifest: Manifest, model: Model) -> None:
    shard = Memory()
    make(manifest, model, shard, items=make_items(manifest))
    real, _ = shard.images[0]
    assert (real.split, real.group, real.source_path, real.changed) == ("train", "ann0", "0.png", ())
    rows = {row.key: row for row, _ in shard.images.values()}
    stem = real.key.removesuffix("__real")
    assert stem.startswith("face_0-")  # an id with a space is no file name as it is
    assert rows[f"{stem}__hair-brown_glasses-1"].changed == ("hair", "glasses")
    assert rows[f"{stem}__hair-black_glasses-1"].changed == ("glasses",)
    assert len(rows) == len(shard.images)
    assert {row.split for row in rows.values() if row.is_synthetic} == {"train"}


def test_a_broken_source_is_one_failure(manifest: Manifest, model: Model) -> None:
    shard = Memory()
    make(manifest, model, shard, items=make_items(manifest))
    assert shard.failures is not None
    assert [(failure.id, failure.path) for failure in shard.failures] == [("face 2", "2.png"), ("face 5", "5.png")]
    assert shard.failures[1].reason == "the file does not exist"
    assert "not an image" in shard.failures[0].reason
    assert str(manifest.root) not in shard.failures[0].reason


def test_the_same_again_gives_the_same_bytes(manifest: Manifest, model: Model) -> None:
    first, again = Memory(), Memory()
    for shard in (first, again):
        make(manifest, model, shard, items=make_items(manifest), batch_size=3)
    for place, (row, pixels) in first.images.items():
        assert again.images[place][0] == row
        assert np.array_equal(again.images[place][1], pixels)


def test_original_files_are_linked(manifest: Manifest, model: Model) -> None:
    shard = Memory()
    make(manifest, model, shard, items=make_items(manifest), real="original")
    assert {row.source_id: source for row, source in shard.links.values()} == {
        f"face {i}": manifest.root / f"{i}.png" for i in (0, 1, 3, 4, 6, 7)
    }
    assert all(row.is_synthetic for row, _ in shard.images.values())


def test_an_error_of_the_disk_ends_the_shard_without_a_commit(manifest: Manifest, model: Model) -> None:
    shard = Full()
    with pytest.raises(OSError, match="No space left"):
        make(manifest, model, shard, items=make_items(manifest))
    assert shard.failures is None
    assert not shard.open


def test_no_more_is_read_ahead_than_memory_bears(manifest: Manifest, model: Model) -> None:
    read, ahead = 0, []

    class Watching(Memory):
        def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
            ahead.append(read - position)
            super().add(position, row, pixels)

    def items() -> Iterator[Item]:
        nonlocal read
        # A thousand sources, all of them the first row or the second in turn.
        for position in range(1000):
            read = position + 1
            yield Item(position=position, row=position % 2, target=(2, 1), is_synthetic=True)

    shard = Watching()
    make(manifest, model, shard, items=items(), batch_size=8)
    assert len(shard.images) == 1000
    # 64 sources that are decoded, a batch and the next one, 256 images that wait for their encoder, and what the
    # tasks hold that decode or encode.
    assert max(ahead) <= 64 + 2 * 8 + 256 + 4 * 8


def test_a_shard_without_items_is_committed(manifest: Manifest, model: Model) -> None:
    shard = Memory()
    assert make(manifest, model, shard, items=[]) == (0, [0, 0])
    assert shard.failures == []


def test_a_joint_model_is_asked_for_one_label_set_at_a_time(manifest: Manifest, space: LabelSpace) -> None:
    joint = replace(space, label_sets=(("hair",), ("glasses",)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(vector_size=joint.vector_size, width=4, downsamplings=1, blocks=1)
    model = Model(
        generator=generator.requires_grad_(False).eval(),
        space=joint,
        image_size=(16, 16),
        step=0,
        settings={},
        sha256="",
    )
    # Row 0 has black hair and no glasses, row 6 black hair and unknown glasses.
    items = [
        Item(position=0, row=0, target=(1, 0), is_synthetic=True),
        Item(position=1, row=0, target=(0, 1), is_synthetic=True),
        Item(position=2, row=6, target=(0, 1), is_synthetic=True),
    ]
    shard = Memory()
    make(replace(manifest, space=joint), model, shard, items=items)
    translator = Translator(model, device=CPU)
    for place, told in ((0, (1, -1)), (1, (-1, 1)), (2, (-1, 1))):
        row, pixels = shard.images[place]
        assert row.codes == items[place].target
        source = decode(manifest.image_path(items[place].row), size=(16, 16), channels=3)
        images = torch.from_numpy(source).permute(2, 0, 1)[None]
        expected = translator.translate(images, torch.tensor([told]))[0].permute(1, 2, 0).numpy()
        assert np.abs(pixels.astype(int) - expected.astype(int)).max() <= 1
