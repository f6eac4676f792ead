"""Threads: as many as there are cores to use, their results in order, and never far ahead."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from augmentor.storage.workers import AHEAD, side_by_side, usable_cores
from tests.waiting import PATIENCE


def test_cores_that_this_process_may_not_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {1, 5, 6}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert usable_cores() == 3
    monkeypatch.delattr("os.sched_getaffinity")
    assert usable_cores() == 64
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux can set it")
def test_usable_cores_follow_the_affinity_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)


def test_results_come_in_order_though_later_ones_are_done_first() -> None:
    second = threading.Event()

    def look(number: int) -> int:
        if number == 0:
            assert second.wait(PATIENCE)
        if number == 1:
            second.set()
        return number * number

    assert list(side_by_side(look, range(50), workers=2)) == [number * number for number in range(50)]
    assert list(side_by_side(look, [], workers=2)) == []


def test_it_reads_only_a_little_ahead() -> None:
    read = 0

    def numbers() -> Iterator[int]:
        nonlocal read
        while read < 100:
            read += 1
            yield read

    for done, number in enumerate(side_by_side(abs, numbers(), workers=3), start=1):
        assert number == done
        assert read <= done + 3 * AHEAD
    assert done == 100


def test_an_error_comes_in_its_turn_and_leaves_no_thread() -> None:
    made: list[int] = []

    def look(number: int) -> int:
        if number == 2:
            raise RuntimeError("a bug")
        return number

    with pytest.raises(RuntimeError, match="a bug"):
        made.extend(side_by_side(look, range(1000), workers=2))
    assert made == [0, 1]
    assert not any(thread.name.startswith("looking") for thread in threading.enumerate())
