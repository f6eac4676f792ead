"""Shard after shard: decode -> translate -> judge -> encode -> write, overlapped; broken images become failures.

The calling thread translates and judges; a `Crew` of threads does all the rest. Sources are decoded ahead, over
the end of a shard, and while one shard waits for its last images and for the disk, the next one is translated
already. What a shard holds never depends on the shards around it: the translator starts anew with each, and the
judge is asked about the translator's blocks.
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
from augmentor.expansion.making import Making, Shard, ShardSource, Wanted
from augmentor.expansion.stages import Clock, Crew, Loads, Queue
from augmentor.images import Original, OutputSize, Pixels, decode
from augmentor.judge import DeviceJudge
from augmentor.outputs import Lineage, Origin
from augmentor.outputs.writers import ShardWriter
from augmentor.storage import anything_hangs, is_there
from stargan.inference import Box, Job, Translator, blend

RealMode = Literal["processed", "original", "none"]

_DECODED_AHEAD = 64
"""Sources that are decoded before they are needed, or two batches where those are larger."""

_IMAGES_BEHIND = 256
"""Images that may wait for their encoder before translating pauses, or two batches where those are larger."""

_TOGETHER = 8
"""Sources that one task decodes, and images that one task encodes: to pass on a task for each would cost about as
much as to decode a small image."""

_NEWS_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the pipeline must know about the manifest's rows.

    Args:
        manifest: the user's table, encoded in the model's label space.
        stems: (N,) file-safe unique names of the rows.
        crop: side of the centred square that is cut out first, in source pixels; None for the largest fit.
        real: how real items are written.
        size: of the images that are written.
    """

    manifest: Manifest
    stems: tuple[str, ...]
    crop: int | None
    real: RealMode
    size: OutputSize = "model"


class News(NamedTuple):
    """How far a pipeline is.

    Args:
        done: items made, or failed, so far.
        failed: rows that could not be used, in the shards that are committed.
        loads: of its stages so far.
        rejected: of those made, the translations that the judge threw out.
    """

    done: int
    failed: int
    loads: Loads
    rejected: int = 0


def run_shards(
    shards: Iterable[Shard],
    *,
    sources: Sources,
    translator: Translator,
    workers: int,
    judges: DeviceJudge | None = None,
    on_news: Callable[[News], None] = lambda _news: None,
    on_committed: Callable[[int], None] = lambda _index: None,
) -> None:
    """Make every image of some shards, and commit one shard after the other.

    Each source is decoded once for all its items in a shard; items whose source cannot be read become one
    failure. A shard that is made again has the same bytes, whatever ran before it.

    Args:
        shards: read lazily, a little ahead.
        sources: the manifest's side.
        translator: the model.
        workers: threads that decode and encode.
        judges: asked about each block of translations, and what it rejects is not written; None keeps all.
        on_news: told several times a second, in this thread, and at the end.
        on_committed: told the number of each shard that is there, in their order, in a thread of its own.
    """
    pipeline = _Pipeline(sources, translator, judges, workers=workers, on_news=on_news, on_committed=on_committed)
    try:
        with pipeline.crew:
            pipeline.run(shards)
    except BaseException:
        # Not before the crew has gone, which writes to them; and not at all where some of it hangs.
        if not anything_hangs():
            for writer in pipeline.open.values():
                writer.__exit__(*sys.exc_info())
        raise


class _Read(NamedTuple):
    """A source that was read: its pixels at the model's size, and its file."""

    pixels: Pixels
    origin: Origin


class _Step(NamedTuple):
    """Some sources of a shard, and their pixels on their way, or why there are none."""

    shard: Shard
    sources: Sequence[ShardSource]
    decoded: Future[list[_Read | ImageError]]


class _Pipeline:
    """See `run_shards`, whose arguments these are."""

    def __init__(
        self,
        sources: Sources,
        translator: Translator,
        judges: DeviceJudge | None,
        *,
        workers: int,
        on_news: Callable[[News], None],
        on_committed: Callable[[int], None],
    ) -> None:
        self._sources = sources
        self._lineage = Lineage(sources.manifest, sources.stems)
        self._translator = translator
        self._judges = judges
        self._on_news = on_news
        self._on_committed = on_committed
        self._clock = Clock()
        self.crew = Crew(workers, room=max(_IMAGES_BEHIND, 2 * translator.batch_size), clock=self._clock)
        self.open: dict[int, ShardWriter] = {}
        self._ahead: deque[_Step] = deque()
        self._ahead_room = max(_DECODED_AHEAD, 2 * translator.batch_size, 2 * _TOGETHER * workers)
        self._done = 0
        self._rejected = 0
        self._told = 0.0
        self._last_read: Path | None = None

    def run(self, shards: Iterable[Shard]) -> None:
        """Make and commit all shards."""
        for shard, steps in groupby(self._steps(shards), key=lambda step: step.shard):
            if shard.writer is None:
                self.crew.commit((), partial(self._pass_over, shard.number))
            else:
                # Larger images keep all workers busy one by one, and few of them fit into memory.
                together = _TOGETHER if self._sources.size == "model" else 1
                making = Making(shard.number, shard.writer, together, judged=self._judges is not None)
                self._make(making, steps)
                self.crew.commit(making.written, partial(self._finish, making))
            self._tell()
        self.crew.committed(behind=0)
        self._on_news(self._news())

    # ---- ahead of the translator ----

    def _steps(self, shards: Iterable[Shard]) -> Iterator[_Step]:
        """Yield every shard's steps, at least one, decoding a bounded number of sources ahead."""
        count = 0
        for shard in shards:
            if shard.writer is not None:
                shard.writer.__enter__()
                self.open[shard.number] = shard.writer
            for some in self._some_sources(shard):
                decoded = self.crew.decode(partial(self._reading, some), self._decode, shard.writer, some)
                self._ahead.append(_Step(shard, some, decoded))
                count += max(1, len(some))
                while count > self._ahead_room:
                    count -= max(1, len(self._ahead[0].sources))
                    yield self._ahead.popleft()
        while self._ahead:
            yield self._ahead.popleft()

    def _some_sources(self, shard: Shard) -> Iterator[list[ShardSource]]:
        """Yield a shard's sources, some at a time; none at all once if there are none."""
        sources = self._sources_of(shard)
        yield list(islice(sources, _TOGETHER))
        while some := list(islice(sources, _TOGETHER)):
            yield some

    def _sources_of(self, shard: Shard) -> Iterator[ShardSource]:
        place = 0
        for row, group in groupby(shard.items, key=lambda item: item.row):
            items = list(group)
            linked = self._sources.real == "original" and not items[0].is_synthetic
            link = self._lineage.label_rows(row, items[:1])[0] if linked else None
            yield ShardSource(row, place, items, link)
            place += len(items)

    def _decode(self, writer: ShardWriter | None, sources: Sequence[ShardSource]) -> list[_Read | ImageError]:
        """Read sources at the model's size, and link those whose files are wanted as they are."""
        model = self._translator.model
        found: list[_Read | ImageError] = []
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
                origin = Origin.of(path)
                if source.link is not None and writer is not None:
                    writer.link(source.place, source.link, path)
            except ImageError as error:
                self._refuse_vanishing(path)
                found.append(error)
            except OSError as error:
                self._refuse_vanishing(path)
                found.append(ImageError(f"{path}: {error.strerror or error}"))
            else:
                self._last_read = path
                found.append(_Read(pixels, origin))
        return found

    def _reading(self, sources: Sequence[ShardSource]) -> str:
        """Say which sources a task reads."""
        if not sources:
            return "reading nothing"
        others = len(sources) - 1
        more = f" or {'the next one' if others == 1 else f'one of the next {others}'}" if others else ""
        return f"reading {self._lineage.path(sources[0].row)}{more}"

    def _refuse_vanishing(self, path: Path) -> None:
        """Stop where a file is missing and one that was read before is missing by now, too.

        A broken image is a failed row; a disk that went away would make one of every row.

        Raises:
            SourcesLostError: it is so.
        """
        before = self._last_read
        if before is not None and _is_gone(path) and _is_gone(before):
            raise SourcesLostError(
                f"{self._sources.manifest.root}: the source images are disappearing: {path} is not there, and "
                f"{before}, which was read a moment ago, is gone, too. What was committed is safe: bring them "
                "back and run the same command again"
            )

    # ---- the translator ----

    def _make(self, making: Making, steps: Iterable[_Step]) -> None:
        """Translate a shard and pass its images on to the encoders."""
        changes = self._sources.size != "model"
        stream = self._translator.stream_changes if changes else self._translator.stream
        for block in stream(self._jobs(making, steps)):
            self._pass_on(making, block)
            self.crew.check()
            self._tell()
        self._pass_on(making, None)

    def _pass_on(self, making: Making, made: Tensor | None) -> None:
        """Give the encoders the next translations, as far as the judge keeps them, and the real images around."""
        images = making.take(0 if made is None else len(made))
        self._done += len(images)
        if made is not None and self._judges is not None:
            with self._clock.waiting("judging"):
                images, made = self._judge(self._judges, making, images, made)
        making.encode(self.crew, images, made)

    def _judge(
        self, judges: DeviceJudge, making: Making, images: list[Wanted], made: Tensor
    ) -> tuple[list[Wanted], Tensor]:
        """Return what is kept of some images, and their translations."""
        translated = [image for image in images if image.label_row.is_synthetic]
        sources = torch.stack([_channels_first(image) for image in translated])
        pictures = made
        if self._sources.size != "model":
            _, _, height, width = sources.shape
            whole = Box(0, 0, width, height)
            pairs = zip(sources, made, strict=True)
            pictures = torch.stack([blend(source, change, whole) for source, change in pairs])
        own = self._sources.manifest.codes[[image.row for image in translated]].astype(np.int64)
        judgement = judges.judge(
            pictures,
            sources,
            torch.tensor([image.label_row.codes for image in translated]),
            torch.from_numpy(own),
        )
        kept = making.judge(images, pictures, judgement)
        rejected = len(images) - len(kept)
        self._rejected += rejected
        if rejected:
            made = made[torch.tensor([not reason for reason in judgement.reasons])]
        return kept, made

    def _jobs(self, making: Making, steps: Iterable[_Step]) -> Iterator[Job]:
        """Yield what is asked of the translator, and note for which images."""
        for step in steps:
            decoded = self.crew.decoded(step.decoded)
            good = []
            for source, read in zip(step.sources, decoded, strict=True):
                if isinstance(read, ImageError):
                    making.fail(source, read)
                    self._done += len(source.items)
                else:
                    making.read(self._lineage.written_path(source.row), read.origin)
                    self._done += source.link is not None
                    good.append((source, read.pixels))
            for (source, pixels), targets in zip(good, self._targets([s for s, _ in good]), strict=True):
                label_rows = self._lineage.label_rows(source.row, source.items)
                making.wait(source, label_rows, pixels=pixels, original=self._original(source))
                # Real images that no translation stands before need not wait.
                self._pass_on(making, None)
                if len(targets):
                    yield Job(torch.from_numpy(pixels).permute(2, 0, 1), targets)
            self._tell()

    def _targets(self, sources: Sequence[ShardSource]) -> Sequence[Tensor]:
        """Return what the model is told of each source's translations, (M, A) int64."""
        space, codes = self._sources.manifest.space, self._sources.manifest.codes
        asked = [[item.target for item in source.items if item.is_synthetic] for source in sources]
        counts = [len(targets) for targets in asked]
        targets = torch.tensor([target for some in asked for target in some], dtype=torch.int64)
        rows = np.repeat([source.row for source in sources], counts).astype(np.intp)
        own = torch.from_numpy(codes[rows].astype(np.int64))
        return torch.split(space.to_one_label_set(targets.view(-1, len(space)), own), counts) if counts else ()

    def _original(self, source: ShardSource) -> Original | None:
        """Return the source at the size that is written; None where that is the model's."""
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

    # ---- behind the translator ----

    def _finish(self, making: Making) -> int:
        """Commit a shard; return how many rows failed."""
        failed = making.commit(self._lineage)
        self.open.pop(making.number).__exit__(None, None, None)
        self._on_committed(making.number)
        return failed

    def _pass_over(self, number: int) -> int:
        self._on_committed(number)
        return 0

    # ---- who watches ----

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= _NEWS_SECONDS:
            self._told = now
            self._on_news(self._news())

    def _news(self) -> News:
        ready = sum(len(step.sources) for step in self._ahead if step.decoded.done())
        queues = {"decoding": Queue(ready, self._ahead_room), **self.crew.queues()}
        loads = Loads(seconds=self._clock.seconds(), queues=queues)
        return News(self._done, self.crew.committed(), loads, self._rejected)


def _is_gone(path: Path) -> bool:
    """Return whether a file is not there, or its storage does not answer."""
    try:
        return not is_there(path)
    except OSError:
        return True


def _channels_first(image: Wanted) -> Tensor:
    if image.pixels is None:
        raise ValueError("a translation that is judged has its source")
    return torch.from_numpy(image.pixels).permute(2, 0, 1)
