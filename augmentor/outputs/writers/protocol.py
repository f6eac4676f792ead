"""What expand asks of an output: write the images and rows of one shard durably, then assemble them all.

A shard counts when its record is there. The record comes last, by an atomic rename, after everything that it
names was written and synced; so a kill at any moment loses at most the shards in flight, and the same
command again finishes exactly what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from augmentor.data import Failure
from augmentor.images import Pixels
from augmentor.outputs.judge_results import NO_JUDGE_RESULTS, JudgeResults
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.records import Counts, ShardRecord
from augmentor.outputs.source_files import SourceFile
from augmentor.outputs.writers.assembly import Assembling


def every_shard(_index: int) -> bool:
    """Return True: a run without others has every shard to itself."""
    return True


class ShardWriter(Protocol):
    """The images of one shard on their way; leaving the block without `commit` throws them away.

    `add`, `add_all` and `link` may be called by several threads at once, in any order.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        """Encode and write one image.

        Args:
            position: the item's place in the shard; the rows of the table are in this order.
            row: its labels; `file_name` is filled in by the writer.
            pixels: uint8 (H, W, C).
        """

    def add_all(self, images: Sequence[tuple[int, LabelRow, Pixels]]) -> None:
        """Encode and write several images, which costs less than one by one; each as for `add`."""

    def link(self, position: int, row: LabelRow, source: Path) -> None:
        """Take an image file as it is: hard-linked where the disk can, else copied.

        Raises:
            ImageError: the file cannot be read.
            OutputError: the format holds pixels only.
        """

    def commit(
        self,
        failures: Sequence[Failure],
        origins: Mapping[str, SourceFile] | None = None,
        judged: JudgeResults = NO_JUDGE_RESULTS,
    ) -> None:
        """Make the shard count: sync and place everything, then write the record.

        Args:
            failures: rows that could not be used.
            origins: the files that were read, by the path that the manifest writes.
            judged: what the judge said of the translations.
        """


class Writer(Protocol):
    """One output. Holds paths and settings only, so that it can be pickled and used by several processes."""

    @property
    def lock(self) -> Path:
        """The file that says which process writes to the output."""

    @property
    def lock_is_local(self) -> bool:
        """Whether that file lies on this machine alone, though other machines reach the output."""

    def check(self) -> None:
        """Refuse what `open` would refuse, and change nothing.

        Raises:
            OutputError: the place holds something else, or the output of another plan, model or settings.
        """

    def clear(self) -> None:
        """Remove what an expansion wrote, whichever it was, and nothing else; a kill leaves the rest to the next.

        Raises:
            OutputError: the place holds something that was not written by expand.
        """

    def open(self, mine: Callable[[int], bool] = every_shard, *, shards: int | None = None) -> None:
        """Make the folders and undo what a killed run left half done; call once, before any shard.

        Args:
            mine: the shards that this process may touch; others may be made elsewhere meanwhile.
            shards: how many there are in all, for who merges them; None where that is not known yet.

        Raises:
            OutputError: the place holds something else, or the output of another plan, model or settings.
        """

    def complete(self) -> bool:
        """Return whether this output was finished, by this run or an earlier one with the same fingerprint."""

    def counts(self) -> Counts:
        """Return what a complete output holds."""

    def missing(self, shards: int) -> list[int]:
        """Return the shards, of those numbered from 0, that are not committed; damage is not looked for."""

    def record(self, index: int) -> ShardRecord | None:
        """Return the record of a shard that is committed and whole; None where it is to be made."""

    def shard(self, index: int) -> ShardWriter:
        """Start, or start again, one shard; use it in a `with` block."""

    def drop(self, index: int, reasons: Mapping[int, str]) -> None:
        """Throw out translations of a committed shard: their images first, then they are rejected in the record.

        A kill in between leaves a record of images that are gone: the same call again ends it.

        Args:
            index: the shard's number.
            reasons: why, in plain words, by the position of the image; what is no image any more is passed over.

        Raises:
            OutputError: the shard is not committed.
        """

    def assembly(self, shards: int) -> Assembling:
        """Begin to put the output together; one at a time, in a `with` block.

        Args:
            shards: how many there will be, numbered from 0.
        """

    def finish(self, shards: int) -> Counts:
        """Assemble the committed shards into the finished output; a second call changes nothing.

        Args:
            shards: how many there must be, numbered from 0.

        Returns:
            What the output holds.

        Raises:
            OutputError: a shard is not committed.
        """
