"""How many threads there should be, and work that several of them do side by side, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")

AHEAD = 4
"""Tasks under way per worker: enough to keep every worker busy, few enough to hold little in memory."""


def usable_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    # Only Linux tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    look: Callable[[Given], Found], given: Iterable[Given], workers: int | None = None
) -> Iterator[Found]:
    """Yield `look` of everything that is given, in order, worked out by threads; only so many are under way.

    Args:
        look: works in a thread; its error is raised here, in its turn.
        given: read in the caller's thread, at most `AHEAD` a worker ahead of what is yielded.
        workers: threads; None for one per usable core.
    """
    count = workers or usable_cores()
    rest = iter(given)
    with ThreadPoolExecutor(count, thread_name_prefix="looking") as pool:
        waiting: deque[Future[Found]] = deque()
        try:
            waiting.extend(pool.submit(look, one) for one in islice(rest, count * AHEAD))
            while waiting:
                found = waiting.popleft().result()
                waiting.extend(pool.submit(look, one) for one in islice(rest, 1))
                yield found
        finally:
            # An error or Ctrl-C must not wait for images that nobody will ask about.
            for future in waiting:
                future.cancel()
