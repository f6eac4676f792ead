"""One shard on its way into a folder: its images wait as files of their own until it is committed."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from augmentor.data import Failure
from augmentor.errors import ImageError, OutputError
from augmentor.images import ImageFormat, Pixels, encode_file, usual_suffix
from augmentor.outputs.judge_results import NO_JUDGE_RESULTS, JudgeResults
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.records import Shape, ShardRecord, common_shape
from augmentor.outputs.source_files import SourceFile
from augmentor.storage import RemotePath, content, sync_files, sync_folder, write_unsynced

if TYPE_CHECKING:
    from augmentor.outputs.writers.folder import FolderWriter

RECORD = "record.json"
"""Beside the waiting images: the record, once all that it names is there."""


class Gathered(NamedTuple):
    """What a shard holds when it is committed, in the order of the positions."""

    positions: list[int]
    rows: list[LabelRow]
    files: dict[str, str]


class StagedShard(ABC):
    """One shard of a writer of folders: files wait under `.augmentor/tmp/` until `commit` places them.

    Args:
        writer: whose shard it is.
        index: its number.
        encoding: of the images; None keeps the pixels, which must then be of one size.
    """

    def __init__(self, writer: FolderWriter, index: int, *, encoding: ImageFormat | None) -> None:
        self.writer = writer
        self.index = index
        self.encoding: ImageFormat | None = encoding
        self.staged = writer.records.temporary / f"{index:05d}"
        self.shape: Shape | None = None
        self._waiting = f"{self.staged}{os.sep}"
        self._lock = threading.Lock()
        self._rows: dict[int, LabelRow] = {}
        self._digests: dict[str, str] = {}
        self._unsynced: list[str] = []

    def __enter__(self) -> Self:
        if self.staged.exists():
            self.writer.undo(self.staged)
        self.staged.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.undo(self.staged)

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        """Write one image to its waiting place; threads may call this at once.

        Raises:
            ValueError: it has another shape than the others, and is not encoded.
        """
        waiting = self.waiting(position)
        if self.encoding is None:
            data = pixels.tobytes()
            write_unsynced(waiting, data)
        else:
            data = encode_file(waiting, pixels, self.encoding)
        digest = hashlib.sha256(data).hexdigest()
        self._note(position, row, f".{self.encoding or 'png'}", digest, shape=pixels.shape, unsynced=waiting)

    def add_all(self, images: Sequence[tuple[int, LabelRow, Pixels]]) -> None:
        """Write images to their waiting places; threads may call this at once."""
        for image in images:
            self.add(*image)

    @abstractmethod
    def link(self, position: int, row: LabelRow, source: Path) -> None:
        """Take a source file as it is.

        Raises:
            ImageError: it cannot be read.
            OutputError: the form of the output holds no files.
        """

    @abstractmethod
    def commit(
        self,
        failures: Sequence[Failure],
        origins: Mapping[str, SourceFile] | None = None,
        judged: JudgeResults = NO_JUDGE_RESULTS,
    ) -> None:
        """Place everything, durably, then write the record.

        Raises:
            OutputError: two images have the same name.
        """

    def waiting(self, position: int) -> str:
        """Return where an image waits; text, because thousands of `Path`s take longer than the writing."""
        return f"{self._waiting}{position}"

    def gathered(self) -> Gathered:
        """Return what was added.

        Raises:
            OutputError: two images have the same name.
        """
        positions = sorted(self._rows)
        rows = [self._rows[position] for position in positions]
        if len(self._digests) != len(rows):
            names = [row.file_name for row in rows]
            double = next(name for name in names if names.count(name) > 1)
            raise OutputError(f"{self.writer.out}: two images would be called {double}. Make the ids differ.")
        return Gathered(positions, rows, {row.file_name: self._digests[row.file_name] for row in rows})

    def stage_record(
        self,
        gathered: Gathered,
        failures: Sequence[Failure],
        origins: Mapping[str, SourceFile] | None,
        judged: JudgeResults,
        *,
        packs: dict[str, str] | None = None,
    ) -> None:
        """Write the record beside what it names, ahead of the first move: by it a killed one is undone."""
        ShardRecord(
            index=self.index,
            shape=self.shape,
            rows=gathered.rows,
            positions=gathered.positions,
            failures=failures,
            files=gathered.files,
            packs=packs or {},
            origins=origins or {},
            scores=judged.of(gathered.positions),
            rejected=judged.rejected,
        ).write(self.staged / RECORD)
        sync_folder(self.staged)

    def commit_record(self, folders: Set[Path]) -> None:
        """Make the shard count, once all has its place.

        Args:
            folders: those that files were moved into, which are synced first, with the output's own.
        """
        for folder in folders | {self.writer.out}:
            sync_folder(folder)
        self.writer.records.commit(self.staged / RECORD, self.index)

    def _note(
        self,
        position: int,
        row: LabelRow,
        suffix: str,
        digest: str,
        *,
        shape: tuple[int, ...] | None,
        unsynced: str | None,
    ) -> None:
        name = self.writer.file_name(row, self.index, suffix)
        named = row._replace(file_name=name)
        with self._lock:
            self._rows[position] = named
            self._digests[name] = digest
            if shape != self.shape:
                if self.encoding is None and self.shape is not None:
                    raise ValueError(f"an image of {shape} among images of {self.shape}")
                self.shape = common_shape(self.shape, shape)
            if unsynced is not None:
                self._unsynced.append(unsynced)


class FolderShard(StagedShard):
    """One shard of a `FolderWriter`: every image becomes a file of its own."""

    def link(self, position: int, row: LabelRow, source: Path) -> None:
        """Take a source file as it is, under its own suffix in lower case where that is an image's.

        Raises:
            ImageError: it cannot be read.
        """
        waiting, suffix = self.waiting(position), usual_suffix(source)
        try:
            linked = _taken(source, waiting)
            with Path(waiting).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ImageError(f"{source}: cannot be linked or copied: {error.strerror or error}") from error
        self._note(position, row, suffix, digest, shape=None, unsynced=None if linked else waiting)

    def commit(
        self,
        failures: Sequence[Failure],
        origins: Mapping[str, SourceFile] | None = None,
        judged: JudgeResults = NO_JUDGE_RESULTS,
    ) -> None:
        """Move everything into place, sync it, then write the record.

        Raises:
            OutputError: two images have the same name.
        """
        gathered = self.gathered()
        rows = gathered.rows
        sync_files(self._unsynced)
        self.stage_record(gathered, failures, origins, judged)
        folders = {self.writer.out / name for name in {row.file_name.rpartition("/")[0] for row in rows}}
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        root = f"{self.writer.out}{os.sep}"
        for position, row in zip(gathered.positions, rows, strict=True):
            os.replace(self.waiting(position), root + row.file_name)  # noqa: PTH105 - see `waiting`
        self.commit_record(folders | {folder.parent for folder in folders})


def _taken(source: Path, waiting: str) -> bool:
    """Link a file, or else copy it; return whether it was linked."""
    if isinstance(source, RemotePath):
        write_unsynced(waiting, content(source))
        return False
    original = source.resolve(strict=True)  # Linking a symbolic link would link the link.
    try:
        os.link(original, waiting)
    except OSError:  # Another disk, or one without hard links.
        shutil.copyfile(original, waiting)
        return False
    return True
