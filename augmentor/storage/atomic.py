"""Atomic files, also JSON and CSV: complete or absent, also after kill -9 or a power cut."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeAlias

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
"""Plain values that the standard library's json writes."""

TEMPORARY = ".tmp-"
"""Prefix of the names of unfinished files, which may be overwritten."""

_BINARY = getattr(os, "O_BINARY", 0)  # Windows alone has it.

_SYNCED_AT_ONCE = 16
"""Files synced in parallel: the disk then writes its journal once for many of them."""


@contextmanager
def replacing_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file for writing that replaces `path` only when the block ends without an error.

    Line ends are written as they are.
    """
    with _replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing_table(path: Path, columns: Sequence[str]) -> Iterator[CsvWriter]:
    """Open a CSV file for writing rows below its header; as `replacing_text`."""
    with replacing_text(path) as file:
        writer = CsvWriter(file)
        writer.writerow(columns)
        yield writer


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a file that replaces `path` only when its content is on the disk."""
    with _replacing(path) as temporary:
        write_synced(temporary, data)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until its content is on the disk; its name is not yet safe (see `sync_folder`)."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_unsynced(path: str, data: bytes) -> None:
    """Write a file that is there after a kill, but not after a power cut (see `sync_files`).

    `path` is text, because a million `Path`s take longer than the writing.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY, 0o666)
    try:
        written = os.write(descriptor, data)
        while written < len(data):
            written += os.write(descriptor, data[written:])
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


def write_json(path: Path, state: Mapping[str, object]) -> None:
    """Write JSON with sorted keys, two spaces and a final line end; a file of this name is replaced."""
    with replacing_text(path) as file:
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
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name, which is renamed to `path` if the block ends without an error."""
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    sync_folder(path.parent)
