"""How much judging may cost, and how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_SHARE_OF_TRAINING = 0.1
_LEAST_SECONDS = 1.0
"""The time that judging may take: this share of the training's, and no less than this."""

MOST_STEPS = 2000
"""Of the classifier, where nobody asked for more."""


class JudgingStopped(Exception):  # noqa: N818 - no error: the person asked for it
    """The person does not want to wait for the verdict."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much judging may cost.

    Args:
        steps: optimisation steps of the classifier; None takes as many as the time allows, `most_steps` at most.
        seconds: all in all, about; the least of work that says anything is done in any case.
        most_steps: see `steps`.
    """

    steps: int | None = None
    seconds: float = math.inf
    most_steps: int = MOST_STEPS

    @classmethod
    def after(cls, training_seconds: float, *, steps: int) -> Limits:
        """Return the limits after so much training: a tenth of its time, or the steps that were set (-1: none)."""
        if steps >= 0:
            return cls(steps=steps)
        return cls(seconds=max(_LEAST_SECONDS, _SHARE_OF_TRAINING * training_seconds))


class TimeBudget:
    """Knows how much time is left, says how far it is, and hears whether to give up."""

    def __init__(
        self, *, seconds: float, on_progress: Callable[[float], None], should_stop: Callable[[], bool]
    ) -> None:
        self._seconds, self._on_progress, self._should_stop = seconds, on_progress, should_stop
        self._start = time.monotonic()
        self._part, self._end = (0.0, 1.0), self._start + seconds

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def part(self, start: float, end: float) -> None:
        """Begin the part that takes the progress from `start` to `end`.

        It has that share of the time, however late it begins, and what earlier parts left over.
        """
        shares = time.monotonic() + (end - start) * self._seconds, self._start + end * self._seconds
        self._part, self._end = (start, end), max(shares)
        self.tell(0.0)

    def left(self) -> float:
        """Return the seconds that the part still has; below 0 where it takes longer than it should."""
        return self._end - time.monotonic()

    def tell(self, done: float) -> None:
        """Say that this share of the part is done."""
        self.check()
        start, end = self._part
        self._on_progress(min(end, start + done * (end - start)))

    def check(self) -> None:
        """Raise JudgingStopped if the person asked to stop."""
        if self._should_stop():
            raise JudgingStopped

    def over(self) -> bool:
        """Return whether the part has had its time."""
        return self.left() <= 0
