"""The error types that commands print, and shared message texts: lists, near matches, memory and disk faults."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - its free space is read, nothing is written

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM}

_TORCH_SHARED_MEMORY = re.compile(r"shared memory|/torch_\d")
"""In torch's messages on /torch_PID_... files that cannot be created or allocated, and on bus errors."""

_TORCH_CPU_MEMORY = "DefaultCPUAllocator: "
"""Start of torch's message, in a plain RuntimeError, when memory on the CPU cannot be allocated."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error message; the error's type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class AugmentorError(Exception):
    """An error that the user can fix.

    The message is one short block: what is wrong, where (file, row, column), what to do. Commands print it without
    a traceback and exit with `exit_code`.
    """

    exit_code = 2


class ManifestError(AugmentorError):
    """The manifest, or a cell of it, cannot be used."""


class RecipeError(AugmentorError):
    """A recipe, or a `--set` override, has an unknown key or a value that cannot work."""


class DomainError(AugmentorError):
    """A `--domains` request names an unknown attribute or value, or does not parse."""


class ImageError(AugmentorError):
    """An image cannot be read; it becomes a row of `failures.csv` and the run continues."""


class OutputError(AugmentorError):
    """The output folder or file cannot be used for this run."""


class SourcesLostError(AugmentorError):
    """The source images disappeared while they were being read."""

    exit_code = 1


class MemoryShortError(AugmentorError):
    """Out of memory."""

    exit_code = 1


class SharedMemoryError(MemoryShortError):
    """Out of the memory that processes share."""


class StalledError(AugmentorError):
    """A thread or a process hangs: it has made no progress within the time limit."""

    exit_code = 1


class TrainingError(AugmentorError):
    """Training stopped: its losses are not finite or diverged, or one of its processes has died."""

    exit_code = 1


class MissingExtraError(AugmentorError):
    """A missing optional library; the message names the extra to install."""


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the option closest to `word`, ignoring case, or "" if none is close."""
    folded = {option.casefold(): option for option in options}
    matches = get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return f" Did you mean '{folded[matches[0]]}'?" if matches else ""


def short(text: str, limit: int = 60) -> str:
    """Return `text`, truncated for messages."""
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


@contextmanager
def explain_faults(path: Path, *, kept: Callable[[], str], resume: str, less_memory: str) -> Iterator[None]:
    """Turn full disks and exhausted memory into messages that say what is kept and how to continue.

    Args:
        path: the output or run folder that the block writes.
        kept: returns a sentence about the work that is safe.
        resume: what continues it, "run the same command again".
        less_memory: a sentence without a full stop: what continues it with less memory.

    Raises:
        OutputError: in place of an OSError.
        MemoryShortError: in place of an out-of-memory error.
    """
    try:
        yield
    except OSError as error:
        # An object's URL begins with the path that is named already.
        where = f" at {error.filename}" if error.filename and "://" not in str(error.filename) else ""
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}{where}). {kept()} Fix the cause and {resume}"
        ) from error
    except (RuntimeError, MemoryError) as error:
        reason = out_of_memory(error)
        if not reason:
            raise
        raise MemoryShortError(f"{path}: out of memory ({reason}). {kept()} {less_memory}") from error


def out_of_memory(error: RuntimeError | MemoryError) -> str:
    """Return the first line of an out-of-memory error, or "" for errors of another kind."""
    import torch  # noqa: PLC0415 - commands start without it

    text = str(error).strip().partition("\n")[0]
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return text or "no details"
    return text.partition(_TORCH_CPU_MEMORY)[2]


def shared_memory_error(error: OSError | RuntimeError, *, instead: str) -> SharedMemoryError | None:
    """Return the error to raise in place of one for exhausted shared memory; None for other errors.

    An OSError must come from a place that writes shared memory only; `instead` says what needs less of it.
    """
    if isinstance(error, OSError):
        short, reason = error.errno in _NO_ROOM, error.strerror
    else:
        reason = str(error).strip().rpartition("\n")[2].strip().removeprefix("RuntimeError: ")
        short = _TORCH_SHARED_MEMORY.search(reason) is not None
    if not short:
        return None
    try:
        total, _, free = shutil.disk_usage(_SHARED_MEMORY)
        room = f"{_SHARED_MEMORY} has {free / 1e6:,.1f} of {total / 1e6:,.1f} MB free"
    except OSError:
        room = f"{_SHARED_MEMORY} cannot be used"
    return SharedMemoryError(
        f"there is too little shared memory for several processes: {room} ({reason}). Give it more (in a "
        f"container: docker run --shm-size=2g), or {instead}"
    )
