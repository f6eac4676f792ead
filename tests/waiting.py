"""The time limits of tests: generous for what has to happen, scaled by the machine's load for what must be quick.

A wait ends as soon as its condition holds, so a generous limit costs nothing but in a test that fails. Tests set
no limits of their own: one that is just large enough on an idle machine is too small on a busy one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE = 600.0
"""Seconds after which what a test waits for does not come."""

HANG = 3600.0
"""Seconds that something lasts which hangs: longer than any limit."""

SLACK = 4.0
"""Share by which `soon` may be exceeded: it is to find what waits for a time limit, not what is a little slow."""

_SAMPLE = 0.03
"""Seconds of processor time from which `slowness` is measured."""


def slowness() -> float:
    """Return how many times as long as on an idle core a computation takes now, 1 or more."""
    began, used = time.perf_counter(), time.thread_time()
    while time.thread_time() - used < _SAMPLE:
        pass
    return max(1.0, (time.perf_counter() - began) / _SAMPLE)


def scaled(seconds: float) -> float:
    """Return what a time on an idle machine is on this one now; whole multiples, which messages name well."""
    return seconds * round(slowness())


def wait_until(
    seen: Callable[[], object],
    *,
    unless: Callable[[], bool] = lambda: False,
    patience: float = PATIENCE,
    every: float = 0.002,
) -> bool:
    """Wait until something can be seen.

    Args:
        seen: returns whether it can be seen.
        unless: returns whether it cannot come any more.
        patience: seconds to wait.
        every: seconds between two looks.

    Returns:
        False where `unless` ended the wait.

    Raises:
        TimeoutError: it did not come.
    """
    deadline = time.monotonic() + patience
    while not seen():
        if unless():
            return bool(seen())
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience:g} seconds in vain")
        time.sleep(every)
    return True


@contextmanager
def soon(seconds: float) -> Iterator[None]:
    """Fail if the block takes much longer than so many seconds, given the machine's load."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    if took > seconds:
        limit = SLACK * seconds * slowness()
        assert took < limit, f"took {took:.1f} s, more than {limit:.1f} s"
