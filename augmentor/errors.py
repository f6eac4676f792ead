"""The errors that commands print, the phrases that messages share, and messages for memory that runs out."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

_FOLDER = Path("/dev/shm")  # noqa: S108 - looked at, not written to

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM}

_TORCH = re.compile(r"shared memory|/torch_\d")
"""In what torch says: it cannot make, enlarge or allocate /torch_PID_..., or a process had a bus error."""


_ALLOCATOR = "DefaultCPUAllocator: "
"""Who says, in a plain RuntimeError, that it can't allocate memory on the CPU."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an outside library says, to be quoted; its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class AugmentorError(Exception):
    """A mistake that the person at the keyboard can mend.

    The message is one short block: what is wrong, where (file, row, column), what to do.
    Commands print it without a traceback and end with `exit_code`.
    """

    exit_code = 2


class ManifestError(AugmentorError):
    """The manifest, or a cell of it, cannot be used."""


class RecipeError(AugmentorError):
    """A recipe, or a `--set` override, has an unknown key or a value that cannot work."""


class DomainError(AugmentorError):
    """A `--domains` request names an unknown attribute or value, or does not parse."""


class ImageError(AugmentorError):
    """One image cannot be read; it becomes a row of `failures.csv` and the rest goes on."""


class OutputError(AugmentorError):
    """The output folder or file cannot be used for this run."""


class SourcesLostError(AugmentorError):
    """The source images went away while they were being read."""

    exit_code = 1


class MemoryShortError(AugmentorError):
    """The device's memory does not suffice."""

    exit_code = 1


class SharedMemoryError(MemoryShortError):
    """The memory that processes share does not suffice."""


class StalledError(AugmentorError):
    """A thread or a process has hung for so long that it will not come back."""

    exit_code = 1


class TrainingError(AugmentorError):
    """Training stopped because its losses are no longer finite or have diverged."""

    exit_code = 1


class MissingExtraError(AugmentorError):
    """An optional library is needed that is not installed; the message names the extra."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the option closest to `word`, ignoring case, or "" where none is close."""
    folded = {option.casefold(): option for option in options}
    matches = get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return f" Did you mean '{folded[matches[0]]}'?" if matches else ""


def short(text: str, limit: int = 60) -> str:
    """Return `text`, cut where it is so long that a message would drown in it."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def listing(items: Sequence[object], limit: int = 8) -> str:
    """Return "a, b, c and 4 more"."""
    shown = ", ".join(short(str(item)) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def counted(count: int, noun: str) -> str:
    """Return "1 row" or "12,000 rows"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def row_list(lines: Sequence[int], limit: int = 3) -> str:
    """Return "row 4", or "rows 4, 7, 9 and 12 more"."""
    return f"{'row' if len(lines) == 1 else 'rows'} {listing(lines, limit)}"


def short_of_memory(error: RuntimeError | MemoryError) -> str:
    """Return what an error says of memory that does not suffice, in a line; "" if it is about something else."""
    import torch  # noqa: PLC0415 - commands start without it

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
