"""Atomic files: complete or absent, also after kill -9 or a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

TEMPORARY = ".tmp-"
"""Names of unfinished files start with this; such a file means nothing and may be overwritten."""

_BINARY = getattr(os, "O_BINARY", 0)  # Windows alone has it.

_SYNCED_AT_ONCE = 16
"""Files that wait for the disk side by side: it then writes its journal once for many of them."""


@contextmanager
def replacing_text(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file for writing that takes its name only when the block ends without an error.

    Args:
        path: the final name; a file of this name is replaced. Line ends are written as they are.
    """
    with _replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def replace_bytes(path: Path, data: bytes) -> None:
    """Write a file that takes its name only when its content is on the disk; a file of this name is replaced."""
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

    Args:
        path: text, because a million `Path`s take longer than the writing.
        data: its content.
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
    """Wait until the content of existing files is on the disk, many times faster than one after another."""

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


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a name to write to; what was written takes the final name if the block ends without an error."""
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        yield temporary
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)
    sync_folder(path.parent)
