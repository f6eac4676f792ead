"""One shard: decode -> translate -> encode, overlapped; broken images become failures, the rest goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from augmentor.errors import ImageError
from augmentor.images import decode
from augmentor.labeltable import LabelRow, changed_names, key, real_key
from augmentor.manifest import Manifest
from augmentor.plan import Item
from augmentor.writers.protocol import ShardWriter
from augmentor.writers.records import Failure
from stargan.translate import Translator

Pixels = NDArray[np.uint8]
RealMode = Literal["processed", "original", "none"]

_DECODE_AHEAD = 64
"""Sources that are decoded before they are needed."""

_ENCODE_BEHIND = 256
"""Images that may wait for their encoder before translating pauses."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What the pipeline must know about the manifest's rows.

    Args:
        manifest: the user's table, encoded in the model's label space.
        stems: (N,) file-safe unique names of the rows.
        crop: side of the centred square that is cut out first, in source pixels; None for the largest fit.
        real: how real items are written.
    """

    manifest: Manifest
    stems: tuple[str, ...]
    crop: int | None
    real: RealMode

    def path(self, row: int) -> Path:
        """Return a row's image file."""
        return self.manifest.image_path(row)

    def label_row(self, item: Item) -> LabelRow:
        """Return an item's row of the label table; the writer fills in the file's name."""
        rows, space = self.manifest.rows, self.manifest.space
        stem = self.stems[item.row]
        own = self.manifest.codes[item.row].tolist()
        return LabelRow(
            file_name="",
            key=key(stem, space.domain(item.target)) if item.is_synthetic else real_key(stem),
            split=str(rows["split"].iat[item.row]),
            group=str(rows["group"].iat[item.row]),
            is_synthetic=item.is_synthetic,
            source_id=str(rows["id"].iat[item.row]),
            source_path=str(rows["path"].iat[item.row]),
            codes=item.target,
            changed=changed_names(own, item.target, space) if item.is_synthetic else (),
        )

    def failure(self, row: int, reason: str) -> Failure:
        """Return a row of `failures.csv`."""
        rows = self.manifest.rows
        return Failure(id=str(rows["id"].iat[row]), path=str(rows["path"].iat[row]), reason=reason)


def run_shard(
    items: Iterable[Item],
    *,
    sources: Sources,
    translator: Translator,
    shard: ShardWriter,
    pool: ThreadPoolExecutor,
    on_items: Callable[[int], None] = lambda _count: None,
) -> int:
    """Make every image of a shard and commit it.

    Each source is decoded once for all its items; items whose source cannot be read become one failure.
    Batches do not depend on what ran before, so that a shard made again has the same bytes.

    Args:
        items: the shard's items, in the plan's order.
        sources: the manifest's side.
        translator: the model.
        shard: where the images go; committed at the end.
        pool: threads that decode, encode and write.
        on_items: told after every source how many more items are done or have failed.

    Returns:
        The number of rows that failed.
    """
    failures: list[Failure] = []
    encoders = _Encoders(pool)
    batch = _Batch(translator, shard, encoders)
    with shard:
        place = 0
        for row, row_items, decoded in _decoded(items, sources, translator, pool):
            try:
                pixels = decoded.result()
                for offset, item in enumerate(row_items):
                    label_row = sources.label_row(item)
                    if item.is_synthetic:
                        batch.add(place + offset, label_row, pixels)
                    elif sources.real == "original":
                        shard.link(place + offset, label_row, sources.path(row))
                    else:
                        encoders.submit(shard.add, place + offset, label_row, pixels)
            except ImageError as error:
                failures.append(sources.failure(row, _reason(error, sources.path(row))))
            place += len(row_items)
            on_items(len(row_items))
        batch.flush()
        encoders.wait()
        shard.commit(failures)
    return len(failures)


@dataclass
class _Encoders:
    """Writes in threads, as many at a time as memory bears; the first error is raised again."""

    pool: ThreadPoolExecutor
    _waiting: deque[Future[None]] = field(default_factory=deque)

    def submit(
        self,
        add: Callable[[int, LabelRow, Pixels], None],
        position: int,
        row: LabelRow,
        pixels: Pixels,
    ) -> None:
        self._waiting.append(self.pool.submit(add, position, row, pixels))
        while len(self._waiting) > _ENCODE_BEHIND:
            self._waiting.popleft().result()

    def wait(self) -> None:
        while self._waiting:
            self._waiting.popleft().result()


@dataclass
class _Batch:
    """Gathers (source, target) pairs until the translator is full."""

    translator: Translator
    shard: ShardWriter
    encoders: _Encoders
    _waiting: list[tuple[int, LabelRow, Pixels]] = field(default_factory=list)

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        self._waiting.append((position, row, pixels))
        if len(self._waiting) == self.translator.batch_size:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        images = torch.from_numpy(np.stack([pixels for _, _, pixels in self._waiting])).permute(0, 3, 1, 2)
        targets = torch.tensor([row.codes for _, row, _ in self._waiting], dtype=torch.int64)
        translated = self.translator.translate(images, targets).permute(0, 2, 3, 1).numpy()
        for (position, row, _), pixels in zip(self._waiting, translated, strict=True):
            self.encoders.submit(self.shard.add, position, row, pixels)
        self._waiting.clear()


def _decoded(
    items: Iterable[Item], sources: Sources, translator: Translator, pool: ThreadPoolExecutor
) -> Iterator[tuple[int, list[Item], Future[Pixels]]]:
    """Yield each source with its items and its pixels on their way, decoding a bounded number ahead."""
    model = translator.model
    ahead: deque[tuple[int, list[Item], Future[Pixels]]] = deque()
    for row, group in groupby(items, key=lambda item: item.row):
        decoding = pool.submit(
            decode, sources.path(row), size=model.image_size, channels=model.image_channels, crop=sources.crop
        )
        ahead.append((row, list(group), decoding))
        if len(ahead) > _DECODE_AHEAD:
            yield ahead.popleft()
    yield from ahead


def _reason(error: ImageError, path: Path) -> str:
    # The table has a column for the path: the reason need not repeat it.
    return str(error).removeprefix(f"{path}: ")
