"""Interface of the writers of outputs, and the bases of those that write to a disk.

A shard counts when its record exists. The record comes last, by an atomic rename, after everything that it names
was written and synced; so a kill loses at most the unfinished shards, and the same command makes exactly those.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from augmentor.data import Failure
from augmentor.errors import OutputError
from augmentor.images import ImageFormat, Pixels
from augmentor.outputs.description import Shape, common_shape
from augmentor.outputs.fingerprints import Identity
from augmentor.outputs.judge_results import NO_JUDGE_RESULTS, JudgeResults
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.paths import OutputPaths
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.source_files import SourceFile
from augmentor.outputs.writers.assembly import Assembly
from augmentor.storage import Json
from stargan.labels import LabelSpace


def every_shard(_index: int) -> bool:
    """Return True: the run may touch every shard."""
    return True


class ShardWriter(ABC):
    """Base of writers of the images of one shard; leaving the block without `commit` removes them.

    Several threads may call `add_all` and `link` at once, in any order. `encoding` is None for pixels, which must
    be of one size. After a commit, `committed` is called with the shard's number.
    """

    holds: str
    """The image container, for messages: "a pack cannot hold ..."."""

    def __init__(self, out: Path, index: int, *, encoding: ImageFormat | None) -> None:
        self.out = out
        self.index = index
        self.encoding: ImageFormat | None = encoding
        self.committed: Callable[[int], None] | None = None
        self._shape: Shape | None = None
        self._lock = threading.Lock()
        self._rows: dict[int, LabelRow] = {}
        self._digests: dict[str, str] = {}

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    def add_all(self, images: Sequence[tuple[int, LabelRow, Pixels]]) -> None:
        """Encode and write images.

        Args:
            images: (position in the shard, labels, uint8 (H, W, C) pixels) each; the positions order the table's
                rows, and the labels' `file_name` is filled in here.

        Raises:
            ValueError: images are not encoded, and their shapes differ.
        """

    def link(self, position: int, row: LabelRow, source: Path) -> None:
        """Add an image file as it is: hard-linked where possible, else copied.

        Raises:
            ImageError: the file cannot be read.
            OutputError: the format holds no files, as all but folders of images.
        """
        raise OutputError(
            f"{self.out}: shard {self.index}, item {position} ({row.source_id}): {self.holds} cannot hold "
            f"{source} as it is. Use --real processed, or --format folder."
        )

    def commit(
        self,
        failures: Sequence[Failure],
        origins: Mapping[str, SourceFile] | None = None,
        judged: JudgeResults = NO_JUDGE_RESULTS,
    ) -> None:
        """Make the shard count: sync and move everything into place, then write the record.

        Args:
            failures: rows that could not be used.
            origins: the source files, by their paths in the manifest.
            judged: the judge's results for the translations.

        Raises:
            OutputError: two images have the same name.
        """
        positions = sorted(self._rows)
        rows = [self._rows[position] for position in positions]
        if len(self._digests) != len(rows):
            names = [row.file_name for row in rows]
            double = next(name for name in names if names.count(name) > 1)
            raise OutputError(f"{self.out}: two images would be called {double}. Make the ids differ.")
        self._publish(
            ShardRecord(
                index=self.index,
                shape=self._shape,
                rows=rows,
                positions=positions,
                failures=failures,
                files={row.file_name: self._digests[row.file_name] for row in rows},
                origins=origins or {},
                scores=judged.of(positions),
                rejected=judged.rejected,
            )
        )
        if self.committed is not None:
            self.committed(self.index)

    @abstractmethod
    def _publish(self, record: ShardRecord) -> None:
        """Sync the images, give them their names, then write the record, to which the format may add."""

    def _note(self, position: int, row: LabelRow, digest: str, shape: tuple[int, ...] | None) -> None:
        """Note an image; the caller holds the lock. The shape of a linked file is None."""
        self._rows[position] = row
        self._digests[row.file_name] = digest
        if shape != self._shape:
            if self.encoding is None and self._shape is not None:
                raise ValueError(f"an image of {shape} among images of {self._shape}")
            self._shape = common_shape(self._shape, shape)


class Writer(Protocol):
    """Writer of one output. Holds paths and settings only: it can be pickled and used by several processes."""

    @property
    def lock(self) -> Path:
        """The lock file, which names the process that writes to the output."""

    def check(self) -> None:
        """Refuse what `open` would refuse; changes nothing.

        Raises:
            OutputError: the place holds something else, or the output of another plan, model or settings.
        """

    def clear(self) -> None:
        """Remove what any expansion wrote, and nothing else; call it again after a kill.

        Raises:
            OutputError: the place holds something that expand did not write.
        """

    def open(self, mine: Callable[[int], bool] = every_shard, *, shards: int | None = None) -> None:
        """Make the folders and undo what a killed run left unfinished; call once, before any shard.

        Args:
            mine: the shards that this process may touch; other processes may make the others.
            shards: their number, which `merge` needs; None where it is not known yet.

        Raises:
            OutputError: the place holds something else, or the output of another plan, model or settings.
        """

    def complete(self) -> bool:
        """Return whether this output is finished, by any run with the same fingerprint."""

    def missing(self, shards: int) -> list[int]:
        """Return the numbers, below `shards`, of the shards that are not committed; does not look for damage."""

    def record(self, index: int) -> ShardRecord | None:
        """Return the record of a committed and whole shard; None where it is to be made."""

    def committed(self, index: int, *, shards: int) -> ShardRecord:
        """Return the record of a committed shard, one of so many; raise OutputError where it is to be made."""
        record = self.record(index)
        if record is None:
            raise OutputError(f"shard {index} of {shards} is missing. Run the same expand again.")
        return record

    def shard(self, index: int) -> ShardWriter:
        """Start, or start again, one shard; use it in a `with` block."""

    def drop(self, index: int, reasons: Mapping[int, str]) -> None:
        """Reject translations of a committed shard: remove their images, then change the record.

        A kill in between leaves a record of removed images: the same call again completes it.

        Args:
            index: the shard's number.
            reasons: by the image's position; positions without an image are ignored.

        Raises:
            OutputError: the shard is not committed.
        """

    def assembly(self, shards: int) -> Assembly:
        """Start to assemble an output of this many shards; one at a time, in a `with` block."""


class LocalWriter(Writer):
    """Base of writers to a disk.

    Args:
        paths: of the output and what belongs to it.
        space: the label space of the rows' codes.
        description: the entries of `dataset.json` except those that `describe` adds; its "fingerprint" (a string)
            differs from that of any other plan, model and settings.
    """

    def __init__(self, paths: OutputPaths, *, space: LabelSpace, description: Mapping[str, Json]) -> None:
        self.paths = paths
        self.out = paths.out
        self.space = space
        self.description = description
        self.identity = Identity.of(description)
        self.records = RecordFolder(paths.work)

    @property
    def lock(self) -> Path:
        """See `Writer.lock`."""
        return self.paths.lock

    def missing(self, shards: int) -> list[int]:
        """See `Writer.missing`."""
        return self.records.missing(shards)

    def record(self, index: int) -> ShardRecord | None:
        """See `Writer.record`."""
        return self.records.get(index)
