"""Threads of the stages around the translator, and their loads."""

from __future__ import annotations

import threading
import time

import pytest

from augmentor.errors import StalledError
from augmentor.expansion.progress import Loads, Queue
from augmentor.expansion.stages import SHARDS_BEHIND, StageClock, StageThreads, default_workers
from augmentor.storage import workers
from augmentor.storage.workers import anything_hangs
from tests.hanging import wait_for_the_end
from tests.waiting import scaled, soon


def test_all_time_is_some_stages() -> None:
    began = time.perf_counter()
    clock = StageClock()
    started = time.perf_counter()
    with clock.waiting("decoding"):
        time.sleep(0.05)
    with clock.waiting("writing"):
        time.sleep(0.02)
    with clock.waiting("decoding"):
        time.sleep(0.05)
    least = time.perf_counter() - started
    seconds = clock.seconds()
    assert least <= sum(seconds.values()) <= time.perf_counter() - began
    assert seconds["decoding"] >= 0.1
    assert 0.02 <= seconds["writing"] <= least - 0.1


def test_loads_of_several_processes_add_up() -> None:
    one = Loads(seconds={"translating": 3.0, "encoding": 4.0}, queues={"encoding": Queue(1, 10)})
    other = Loads(seconds={"translating": 2.0}, queues={"encoding": Queue(2, 10), "writing": Queue(1, 2)})
    assert (one.slowest, other.slowest) == ("encoding", "translating")
    both = Loads.total([one, other])
    assert both.slowest == "translating"
    assert (both.seconds["translating"], both.seconds["encoding"]) == (5.0, 4.0)
    assert both.queues == {"encoding": Queue(3, 20), "writing": Queue(1, 2)}


def test_encoders_are_waited_for_when_too_many_images_are_on_their_way() -> None:
    free = threading.Event()
    clock = StageClock()

    def wait() -> None:
        free.wait()

    with StageThreads(workers=1, room=20, clock=clock) as crew:
        for _ in range(2):
            crew.encode(8, wait)
        assert crew.queues()["encoding"] == Queue(16, 20)
        assert "encoding" not in clock.seconds()
        threading.Timer(0.1, free.set).start()
        crew.encode(8, time.sleep, 0)
        assert free.is_set()
        assert clock.seconds()["encoding"] > 0


def test_an_encoder_s_error_is_raised_at_the_next_check() -> None:
    waited = threading.Event()

    def fail() -> None:
        waited.wait()
        raise OSError(28, "No space left on device")

    with StageThreads(workers=1, room=100, clock=StageClock()) as crew:
        future = crew.encode(1, fail)
        waited.set()
        assert isinstance(future.exception(), OSError)
        with pytest.raises(OSError, match="No space left"):
            crew.check()


def test_a_commit_waits_for_its_images_and_counts_failures() -> None:
    order: list[str] = []
    with StageThreads(workers=1, room=100, clock=StageClock()) as crew:

        def encode() -> None:
            time.sleep(0.05)
            order.append("images")

        def commit() -> int:
            order.append("record")
            return 3

        for _ in range(SHARDS_BEHIND + 1):
            crew.commit([crew.encode(1, encode)], commit)
        assert crew.queues()["writing"].filled <= SHARDS_BEHIND
        assert crew.committed(behind=0) == 3 * (SHARDS_BEHIND + 1)
    assert order[:2] == ["images", "record"]
    assert order.count("record") == SHARDS_BEHIND + 1


def test_an_error_forgets_what_has_not_begun() -> None:
    made: list[int] = []
    leaving = threading.Event()
    pause = scaled(0.05)

    def slow() -> None:
        leaving.wait()
        time.sleep(pause)
        made.append(1)

    def interrupted() -> None:
        with StageThreads(workers=1, room=1000, clock=StageClock()) as crew:
            tasks = [crew.encode(1, slow) for _ in range(100)]
            crew.commit(tasks, lambda: made.append(1000) or 0)  # type: ignore[func-returns-value]
            leaving.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert 1000 not in made
    assert len(made) <= 3
    assert not any(thread.name.startswith(("images", "commits")) for thread in threading.enumerate())


@pytest.mark.parametrize("where", ["decoding", "encoding", "writing"])
def test_whatever_hangs_ends_the_run(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = scaled(0.2)
    monkeypatch.setattr(workers, "STALLED_SECONDS", limit)
    monkeypatch.setattr(workers, "GRACE_SECONDS", 0.2)
    free = threading.Event()
    said = {
        "decoding": "reading a.png",
        "encoding": "encoding and writing images",
        "writing": "committing a shard",
    }

    def work(stage: str) -> int:
        return int(where == stage and free.wait())

    def encode() -> None:
        work("encoding")

    def run() -> None:
        with StageThreads(workers=2, room=100, clock=StageClock()) as crew:
            crew.decoded(crew.decode("reading a.png", work, "decoding"))
            crew.commit([crew.encode(1, encode)], lambda: work("writing"))
            crew.committed(behind=0)

    with (
        soon(5),
        pytest.raises(StalledError, match=f"nothing has moved for {limit:g} seconds while {said[where]}. "),
    ):
        run()
    assert anything_hangs()
    free.set()
    wait_for_the_end()
    assert not any(thread.name.startswith(("images", "commits")) for thread in threading.enumerate())


def test_workers_come_from_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: set(range(12)), raising=False)
    assert default_workers() == 12
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {5}, raising=False)
    assert default_workers() == 2
