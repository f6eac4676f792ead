"""Memory that runs out: a device's, this process's, and what processes share, of which containers have little."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

import torch

from augmentor.errors import SharedMemoryError

_FOLDER = Path("/dev/shm")  # noqa: S108 - looked at, not written to

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM}

_TORCH = re.compile(r"shared memory|/torch_\d")
"""In what torch says: it cannot make, enlarge or allocate /torch_PID_..., or a process had a bus error."""


_ALLOCATOR = "DefaultCPUAllocator: "
"""Who says, in a plain RuntimeError, that it can't allocate memory on the CPU."""


def short_of_memory(error: RuntimeError | MemoryError) -> str:
    """Return what an error says of memory that does not suffice, in a line; "" if it is about something else."""
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return text or "out of memory"
    return text.partition(_ALLOCATOR)[2]


def no_shared_memory(error: OSError | RuntimeError, *, instead: str) -> SharedMemoryError | None:
    """Return what to raise in the place of an error that says that shared memory is short; None for other errors.

    Args:
        error: from where nothing is written but shared memory, if it is the system's.
        instead: what needs less of it, "leave out --devices".
    """
    if isinstance(error, OSError):
        short, reason = error.errno in _NO_ROOM, error.strerror
    else:
        reason = str(error).strip().rpartition("\n")[2].strip().removeprefix("RuntimeError: ")
        short = _TORCH.search(reason) is not None
    if not short:
        return None
    return SharedMemoryError(
        f"there is too little shared memory for several processes: {_room()} ({reason}). Give it more (in a "
        f"container: docker run --shm-size=2g), or {instead}"
    )


def _room() -> str:
    try:
        total, _, free = shutil.disk_usage(_FOLDER)
    except OSError:
        return "it cannot be used"
    return f"{_FOLDER} has {free / 1e6:,.1f} of {total / 1e6:,.1f} MB free"
