"""Threads with bounded waits: a task that hangs is named, and the run stops without waiting for it.

A thread that waits for a disk that does not answer cannot be ended from outside, and an interpreter waits for its
threads before it exits. So threads are started by `Workers`, and the command line exits by force where
`anything_hangs`.
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
"""Tasks under way per worker: enough to keep every worker busy, few enough to hold little in memory."""

STALLED_SECONDS = 3600.0
"""Seconds without any task being done after which a run stops. The slowest thing that comes back by itself is a
network disk whose server starts anew, which takes minutes; the slowest task is a shard of large images that a slow
disk writes out, which may take half an hour."""

GRACE_SECONDS = 30.0
"""After an error, or Ctrl-C, tasks that have begun are waited for so long: most end in a fraction of a second."""

TURNS = 100
"""A wait is cut into so many turns, which are counted in the place of the time: whoever suspends a run and lets it
go on the next day has not waited for it."""

_NAMED = 3
"""Hanging tasks that a message names."""

What = str | Callable[[], str]
"""What a task does, "reading a.png"; a function where it takes time to say so."""

_left_behind: list[Callable[[], bool]] = []
"""Say whether what was left behind hangs still."""


def leave_behind(hangs: Callable[[], bool]) -> None:
    """Note something that could not be ended.

    Args:
        hangs: returns whether it still hangs.
    """
    _left_behind.append(hangs)


def anything_hangs() -> bool:
    """Return whether a thread or a process that was left behind still hangs.

    Then nobody must wait for what it may hold, as a lock, nor remove what it may still write to: the process is to
    end, and the next run undoes what is half done, as after a kill.
    """
    return any(hangs() for hangs in _left_behind)


class Workers:
    """Threads that work off tasks; used in a `with` block.

    Leaving it with an error forgets tasks that have not begun. No thread is left then, unless it hangs.

    Args:
        count: threads.
        name: of the threads, for who looks at them.
        limit: seconds without any task being done after which waiting ends; None for `STALLED_SECONDS`.
    """

    def __init__(self, count: int, *, name: str, limit: float | None = None) -> None:
        self.limit = STALLED_SECONDS if limit is None else limit
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._open: set[Future[Any]] = set()  # of any results: no other type holds them all
        self._begun: dict[object, What] = {}
        self._done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end_together((self,), error)

    def submit(self, what: What, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a thread run a function; ask `result` for what it returns.

        Args:
            what: it does, for the message if it hangs.
            function: works in a thread.
            *args: its arguments.
            **kwargs: likewise.
        """

        def run() -> T:
            key = object()
            self._begun[key] = what
            try:
                return function(*args, **kwargs)
            finally:
                del self._begun[key]
                self._done += 1  # Two at once may count as one; it only matters that it changes.

        future = self._pool.submit(run)
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        return future

    def result(self, future: Future[T], *, sign: Callable[[], object] = lambda: None) -> T:
        """Wait for a task and return its result, or raise its error.

        Args:
            future: what `submit` returned.
            sign: what it returns changes while a long task gets on.

        Raises:
            StalledError: nothing has moved for too long; names what hangs.
        """
        self.wait(future, sign=sign)
        return future.result()

    def wait(self, future: Future[T], *, sign: Callable[[], object] = lambda: None) -> None:
        """Wait for a task, as `result` does, and leave its result, or its error, where it is."""
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
        """Yield the function of everything that is given, in order; only so many tasks are under way.

        Args:
            what: says what a task does.
            function: works in a thread.
            given: read in the caller's thread; may have no end.
            ahead: tasks under way, at least 1.

        Raises:
            StalledError: nothing has moved for too long; names what hangs.
        """
        rest, waiting = iter(given), deque[Future[T]]()

        def begin(count: int) -> None:
            for one in islice(rest, count):
                waiting.append(self.submit(lambda one=one: what(one), function, one))  # type: ignore[misc]

        try:
            begin(ahead)
            while waiting:
                found = self.result(waiting.popleft())
                begin(1)
                yield found
        finally:
            # An error, or somebody who wants no more, must not wait for tasks that nobody will ask about.
            for future in waiting:
                future.cancel()

    @property
    def hanging(self) -> list[str]:
        """What the threads are doing now."""
        return [what if isinstance(what, str) else what() for what in list(self._begun.values())]


def end_together(several: Sequence[Workers], error: BaseException | None) -> None:
    """End threads, of which earlier ones may be waited for by later ones.

    Args:
        several: whose.
        error: on its way, or None; with one, what has not begun is forgotten, and what has gets `GRACE_SECONDS`.

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
    # Only Linux tells.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _looking(_given: object) -> str:
    return "reading images"


def side_by_side(
    look: Callable[[Given], T],
    given: Iterable[Given],
    workers: int | None = None,
    *,
    what: Callable[[Given], str] = _looking,
) -> Iterator[T]:
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


class WaitLimits(NamedTuple):
    """Seconds without a finished task after which a run stops, and seconds a killed process has to end."""

    stalled: float
    grace: float


def wait_limits() -> WaitLimits:
    """Return the limits of this process."""
    return WaitLimits(STALLED_SECONDS, GRACE_SECONDS)


def stalled(hanging: Sequence[str], seconds: float) -> StalledError:
    """Return the error that says that nothing moves.

    Args:
        hanging: what does not end, "reading a.png"; may be empty.
        seconds: for how long.
    """
    doing = ", ".join(dict.fromkeys(hanging[:_NAMED])) or "waiting"
    more = f", and {len(hanging) - _NAMED} more" if len(hanging) > _NAMED else ""
    time = f"{seconds / 60:g} minutes" if seconds >= 60 else f"{seconds:g} seconds"
    return StalledError(
        f"nothing has moved for {time} while {doing}{more}. A disk or a network share that does not answer is the "
        "usual reason: bring it back and run the same command again"
    )
