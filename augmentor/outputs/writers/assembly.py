"""Assembly of committed shards in their order, while later ones are still being made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from augmentor.data import Failure
from augmentor.outputs.description import Counts, Shape, common_shape
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.storage import anything_hangs

Ending: TypeAlias = "Callable[[Mapping[str, object], Path], object]"
"""Last step before `dataset.json`, or the file's name, is written: called with the description, and with the path
of the images until then, the folder or the unfinished file."""

WritePages: TypeAlias = "Callable[[Path, Mapping[str, object], Path], object]"
"""Writes the pages beside an output that is about to be finished: its place, and the arguments of an `Ending`."""


def nothing_left(_description: Mapping[str, object], _images: Path) -> None:
    """Do nothing more."""


class Assembling(Protocol):
    """An output on its way to being finished; leaving the block without `finish` throws away what was written."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def take(self, index: int) -> None:
        """Add a shard that is committed, and those after it that came too early."""

    def finish(self, ending: Ending = nothing_left) -> Counts:
        """Add the shards that are still missing, finish the output and return what it holds."""


class Assembly(ABC):
    """One output on its way to being finished; leaving the block without `finish` throws away what it wrote.

    It reads nothing but records and what they name. So it may be begun anew at any time, and has the same bytes
    at the end whether the shards came one by one or were all there before.

    Args:
        records: of the shards.
        shards: how many there will be, numbered from 0.
    """

    def __init__(self, records: RecordFolder, shards: int) -> None:
        self._records = records
        self._shards = shards
        self._next = 0
        self._there: set[int] = set()
        self.counts = Counts()
        self.failures: list[Failure] = []
        self.shape: Shape | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not anything_hangs():  # Else a thread may be in the midst of writing it.
            self._discard()

    def take(self, index: int) -> None:
        """Add a shard that is committed, and those after it that came too early.

        Raises:
            OutputError: its record cannot be read, or it does not fit to the others.
        """
        self._there.add(index)
        while self._next in self._there:
            self._there.remove(self._next)
            self._take(ShardRecord.read(self._records.path(self._next)))

    def finish(self, ending: Ending = nothing_left) -> Counts:
        """Add the shards that are still missing and finish the output.

        Args:
            ending: what is to be there, too, before the output counts as finished.

        Returns:
            What it holds.

        Raises:
            OutputError: a shard is not committed, or does not fit to the others.
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

    @abstractmethod
    def _add(self, record: ShardRecord) -> None:
        """Add one shard; `shape`, `counts` and `failures` are those before it, but for its own failures."""

    @abstractmethod
    def _finish(self, ending: Ending) -> None:
        """Give the output its name, after the ending; `counts.failed` is filled in here."""

    @abstractmethod
    def _discard(self) -> None:
        """Throw away what was not finished; after `_finish` there is nothing."""


class _DiscardedError(Exception):
    """Tells files that they end before they are finished."""


def discard(files: ExitStack) -> None:
    """Close files that take their names when they are finished, and throw them away; those that are stay."""
    with suppress(_DiscardedError), files:
        raise _DiscardedError
