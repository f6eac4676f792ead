"""The parts of an unfinished HDF5 file: one file of bare bytes per shard, which threads write side by side.

HDF5 itself does one thing at a time, and would hold up the threads that encode; so its own form is made from the
parts by one thread, and in order.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from augmentor.data import Failure
from augmentor.errors import OutputError
from augmentor.images import ImageFormat, Pixels, encode
from augmentor.outputs.judge_results import NO_JUDGE_RESULTS, JudgeResults
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.records import RecordFolder, Shape, ShardRecord, common_shape
from augmentor.outputs.source_files import SourceFile
from augmentor.storage import sync_file, sync_folder

_BLOCK_BYTES = 1 << 25
"""Bytes of images that are read at once."""

_WRITTEN_TOGETHER = 1 << 20
"""Bytes that are given to the disk at once."""


class Parts:
    """Where the shards of FILE.h5 wait until it is finished.

    Args:
        out: FILE.h5.
        folder: of the parts.
        encoding: of the images; None for pixels of one size.
    """

    def __init__(self, out: Path, *, folder: Path, encoding: ImageFormat | None) -> None:
        self.out = out
        self.encoding: ImageFormat | None = encoding
        self.folder = folder
        self.records = RecordFolder(folder)

    def path(self, index: int) -> Path:
        """Return the file of a shard's images."""
        return self.folder / f"{index:05d}.part"

    def get(self, index: int) -> ShardRecord | None:
        """Return a shard's record, if it is committed with all the bytes that it names; else None."""
        record = self.records.get(index)
        if record is None or not record.extents:
            return record
        path, end = self.path(index), max(first + size for first, size in record.extents)
        return record if path.is_file() and path.stat().st_size >= end else None

    def pixels(self, record: ShardRecord, shape: tuple[int, ...]) -> Iterator[Pixels]:
        """Yield a shard's images in order, (n, H, W, C) uint8 at a time.

        Args:
            record: the shard's.
            shape: (H, W, C) of every image.
        """
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


class PartShard:
    """One shard: an unfinished part that `commit` gives its name.

    Pixels lie at their position times their size; encoded images, of which nobody knows the sizes before, lie in
    the order in which they came.

    Args:
        parts: of the output.
        index: the shard's number.
    """

    def __init__(self, parts: Parts, index: int) -> None:
        self.parts = parts
        self.index = index
        self._staged = parts.records.temporary / parts.path(index).name
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._end = 0
        self._shape: Shape | None = None
        self._rows: dict[int, LabelRow] = {}
        self._digests: dict[int, str] = {}
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

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        """Write one image into the part; threads may call this at once.

        Raises:
            ValueError: it has another shape than the first one, and is not encoded.
        """
        self.add_all([(position, row, pixels)])

    def add_all(self, images: Sequence[tuple[int, LabelRow, Pixels]]) -> None:
        """Write images into the part, those that follow one another at once; threads may call this at once.

        Raises:
            ValueError: one has another shape than the first one, and is not encoded.
        """
        encoding = self.parts.encoding
        stored = [encode(pixels, encoding) if encoding else pixels.tobytes() for _, _, pixels in images]
        digests = [hashlib.sha256(data).hexdigest() for data in stored]
        named = [row._replace(file_name=self._file_name(row)) for _, row, _ in images]
        with self._lock:
            for (position, _, pixels), data, digest, row in zip(images, stored, digests, named, strict=True):
                if pixels.shape != self._shape:
                    self._see(pixels.shape)
                first = self._end if encoding else position * len(data)
                self._write(first, data)
                self._rows[position] = row
                self._digests[position] = digest
                self._extents[position] = first, len(data)

    def link(self, position: int, row: LabelRow, source: Path) -> None:
        """Refuse: an HDF5 file holds what was made for it, not files.

        Raises:
            OutputError: always.
        """
        raise OutputError(
            f"{self.parts.out}: shard {self.index}, item {position} ({row.source_id}): an HDF5 file cannot "
            f"hold {source} as it is. Use --real processed, or a folder as --out."
        )

    def commit(
        self,
        failures: Sequence[Failure],
        origins: Mapping[str, SourceFile] | None = None,
        judged: JudgeResults = NO_JUDGE_RESULTS,
    ) -> None:
        """Sync the part, give it its name, then write the record."""
        self._close()
        if self._rows:
            sync_file(self._staged)
            self._staged.replace(self.parts.path(self.index))
            sync_folder(self.parts.folder)
        positions = sorted(self._rows)
        staged_record = self._staged.with_suffix(".json")
        ShardRecord(
            index=self.index,
            shape=self._shape,
            rows=[self._rows[position] for position in positions],
            positions=positions,
            failures=failures,
            files={self._rows[position].file_name: self._digests[position] for position in positions},
            extents=[self._extents[position] for position in positions],
            origins=origins or {},
            scores=judged.of(positions),
            rejected=judged.rejected,
        ).write(staged_record)
        self.parts.records.commit(staged_record, self.index)

    def _file_name(self, row: LabelRow) -> str:
        """Return the path that the same image has in a folder of files: PNG, if the images are not encoded."""
        return f"{row.split}/{self.index:05d}/{row.key}.{self.parts.encoding or 'png'}"

    def _see(self, shape: tuple[int, ...]) -> None:
        if self._shape is not None and not self.parts.encoding:
            raise ValueError(f"an image of {shape} among images of {self._shape}")
        self._shape = common_shape(self._shape, shape)

    def _write(self, first: int, data: bytes) -> None:
        if self._file is None:
            self._file = self._staged.open("wb", buffering=_WRITTEN_TOGETHER)
        if first != self._end:
            self._file.seek(first)
        self._file.write(data)
        self._end = first + len(data)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
