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

PATIENCE = 120.0
"""Seconds after which what is waited for does not come."""


def is_gone(pid: int) -> bool:
    """Return whether there is no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until(seen: Callable[[], bool], *, pid: int) -> bool:
    """Wait until something can be seen; return whether it was before the process ended."""
    deadline = time.monotonic() + PATIENCE
    while not seen():
        if is_gone(pid):
            return False
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)
    return True


def kill_when(running: Running, seen: Callable[[], bool], *, after: float) -> bool:
    """Kill a command so many seconds after something can be seen; return whether it had not ended by then."""
    wait_until(seen, pid=running.pid)
    time.sleep(after)
    with suppress(ProcessLookupError):
        running.send(signal.SIGKILL)
    return running.end().code == -signal.SIGKILL


def handles(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler of its own for a signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


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
