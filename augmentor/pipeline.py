"""One shard: decode -> translate -> encode, overlapped; broken images become failures, the rest goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from augmentor.errors import ImageError
from augmentor.fullsize import Original, OutputSize
from augmentor.images import Pixels, decode
from augmentor.labeltable import LabelRow, changed_names, key, real_key
from augmentor.manifest import Manifest
from augmentor.plan import Item
from augmentor.targets import Codes
from augmentor.writers.protocol import ShardWriter
from augmentor.writers.records import Failure
from stargan.translate import Translator

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
        size: of the images that are written.
    """

    manifest: Manifest
    stems: tuple[str, ...]
    crop: int | None
    real: RealMode
    size: OutputSize = "model"

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
    encoders = _Encoders(pool)
    batch = _Batch(translator, shard, encoders)
    with shard:
        place = 0
        for row, row_items, decoded in _decoded(items, sources, translator, pool):
            try:
                pixels = decoded.result()
                original = _original(row, row_items, sources, translator)
                for offset, item in enumerate(row_items):
                    label_row = sources.label_row(item)
                    if not item.is_synthetic and sources.real == "original":
                        shard.link(place + offset, label_row, sources.path(row))
                    elif item.is_synthetic or original is not None:
                        own = sources.manifest.codes[row]
                        batch.add(_Waiting(row, place + offset, label_row, own, pixels, original))
                    else:
                        encoders.submit(row, partial(shard.add, place + offset, label_row, pixels))
            except ImageError as error:
                encoders.failed[row] = error
            place += len(row_items)
            on_items(len(row_items))
        batch.flush()
        encoders.wait()
        failures = [
            sources.failure(row, _reason(error, sources.path(row)))
            for row, error in sorted(encoders.failed.items())
        ]
        shard.commit(failures)
    return len(failures)


@dataclass
class _Encoders:
    """Writes in threads, as many at a time as memory bears.

    The first error is raised again; an image that cannot be read fails its row alone.
    """

    pool: ThreadPoolExecutor
    failed: dict[int, ImageError] = field(default_factory=dict)
    _waiting: deque[tuple[int, Future[None]]] = field(default_factory=deque)

    def submit(self, row: int, write: Callable[[], None]) -> None:
        self._waiting.append((row, self.pool.submit(write)))
        self.wait(_ENCODE_BEHIND)

    def wait(self, behind: int = 0) -> None:
        while len(self._waiting) > behind:
            row, written = self._waiting.popleft()
            try:
                written.result()
            except ImageError as error:
                self.failed[row] = error


class _Waiting(NamedTuple):
    """One item that waits for the translator; or a real one, behind its neighbours, that needs its original."""

    row: int
    position: int
    label_row: LabelRow
    own: Codes
    pixels: Pixels
    original: Original | None

    def write(self, shard: ShardWriter, made: Tensor | None) -> None:
        """Write the item, of which the translator made a picture or, where there is an original, a change."""
        if self.original is not None:
            pixels = self.original.pixels() if made is None else self.original.changed(made)
        else:
            pixels = self.pixels if made is None else made.permute(1, 2, 0).numpy()
        shard.add(self.position, self.label_row, pixels)


@dataclass
class _Batch:
    """Gathers (source, target) pairs until the translator is full."""

    translator: Translator
    shard: ShardWriter
    encoders: _Encoders
    _waiting: list[_Waiting] = field(default_factory=list)

    def add(self, item: _Waiting) -> None:
        self._waiting.append(item)
        if len(self._waiting) == self.translator.batch_size:
            self.flush()

    def flush(self) -> None:
        made = iter(self._translate([item for item in self._waiting if item.label_row.is_synthetic]))
        # In the items' order: an original's uses follow one another, and it is soon forgotten.
        for item in self._waiting:
            result = next(made) if item.label_row.is_synthetic else None
            self.encoders.submit(item.row, partial(item.write, self.shard, result))
        self._waiting.clear()

    def _translate(self, items: list[_Waiting]) -> Iterable[Tensor]:
        if not items:
            return ()
        images = torch.from_numpy(np.stack([item.pixels for item in items])).permute(0, 3, 1, 2)
        own = torch.from_numpy(np.stack([item.own for item in items]).astype(np.int64))
        targets = torch.tensor([item.label_row.codes for item in items], dtype=torch.int64)
        targets = self.translator.model.space.asked(targets, own)
        if items[0].original is None:
            return self.translator.translate(images, targets)
        return self.translator.changes(images, targets)


def _original(row: int, items: list[Item], sources: Sources, translator: Translator) -> Original | None:
    """Return the source at the size that is written; None where that is the model's."""
    if sources.size == "model":
        return None
    linked = sources.real == "original"
    return Original(
        sources.path(row),
        size=sources.size,
        model=translator.model,
        crop=sources.crop,
        uses=sum(item.is_synthetic or not linked for item in items),
    )


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
