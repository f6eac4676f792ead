"""One shard: every image in its place, broken sources named, memory bounded, nothing half done committed."""

from __future__ import annotations

import base64
import csv
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from augmentor import fullsize, pipeline
from augmentor.access import Access
from augmentor.domains import parse_domains
from augmentor.errors import ImageError
from augmentor.fullsize import OutputSize
from augmentor.images import Pixels, decode, decode_bytes
from augmentor.judgement import Judgement, Judges
from augmentor.labeltable import LabelRow
from augmentor.making import Shard
from augmentor.manifest import Manifest, key_stems, read_manifest
from augmentor.pipeline import News, RealMode, Sources, run_shards
from augmentor.plan import Item, make_plan
from augmentor.quality import Scores
from augmentor.stages import SHARDS_BEHIND, Stage
from augmentor.writers import Failure
from augmentor.writers.judged import NOTHING_JUDGED, Judged, RowScores
from augmentor.writers.origins import Origin
from stargan.checkpoint import Model
from stargan.labels import LabelSpace
from stargan.networks import Generator
from stargan.translate import Job, Translator

CPU = torch.device("cpu")


class Memory:
    """A shard that is kept in memory."""

    def __init__(self) -> None:
        self.images: dict[int, tuple[LabelRow, Pixels]] = {}
        self.links: dict[int, tuple[LabelRow, Path]] = {}
        self.failures: list[Failure] | None = None
        self.judged = NOTHING_JUDGED
        self.origins: dict[str, Origin] = {}
        self.open = False

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open = False

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        assert self.open
        assert position not in self.images
        self.images[position] = row, pixels.copy()

    def add_all(self, images: Sequence[tuple[int, LabelRow, Pixels]]) -> None:
        for image in images:
            self.add(*image)

    def link(self, position: int, row: LabelRow, source: Path) -> None:
        assert self.open
        self.links[position] = row, source

    def commit(
        self,
        failures: Sequence[Failure],
        origins: Mapping[str, Origin] | None = None,
        judged: Judged = NOTHING_JUDGED,
    ) -> None:
        assert self.failures is None
        self.failures, self.origins, self.judged = list(failures), dict(origins or {}), judged


class Full(Memory):
    """A disk that is full after two images."""

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        if len(self.images) == 2:
            raise OSError(28, "No space left on device")
        super().add(position, row, pixels)


@pytest.fixture
def model(space: LabelSpace) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(vector_size=space.vector_size, width=4, downsamplings=1, blocks=1)
    return Model(
        generator=generator.requires_grad_(False).eval(),
        space=space,
        image_size=(16, 16),
        step=0,
        settings={},
        sha256="",
    )


@pytest.fixture
def manifest(tmp_path: Path, space: LabelSpace) -> Manifest:
    """Eight rows, the last two val; rows 2 and 5 have no image that can be read."""
    random = np.random.default_rng(0)
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "id", "split", "group", "hair", "glasses"])
        for i in range(8):
            if i == 2:
                (tmp_path / "2.png").write_text("no picture")
            elif i != 5:
                pixels = random.integers(256, size=(20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / f"{i}.png")
            hair = ("black", "blond", "brown")[i % 3]
            table.writerow(
                [f"{i}.png", f"face {i}", "val" if i >= 6 else "train", f"ann{i}", hair, ("0", "1", "")[i // 3]]
            )
    return read_manifest(tmp_path / "manifest.csv", space=space)


def make_items(manifest: Manifest) -> list[Item]:
    """Return real images and all three-by-two targets of the training rows."""
    plan = make_plan(
        manifest.codes,
        space=manifest.space,
        request=parse_domains(["all"], manifest.space),
        eligible=manifest.split_mask(["train"]),
        with_real=True,
    )
    return list(plan.items())


def make(
    manifest: Manifest,
    model: Model,
    shard: Memory,
    *,
    items: Iterator[Item] | list[Item],
    batch_size: int = 4,
    real: RealMode = "processed",
    size: OutputSize = "model",
    judges: Judges | None = None,
) -> tuple[int, list[int]]:
    """Run the shard; return its failures' number and how many items were done, as it was told."""
    news: list[News] = []
    run_shards(
        [Shard(0, items, shard)],
        sources=Sources(manifest=manifest, stems=tuple(key_stems(manifest.rows)), crop=None, real=real, size=size),
        translator=Translator(model, device=CPU, batch_size=batch_size),
        workers=2,
        judges=judges,
        on_news=news.append,
    )
    return news[-1].failed, [each.done for each in news]


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


# ---- judging ----


class Greyish:
    """Judges by a picture's mean grey level, which it notes with all that it was asked."""

    def __init__(self, least: float) -> None:
        self.least = least
        self.asked: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def judge(self, pictures: Tensor, sources: Tensor, targets: Tensor, own: Tensor) -> Judgement:
        self.asked.append((pictures.clone(), sources, targets, own))
        grey = pictures.double().mean(dim=(1, 2, 3)).numpy() / 255
        unknown = np.full(len(grey), np.nan)
        scores = Scores(
            agreement=grey,
            per_attribute=np.stack([grey, unknown], axis=1),
            realism=unknown,
            preserved=1 - grey,
            expected=unknown,
        )
        reasons = ["" if level >= self.least else f"agreement {level:.4f} < {self.least:.4f}" for level in grey]
        return Judgement(scores, reasons, self.least - grey)


@pytest.mark.parametrize("size", ["model", "original"])
@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_what_the_judge_rejects_is_not_written(
    batch_size: int, size: OutputSize, manifest: Manifest, model: Model
) -> None:
    items, ungated, gated = make_items(manifest), Memory(), Memory()
    plain = make(manifest, model, ungated, items=items, batch_size=batch_size, size=size)
    everything = Greyish(0.0)
    make(manifest, model, Memory(), items=items, batch_size=batch_size, size=size, judges=everything)
    pictures, sources, targets, own = map(torch.cat, zip(*everything.asked, strict=True))
    good = {place: item for place, item in enumerate(items) if item.row not in (2, 5)}
    places = [place for place, item in good.items() if item.is_synthetic]
    assert targets.tolist() == [list(items[place].target) for place in places]
    assert own.tolist() == [manifest.codes[items[place].row].tolist() for place in places]
    for place, picture, source in zip(places, pictures, sources, strict=True):
        path = manifest.image_path(items[place].row)
        assert np.array_equal(source.permute(1, 2, 0), decode(path, size=(16, 16), channels=3))
        if size == "model":
            assert np.array_equal(picture.permute(1, 2, 0), ungated.images[place][1])
        assert picture.shape == (3, 16, 16)
        assert not torch.equal(picture, source)
    levels = dict(zip(places, (pictures.double().mean(dim=(1, 2, 3)) / 255).tolist(), strict=True))
    least = float(np.median(list(levels.values())))
    failed, done = make(
        manifest, model, gated, items=items, batch_size=batch_size, size=size, judges=Greyish(least)
    )
    assert (failed, done[-1]) == (plain[0], len(items))
    assert set(gated.images) == {place for place in good if levels.get(place, 1.0) >= least}
    for place, (row, pixels) in gated.images.items():
        before, same = ungated.images[place]
        assert np.array_equal(pixels, same)
        expected = round(levels[place], 4) if row.is_synthetic else None
        assert row == before._replace(agreement=expected)
    rejected = gated.judged.rejected
    assert [each.position for each in rejected] == sorted(place for place in places if levels[place] < least)
    assert set(gated.judged.scores) == set(places) - {each.position for each in rejected}
    for each in rejected:
        level = round(levels[each.position], 4)
        assert each.row == ungated.images[each.position][0]._replace(agreement=level)
        assert each.reason.startswith("agreement 0.")
        assert each.scores == RowScores(round(1 - levels[each.position], 4), (level, None))


def test_pictures_of_the_worst_and_the_nearest_are_kept(manifest: Manifest, model: Model) -> None:
    shard, plain = Memory(), Memory()
    make(manifest, model, plain, items=make_items(manifest))
    make(manifest, model, shard, items=make_items(manifest), judges=Greyish(1.0))
    rejected = shard.judged.rejected
    assert len(rejected) > 6
    assert all(row.is_synthetic is False for row, _ in shard.images.values())
    level = {each.position: plain.images[each.position][1].mean() for each in rejected}
    ranked = sorted(level, key=lambda position: level[position])
    shown = {each.position: each.thumbnail for each in rejected if each.thumbnail}
    assert set(shown) == {*ranked[:3], *ranked[-3:]}
    for position, thumbnail in shown.items():
        picture = decode_bytes(base64.b64decode(thumbnail), channels=3)
        assert picture.shape == (16, 16, 3)
        assert abs(picture.mean() - level[position]) < 4


def test_a_failed_row_is_not_rejected_as_well(
    manifest: Manifest, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, *, channels: int, access: Access) -> Pixels:
        if path.name == "3.png":
            raise ImageError(f"{path}: there is not enough memory to unpack the image")
        return decode(path, channels=channels, access=access)

    monkeypatch.setattr(fullsize, "decode", failing)
    shard = Memory()
    make(manifest, model, shard, items=make_items(manifest), size="original", judges=Greyish(1.0))
    assert shard.failures is not None
    assert [failure.id for failure in shard.failures] == ["face 2", "face 3", "face 5"]
    assert {each.row.source_id for each in shard.judged.rejected} == {"face 0", "face 1", "face 4"}


def test_judging_is_a_stage_and_rejections_are_told(manifest: Manifest, model: Model) -> None:
    class Slow(Greyish):
        def judge(self, pictures: Tensor, sources: Tensor, targets: Tensor, own: Tensor) -> Judgement:
            time.sleep(0.1)
            return super().judge(pictures, sources, targets, own)

    news: list[News] = []
    run_shards(
        [Shard(number, make_items(manifest), Memory()) for number in range(2)],
        sources=Sources(manifest=manifest, stems=tuple(key_stems(manifest.rows)), crop=None, real="processed"),
        translator=Translator(model, device=CPU, batch_size=4),
        workers=2,
        judges=Slow(1.0),
        on_news=news.append,
    )
    assert news[-1].loads.slowest == "judging"
    assert news[-1].loads.seconds["judging"] >= 0.1 * 2 * 5
    assert (news[-1].rejected, news[-1].done) == (2 * 4 * 5, 2 * len(make_items(manifest)))


# ---- full resolution ----


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


def test_an_original_that_cannot_be_read_fails_its_row_alone(
    manifest: Manifest, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the memory is enough for the model's size, but not for the file's own."""

    def failing(path: Path, *, channels: int, access: Access) -> Pixels:
        if path.name == "3.png":
            raise ImageError(f"{path}: there is not enough memory to unpack the image")
        return decode(path, channels=channels, access=access)

    monkeypatch.setattr(fullsize, "decode", failing)
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


# ---- several shards ----


def run_many(
    manifest: Manifest,
    model: Model,
    shards: Sequence[Memory],
    *,
    translator: Translator | None = None,
    on_news: Callable[[News], None] = lambda _news: None,
    on_committed: Callable[[int], None] = lambda _number: None,
) -> None:
    """Make the same items in each of several shards."""
    run_shards(
        [Shard(number, make_items(manifest), shard) for number, shard in enumerate(shards)],
        sources=Sources(manifest=manifest, stems=tuple(key_stems(manifest.rows)), crop=None, real="processed"),
        translator=translator or Translator(model, device=CPU, batch_size=4),
        workers=2,
        on_news=on_news,
        on_committed=on_committed,
    )


def test_a_shard_does_not_wait_for_the_commit_of_the_one_before(manifest: Manifest, model: Model) -> None:
    begun = threading.Event()

    class First(Memory):
        def commit(
            self,
            failures: Sequence[Failure],
            origins: Mapping[str, Origin] | None = None,
            judged: Judged = NOTHING_JUDGED,
        ) -> None:
            assert begun.wait(20), "the second shard's images wait for the first one's commit"
            super().commit(failures, origins, judged)

    class Second(Memory):
        def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
            begun.set()
            super().add(position, row, pixels)

    committed: list[int] = []
    shards = [First(), Second()]
    run_many(manifest, model, shards, on_committed=committed.append)
    assert committed == [0, 1]
    assert all(shard.failures is not None and not shard.open for shard in shards)


def test_commits_are_at_most_a_few_shards_behind(manifest: Manifest, model: Model) -> None:
    committed, behind = 0, []

    class Slow(Memory):
        def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
            behind.append(shards.index(self) - committed)
            super().add(position, row, pixels)

        def commit(
            self,
            failures: Sequence[Failure],
            origins: Mapping[str, Origin] | None = None,
            judged: Judged = NOTHING_JUDGED,
        ) -> None:
            nonlocal committed
            time.sleep(0.05)
            super().commit(failures, origins, judged)
            committed += 1

    shards = [Slow() for _ in range(10)]
    run_many(manifest, model, shards)
    assert committed == 10
    assert 1 <= max(behind) <= SHARDS_BEHIND + 1


def test_what_ran_before_does_not_change_a_shard(manifest: Manifest, model: Model) -> None:
    alone, first, after = Memory(), Memory(), Memory()
    make(manifest, model, alone, items=make_items(manifest), batch_size=4)
    run_many(manifest, model, [first, after])
    for shard in (first, after):
        assert shard.images.keys() == alone.images.keys()
        for place, (row, pixels) in alone.images.items():
            assert shard.images[place][0] == row
            assert np.array_equal(shard.images[place][1], pixels)


def test_a_commit_that_fails_ends_everything(manifest: Manifest, model: Model) -> None:
    class Broken(Memory):
        def commit(
            self,
            failures: Sequence[Failure],
            origins: Mapping[str, Origin] | None = None,
            judged: Judged = NOTHING_JUDGED,
        ) -> None:
            raise OSError(
                5, f"Input/output error after {len(failures)} failures of {len(origins or {})}, {judged}"
            )

    shards = [Memory(), Broken(), *(Memory() for _ in range(20))]
    with pytest.raises(OSError, match="Input/output error after 2 failures"):
        run_many(manifest, model, shards)
    assert shards[0].failures is not None
    assert not any(shard.open for shard in shards)
    assert not shards[-1].images
    assert not any(thread.name.startswith(("images", "commits")) for thread in threading.enumerate())


def test_an_interrupt_leaves_no_thread_and_no_open_shard(manifest: Manifest, model: Model) -> None:
    def interrupt(news: News) -> None:
        if news.done:
            raise KeyboardInterrupt

    shards = [Memory() for _ in range(5)]
    with pytest.raises(KeyboardInterrupt):
        run_many(manifest, model, shards, on_news=interrupt)
    assert not any(shard.open for shard in shards)
    assert shards[-1].failures is None
    assert not any(thread.name.startswith(("images", "commits")) for thread in threading.enumerate())


def test_shards_that_are_there_are_passed_over_in_order(manifest: Manifest, model: Model) -> None:
    there: list[int] = []
    made = Memory()
    items = make_items(manifest)
    run_shards(
        [Shard(0, (), None), Shard(1, items, made), Shard(2, (), None)],
        sources=Sources(manifest=manifest, stems=tuple(key_stems(manifest.rows)), crop=None, real="processed"),
        translator=Translator(model, device=CPU, batch_size=4),
        workers=2,
        on_committed=there.append,
    )
    assert there == [0, 1, 2]
    assert made.failures is not None


@pytest.mark.parametrize("slow", ["decoding", "translating", "encoding", "writing"])
def test_the_slowest_stage_is_found(
    slow: Stage, manifest: Manifest, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sluggish(Memory):
        def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
            time.sleep(0.05 if slow == "encoding" else 0)
            super().add(position, row, pixels)

        def commit(
            self,
            failures: Sequence[Failure],
            origins: Mapping[str, Origin] | None = None,
            judged: Judged = NOTHING_JUDGED,
        ) -> None:
            time.sleep(1 if slow == "writing" else 0)
            super().commit(failures, origins, judged)

    class Dull(Translator):
        def stream(self, jobs: Iterable[Job]) -> Iterator[Tensor]:
            for block in super().stream(jobs):
                time.sleep(0.1 if slow == "translating" else 0)
                yield block

    def reading(
        path: Path, *, channels: int, size: tuple[int, int] | None = None, crop: int | None = None, access: Access
    ) -> Pixels:
        time.sleep(0.25 if slow == "decoding" else 0)
        return decode(path, channels=channels, size=size, crop=crop, access=access)

    monkeypatch.setattr(pipeline, "decode", reading)
    news: list[News] = []
    translator = Dull(model, device=CPU, batch_size=4)
    run_many(manifest, model, [Sluggish()], translator=translator, on_news=news.append)
    assert news[-1].loads.slowest == slow
