"""Scheduling of shards among workers, and again after a worker has died."""

from __future__ import annotations

from collections import Counter, deque

from augmentor.expansion.executors.work import Work
from augmentor.expansion.progress import Progress
from augmentor.storage import ProcessError

_MOST_AT_ONCE = 16
"""Shards assigned at once, at most: a worker decodes the next one while it encodes the one before."""

_LEAST_TURNS = 4
"""Assignments per worker, at least; later ones are smaller, so that all workers end at the same time."""

_MOST_DEATHS = 3
"""Workers that may die over a shard. A lost machine costs one, a shard that kills its workers all of them."""


class ShardScheduler:
    """Assigns the shards of a run, by their number as `Work.index` counts, to workers that may die."""

    def __init__(self, work: Work, *, workers: int) -> None:
        self._work = work
        self._workers = workers
        self._next = 0
        self._count = work.shards - work.first_shard
        self._retries: deque[int] = deque()
        self._deaths: Counter[int] = Counter()
        self.open = self._count
        """Shards that are not known to be committed."""

    def assign(self) -> tuple[int, ...]:
        """Return the numbers that a worker is to make next; none where all are assigned."""
        if self._retries:  # One at a time: if another worker dies, it is known which shard caused it.
            return (self._retries.popleft(),)
        count = max(1, min(_MOST_AT_ONCE, (self._count - self._next) // (_LEAST_TURNS * self._workers)))
        numbers = range(self._next, min(self._next + count, self._count))
        self._next = numbers.stop
        return tuple(numbers)

    def completed(self, numbers: tuple[int, ...]) -> None:
        """Record that a worker has committed all that it was assigned."""
        self.open -= len(numbers)
        for number in numbers:
            self._deaths.pop(number, None)

    def worker_died(self, numbers: tuple[int, ...], reason: str) -> tuple[tuple[int, ...], Progress]:
        """Schedule again, one by one, what a dead worker had not committed; return what it had, and its progress.

        Raises:
            ProcessError: too many workers have died over a shard.
        """
        committed, progress = [], Progress()
        for number in reversed(numbers):
            index = self._work.index(number)
            record = self._work.writer.record(index)
            start, stop = self._work.plan.shard_range(index, self._work.shard_size)
            if record is not None:
                failed, rejected = len(record.failures), len(record.rejected)
                committed.append(number)
                progress = progress.followed_by(Progress(done=stop - start, failed=failed, rejected=rejected))
                continue
            self._deaths[number] += 1
            if self._deaths[number] >= _MOST_DEATHS:
                raise ProcessError(
                    f"shard {index:,} of {self._work.shards:,} (items {start:,} to {stop - 1:,} of the plan): "
                    f"{_MOST_DEATHS} workers have died while they made it, the last one so: {reason}. Too little "
                    "memory is the usual reason: use a smaller --batch-size, or fewer --ray-workers. What was "
                    "committed is safe: run the same command again"
                )
            self._retries.appendleft(number)
        self.completed(tuple(committed))
        return tuple(committed), progress
