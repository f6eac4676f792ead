"""Locks on outputs: one process at a time, whoever is killed holds nothing, and the message names the other."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from augmentor.errors import OutputError
from augmentor.storage.lock import Holder, locked, read_holder
from tests.waiting import HANG, PATIENCE

ROOT = Path(__file__).parents[3]

HOLD = """
import sys, time
from pathlib import Path
from augmentor.storage.lock import locked
with locked(Path(sys.argv[1]), output=Path("out")):
    print("held", flush=True)
    time.sleep(HANG)
""".replace("HANG", str(HANG))

HOLD_WITH_A_CHILD = """
import os, sys, time
from pathlib import Path
from augmentor.storage.lock import locked
with locked(Path(sys.argv[1]), output=Path("out")):
    if os.fork():
        time.sleep(HANG)
print("held", flush=True)  # The child has left the block, which must not take the parent's lock away.
time.sleep(HANG)
""".replace("HANG", str(HANG))

COUNT = """
import sys, time
from pathlib import Path
from augmentor.errors import OutputError
from augmentor.storage.lock import locked
path, counter = Path(sys.argv[1]), Path(sys.argv[2])
done = 0
while done < 40:
    try:
        with locked(path, output=Path("out")):
            value = int(counter.read_text())
            time.sleep(0.0002)
            counter.write_text(str(value + 1))
    except OutputError:
        continue
    done += 1
"""


@contextmanager
def other_process(program: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program, in a process group of its own, that holds a lock; end it all in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # It may be gone already.
                os.killpg(process.pid, signal.SIGKILL)


def test_a_lock_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with locked(path, output=tmp_path):
        holder = read_holder(path)
        assert holder is not None
        assert (holder.host, holder.pid, holder.gone) == (socket.gethostname(), os.getpid(), False)
    assert not path.exists()
    with pytest.raises(ZeroDivisionError), locked(path, output=tmp_path):
        raise ZeroDivisionError
    assert not path.exists()


def test_another_process_is_refused_until_this_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with other_process(HOLD, path) as process:
        for _ in range(2):
            with (
                pytest.raises(OutputError, match=rf"my output: process {process.pid} on {socket.gethostname()} "),
                locked(path, output=Path("my output")),
            ):
                pytest.fail("both have it")
        process.kill()
        process.wait()
        assert path.exists()
        with locked(path, output=tmp_path):
            holder = read_holder(path)
            assert holder is not None
            assert holder.pid == os.getpid()
    assert not path.exists()


def test_a_child_that_outlives_the_holder_does_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with other_process(HOLD_WITH_A_CHILD, path) as process:
        with pytest.raises(OutputError, match=f"process {process.pid} on "), locked(path, output=tmp_path):
            pytest.fail("both have it")
        process.kill()
        process.wait()
        with locked(path, output=tmp_path):
            assert path.exists()


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path, output=tmp_path):
        with (
            pytest.raises(OutputError, match=f"process {os.getpid()} on "),
            locked(path, output=tmp_path),
        ):
            pytest.fail("twice")
        assert read_holder(path) is not None
    with locked(path, output=tmp_path):
        assert path.exists()


@pytest.mark.parametrize("left", ["", "{", "[1]", '{"host": "gone", "pid": "x"}', "x" * 1000])
def test_what_a_killed_run_left_is_taken(left: str, tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.write_text(left)
    assert read_holder(path) is None
    with locked(path, output=tmp_path):
        assert read_holder(path) is not None


def test_processes_that_compete_take_turns(tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    words = [sys.executable, "-c", COUNT, str(tmp_path / ".lock"), str(counter)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen(words, env=environment) for _ in range(3)]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]
    assert counter.read_text() == "120"


def ended_process() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_locks_is_asked_in_words(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / ".lock"
    with locked(path, output=tmp_path):
        assert path.exists()
    for host, pid, free in (
        (socket.gethostname(), os.getppid(), False),
        (socket.gethostname(), ended_process(), True),
        ("elsewhere", 1, False),
    ):
        path.write_text(json.dumps({"host": host, "pid": pid, "started": "2026-01-01T00:00:00+00:00"}))
        assert Holder(host=host, pid=pid, started="").gone is free
        if free:
            with locked(path, output=tmp_path):
                assert path.exists()
        else:
            with (
                pytest.raises(OutputError, match=rf"process {pid} on {host} .* delete .*\.lock"),
                locked(path, output=tmp_path),
            ):
                pytest.fail("both have it")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="file"), locked(tmp_path / "file" / ".lock", output=tmp_path):
        pytest.fail("there is no such place")
