"""Threads with bounded waits: a task that hangs is named in an error, and the run stops without waiting for it.

A thread that waits for a dead disk cannot be ended from outside, and an interpreter waits for its threads before
it exits. So the command line exits by force where `anything_hangs`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from types import TracebackType
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

from augmentor.errors import StalledError

P = ParamSpec("P")
T = TypeVar("T")
Given = TypeVar("Given")

AHEAD = 4
"""Tasks under way per worker."""

STALLED_SECONDS = 3600.0
"""Seconds without a finished task after which a run stops. A network disk whose server restarts takes minutes; the
slowest task, a shard of large images on a slow disk, half an hour.
"""

GRACE_SECONDS = 30.0
"""Seconds to wait for running tasks after an error or Ctrl-C."""

TURNS = 100
"""Parts into which a wait is cut and counted, so that the time in which a run is suspended does not count."""

_NAMED = 3
"""Hanging tasks that a message names."""

What = str | Callable[[], str]
"""A description of a task, "reading a.png", or a function that returns it."""

_left_behind: list[Callable[[], bool]] = []
"""Functions that return whether a thread or process that could not be ended still hangs."""


def leave_behind(hangs: Callable[[], bool]) -> None:
    """Register a thread or process that could not be ended; `hangs` returns whether it still hangs."""
    _left_behind.append(hangs)


def anything_hangs() -> bool:
    """Return whether a thread or a process that was left behind still hangs.

    Then nobody may wait for its locks, nor remove what it may still write: the process is to end, and the next run
    cleans up, as after a kill.
    """
    return any(hangs() for hangs in _left_behind)


class Workers:
    """A pool of threads; used in a `with` block, at whose end no thread is left, unless it hangs.

    An error in the block cancels tasks that have not started.

    Args:
        count: threads.
        name: prefix of the threads' names.
        limit: seconds without a finished task after which waiting ends; None for `STALLED_SECONDS`.
    """

    def __init__(self, count: int, *, name: str, limit: float | None = None) -> None:
        self.limit = STALLED_SECONDS if limit is None else limit
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._open: set[Future[Any]] = set()  # of any results: no other type holds them all
        self._running: dict[object, What] = {}
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_together((self,), error)

    def submit(self, what: What, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread; `what` describes it in the message if it hangs."""

        def run() -> T:
            key = object()
            self._running[key] = what
            try:
                return function(*args, **kwargs)
            finally:
                del self._running[key]
                self._done += 1  # Two at once may count as one; it only matters that it changes.

        future = self._pool.submit(run)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def result(self, future: Future[T], *, sign: Callable[[], object] = lambda: None) -> T:
        """Wait for a task and return its result, or raise its error.

        Args:
            future: what `submit` returned.
            sign: returns a value that changes while a long task makes progress.

        Raises:
            StalledError: no progress within the limit; names the hanging tasks.
        """
        self.wait(future, sign=sign)
        return future.result()

    def wait(self, future: Future[T], *, sign: Callable[[], object] = lambda: None) -> None:
        """Wait for a task, as `result` does, without returning its result or raising its error."""
        turns, moved = 0, (self._done, sign())
        while not future.done():
            wait((future,), timeout=self.limit / TURNS)
            before, moved = moved, (self._done, sign())
            turns = turns + 1 if moved == before else 0
            if turns >= TURNS and not future.done():
                raise stalled(self.hanging, self.limit)

    def map(
        self, what: Callable[[Given], str], function: Callable[[Given], T], given: Iterable[Given], *, ahead: int
    ) -> Iterator[T]:
        """Yield the function's results in order, with `ahead` tasks under way, at least 1.

        `given` is read in the caller's thread and may have no end.

        Raises:
            StalledError: no progress within the limit; names the hanging tasks.
        """
        rest, waiting = iter(given), deque[Future[T]]()

        def start(count: int) -> None:
            for one in islice(rest, count):
                waiting.append(self.submit(lambda one=one: what(one), function, one))  # type: ignore[misc]

        try:
            start(ahead)
            while waiting:
                found = self.result(waiting.popleft())
                start(1)
                yield found
        finally:
            # The caller must not wait for tasks whose results are not needed.
            for future in waiting:
                future.cancel()

    @property
    def hanging(self) -> list[str]:
        """Descriptions of the running tasks."""
        return [what if isinstance(what, str) else what() for what in list(self._running.values())]


def end_together(several: Sequence[Workers], error: BaseException | None) -> None:
    """End pools of threads, where tasks of later ones may wait for tasks of earlier ones.

    With an error, tasks that have not started are cancelled, and running ones get `GRACE_SECONDS`.

    Raises:
        StalledError: without an error, a task hangs.
    """
    for workers in several:
        workers._pool.shutdown(wait=False, cancel_futures=error is not None)
    try:
        if error is None:
            for workers in several:
                for future in list(workers._open):
                    workers.wait(future)
        else:
            wait([future for workers in several for future in list(workers._open)], timeout=GRACE_SECONDS)
    finally:
        for workers in several:
            hanging = [future for future in list(workers._open) if not future.done()]
            for future in hanging:
                leave_behind(lambda future=future: not future.done())  # type: ignore[misc]
            workers._pool.shutdown(wait=not hanging, cancel_futures=True)


def usable_cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    look: Callable[[Given], T],
    given: Iterable[Given],
    workers: int | None = None,
    *,
    what: Callable[[Given], str] = lambda _given: "reading images",
) -> Iterator[T]:
    """Yield the results of `look`, computed in threads, in order.

    Args:
        look: its error is raised here, in its turn.
        given: read in the caller's thread, at most `AHEAD` per worker ahead of what is yielded.
        workers: threads; None for one per usable core.
        what: describes a task, for the message if it hangs.

    Raises:
        StalledError: no progress within the limit; names the hanging tasks.
    """
    count = workers or usable_cores()
    with Workers(count, name="looking") as pool:
        yield from pool.map(what, look, given, ahead=count * AHEAD)


class WaitLimits(NamedTuple):
    """Seconds without a finished task after which a run stops, and seconds a killed process has to end."""

    stalled: float
    grace: float


def wait_limits() -> WaitLimits:
    """Return the limits of this process."""
    return WaitLimits(STALLED_SECONDS, GRACE_SECONDS)


def stalled(hanging: Sequence[str], seconds: float) -> StalledError:
    """Return the error for a lack of progress within so many seconds; `hanging` describes the running tasks."""
    doing = ", ".join(dict.fromkeys(hanging[:_NAMED])) or "waiting"
    more = f", and {len(hanging) - _NAMED} more" if len(hanging) > _NAMED else ""
    time = f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
    return StalledError(
        f"nothing has moved for {time} while {doing}{more}. A disk or a network share that does not answer is the "
        "usual reason: bring it back and run the same command again"
    )
