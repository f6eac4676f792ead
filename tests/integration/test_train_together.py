"""`augmentor train` with several processes: started by itself or by torchrun, interrupted, killed, resumed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stargan.checkpoints import load_model
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small


def processes_of(run: Path) -> list[int]:
    """Return the processes whose command line names the run, the launcher's and its children's."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (OSError, NotADirectoryError):
            continue
        if folder.name.isdigit() and os.fsencode(run) in words and b"train" in words:
            found.append(int(folder.name))
    return sorted(found)


def rank_of(pid: int) -> str | None:
    """Return the RANK in a process's environment."""
    for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        name, _, value = word.partition(b"=")
        if name == b"RANK":
            return value.decode()
    return None


def test_two_processes_train_and_one_goes_on(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("train", small.manifest, "--out", run, *tiny, "--set", "judge.steps=0")
    done = augmentor.cold(*words, "--steps", 6, "--devices", "cpu,cpu", "--json")
    assert done.code == 0, done.err
    assert done.out.count("Trained 6 steps") == 1  # one speaks for all
    assert done.json["step"] == 6
    assert load_model(run).step == 6
    again = augmentor.cold(*words, "--steps", 6, "--devices", "cpu,cpu")
    assert again.code == 2
    assert again.err.count("holds a run already") == 1
    alone = augmentor.run(*words, "--steps", 9, "--resume")
    assert alone.code == 0, alone.err
    assert load_model(run).step == 9


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("killed", ["0", "1"])
def test_one_that_is_killed_ends_all_with_a_message(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path, killed: str
) -> None:
    run = tmp_path / "run"
    words = ["train", small.manifest, "--out", run, *tiny, "--steps", 100_000, "--set", "training.log_seconds=0"]
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    running = augmentor.spawn(*torchrun, "-m", "augmentor", *words)
    log = run / "log.jsonl"
    running.wait_for(lambda: log.exists() and log.stat().st_size > 0)
    victim = next(pid for pid in processes_of(run) if rank_of(pid) == killed)
    os.kill(victim, signal.SIGKILL)
    done = running.end()
    assert done.code != 0
    wait_until(lambda: not processes_of(run))
    assert "Continue with --resume" in done.out + done.err


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process there at once")
def test_the_launcher_passes_an_interrupt_on(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("train", small.manifest, "--out", run, *tiny, "--set", "training.log_seconds=0")
    running = augmentor.start(*words, "--steps", 100_000, "--devices", "cpu,cpu")
    log = run / "log.jsonl"
    running.wait_for(lambda: log.exists() and log.stat().st_size > 0)
    running.send(signal.SIGTERM)
    stopped = running.end()
    assert stopped.code == 130, stopped.err
    assert f"Go on with:  python -m augmentor train {small.manifest} --out {run}" in stopped.err
    assert "--devices cpu,cpu --resume" in stopped.err
    assert load_model(run).step > 0
