"""Atomic files, also JSON and CSV: complete or absent, also after kill -9 or a power cut."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, TypeAlias

from augmentor.storage.inside import create_file, open_folder

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
"""Plain values that the standard library's json writes."""

TEMPORARY = ".tmp-"
"""Prefix of the names of unfinished files, which may be overwritten."""

_SYNCED_AT_ONCE = 16
"""Files synced in parallel: the disk then writes its journal once for many of them."""


@contextmanager
def replacing_text(path: Path, *, below: Path | None = None) -> Iterator[TextIO]:
    """Open a UTF-8 text file for writing that replaces `path` only when the block ends without an error.

    Line ends are written as they are. `below` is as for `open_folder`.
    """
    with (
        _replacing(path, below) as descriptor,
        open(descriptor, "w", encoding="utf-8", newline="", closefd=False) as file,
    ):
        yield file


@contextmanager
def replacing_table(path: Path, columns: Sequence[str], *, below: Path | None = None) -> Iterator[CsvWriter]:
    """Open a CSV file for writing rows below its header; as `replacing_text`."""
    with replacing_text(path, below=below) as file:
        writer = CsvWriter(file)
        writer.writerow(columns)
        yield writer


@contextmanager
def replacing_binary(path: Path, *, below: Path | None = None) -> Iterator[BinaryIO]:
    """Open a binary file for writing; as `replacing_text`."""
    with _replacing(path, below) as descriptor, open(descriptor, "wb", closefd=False) as file:
        yield file


def replace_bytes(path: Path, data: bytes, *, below: Path | None = None) -> None:
    """Write a file that replaces `path` only when its content is on the disk; `below` is as for `open_folder`."""
    with _replacing(path, below) as descriptor:
        _write_all(descriptor, data)


def write_synced(path: Path, data: bytes, *, below: Path | None = None) -> None:
    """Write a file and wait until its content is on the disk; its name is not yet safe (see `sync_folder`).

    `below` is as for `open_folder`.
    """
    with open_folder(path.parent, below=below) as folder:
        descriptor = folder.create(path.name)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_unsynced(path: str, data: bytes) -> None:
    """Write a file that is there after a kill, but not after a power cut (see `sync_files`).

    `path` is text, because a million `Path`s take longer than the writing.
    """
    descriptor = create_file(path)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def sync_file(path: Path | str) -> None:
    """Wait until the content of an existing file is on the disk."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(paths: Sequence[str]) -> None:
    """Wait until the contents of existing files are on the disk, many times faster than one by one."""

    def sync(first: int) -> None:
        for path in paths[first::_SYNCED_AT_ONCE]:
            sync_file(path)

    with ThreadPoolExecutor(_SYNCED_AT_ONCE, thread_name_prefix="sync") as pool:
        for done in [pool.submit(sync, first) for first in range(min(_SYNCED_AT_ONCE, len(paths)))]:
            done.result()


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder (new files, renames) are on the disk."""
    if os.name == "nt":  # Windows cannot open folders; NTFS journals its names by itself.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, state: Mapping[str, object], *, below: Path | None = None) -> None:
    """Write JSON with sorted keys, two spaces and a final line end; as `replacing_text`."""
    with replacing_text(path, below=below) as file:
        file.write(json.dumps(state, sort_keys=True, indent=2, ensure_ascii=False) + "\n")


class CsvWriter:
    """A CSV writer with line feeds, for a text file that does not translate line ends.

    It quotes cells with a carriage return, which Python's own writer does not (before 3.13).
    """

    def __init__(self, file: TextIO) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def writerow(self, cells: Sequence[str]) -> None:
        """Write one row."""
        (self._quoting if "\r" in "".join(cells) else self._plain).writerow(cells)

    def writerows(self, rows: Iterable[Sequence[str]]) -> None:
        """Write some rows."""
        for row in rows:
            self.writerow(row)


@contextmanager
def _replacing(path: Path, below: Path | None) -> Iterator[int]:
    """Yield the descriptor of a temporary file, which takes the name `path` if the block ends without an error."""
    temporary = TEMPORARY + path.name
    with open_folder(path.parent, below=below) as folder:
        descriptor = folder.create(temporary)
        try:
            try:
                yield descriptor
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            folder.remove(temporary)
            raise
        folder.rename(temporary, path.name)
        folder.sync()


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])
