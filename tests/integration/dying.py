"""Runs a command that kills itself: dying.py OUT SHARDS CHANGES COMMAND...

It dies when SHARDS shards of OUT are committed and CHANGES more changes were made on the disk, ahead of the next.
Such a moment is the same however busy the machine is, whereas one that a watcher waits for may have passed when it
looks. Writing into a file that is open is no change here; opening, renaming, cutting and removing one is.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
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


def die(out: Path, *, shards: int, left: int) -> None:
    """Arrange this process's death."""
    begun = False

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal begun, left
        if not changes(event, arguments, out.parent):
            return
        begun = begun or committed(out) >= shards
        if begun:
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


if __name__ == "__main__":
    place, count, more = sys.argv[1:4]
    del sys.argv[1:4]
    die(Path(place), shards=int(count), left=int(more))
    runpy.run_module("augmentor", run_name="__main__")
