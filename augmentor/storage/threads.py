"""How many threads there should be, and work that several of them do side by side, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from augmentor.storage.workers import Workers

Given = TypeVar("Given")
Found = TypeVar("Found")

AHEAD = 4
"""Tasks under way per worker: enough to keep every worker busy, few enough to hold little in memory."""


def usable_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    # Only Linux tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _looking(_given: object) -> str:
    return "reading images"


def side_by_side(
    look: Callable[[Given], Found],
    given: Iterable[Given],
    workers: int | None = None,
    *,
    what: Callable[[Given], str] = _looking,
) -> Iterator[Found]:
    """Yield `look` of everything that is given, in order, worked out by threads; only so many are under way.

    Args:
        look: works in a thread; its error is raised here, in its turn.
        given: read in the caller's thread, at most `AHEAD` a worker ahead of what is yielded.
        workers: threads; None for one per usable core.
        what: says what `look` does with one of them, for the message if it hangs.

    Raises:
        StalledError: nothing has moved for too long; names what hangs.
    """
    count = workers or usable_cores()
    with Workers(count, name="looking") as pool:
        yield from pool.map(what, look, given, ahead=count * AHEAD)
