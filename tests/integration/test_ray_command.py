"""`augmentor expand --engine ray`, on a real Ray: the output of one process, whoever of the workers dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.killing import command_line, committed, content, descendants, is_gone
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


OFTEN = 0.05
"""Seconds between two looks: to look without a break takes what Ray needs to start."""


def workers(pid: int) -> list[int]:
    """Return the processes that make shards for a command."""
    return [process for process in descendants(pid) if command_line(process).startswith("ray::RemoteWorker")]


def raylets(pid: int) -> list[int]:
    """Return the processes that a command has started to start workers."""
    return [process for process in descendants(pid) if command_line(process).split(" ")[0].endswith("/raylet")]


def wait_for_the_end(processes: list[int]) -> None:
    """Wait for the end of what was killed."""
    wait_until(lambda: all(map(is_gone, processes)), every=OFTEN)


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
    running.wait_for(lambda: raylets(running.pid), every=OFTEN)
    started = descendants(running.pid)
    running.send(signal.SIGINT)
    interrupted = running.end()
    assert interrupted.code == 130, interrupted.err
    assert "--engine ray --ray-workers 2" in " ".join(interrupted.err.split("Go on with:")[1].split())
    wait_for_the_end(started)

    running = augmentor.start(*words, "--json")
    running.wait_for(lambda: committed(out), every=OFTEN)
    started = descendants(running.pid)
    os.kill(workers(running.pid)[0], signal.SIGKILL)
    done = running.end()
    assert done.code == 0, done.err
    assert (done.json["resumed"], done.json["synthetic"], done.json["rejected"]) == (0, 51, 31)
    assert "Worker exit" not in done.err
    wait_for_the_end(started)
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
