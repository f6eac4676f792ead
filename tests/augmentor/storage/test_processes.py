"""Child processes: numbers given out once, errors and deaths reported at once, no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from augmentor.errors import OutputError, StalledError
from augmentor.storage import ProcessError, processes, run_processes
from augmentor.storage.workers import anything_hangs
from tests.waiting import HANG, PATIENCE, scaled, soon, wait_until

ROOT = Path(__file__).parents[3]
Send = Callable[[object], None]


class AwkwardError(Exception):
    """Cannot be pickled and read back: it is made of two things and remembers one."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


# What the processes do; they import it from here.


def take_numbers(last: int, place: int, numbers: Iterator[int], send: Send) -> None:
    for number in numbers:
        if number >= last:
            return
        send(number)
        time.sleep(0.01)


def refuse(error: Exception, place: int, numbers: Iterator[int], send: Send) -> None:
    if place == 1:
        raise error
    time.sleep(HANG)


def be_awkward(argument: None, place: int, numbers: Iterator[int], send: Send) -> None:
    raise AwkwardError("left", "right")


def die(number: int, place: int, numbers: Iterator[int], send: Send) -> None:
    if place == 0:
        send("alive")
        os.kill(os.getpid(), number)
    time.sleep(HANG)


def leave(code: int, place: int, numbers: Iterator[int], send: Send) -> None:
    os._exit(code)


def be_interrupted(argument: None, place: int, numbers: Iterator[int], send: Send) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    send("unmoved")


def sleep_for_ever(argument: None, place: int, numbers: Iterator[int], send: Send) -> None:
    send(os.getpid())
    time.sleep(HANG)


def say_nothing(argument: None, place: int, numbers: Iterator[int], send: Send) -> None:
    if place == 1:
        time.sleep(HANG)
    while True:
        send("alive")
        time.sleep(0.01)


def heard(work: Callable[..., None], argument: object, count: int = 2) -> list[tuple[int, object]]:
    """Run the processes; return what they sent."""
    news: list[tuple[int, object]] = []

    def hear(place: int, message: object) -> None:
        news.append((place, message))

    run_processes(work, argument, names=[f"number {place}" for place in range(count)], on_message=hear)
    return news


def is_alive(pid: int) -> bool:
    """Whether there is such a process, that is not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def test_every_number_is_dealt_once() -> None:
    news = heard(take_numbers, 100)
    assert sorted(number for _, number in news) == list(range(100))  # type: ignore[type-var]
    for place in range(2):
        mine = [number for where, number in news if where == place]
        assert mine == sorted(mine)  # type: ignore[type-var]


def test_an_error_ends_all_and_keeps_its_type() -> None:
    with soon(30), pytest.raises(OutputError, match="the disk is full") as raised:
        heard(refuse, OutputError("the disk is full"))
    assert "In the process of number 1:\nTraceback" in raised.value.__notes__[0]


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    with pytest.raises(RuntimeError, match="AwkwardError: leftright"):
        heard(be_awkward, None, count=1)


def test_a_death_is_told_and_ends_all() -> None:
    with pytest.raises(ProcessError, match=r"number 0: its process has died \(signal 9; .*run the same command"):
        heard(die, int(signal.SIGKILL))
    with pytest.raises(ProcessError, match=r"number 0: its process has died \(exit code 3; "):
        heard(leave, 3, count=1)


def test_silence_is_told_and_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process hangs while the other one gets on."""

    limit = scaled(1)

    def hear(place: int, message: object) -> None:
        monkeypatch.setattr(processes, "SILENT_SECONDS", limit)  # Not earlier: it takes a while to be there.

    said = f"nothing has moved for {limit:g} seconds while the process of number 1 does not respond. "
    with pytest.raises(StalledError, match=f"{said}.*run the same command"):
        run_processes(say_nothing, None, names=["number 0", "number 1"], on_message=hear)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="cannot suspend a process")
def test_a_process_that_takes_nothing_is_no_hang_here(monkeypatch: pytest.MonkeyPatch) -> None:
    start = SpawnProcess.start

    def stopped(process: SpawnProcess) -> None:
        start(process)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)

    monkeypatch.setattr(SpawnProcess, "start", stopped)
    monkeypatch.setattr(processes, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(processes, "_GRACE_SECONDS", 0.2)
    with pytest.raises(StalledError, match="the process of number 0 does not respond"):
        heard(sleep_for_ever, b"x" * 10_000_000, count=1)
    assert not anything_hangs()


def test_the_keyboard_interrupts_the_parent_alone() -> None:
    assert heard(be_interrupted, None, count=1) == [(0, "unmoved")]


def test_an_interrupt_here_ends_all() -> None:
    pids: list[int] = []

    def interrupt(place: int, message: object) -> None:
        assert isinstance(message, int)
        pids.append(message)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_processes(sleep_for_ever, None, names=["a", "b"], on_message=interrupt)
    assert len(pids) == 1
    assert not is_alive(pids[0])


@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="shares memory in another way")  # noqa: S108
def test_shared_memory_that_is_full() -> None:
    """Not even the lock of a number finds room there."""
    program = """
import resource
from augmentor.storage import run_processes
from augmentor.errors import SharedMemoryError
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    run_processes(print, None, names=["a"], on_message=print)
except SharedMemoryError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout.startswith("there is too little shared memory for several processes: /dev/shm has ")
    assert done.stdout.endswith("use one --device, which needs none\n")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_processes_end_when_their_parent_is_killed() -> None:
    program = """
import test_processes
from augmentor.storage import run_processes
if __name__ == "__main__":
    tell = lambda place, pid: print(pid, flush=True)
    run_processes(test_processes.sleep_for_ever, None, names=["a"], on_message=tell)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
        wait_until(lambda: not is_alive(child), every=0.02)
