"""Several shards: overlapped, in order, and ended together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from augmentor.data import Failure
from augmentor.data.manifest import Manifest, key_stems
from augmentor.expansion import pipeline
from augmentor.expansion.pipeline import Sources, run_shards
from augmentor.expansion.progress import Progress, Stage
from augmentor.expansion.shard_assembly import Shard
from augmentor.expansion.stages import SHARDS_BEHIND
from augmentor.images import Pixels, decode
from augmentor.outputs.judge_results import NO_JUDGE_RESULTS, JudgeResults
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.source_files import SourceFile
from augmentor.storage.access import Access
from stargan.checkpoints import Model
from stargan.inference import Job, Translator
from tests.augmentor.expansion.pipeline.shards import CPU, Memory, make, make_items
from tests.waiting import PATIENCE, scaled


def run_many(
    manifest: Manifest,
    model: Model,
    shards: Sequence[Memory],
    *,
    translator: Translator | None = None,
    on_progress: Callable[[Progress], None] = lambda _news: None,
    on_committed: Callable[[int], None] = lambda _number: None,
) -> None:
    """Make the same items in each of several shards."""
    run_shards(
        [Shard(number, make_items(manifest), shard) for number, shard in enumerate(shards)],
        sources=Sources(manifest=manifest, stems=tuple(key_stems(manifest.rows)), crop=None, real="processed"),
        translator=translator or Translator(model, device=CPU, batch_size=4),
        workers=2,
        on_progress=on_progress,
        on_committed=on_committed,
    )


def test_a_shard_does_not_wait_for_the_commit_of_the_one_before(manifest: Manifest, model: Model) -> None:
    begun = threading.Event()

    class First(Memory):
        def committing(self) -> None:
            assert begun.wait(PATIENCE), "the second shard's images wait for the first one's commit"

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

        def committing(self) -> None:
            nonlocal committed
            time.sleep(0.05)
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
            origins: Mapping[str, SourceFile] | None = None,
            judged: JudgeResults = NO_JUDGE_RESULTS,
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
    def interrupt(news: Progress) -> None:
        if news.done:
            raise KeyboardInterrupt

    shards = [Memory() for _ in range(5)]
    with pytest.raises(KeyboardInterrupt):
        run_many(manifest, model, shards, on_progress=interrupt)
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
    factor = scaled(1)

    def pause(stage: Stage, seconds: float) -> None:
        time.sleep(factor * seconds if stage == slow else 0)

    class Sluggish(Memory):
        def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
            pause("encoding", 0.05)
            super().add(position, row, pixels)

        def committing(self) -> None:
            pause("writing", 1)

    class Dull(Translator):
        def stream(self, jobs: Iterable[Job]) -> Iterator[Tensor]:
            for block in super().stream(jobs):
                pause("translating", 0.1)
                yield block

    def reading(
        path: Path, *, channels: int, size: tuple[int, int] | None = None, crop: int | None = None, access: Access
    ) -> Pixels:
        pause("decoding", 0.25)
        return decode(path, channels=channels, size=size, crop=crop, access=access)

    monkeypatch.setattr(pipeline, "decode", reading)
    news: list[Progress] = []
    translator = Dull(model, device=CPU, batch_size=4)
    run_many(manifest, model, [Sluggish()], translator=translator, on_progress=news.append)
    assert news[-1].loads is not None
    assert news[-1].loads.slowest == slow
