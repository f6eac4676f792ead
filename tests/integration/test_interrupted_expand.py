"""Commands that are interrupted: they end soon, with exit code 130 and the words that go on."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.killing import children, command_line, committed, content, is_gone
from tests.waiting import soon

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Running, Small

SHARDS = 106
"""One for each item that `--domains all` asks for: so many, lest a command ends before its signal comes."""

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@pytest.fixture(scope="module")
def command(small: Small, model: Path) -> list[str]:
    """An expansion in many shards, but for its output."""
    return ["expand", str(small.manifest), "--model", str(model), "--domains", "all", "--shard-size", "1"]


@pytest.fixture(scope="module")
def undisturbed(
    augmentor: Augmentor, command: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What a folder holds that was made in one go."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    done = augmentor.run(*command, "--out", out)
    assert done.code == 0, done.err
    return content(out)


def stopped(running: Running, number: signal.Signals) -> tuple[Done, list[str]]:
    """Interrupt a command; return how it ended and the words that it says go on."""
    with soon(5):
        running.send(number)
        done = running.end()
    assert done.code == 130, done.err
    said = done.err.splitlines()
    (told,) = [line for line in said if line.startswith("Go on with:  ")]
    assert said[said.index(told) - 1] == "Interrupted."
    assert "Traceback" not in done.err
    return done, told.removeprefix("Go on with:  augmentor ").split()


def at_work(running: Running) -> bool:
    """Return whether a command has begun its work: it says so, or its threads read images."""
    return (running.folder / "err").stat().st_size > 0 or len(
        list(Path(f"/proc/{running.pid}/task").iterdir())
    ) > 1


@SIGNALS
def test_interrupted(
    number: signal.Signals, augmentor: Augmentor, command: list[str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    running = augmentor.start(*command, "--out", out, "--overwrite")
    running.wait_for(lambda: committed(out) >= 2)
    _, told = stopped(running, number)
    assert told == [*command, "--out", str(out)]  # With --overwrite it would begin anew.
    assert not (out / "labels.csv").exists()
    assert not (out / ".augmentor.lock").exists()
    done = augmentor.run(*told, "--json")
    assert done.code == 0, done.err
    resumed = done.json["resumed"]
    assert isinstance(resumed, int)
    assert resumed >= 2
    assert content(out) == undisturbed


@needs_proc
@SIGNALS
def test_every_long_command_is_interrupted_alike(
    number: signal.Signals, augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    lines = small.manifest.read_text().splitlines()
    many = small.folder / f"many-{int(number)}.csv"
    rows = [line.replace(",face", f",again{time}-", 1) for time in range(500) for line in lines[1:]]
    many.write_text("\n".join([lines[0], *rows]) + "\n")
    for words in (
        ["check", str(many)],
        ["bench", "--size", "16", "--images", "12", "--stages", "encode", "--seconds", "30"],
        ["train", str(many), "--out", str(tmp_path / "run"), *tiny, "--steps", "100000"],
    ):
        running = augmentor.start(*words)
        running.wait_for(partial(at_work, running))
        _, told = stopped(running, number)
        assert told == [*words, *(["--resume"] if words[0] == "train" else [])]


@needs_proc
def test_a_process_per_device(
    augmentor: Augmentor, command: list[str], undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """One of them dies; then all are interrupted; then the work is finished, as if nothing had been."""
    out = tmp_path / "out"
    words = [*command, "--out", str(out)]

    def start() -> Running:
        return augmentor.spawn(sys.executable, "-m", "augmentor", *words, "--devices", "cpu,cpu")

    def workers(pid: int) -> list[int]:
        return [child for child in children(pid) if "spawn_main" in command_line(child)]

    running = start()
    running.wait_for(lambda: len(workers(running.pid)) == 2)
    victim, other = workers(running.pid)
    running.wait_for(lambda: committed(out) >= 1)
    os.kill(victim, signal.SIGKILL)
    done = running.end()
    assert done.code == 1, done.err
    assert "its process has died (signal 9;" in done.err
    assert "run the same command again" in done.err
    assert is_gone(other)
    before = committed(out)
    assert before < SHARDS

    running = start()
    running.wait_for(lambda: len(workers(running.pid)) == 2)
    both = workers(running.pid)
    running.wait_for(lambda: committed(out) > before)
    running.send(signal.SIGTERM)
    done = running.end()
    assert done.code == 130, done.err
    assert done.err.splitlines()[-2:-1] == ["Interrupted."]
    assert all(map(is_gone, both))

    done = augmentor.run(*words, "--json")
    assert done.code == 0, done.err
    resumed = done.json["resumed"]
    assert isinstance(resumed, int)
    assert resumed >= before
    assert content(out) == undisturbed
