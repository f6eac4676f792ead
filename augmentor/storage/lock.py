"""File locks of outputs, one run at a time; the system releases them when the process ends, however it ends."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from glob import escape
from pathlib import Path

from augmentor.errors import OutputError
from augmentor.storage.workers import anything_hangs

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
"""Errors of file systems without locks, such as some network ones."""

_WINDOWS_PLACE = 1 << 30
"""The locked byte, far behind the text: on Windows nobody can read it."""

_PATIENCE_SECONDS = 120.0
"""How long `patiently_locked` waits."""

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


class TakenError(OutputError):
    """Another process holds the lock."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that writes to an output; `started` is when it took the lock, ISO 8601 with the time zone."""

    host: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> Holder:
        """Return the lock file's content while this process holds it."""
        now = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        return cls(host=socket.gethostname(), pid=os.getpid(), started=now)

    @property
    def gone(self) -> bool:
        """Whether the process is known to have ended; False for other machines."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except OSError as error:
            return isinstance(error, ProcessLookupError)
        return False


@contextmanager
def locked(path: Path, *, output: Path, shared: bool = False) -> Iterator[None]:
    """Keep other processes, on this machine and on others that share the disk, from writing to the same output.

    A killed process leaves the file, but not the lock. Child processes do not inherit it. A thread that hangs (see
    `augmentor.storage.workers`) keeps it until the process ends.

    Args:
        path: the lock file; created with its folders, names the holder, and is removed in the end.
        output: what is written to, for the message.
        shared: other processes may hold the lock at the same time, if they share it, too; none of them is named.
            Each also holds one of `share_locks`, which is all that shows it where the disk has no locks.

    Raises:
        TakenError: another process holds it; names host, process and time.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _take(path, output, shared=shared)
    _held.add(handle)
    try:
        for each, _ in [] if shared else share_locks(path):
            if not is_free(each):
                raise TakenError(_taken(output, each, _patient_holder(each)))
        yield
    finally:
        # Not in a forked child, nor, where a hanging thread may still write, before the process ends.
        if handle in _held and not anything_hangs():
            _held.remove(handle)
            if not shared or _lock(handle, path):  # else others have it still
                _remove(path, handle)
            else:
                os.close(handle)


@contextmanager
def patiently_locked(path: Path, *, output: Path) -> Iterator[None]:
    """Hold a lock that others hold for moments only, while they create folders; TakenError after two minutes."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(path, output=output))
                break
            except TakenError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield


def share_locks(lock: Path) -> list[tuple[Path, int]]:
    """Return the lock files of shares beside an output's own, each with the number of shares of its division."""
    return [
        (path, int(match[1]))
        for path in sorted(lock.parent.glob(f"{escape(lock.name)}.*-of-*"))
        if (match := re.fullmatch(r"\d+-of-(\d+)", path.name.removeprefix(f"{lock.name}.")))
    ]


def refuse_holder(path: Path, *, output: Path) -> None:
    """Raise TakenError where a process holds a lock alone, by its name; for processes that share the lock."""
    holder = read_holder(path)
    if holder is not None and not holder.gone:
        raise TakenError(_taken(output, path, holder))


def read_holder(path: Path) -> Holder | None:
    """Return the holder that a lock file names; None where there is no file, or it is not yet written."""
    try:
        state = json.loads(path.read_bytes())
        return Holder(host=str(state["host"]), pid=int(state["pid"]), started=str(state["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_free(path: Path) -> bool:
    """Return whether no process holds a lock: its file does not exist, or was left by a process that has ended."""
    try:
        handle = _opened(path)
    except FileNotFoundError:
        return True
    try:
        return _lock(handle, path)
    finally:
        os.close(handle)


def _take(path: Path, output: Path, *, shared: bool) -> int:
    """Return the open, locked file."""
    while True:
        handle = _opened(path, os.O_CREAT)
        try:
            if not _lock(handle, path, shared=shared):
                raise TakenError(_taken(output, path, _patient_holder(path)))
            if _is_still(path, handle):
                if shared:
                    os.truncate(handle, 0)
                    return handle
                text = json.dumps(asdict(Holder.this_process())).encode() + b"\n"
                os.truncate(handle, 0)
                os.write(handle, text)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # The one before removed it in between.


def _opened(path: Path, flags: int = 0) -> int:
    """Open a lock file, which is emptied and written; raise OutputError where that would be another file."""
    try:
        handle = os.open(path, os.O_RDWR | flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OutputError(f"{path}: the lock file is a link. Delete it, and run the same command again") from error
    status = os.fstat(handle)
    if status.st_nlink > 1 or not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise OutputError(
            f"{path}: the lock file is a hard link, a pipe or a device. Delete it, and run the same command again"
        )
    return handle


def _lock(handle: int, path: Path, *, shared: bool = False) -> bool:
    """Lock the file, unless another process has; without locks, trust its content."""
    try:
        if sys.platform == "win32":
            if shared:
                raise OutputError(f"{path}: Windows knows no lock that several hold. Expand without --shards")
            os.lseek(handle, _WINDOWS_PLACE, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        else:
            # Not lockf: closing any descriptor of the file would release the lock.
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            holder = read_holder(path)
            return holder is None or holder.gone
        if error.errno in _BUSY:
            return False
        raise
    return True


def _leave_to_parent() -> None:
    """Close the locks that a forked child inherits: it may outlive a killed parent by seconds."""
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):  # Windows does not fork.
    os.register_at_fork(after_in_child=_leave_to_parent)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(handle), path.stat())
    except FileNotFoundError:
        return False


def _patient_holder(path: Path) -> Holder | None:
    """Return the lock's holder, waiting a moment for it to write its name."""
    for _ in range(20):
        holder = read_holder(path)
        if holder is not None:
            return holder
        time.sleep(0.01)
    return None


def _remove(path: Path, handle: int) -> None:
    if sys.platform == "win32":  # It cannot be removed while it is open, nor while the next one has it.
        os.close(handle)
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            return
        return
    try:
        path.unlink(missing_ok=True)  # While it is held: nobody else can have taken it.
    finally:
        os.close(handle)


def _taken(output: Path, path: Path, holder: Holder | None) -> str:
    if holder is None:
        who = "another process is writing to it"
    else:
        who = f"process {holder.pid} on {holder.host} has been writing to it since {holder.started}"
    return (
        f"{output}: {who}. Wait until it has ended, or give another --out. "
        f"(If you are sure that there is no such process, delete {path})"
    )
