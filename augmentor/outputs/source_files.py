"""State of a shard's source files when it was made, so that a later run notices changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from augmentor.errors import OutputError
from augmentor.storage import ANYWHERE, RemotePath, Workers, content, located

_LOOKED_AT_ONCE = 16
"""Files looked at in parallel, because network disks have a high latency."""

_TOGETHER = 16
"""Files per task: few, because progress is reported by task and reading contents may take long."""

_NAMED = 3


class SourceFile(NamedTuple):
    """State of a source file.

    Args:
        size: in bytes.
        modified: nanoseconds since 1970.
        sha256: of its content.
    """

    size: int
    modified: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """Return a file's state.

        Raises:
            OSError: it cannot be read.
        """
        if isinstance(path, RemotePath):
            data = content(path)
            return cls(len(data), path.status().modified, hashlib.sha256(data).hexdigest())
        with ANYWHERE.open(path) as file:  # a source may have become a pipe, which would wait for ever
            state = os.fstat(file.fileno())
            return cls(state.st_size, state.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())

    def change(self, path: Path, *, by_content: bool) -> str | None:
        """Return in words how a file differs from this, None if it does not; `by_content` ignores the time."""
        try:
            if by_content:
                return None if SourceFile.of(path).sha256 == self.sha256 else "other content"
            size, modified = _size_and_time(path)
        except OSError as error:
            return error.strerror or str(error)
        if size != self.size:
            return f"{self.size:,} bytes before, {size:,} now"
        return None if modified == self.modified else "written to since"


def _size_and_time(path: Path) -> tuple[int, int]:
    if isinstance(path, RemotePath):
        status = path.status()
        return status.size, status.modified
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def refuse_changed_sources(root: Path, origins: Mapping[str, SourceFile], *, by_content: bool) -> None:
    """Raise if a source file of a committed shard has changed.

    Args:
        root: the manifest's folder.
        origins: by the path that the manifest writes.
        by_content: compare the content, not size and time.

    Raises:
        OutputError: naming the first few.
    """
    names = list(origins)

    def look(first: int) -> list[tuple[int, str]]:
        changes = (
            (place, origins[names[place]].change(located(root, names[place]), by_content=by_content))
            for place in range(first, min(first + _TOGETHER, len(names)))
        )
        return [(place, change) for place, change in changes if change is not None]

    firsts = range(0, len(names), _TOGETHER)
    with Workers(_LOOKED_AT_ONCE, name="origins") as pool:
        parts = pool.map(
            lambda place: f"looking at {located(root, names[place])}", look, firsts, ahead=2 * _LOOKED_AT_ONCE
        )
        found = [change for part in parts for change in part]
    if found:
        shown = ", ".join(f"{located(root, names[place])} ({change})" for place, change in found[:_NAMED])
        more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        hint = " If copying changed their times alone, --verify-sources compares contents."
        raise OutputError(
            f"source images have changed since this output was begun: {shown}{more}.\n"
            f"Put them back, give another --out, or start anew with --overwrite.{'' if by_content else hint}"
        )
