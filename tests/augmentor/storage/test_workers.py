"""Threads that are waited for with an end: what hangs is named, what gets on is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from augmentor.errors import StalledError
from augmentor.storage import workers
from augmentor.storage.workers import Workers, anything_hangs, stalled
from tests.hanging import wait_for_the_end
from tests.waiting import scaled, soon

ROOT = Path(__file__).parents[3]


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What a task waits for that hangs; it comes when the test is over."""
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.2)
    event = threading.Event()
    yield event
    event.set()
    wait_for_the_end()


def names() -> set[str]:
    return {thread.name.rpartition("_")[0] for thread in threading.enumerate()}


def test_results_and_errors_come_as_they_are() -> None:
    with Workers(2, name="mine") as pool:
        good, bad = pool.submit("adding", sum, [1, 2]), pool.submit("failing", int, "x")
        assert pool.result(good) == 3
        with pytest.raises(ValueError, match="invalid literal"):
            pool.result(bad)
    assert "mine" not in names()


def test_what_hangs_is_named_and_left_behind(hang: threading.Event) -> None:
    with (
        soon(2),
        pytest.raises(StalledError, match=r"nothing has moved for 0\.1 seconds while reading a\.png\. A disk or"),
        Workers(1, name="mine", limit=0.1) as pool,
    ):
        pool.result(pool.submit(lambda: "reading a.png", hang.wait))
    assert anything_hangs()
    hang.set()


def test_many_that_hang_are_counted() -> None:
    error = stalled([f"reading {number}.png" for number in range(5)], 3600)
    assert str(error).startswith(
        "nothing has moved for 60 minutes while reading 0.png, reading 1.png, reading 2.png, and 2 more. A disk"
    )


def test_others_that_get_on_are_waited_for(hang: threading.Event) -> None:
    """A long queue is no hang: only where nothing at all is done the waiting ends."""
    pause = scaled(0.05)
    with Workers(1, name="mine", limit=4 * pause) as pool:
        tasks = [pool.submit("sleeping", time.sleep, pause) for _ in range(12)]
        pool.result(tasks[-1])
        grown = 0

        def grow() -> None:
            nonlocal grown
            for _ in range(12):
                time.sleep(pause)
                grown += 1

        pool.result(pool.submit("growing", grow), sign=lambda: grown)
    assert grown == 12


def test_leaving_without_an_error_waits_for_all_and_has_an_end_too(hang: threading.Event) -> None:
    done: list[int] = []

    def note(number: int) -> None:
        time.sleep(0.01)
        done.append(number)

    with Workers(1, name="mine", limit=5) as pool:
        for number in range(5):
            pool.submit("noting", note, number)
    assert done == [0, 1, 2, 3, 4]

    def leave() -> None:
        with Workers(1, name="mine", limit=0.1) as pool:
            pool.submit("writing b", hang.wait)
            pool.submit("never", done.append, 5)

    with pytest.raises(StalledError, match="while writing b"):
        leave()
    hang.set()
    assert done == [0, 1, 2, 3, 4]


def test_an_error_is_not_held_up_for_long(hang: threading.Event) -> None:
    def interrupted() -> None:
        with Workers(1, name="mine") as pool:
            pool.submit("hanging", hang.wait)
            raise KeyboardInterrupt

    with soon(2), pytest.raises(KeyboardInterrupt):
        interrupted()
    assert anything_hangs()


def test_an_error_waits_for_what_has_begun_and_forgets_the_rest() -> None:
    done: list[int] = []
    begun = threading.Event()
    pause = scaled(0.1)

    def slow(number: int) -> None:
        begun.set()
        time.sleep(pause)
        done.append(number)

    def fail() -> None:
        with Workers(1, name="mine") as pool:
            for number in range(5):
                pool.submit("noting", slow, number)
            begun.wait()
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert done == [0]
    assert "mine" not in names()
    assert not anything_hangs()


def test_a_map_is_in_order_and_only_so_far_ahead() -> None:
    given: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            given.append(len(given))
            yield given[-1]

    def late(number: int) -> int:
        time.sleep(0.01 * (number % 3))
        return 10 * number

    with Workers(3, name="mine") as pool:
        found = pool.map("doing {}".format, late, endless(), ahead=4)
        assert [next(found) for _ in range(6)] == [0, 10, 20, 30, 40, 50]
        assert len(given) == 10
        found.close()  # type: ignore[attr-defined]


def test_a_map_names_what_hangs(hang: threading.Event) -> None:
    with pytest.raises(StalledError, match="while doing 1"), Workers(1, name="mine", limit=0.1) as pool:
        for _ in pool.map("doing {}".format, lambda number: number and hang.wait(), [0, 1, 2], ahead=2):
            pass
    hang.set()


SUSPENDED = """
import sys, time
from augmentor.storage.workers import Workers
with Workers(1, name="mine", limit=1.0) as pool:
    # Not one long sleep, which would be over when the process goes on.
    task = pool.submit("sleeping", lambda: [time.sleep(0.01) for _ in range(50)])
    print("ready", flush=True)
    pool.result(task)
print("done", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="cannot suspend a process")
def test_a_process_that_was_suspended_has_not_waited() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SUSPENDED], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert process.stdout.read() == b"done\n"
    assert process.returncode == 0
