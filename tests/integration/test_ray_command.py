"""`augmentor expand --engine ray`, on a real Ray: the output of one process, whoever of the workers dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.killing import committed, content, is_gone, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def below(pid: int) -> dict[int, str]:
    """Return the processes that a process has started, and those that these have, with their names."""
    names, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, name = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        names[int(folder.name)] = name.split(b"\0")[0].decode()
        parents[int(folder.name)] = int(state.rsplit(")", 1)[1].split()[1])
    found = [pid]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return {process: names[process] for process in found[1:]}


def workers(pid: int) -> list[int]:
    """Return the processes that make shards for a command."""
    return [process for process, name in below(pid).items() if name.startswith("ray::RemoteWorker")]


def raylets(pid: int) -> list[int]:
    """Return the processes that a command has started to start workers."""
    return [process for process, name in below(pid).items() if name.endswith("/raylet")]


def assert_gone(processes: dict[int, str]) -> None:
    """Wait a moment for the end of what was killed."""
    deadline = time.monotonic() + 20
    while left := [name for pid, name in processes.items() if not is_gone(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def rarely(seen: object) -> bool:
    """Return whether something was seen, after a while: to look without a break takes what Ray needs to start."""
    time.sleep(0.05)
    return bool(seen)


@pytest.fixture
def words(small: Small, model: Path, judge: Path) -> list[str]:
    """The command without --out."""
    words = ["expand", str(small.manifest), "--model", str(model), "--judge", str(judge), "--domains", "all"]
    return [*words, "--shard-size", "4"]


def test_an_interrupted_run_goes_on_and_a_killed_worker_is_replaced(
    words: list[str], augmentor: Augmentor, tmp_path: Path
) -> None:
    plain, out = tmp_path / "plain" / "out", tmp_path / "ray" / "out"
    assert augmentor.run(*words, "--out", plain).code == 0
    words += ["--out", str(out), "--engine", "ray", "--ray-workers", "2"]

    running = augmentor.start(*words)
    assert wait_until(lambda: rarely(raylets(running.pid)), pid=running.pid), running.end().err
    started = below(running.pid)
    running.send(signal.SIGINT)
    interrupted = running.end()
    assert interrupted.code == 130, interrupted.err
    assert "--engine ray --ray-workers 2" in " ".join(interrupted.err.split("Go on with:")[1].split())
    assert_gone(started)

    running = augmentor.start(*words, "--json")
    assert wait_until(lambda: rarely(committed(out)), pid=running.pid), running.end().err
    started = below(running.pid)
    os.kill(workers(running.pid)[0], signal.SIGKILL)
    done = running.end()
    assert done.code == 0, done.err
    assert (done.json["resumed"], done.json["synthetic"], done.json["rejected"]) == (0, 51, 31)
    assert "Worker exit" not in done.err
    assert_gone(started)
    assert content(out) == content(plain)


def test_what_is_refused(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    words = ("expand", small.manifest, "--model", model, "--out", tmp_path / "out", "--domains", "all")
    for flags, said in (
        (("--ray-workers", "2"), "--ray-workers is an option of Ray: add --engine ray"),
        (("--address", "auto"), "--address is an option of Ray: add --engine ray"),
        (("--engine", "ray", "--shards", "1/2"), "Ray distributes all shards itself"),
        (("--engine", "ray", "--devices", "cpu,cpu"), "Ray assigns the devices of its nodes"),
        (("--engine", "ray", "--address", "127.0.0.1:1"), "--address 127.0.0.1:1: nothing answers there"),
    ):
        done = augmentor.run(*words, *flags)
        assert done.code == 2
        assert said in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()
