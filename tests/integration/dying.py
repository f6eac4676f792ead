"""Runs a command that kills itself: dying.py [--power-cut] OUT SHARDS CHANGES COMMAND...

It dies when SHARDS shards of OUT are committed and CHANGES more changes were made on the disk, ahead of the next.
Such a moment is the same however busy the machine is, whereas one that a watcher waits for may have passed when it
looks. Writing into a file that is open is no change here; opening, renaming, cutting and removing one is.

With --power-cut it also cuts every file in the output's folder to the length that was synced last, or to nothing.
"""

from __future__ import annotations

import os
import runpy
import signal
import stat
import sys
import time
from pathlib import Path

from tests.integration.killing import committed

_CHANGES = frozenset({"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"})
"""What Python tells its audit hooks ahead of doing it; "open" is one where it is for writing."""


def changes(event: str, arguments: tuple[object, ...], folder: Path) -> bool:
    """Return whether an audit event announces a change below a folder."""
    if event == "open":
        flags = arguments[2]
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
            return False
    elif event not in _CHANGES:
        return False
    where = arguments[0]
    if isinstance(where, str | bytes | os.PathLike):
        path = Path(os.fsdecode(where))
        # Below an open folder, as whole trees are removed, the name alone is told.
        return not path.is_absolute() or path.is_relative_to(folder)
    return event == "os.truncate"  # of an open file, which has no name


class Syncs:
    """Notes the files that are synced, from now on."""

    def __init__(self) -> None:
        self._sync = os.fsync
        self._sizes: dict[int, tuple[int, int]] = {}
        os.fsync = self._note  # type: ignore[assignment]

    def _note(self, descriptor: int) -> None:
        self._sync(descriptor)
        status = os.fstat(descriptor)
        self._sizes[status.st_ino] = (status.st_size, status.st_mtime_ns)

    def cut(self, folder: Path, *, since: float) -> None:
        """Cut what this process has changed and not synced; what others wrote before, or linked, stays."""
        for path in folder.rglob("*"):
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_mtime < since:
                continue
            size, changed = self._sizes.get(status.st_ino, (0, 0))
            if changed != status.st_mtime_ns:
                os.truncate(path, min(size, status.st_size))


def die(out: Path, *, shards: int, left: int, power_cut: bool) -> None:
    """Arrange this process's death."""
    begun = False
    since, syncs = time.time(), Syncs() if power_cut else None

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal begun, left
        if not changes(event, arguments, out.parent):
            return
        begun = begun or committed(out) >= shards
        if begun:
            if left <= 0:
                if syncs is not None:
                    left = 1 << 62  # Cutting files is no change any more.
                    syncs.cut(out.parent, since=since)
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


if __name__ == "__main__":
    power_cut = sys.argv[1] == "--power-cut"
    place, count, more = sys.argv[1 + power_cut : 4 + power_cut]
    del sys.argv[1 : 4 + power_cut]
    die(Path(place), shards=int(count), left=int(more), power_cut=power_cut)
    runpy.run_module("augmentor", run_name="__main__")
