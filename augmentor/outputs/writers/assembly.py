"""Assembly of committed shards in order, while later ones are still being made."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np

from augmentor.data import Failure
from augmentor.outputs.description import Counts, Shape, common_shape
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.storage import anything_hangs

Ending: TypeAlias = "Callable[[Mapping[str, object], Path], object]"
"""Last step before `dataset.json`, or the file's name, is written: called with the description, and with the
folder or the unfinished file that holds the images."""

WritePages: TypeAlias = "Callable[[Path, Mapping[str, object], Path], object]"
"""Writes the pages beside an output about to be finished: called with its path and `Ending`'s arguments."""


class Assembly(ABC):
    """Base of outputs being assembled; leaving the block without `finish` discards what was written.

    It reads only records and what they name: it can be started again at any time, and the order in which shards
    are committed does not change a byte.
    """

    def __init__(self, records: RecordFolder, shards: int) -> None:
        self._records = records
        self._shards = shards
        self._next = 0
        self._there: set[int] = set()
        self.counts = Counts()
        self.failures: list[Failure] = []
        self.shape: Shape | None = None
        self._content = hashlib.sha256()

    @property
    def content(self) -> str:
        """The SHA-256 of all rows and images, in hexadecimal: another one where a label or a pixel differs."""
        return self._content.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not anything_hangs():  # Else a thread may be in the midst of writing it.
            self._discard()

    def take(self, index: int) -> None:
        """Add a committed shard, and those after it that were committed earlier.

        Raises:
            OutputError: its record cannot be read, or does not match the others.
        """
        self._there.add(index)
        while self._next in self._there:
            self._there.remove(self._next)
            self._take(ShardRecord.read(self._records.path(self._next)))

    def finish(self, ending: Ending = lambda _description, _images: None) -> Counts:
        """Add the missing shards, finish the output and return its counts.

        Raises:
            OutputError: a shard is not committed, or does not match the others.
        """
        for record in self._records.read_all(self._shards, first=self._next):
            self._take(record)
        self._finish(ending)
        return self.counts

    def _take(self, record: ShardRecord) -> None:
        self._next += 1
        self.failures.extend(record.failures)
        self._add(record)
        self.shape = common_shape(self.shape, record.shape)
        self.counts.rejected += len(record.rejected)
        for row in record.rows:
            self.counts.add(row)
            # Scores as an HDF5 file keeps them, from which records are made again.
            scores = [score and float(np.float32(score)) for score in (row.agreement, row.realism)]
            content = [*row[:-2], *scores, record.files[row.file_name]]
            self._content.update(json.dumps(content).encode())

    @abstractmethod
    def _add(self, record: ShardRecord) -> None:
        """Add one shard; `shape` and `counts` are those before it, `failures` include its own."""

    @abstractmethod
    def _finish(self, ending: Ending) -> None:
        """Call the ending, then give the output its name; fills in `counts.failed`."""

    @abstractmethod
    def _discard(self) -> None:
        """Discard what is not finished; nothing after `_finish`."""


class _DiscardedError(Exception):
    """Makes the files of an `ExitStack` discard their content."""


def discard(files: ExitStack) -> None:
    """Close and discard the files that do not have their names yet."""
    with suppress(_DiscardedError), files:
        raise _DiscardedError
