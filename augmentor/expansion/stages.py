"""The stages around the translator: threads that decode, encode and commit, and how loaded each stage is."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, NamedTuple, ParamSpec, Self, TypeVar, get_args

from augmentor.storage import What, Workers, end_together, usable_cores

P = ParamSpec("P")
T = TypeVar("T")

Stage = Literal["decoding", "translating", "judging", "encoding", "writing"]
STAGES: tuple[Stage, ...] = get_args(Stage)

SHARDS_BEHIND = 2
"""Shards that may wait for their last images, their disk and their record while later ones are made."""


class Queue(NamedTuple):
    """How full a queue in front of, or behind, the translator is.

    Args:
        filled: what waits in it.
        room: what fits in.
    """

    filled: int
    room: int


@dataclass(frozen=True, kw_only=True)
class Loads:
    """Which stage holds the others up.

    The thread that translates is never idle: it translates, judges, or waits for one of the other stages. So the
    stage that takes most of its time is the one to make faster.

    Args:
        seconds: of that thread, by stage.
        queues: sources decoded ahead, images that wait for an encoder, and shards that wait for the disk.
    """

    seconds: Mapping[Stage, float]
    queues: Mapping[Stage, Queue]

    @property
    def slowest(self) -> Stage | None:
        """The stage that takes most of the time; None before anything was done."""
        stage = max(STAGES, key=lambda stage: self.seconds.get(stage, 0.0))
        return stage if self.seconds.get(stage, 0.0) > 0 else None

    @classmethod
    def together(cls, loads: Iterable[Loads]) -> Loads:
        """Return the loads of several processes as one."""
        many = list(loads)
        queues = {}
        for stage in STAGES:
            found = [each.queues[stage] for each in many if stage in each.queues]
            if found:
                queues[stage] = Queue(sum(queue.filled for queue in found), sum(queue.room for queue in found))
        return cls(
            seconds={stage: sum(each.seconds.get(stage, 0.0) for each in many) for stage in STAGES},
            queues=queues,
        )


class Clock:
    """Divides the time of the thread that translates among the stages: what is no waiting is translating."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._waited: dict[Stage, float] = {}

    @contextmanager
    def waiting(self, stage: Stage) -> Iterator[None]:
        """Count the time in the block as a stage's, or as waiting for it. Blocks must not lie in one another."""
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
class Crew:
    """The threads that decode, encode and commit while the calling thread translates.

    An error in any of them is raised in the calling thread, at the latest when it next waits; so is a
    `StalledError`, where none of them gets on any more. Leaving the block with an error forgets what has not
    begun; either way no thread is left when the block is over, unless it hangs.

    Args:
        workers: threads that decode and encode.
        room: images that may wait for an encoder.
        clock: told what the calling thread waits for.
    """

    workers: int
    room: int
    clock: Clock
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
        # A commit that waits for its images ends only when these are made, or forgotten.
        end_together((self._pool, self._finisher), error)

    def decode(self, what: What, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let a worker run what the calling thread will ask for later; `what` is said of it if it hangs."""
        return self._pool.submit(what, function, *args, **kwargs)

    def decoded(self, future: Future[T]) -> T:
        """Wait for what `decode` began, and return its result."""
        with self.clock.waiting("decoding"):
            return self._pool.result(future)

    def encode(self, images: int, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> Future[None]:
        """Let a worker encode some images; waits while more than there is room for are on their way."""
        future = self._pool.submit("encoding and writing images", function, *args, **kwargs)
        self._encoding.append((images, future))
        self._images += images
        while self._encoding and (self._images > self.room or self._encoding[0][1].done()):
            with self.clock.waiting("encoding"):
                self._reap()
        return future

    def commit(self, encoded: Sequence[Future[None]], function: Callable[[], int]) -> None:
        """Let the finisher commit a shard, after those before; waits while it is too far behind.

        Args:
            encoded: what must be done before.
            function: returns how many rows failed.
        """

        def finish() -> int:
            for future in encoded:
                future.result()  # Without an end: the calling thread, which waits for this one, has one.
            return function()

        self._committing.append((encoded, self._finisher.submit("committing a shard", finish)))
        self.committed(SHARDS_BEHIND)

    def committed(self, behind: int | None = None) -> int:
        """Return how many rows failed in the shards that are committed.

        Args:
            behind: wait until at most so many shards are still on their way; None waits for none.
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
    """Return the number of decoding and encoding threads that the cores which this process may use suggest."""
    return max(2, usable_cores())
