"""Parts of an unfinished HDF5 file: one file of image bytes per shard, which threads write in parallel.

HDF5 runs one call at a time, and would delay the threads that encode; so one thread merges the parts, in order.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from augmentor.errors import OutputError
from augmentor.images import ImageFormat, Pixels, encode
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.writers.base import ShardWriter
from augmentor.storage import create_file, sync_file, sync_folder

_BLOCK_BYTES = 1 << 25
"""Bytes of images read at once."""

_WRITTEN_TOGETHER = 1 << 20
"""Buffer size of a part's file."""


class Parts:
    """The shards of an unfinished FILE.h5 (`out`), in `folder`; without encoding, pixels are of one size."""

    def __init__(self, out: Path, *, folder: Path, encoding: ImageFormat | None) -> None:
        self.out = out
        self.encoding: ImageFormat | None = encoding
        self.folder = folder
        self.records = RecordFolder(folder)

    def path(self, index: int) -> Path:
        """Return the path of a shard's part."""
        return self.folder / f"{index:05d}.part"

    def get(self, index: int) -> ShardRecord | None:
        """Return a shard's record if it is committed and its part has all the bytes; else None."""
        record = self.records.get(index)
        if record is None or not record.extents:
            return record
        path, end = self.path(index), max(first + size for first, size in record.extents)
        return record if path.is_file() and path.stat().st_size >= end else None

    def pixels(self, record: ShardRecord, shape: tuple[int, ...]) -> Iterator[Pixels]:
        """Yield a shard's images of this (H, W, C) in order, in blocks of uint8 (n, H, W, C)."""
        size = math.prod(shape)
        step = max(1, _BLOCK_BYTES // size)
        with self._open(record) as file:
            for start in range(0, len(record.extents), step):
                places = np.array([first for first, _ in record.extents[start : start + step]]) // size
                # Rows that failed left holes; one read of the whole range is faster than one per image.
                file.seek(int(places[0]) * size)
                count = int(places[-1] - places[0]) + 1
                block = np.fromfile(file, np.uint8, count * size).reshape(count, *shape)
                yield block if count == len(places) else block[places - places[0]]

    def encoded(self, record: ShardRecord) -> Iterator[bytes]:
        """Yield the bytes of a shard's images in order."""
        if record.extents:
            with (
                self._open(record) as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            ):
                for first, size in record.extents:
                    yield data[first : first + size]

    def _open(self, record: ShardRecord) -> BinaryIO:
        try:
            return self.path(record.index).open("rb")
        except FileNotFoundError:
            raise OutputError(
                f"{self.path(record.index)}: the shard's images are missing. Run the same expand again."
            ) from None


class PartShard(ShardWriter):
    """One shard: an unfinished part that `commit` gives its name.

    Pixels are at their position times their size; encoded images, whose sizes differ, in order of arrival.
    """

    holds = "an HDF5 file"

    def __init__(self, parts: Parts, index: int) -> None:
        super().__init__(parts.out, index, encoding=parts.encoding)
        self.parts = parts
        self._staged = parts.records.temporary / parts.path(index).name
        self._file: BinaryIO | None = None
        self._end = 0
        self._extents: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # What a full disk did not take is thrown away; whoever wrote it was told.
            self._close()
        self._staged.unlink(missing_ok=True)
        self._staged.with_suffix(".json").unlink(missing_ok=True)

    def add_all(self, images: Sequence[tuple[int, LabelRow, Pixels]]) -> None:
        """See `ShardWriter.add_all`; adjacent images are written at once."""
        encoding = self.encoding
        stored = [encode(pixels, encoding) if encoding else pixels.tobytes() for _, _, pixels in images]
        digests = [hashlib.sha256(data).hexdigest() for data in stored]
        named = [row._replace(file_name=self._file_name(row)) for _, row, _ in images]
        with self._lock:
            for (position, _, pixels), data, digest, row in zip(images, stored, digests, named, strict=True):
                self._note(position, row, digest, pixels.shape)
                first = self._end if encoding else position * len(data)
                self._write(first, data)
                self._extents[position] = first, len(data)

    def _publish(self, record: ShardRecord) -> None:
        """Sync the part, give it its name, then write the record."""
        self._close()
        if record.rows:
            sync_file(self._staged)
            self._staged.replace(self.parts.path(self.index))
            sync_folder(self.parts.folder)
        staged_record = self._staged.with_suffix(".json")
        placed = replace(record, extents=[self._extents[position] for position in record.positions])
        placed.write(staged_record, below=self.parts.records.root)
        self.parts.records.commit(staged_record, self.index)

    def _file_name(self, row: LabelRow) -> str:
        """Return the image's path in an equivalent folder of files: PNG for pixels."""
        return f"{row.split}/{self.index:05d}/{row.key}.{self.encoding or 'png'}"

    def _write(self, first: int, data: bytes) -> None:
        if self._file is None:
            self._file = os.fdopen(create_file(self._staged), "wb", _WRITTEN_TOGETHER)
        if first != self._end:
            self._file.seek(first)
        self._file.write(data)
        self._end = first + len(data)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
