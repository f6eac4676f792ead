"""What tests share that let something hang."""

from __future__ import annotations

import time

from augmentor.storage.workers import anything_hangs


def wait_for_the_end(seconds: float = 20.0) -> None:
    """Wait until nothing hangs any more; fail if that takes long."""
    deadline = time.monotonic() + seconds
    while anything_hangs():
        assert time.monotonic() < deadline, "something hangs still"
        time.sleep(0.005)
