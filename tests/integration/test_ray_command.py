"""`augmentor expand --engine ray`, on a real Ray: the output of one process, whoever of the workers dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.killing import committed, content, is_gone, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

SHARDS = 27
"""Shards of 4 of the 106 items that `--domains all` asks for."""


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


@pytest.fixture(scope="module")
def words(small: Small, model: Path, judge: Path) -> list[str]:
    """The command without --out."""
    words = ["expand", str(small.manifest), "--model", str(model), "--judge", str(judge), "--domains", "all"]
    return [*words, "--shard-size", "4"]


def test_a_killed_worker_is_replaced_and_an_interrupted_run_goes_on(
    words: list[str], augmentor: Augmentor, tmp_path: Path
) -> None:
    """The first run is interrupted once a second worker has come in the place of one that was killed."""
    plain, out = tmp_path / "plain" / "out", tmp_path / "ray" / "out"
    assert augmentor.run(*words, "--out", plain).code == 0

    running = augmentor.start(*words, "--out", out, "--engine", "ray", "--ray-workers", 2, "--json")
    assert wait_until(lambda: committed(out) > 0, pid=running.pid), running.end().err
    workers = [pid for pid, name in below(running.pid).items() if name.startswith("ray::RemoteWorker")]
    assert workers
    started = list(below(running.pid))
    os.kill(workers[0], signal.SIGKILL)
    done = running.end()
    assert done.code == 0, done.err
    print(done.err, done.out)  # noqa: T201
    assert content(out) == content(plain)
    assert all(map(is_gone, started))
