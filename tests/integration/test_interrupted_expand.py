"""`augmentor expand`, killed at any moment or interrupted: the same command again ends as if it had not been."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

SHARDS = 27
"""Shards of 4 of the 106 items that `--domains all` asks for: 24 real and 82 synthetic."""


def content(out: Path) -> dict[str, str]:
    """Return the sha256 of every file below or beside an output, by its name."""
    found = out.rglob("*") if out.suffix != ".h5" else out.parent.rglob("*")
    return {
        str(path.relative_to(out.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.is_file()
    }


def committed(out: Path) -> int:
    """Return how many shards are committed; an HDF5 file that is finished has forgotten its own."""
    work = out / ".augmentor" if out.suffix != ".h5" else out.with_name(f"{out.name}.parts")
    return SHARDS if out.is_file() else len(list(work.glob("shards/[0-9]*.json")))


@pytest.fixture(scope="module")
def command(small: Small, model: Path) -> list[str]:
    """An expansion in many shards, but for its output."""
    return ["expand", str(small.manifest), "--model", str(model), "--domains", "all", "--shard-size", "4"]


@pytest.fixture(scope="module")
def undisturbed(
    augmentor: Augmentor, command: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """What a folder and a file hold that were made in one go."""
    made = {}
    for name in ("out", "out.h5"):
        out = tmp_path_factory.mktemp("undisturbed") / name
        done = augmentor.run(*command, "--out", out)
        assert done.code == 0, done.err
        made[name] = content(out)
    return made


@pytest.mark.parametrize("name", ["out", "out.h5"])
def test_killed_again_and_again(
    name: str,
    augmentor: Augmentor,
    command: list[str],
    undisturbed: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    out = tmp_path / name
    moments = random.Random(0)
    kills = 0
    for shards in (0, 1, 7, 14, SHARDS):
        running = augmentor.start(*command, "--out", out)
        running.wait_for(lambda wanted=shards: committed(out) >= wanted)  # type: ignore[misc]
        time.sleep(moments.uniform(0, 0.02))
        running.send(signal.SIGKILL)
        kills += running.end().code == -signal.SIGKILL
    assert kills >= 3  # the last ones may come too late
    done = augmentor.run(*command, "--out", out, "--json")
    assert done.code == 0, done.err
    assert (done.json["real"], done.json["synthetic"]) == (24, 82)
    resumed = done.json["resumed"]
    assert isinstance(resumed, int)
    assert resumed >= 14 * 4
    assert content(out) == undisturbed[name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(
    number: signal.Signals,
    augmentor: Augmentor,
    command: list[str],
    undisturbed: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    running = augmentor.start(*command, "--out", out)
    running.wait_for(lambda: committed(out) >= 2)
    running.send(number)
    stopped = running.end()
    assert stopped.code == 130
    assert stopped.err.splitlines()[0] == "Interrupted."
    told = stopped.err.splitlines()[1].removeprefix("Go on with:  augmentor ").split()
    assert told == [*command, "--out", str(out)]
    assert not (out / "labels.csv").exists()
    done = augmentor.run(*told)
    assert done.code == 0, done.err
    assert content(out) == undisturbed["out"]
