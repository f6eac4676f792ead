"""Time limits of judging, progress and interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_SHARE_OF_TRAINING = 0.1

_LEAST_SECONDS = 1.0

MOST_STEPS = 2000


class JudgingStopped(Exception):  # noqa: N818 - not an error
    """The user interrupted judging."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Steps and seconds that judging may take.

    Args:
        steps: optimisation steps of the classifier; None takes as many as the time allows, `most_steps` at most.
        seconds: in all, about; a minimum of work is done in any case.
        most_steps: see `steps`.
    """

    steps: int | None = None
    seconds: float = math.inf
    most_steps: int = MOST_STEPS

    @classmethod
    def after(cls, training_seconds: float, *, steps: int) -> Limits:
        """Return the limits after a training: a tenth of its time, or the steps that were set (-1: none)."""
        if steps >= 0:
            return cls(steps=steps)
        return cls(seconds=max(_LEAST_SECONDS, _SHARE_OF_TRAINING * training_seconds))


class TimeBudget:
    """Time left for judging, its progress as a share in [0, 1], and whether the user stopped it."""

    def __init__(
        self,
        limits: Limits,
        *,
        on_progress: Callable[[float], None] = lambda _share: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.limits = limits
        self._on_progress, self._should_stop = on_progress, should_stop
        self._start = time.monotonic()
        self._part, self._end = (0.0, 1.0), self._start + limits.seconds

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def part(self, start: float, end: float) -> None:
        """Start the part that takes the progress from `start` to `end`; it has that share of the time at least."""
        shares = time.monotonic() + (end - start) * self.limits.seconds, self._start + end * self.limits.seconds
        self._part, self._end = (start, end), max(shares)
        self.report(0.0)

    def left(self) -> float:
        """Return the seconds that the part still has; below 0 where it takes longer than it should."""
        return self._end - time.monotonic()

    def report(self, done: float) -> None:
        """Report this share of the part as done."""
        self.check()
        start, end = self._part
        self._on_progress(min(end, start + done * (end - start)))

    def check(self) -> None:
        """Raise JudgingStopped if the user asked to stop."""
        if self._should_stop():
            raise JudgingStopped

    def over(self) -> bool:
        """Return whether the part's time is used up."""
        return self.left() <= 0
