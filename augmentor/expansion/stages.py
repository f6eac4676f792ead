"""Threads that decode, encode and commit while the calling thread translates."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from augmentor.expansion.progress import Queue, Stage
from augmentor.storage import What, Workers, end_together, usable_cores

P = ParamSpec("P")
T = TypeVar("T")

SHARDS_BEHIND = 2
"""Shards that may wait for their last images, the disk and their record while later ones are made."""


class StageClock:
    """Seconds that the translating thread spends per stage; all time not measured as waiting is translating."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._waited: dict[Stage, float] = {}

    @contextmanager
    def waiting(self, stage: Stage) -> Iterator[None]:
        """Count the time in the block as a stage's, or as waiting for it. Blocks must not be nested."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self._waited[stage] = self._waited.get(stage, 0.0) + time.perf_counter() - before

    def seconds(self) -> dict[Stage, float]:
        """Return the seconds so far, by stage."""
        passed = time.perf_counter() - self._started
        return {**self._waited, "translating": passed - sum(self._waited.values())}


@dataclass
class StageThreads:
    """Threads that decode, encode and commit while the calling thread translates.

    An error in any of them is raised in the calling thread, at the latest when it next waits; so is a
    `StalledError`, where none of them makes progress. Leaving the block with an error cancels tasks that have not
    started; either way no thread is left after the block, unless it hangs.

    Args:
        workers: threads that decode and encode.
        room: images that may wait for an encoder.
    """

    workers: int
    room: int
    clock: StageClock
    _encoding: deque[tuple[int, Future[None]]] = field(default_factory=deque)
    _images: int = 0
    _committing: deque[tuple[Sequence[Future[None]], Future[int]]] = field(default_factory=deque)
    _failed: int = 0

    def __enter__(self) -> Self:
        self._pool = Workers(self.workers, name="images")
        self._finisher = Workers(1, name="commits")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A commit waits for its images, and ends only when these are encoded or cancelled.
        end_together((self._pool, self._finisher), error)

    def decode(self, what: What, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a task whose result the calling thread waits for later; `what` describes it if it hangs."""
        return self._pool.submit(what, function, *args, **kwargs)

    def decoded(self, future: Future[T]) -> T:
        """Wait for a task that `decode` started, and return its result."""
        with self.clock.waiting("decoding"):
            return self._pool.result(future)

    def encode(self, images: int, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> Future[None]:
        """Start encoding some images; waits while more images are pending than there is room for."""
        future = self._pool.submit("encoding and writing images", function, *args, **kwargs)
        self._encoding.append((images, future))
        self._images += images
        while self._encoding and (self._images > self.room or self._encoding[0][1].done()):
            with self.clock.waiting("encoding"):
                self._reap()
        return future

    def commit(self, encoded: Sequence[Future[None]], function: Callable[[], int]) -> None:
        """Start committing a shard, once encoded and after those before; waits while too many shards are pending.

        `function` returns how many rows failed.
        """

        def finish() -> int:
            for future in encoded:
                future.result()  # No timeout: the calling thread, which waits for this one, has one.
            return function()

        self._committing.append((encoded, self._finisher.submit("committing a shard", finish)))
        self.committed(SHARDS_BEHIND)

    def committed(self, behind: int | None = None) -> int:
        """Return how many rows failed in the committed shards, after waiting until at most `behind` are pending.

        None does not wait.
        """
        while self._committing:
            encoded, commit = self._committing[0]
            if not commit.done():
                if behind is None or len(self._committing) <= behind:
                    break
                with self.clock.waiting("encoding"):
                    for future in encoded:
                        self._pool.wait(future)
            with self.clock.waiting("writing"):
                self._failed += self._finisher.result(commit)
            self._committing.popleft()
        return self._failed

    def check(self) -> None:
        """Raise the error of an encoder, or of a commit, that has failed."""
        while self._encoding and self._encoding[0][1].done():
            self._reap()
        self.committed()

    def queues(self) -> dict[Stage, Queue]:
        """Return how many images wait for an encoder, and how many shards for their commit."""
        return {
            "encoding": Queue(min(self._images, self.room), self.room),
            "writing": Queue(len(self._committing), SHARDS_BEHIND),
        }

    def _reap(self) -> None:
        images, future = self._encoding.popleft()
        self._images -= images
        self._pool.result(future)


def default_workers() -> int:
    """Return one decoding and encoding thread per core that this process may use, at least two."""
    return max(2, usable_cores())
