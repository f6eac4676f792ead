"""How tests look at processes from outside and kill them at a chosen moment."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Running


def is_gone(pid: int) -> bool:
    """Return whether there is no such process, or one that has ended and only waits to be reaped."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except ProcessLookupError:
        return True
    except FileNotFoundError:  # It has ended just now, or there is no /proc.
        return Path("/proc/self/stat").exists()


def kill_all(pid: int) -> None:
    """Kill a process, those that it has started, those that these have, and what is left of its process group."""
    for victim in (pid, *descendants(pid)):
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def kill_when(running: Running, seen: Callable[[], bool], *, after: float) -> bool:
    """Kill a command so many seconds after something can be seen; return whether it had not ended by then."""
    running.sees(seen)
    time.sleep(after)
    with suppress(ProcessLookupError):
        running.send(signal.SIGKILL)
    return running.end().code == -signal.SIGKILL


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    found = [pid]
    for process in found:
        found += children(process)
    return found[1:]


def command_line(pid: int) -> str:
    """Return the words that started a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def content(out: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder, or of an HDF5 file and all beside it, by name."""
    folder = out.parent if out.suffix == ".h5" else out
    return {
        str(path.relative_to(out.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def work_folder(out: Path) -> Path:
    """Return where the records and the unfinished files of an output are."""
    return out.with_name(f"{out.name}.parts") if out.suffix == ".h5" else out / ".augmentor"


def committed(out: Path) -> int:
    """Return how many shards wait under an output, committed."""
    return len(list((work_folder(out) / "shards").glob("[0-9]*.json")))
