"""Which shards go to which worker, and again to another one when a worker has died."""

from __future__ import annotations

from collections import Counter, deque

from augmentor.expansion.executors.local import State, Work
from augmentor.expansion.executors.processes import ProcessError

_TOGETHER = 16
"""Shards that are dealt at once, at most: a worker decodes the next one while it encodes the one before."""

_TURNS = 4
"""Each worker gets its part in so many turns at least, later ones smaller, so that all end at the same time."""

_DEATHS = 3
"""Workers that a shard may cost. A machine that is taken away costs one; a shard that kills them costs all."""


class Dealing:
    """Deals the shards of a run among workers that may die.

    Args:
        work: whose shards from the first one on are dealt, by their number from there.
        workers: how many share them.
    """

    def __init__(self, work: Work, *, workers: int) -> None:
        self._work = work
        self._workers = workers
        self._next = 0
        self._count = work.shards - work.first_shard
        self._again: deque[int] = deque()
        self._deaths: Counter[int] = Counter()
        self.open = self._count
        """Shards that are not known to be there."""

    def deal(self) -> tuple[int, ...]:
        """Return the numbers that a worker is to make next; none where others have, or had, them all."""
        if self._again:  # Alone: if it costs another worker, it is known which one it was.
            return (self._again.popleft(),)
        together = max(1, min(_TOGETHER, (self._count - self._next) // (_TURNS * self._workers)))
        numbers = range(self._next, min(self._next + together, self._count))
        self._next = numbers.stop
        return tuple(numbers)

    def made(self, numbers: tuple[int, ...]) -> None:
        """Note that a worker has made all that it was dealt."""
        self.open -= len(numbers)
        for number in numbers:
            self._deaths.pop(number, None)

    def died(self, numbers: tuple[int, ...], reason: str) -> tuple[tuple[int, ...], State]:
        """Deal again, one by one, what a worker had not committed when it died.

        Args:
            numbers: what it was dealt.
            reason: why it died, for the message.

        Returns:
            What it had committed, and how far that is.

        Raises:
            ProcessError: a shard has cost too many workers.
        """
        there, state = [], State()
        for number in reversed(numbers):
            index = self._work.index(number)
            record = self._work.writer.record(index)
            start, stop = self._work.plan.shard_range(index, self._work.shard_size)
            if record is not None:
                failed, rejected = len(record.failures), len(record.rejected)
                made = State(done=stop - start, failed=failed, rejected=rejected)
                there.append(number)
                state = state.followed_by(made)
                continue
            self._deaths[number] += 1
            if self._deaths[number] >= _DEATHS:
                raise ProcessError(
                    f"shard {index:,} of {self._work.shards:,} (items {start:,} to {stop - 1:,} of the plan): "
                    f"{_DEATHS} workers have died while they made it, the last one so: {reason}. Too little "
                    "memory is the usual reason: use a smaller --batch-size, or fewer --ray-workers. What was "
                    "committed is safe: run the same command again"
                )
            self._again.appendleft(number)
        self.made(tuple(there))
        return tuple(there), state
