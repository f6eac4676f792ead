"""What tests share that let something hang."""

from __future__ import annotations

from augmentor.storage.workers import anything_hangs
from tests.waiting import wait_until


def wait_for_the_end() -> None:
    """Wait until nothing hangs any more."""
    wait_until(lambda: not anything_hangs())
