"""Pipeline of an expansion: decode -> translate -> judge -> encode -> write and commit, shard by shard.

The calling thread translates and judges; the other stages run in `StageThreads`, overlapped, also across shards.
The contents of a shard never depend on other shards: the translator starts anew with each, and the judge is
called with the translator's blocks.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from augmentor.data.manifest import Manifest
from augmentor.errors import ImageError, SourcesLostError
from augmentor.expansion.progress import Loads, Progress, Queue
from augmentor.expansion.shard_assembly import PendingImage, Shard, ShardAssembly, ShardSource
from augmentor.expansion.stages import StageClock, StageThreads
from augmentor.images import Original, OutputSize, Pixels, decode
from augmentor.judge import DeviceJudge
from augmentor.outputs import Lineage, SourceFile, seed_of
from augmentor.outputs.writers import ShardWriter
from augmentor.storage import anything_hangs, is_there
from stargan.inference import Box, Job, Translator, blend

RealMode = Literal["processed", "original", "none"]

_DECODED_AHEAD = 64
"""Sources that are decoded before they are needed, or two batches where those are larger."""

_IMAGES_BEHIND = 256
"""Images that may wait for their encoder before translating pauses, or two batches where those are larger."""

_PER_TASK = 8
"""Sources decoded, or images encoded, by one task, whose overhead is about the time of decoding a small image."""

_REPORT_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The manifest's rows, and how they are read and written.

    Args:
        manifest: the user's table, encoded in the model's label space.
        stems: (N,) file-safe unique names of the rows.
        crop: side of the centred square that is cut out first, in source pixels; None for the largest fit.
        size: of the images that are written.
    """

    manifest: Manifest
    stems: tuple[str, ...]
    crop: int | None
    real: RealMode
    size: OutputSize = "model"


def run_shards(
    shards: Iterable[Shard],
    *,
    sources: Sources,
    translator: Translator,
    workers: int,
    judges: DeviceJudge | None = None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    on_committed: Callable[[int], None] = lambda _index: None,
) -> None:
    """Make every image of some shards, and commit one shard after the other.

    Each source is decoded once for all its items in a shard; all items of a source that cannot be read become one
    failure. A shard that is made again has the same bytes, whichever shards were made before it.

    `shards` are read lazily, a little ahead. Without `judges` all translations are accepted. `on_progress` is
    called several times a second, in this thread, and at the end; `on_committed` with the number of each
    committed shard, in order, in another thread.
    """
    pipeline = _Pipeline(
        sources, translator, judges, workers=workers, on_progress=on_progress, on_committed=on_committed
    )
    try:
        with pipeline.threads:
            pipeline.run(shards)
    except BaseException:
        # Only once the threads that write to them have ended, and not at all where one of them hangs.
        if not anything_hangs():
            for writer in pipeline.open_writers.values():
                writer.__exit__(*sys.exc_info())
        raise


class _DecodedSource(NamedTuple):
    """A source's pixels at the model's size, and its file."""

    pixels: Pixels
    origin: SourceFile


class _DecodeTask(NamedTuple):
    """Some sources of a shard that are decoded together; `decoded` has pixels, or an error, for each."""

    shard: Shard
    sources: Sequence[ShardSource]
    decoded: Future[list[_DecodedSource | ImageError]]


class _Pipeline:
    """State of `run_shards`, whose arguments these are; the methods are in the order of the stages."""

    def __init__(
        self,
        sources: Sources,
        translator: Translator,
        judges: DeviceJudge | None,
        *,
        workers: int,
        on_progress: Callable[[Progress], None],
        on_committed: Callable[[int], None],
    ) -> None:
        self._sources = sources
        self._lineage = Lineage(sources.manifest, sources.stems)
        self._translator = translator
        self._judges = judges
        self._on_progress = on_progress
        self._on_committed = on_committed
        self._clock = StageClock()
        room = max(_IMAGES_BEHIND, 2 * translator.batch_size)
        self.threads = StageThreads(workers, room=room, clock=self._clock)
        self.open_writers: dict[int, ShardWriter] = {}
        self._ahead: deque[_DecodeTask] = deque()
        self._ahead_room = max(_DECODED_AHEAD, 2 * translator.batch_size, 2 * _PER_TASK * workers)
        self._done = 0
        self._rejected = 0
        self._reported = 0.0
        self._last_read: Path | None = None

    def run(self, shards: Iterable[Shard]) -> None:
        """Make and commit all shards."""
        full_size = self._sources.size != "model"
        stream = self._translator.stream_changes if full_size else self._translator.stream
        for shard, tasks in groupby(self._decode_ahead(shards), key=lambda task: task.shard):
            if shard.writer is None:
                self.threads.commit((), partial(self._skip, shard.number))
            else:
                assembly = ShardAssembly(shard.writer, judged=self._judges is not None)
                for block in stream(self._jobs(assembly, tasks)):
                    self._judge_and_encode(assembly, block)
                    self.threads.check()
                    self._report()
                self._judge_and_encode(assembly, None)
                self.threads.commit(assembly.encoded, partial(self._commit, shard.number, assembly))
            self._report()
        self.threads.committed(behind=0)
        self._report(last=True)

    # ---- decoding ----

    def _decode_ahead(self, shards: Iterable[Shard]) -> Iterator[_DecodeTask]:
        """Yield every shard's tasks, at least one for each, decoding a bounded number of sources ahead."""
        count = 0
        for shard in shards:
            if shard.writer is not None:
                shard.writer.__enter__()
                self.open_writers[shard.number] = shard.writer
            sources = self._shard_sources(shard)
            some = list(islice(sources, _PER_TASK))
            while True:
                decoded = self.threads.decode(partial(self._reading, some), self._decode, shard.writer, some)
                self._ahead.append(_DecodeTask(shard, some, decoded))
                count += max(1, len(some))
                while count > self._ahead_room:
                    count -= max(1, len(self._ahead[0].sources))
                    yield self._ahead.popleft()
                if not (some := list(islice(sources, _PER_TASK))):
                    break
        while self._ahead:
            yield self._ahead.popleft()

    def _shard_sources(self, shard: Shard) -> Iterator[ShardSource]:
        position = 0
        for row, group in groupby(shard.items, key=lambda item: item.row):
            items = list(group)
            linked = self._sources.real == "original" and not items[0].is_synthetic
            link = self._lineage.label_rows(row, items[:1])[0] if linked else None
            yield ShardSource(row, position, items, link)
            position += len(items)

    def _decode(
        self, writer: ShardWriter | None, sources: Sequence[ShardSource]
    ) -> list[_DecodedSource | ImageError]:
        """Decode sources at the model's size, and link those whose files are wanted unchanged."""
        model = self._translator.model
        found: list[_DecodedSource | ImageError] = []
        for source in sources:
            path = self._lineage.path(source.row)
            try:
                pixels = decode(
                    path,
                    size=model.image_size,
                    channels=model.image_channels,
                    crop=self._sources.crop,
                    access=self._sources.manifest.access,
                )
                origin = SourceFile.of(path)
                if source.link is not None and writer is not None:
                    writer.link(source.position, source.link, path)
            except ImageError as error:
                self._refuse_vanishing(path)
                found.append(error)
            except OSError as error:
                self._refuse_vanishing(path)
                found.append(ImageError(f"{path}: {error.strerror or error}"))
            else:
                self._last_read = path
                found.append(_DecodedSource(pixels, origin))
        return found

    def _reading(self, sources: Sequence[ShardSource]) -> str:
        """Describe a decoding task, for the message if it hangs."""
        if not sources:
            return "reading nothing"
        others = len(sources) - 1
        more = f" or {'the next one' if others == 1 else f'one of the next {others}'}" if others else ""
        return f"reading {self._lineage.path(sources[0].row)}{more}"

    def _refuse_vanishing(self, path: Path) -> None:
        """Raise SourcesLostError where a missing file's predecessor, read before, is missing by now, too.

        A broken image is a failed row; a disk that is no longer mounted would make one of every row.
        """
        before = self._last_read
        if before is not None and _is_gone(path) and _is_gone(before):
            raise SourcesLostError(
                f"{self._sources.manifest.root}: the source images are disappearing: {path} is not there, and "
                f"{before}, which was read a moment ago, is gone, too. What was committed is safe: bring them "
                "back and run the same command again"
            )

    # ---- translating ----

    def _jobs(self, assembly: ShardAssembly, tasks: Iterable[_DecodeTask]) -> Iterator[Job]:
        """Yield the translator's jobs, and add their images to the shard."""
        for task in tasks:
            good = []
            results = self.threads.decoded(task.decoded)
            for source, decoded in zip(task.sources, results, strict=True):
                if isinstance(decoded, ImageError):
                    assembly.failed[source.row] = decoded
                    self._done += len(source.items)
                else:
                    assembly.origins[self._lineage.written_path(source.row)] = decoded.origin
                    self._done += source.link is not None
                    good.append((source, decoded.pixels))
            for (source, pixels), targets in zip(good, self._targets([s for s, _ in good]), strict=True):
                label_rows = self._lineage.label_rows(source.row, source.items)
                seeds = None
                if self._translator.model.generator.noise:
                    seeds = torch.tensor([seed_of(row.key) for row in label_rows if row.is_synthetic])
                assembly.add(source, label_rows, pixels=pixels, original=self._original(source))
                # Real images that are not behind a translation need not wait for the next block.
                self._judge_and_encode(assembly, None)
                if len(targets):
                    yield Job(torch.from_numpy(pixels).permute(2, 0, 1), targets, seeds)
            self._report()

    def _targets(self, sources: Sequence[ShardSource]) -> Sequence[Tensor]:
        """Return the target codes of each source's translations, (M, A) int64."""
        space, codes = self._sources.manifest.space, self._sources.manifest.codes
        by_source = [[item.target for item in source.items if item.is_synthetic] for source in sources]
        counts = [len(targets) for targets in by_source]
        targets = torch.tensor([target for some in by_source for target in some], dtype=torch.int64)
        rows = np.repeat([source.row for source in sources], counts).astype(np.intp)
        own = torch.from_numpy(codes[rows].astype(np.int64))
        return torch.split(space.to_one_label_set(targets.view(-1, len(space)), own), counts) if counts else ()

    def _original(self, source: ShardSource) -> Original | None:
        """Return the source at the size to be written; None where that is the model's."""
        if self._sources.size == "model":
            return None
        return Original(
            self._lineage.path(source.row),
            size=self._sources.size,
            model=self._translator.model,
            crop=self._sources.crop,
            uses=len(source.items) - (source.link is not None),
            access=self._sources.manifest.access,
        )

    # ---- judging ----

    def _judge_and_encode(self, assembly: ShardAssembly, translations: Tensor | None) -> None:
        """Pass the next translations that the judge accepts, and the real images around them, to the encoders."""
        images = assembly.pop(0 if translations is None else len(translations))
        self._done += len(images)
        if translations is not None and self._judges is not None:
            with self._clock.waiting("judging"):
                images, translations = self._judge(self._judges, assembly, images, translations)
        self._encode(assembly, images, translations)

    def _judge(
        self, judges: DeviceJudge, assembly: ShardAssembly, images: list[PendingImage], translations: Tensor
    ) -> tuple[list[PendingImage], Tensor]:
        """Return the images without rejected ones, and the accepted translations."""
        translated = [image for image in images if image.label_row.is_synthetic]
        sources = torch.stack([torch.from_numpy(image.source_pixels).permute(2, 0, 1) for image in translated])
        pictures = translations
        if self._sources.size != "model":
            _, _, height, width = sources.shape
            whole = Box(0, 0, width, height)
            pairs = zip(sources, translations, strict=True)
            pictures = torch.stack([blend(source, change, whole) for source, change in pairs])
        own = self._sources.manifest.codes[[image.row for image in translated]].astype(np.int64)
        judgement = judges.judge(
            pictures,
            sources,
            torch.tensor([image.label_row.codes for image in translated]),
            torch.from_numpy(own),
        )
        kept = assembly.record(images, pictures, judgement)
        rejected = len(images) - len(kept)
        self._rejected += rejected
        if rejected:
            translations = translations[torch.tensor([not reason for reason in judgement.reasons])]
        return kept, translations

    # ---- encoding, writing and committing ----

    def _encode(
        self, assembly: ShardAssembly, images: Sequence[PendingImage], translations: Tensor | None
    ) -> None:
        # Larger images keep all workers busy one by one, and few of them fit into memory.
        per_task = _PER_TASK if self._sources.size == "model" else 1
        start = 0
        for first in range(0, len(images), per_task):
            some = images[first : first + per_task]
            stop = start + sum(image.label_row.is_synthetic for image in some)
            part = None if translations is None else translations[start:stop]
            assembly.encoded.append(self.threads.encode(len(some), assembly.write, some, part))
            start = stop

    def _commit(self, number: int, assembly: ShardAssembly) -> int:
        """Commit a shard; return how many rows failed."""
        failed = assembly.commit(self._lineage)
        self.open_writers.pop(number).__exit__(None, None, None)
        self._on_committed(number)
        return failed

    def _skip(self, number: int) -> int:
        """Report a shard that an earlier run committed."""
        self._on_committed(number)
        return 0

    # ---- progress ----

    def _report(self, *, last: bool = False) -> None:
        now = time.monotonic()
        if last or now - self._reported >= _REPORT_SECONDS:
            self._reported = now
            ready = sum(len(task.sources) for task in self._ahead if task.decoded.done())
            queues = {"decoding": Queue(ready, self._ahead_room), **self.threads.queues()}
            loads = Loads(seconds=self._clock.seconds(), queues=queues)
            failed = self.threads.committed()
            self._on_progress(Progress(done=self._done, failed=failed, rejected=self._rejected, loads=loads))


def _is_gone(path: Path) -> bool:
    """Return whether a file is missing, or its storage does not answer."""
    try:
        return not is_there(path)
    except OSError:
        return True
