"""Shards of folders: images are files in a staging folder until the shard is committed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence, Set
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from augmentor.errors import ImageError
from augmentor.images import ImageFormat, Pixels, encode_file, usual_suffix
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.records import ShardRecord
from augmentor.outputs.writers.base import ShardWriter
from augmentor.storage import RemotePath, content, open_folder, sync_files, sync_folder, write_unsynced

if TYPE_CHECKING:
    from augmentor.outputs.writers.folder import FolderWriter

RECORD = "record.json"
"""The record in the staging folder, written once all that it names is there."""


class StagedShard(ShardWriter):
    """One shard of a folder: files are under `.augmentor/tmp/` until `commit` moves them into place."""

    def __init__(self, writer: FolderWriter, index: int, *, encoding: ImageFormat | None) -> None:
        super().__init__(writer.out, index, encoding=encoding)
        self.writer = writer
        self.staged = writer.records.temporary / f"{index:05d}"
        self._waiting = f"{self.staged}{os.sep}"
        self._unsynced: list[str] = []

    def __enter__(self) -> Self:
        if os.path.lexists(self.staged):
            self.writer.undo(self.staged)
        self.staged.mkdir(exist_ok=True)  # See `remove_tree` for what may be left in it.
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.undo(self.staged)

    def add_all(self, images: Sequence[tuple[int, LabelRow, Pixels]]) -> None:
        """See `ShardWriter.add_all`."""
        for position, row, pixels in images:
            waiting = self.waiting(position)
            if self.encoding is None:
                data = pixels.tobytes()
                write_unsynced(waiting, data)
            else:
                data = encode_file(waiting, pixels, self.encoding)
            digest, suffix = hashlib.sha256(data).hexdigest(), f".{self.encoding or 'png'}"
            self._note_file(position, row, suffix, digest, shape=pixels.shape, unsynced=waiting)

    def waiting(self, position: int) -> str:
        """Return a staged image's path; str, because making thousands of `Path`s takes longer than the writing."""
        return f"{self._waiting}{position}"

    def stage_record(self, record: ShardRecord) -> None:
        """Write the record before the first move, so that an interrupted move can be undone."""
        record.write(self.staged / RECORD, below=self.writer.out)
        sync_folder(self.staged)

    def commit_record(self, folders: Set[Path]) -> None:
        """Make the shard count, once every file has its name; syncs `folders` and the output's first."""
        for folder in folders | {self.writer.out}:
            sync_folder(folder)
        self.writer.records.commit(self.staged / RECORD, self.index)

    def _note_file(
        self,
        position: int,
        row: LabelRow,
        suffix: str,
        digest: str,
        *,
        shape: tuple[int, ...] | None,
        unsynced: str | None,
    ) -> None:
        named = row._replace(file_name=self.writer.file_name(row, self.index, suffix))
        with self._lock:
            self._note(position, named, digest, shape)
            if unsynced is not None:
                self._unsynced.append(unsynced)


class FolderShard(StagedShard):
    """One shard of a `FolderWriter`: a file per image."""

    def link(self, position: int, row: LabelRow, source: Path) -> None:
        """See `ShardWriter.link`; keeps the source's suffix, in lower case, where it is an image's."""
        waiting, suffix = self.waiting(position), usual_suffix(source)
        try:
            linked = _taken(source, waiting)
            with Path(waiting).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ImageError(f"{source}: cannot be linked or copied: {error.strerror or error}") from error
        self._note_file(position, row, suffix, digest, shape=None, unsynced=None if linked else waiting)

    def _publish(self, record: ShardRecord) -> None:
        """Move every file into place, sync it, then write the record."""
        rows = record.rows
        sync_files(self._unsynced)
        self.stage_record(record)
        waiting: dict[str, list[tuple[str, str]]] = {}
        for position, row in zip(record.positions, rows, strict=True):
            folder, _, name = row.file_name.rpartition("/")
            waiting.setdefault(folder, []).append((self.waiting(position), name))
        out = self.writer.out
        for folder, files in waiting.items():
            with open_folder(out / folder, below=out, make=True) as opened:
                for file, name in files:
                    opened.receive(file, name)
        folders = {out / folder for folder in waiting}
        self.commit_record(folders | {folder.parent for folder in folders})


def _taken(source: Path, waiting: str) -> bool:
    """Hard-link a file, or else copy it; return whether it was linked."""
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
