"""`augmentor expand`, killed in every part of a run, again and again: it ends as if it had not been."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from tests.integration.killing import committed, content

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

KILLS = (
    *("start", "files", "shards", "shards", "files", "shards", "start"),
    *("shards", "end", "start", "end", "cleaning", "files"),
)
"""Of each form of the output: from which part of a run."""

SHARDS = 27
"""Shards of 4 of the 106 items that `--domains all` asks for: 24 real and 82 synthetic."""

FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "folder": ("out", ()),
    "hdf5": ("out.h5", ()),
    "gated folder": ("out", ("--judge", "JUDGE", "--keep-best", "2")),
    "gated hdf5": ("out.h5", ("--judge", "JUDGE", "--keep-best", "3", "--best-per", "domain")),
}
"""The output's name, and flags more; JUDGE stands for a folder that holds one."""

DYING = Path(__file__).with_name("dying.py")
FINISHING = 12
"""Changes on the disk, after the last shard's commit, by which an output is not yet finished ..."""

CLEANING = {"out": 13, "out.h5": 70}
"""... and those by which its run has not yet ended: its lock is left, or parts that were merged."""


@pytest.fixture(scope="module")
def command(small: Small, model: Path) -> list[str]:
    """An expansion in many shards, but for its output."""
    words = ["expand", str(small.manifest), "--model", str(model), "--domains", "all", "--workers", "2"]
    return [*words, "--shard-size", "4"]


@pytest.fixture(params=FORMS)
def undisturbed(
    request: pytest.FixtureRequest,
    augmentor: Augmentor,
    command: list[str],
    judge: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[str], dict[str, str], dict[str, object]]:
    """An output that was made in one go, the command without --out, what the output holds, and its counts."""
    name, flags = FORMS[request.param]
    words = [*command, *(str(judge) if flag == "JUDGE" else flag for flag in flags)]
    out = tmp_path_factory.mktemp("undisturbed") / name
    done = augmentor.run(*words, "--out", out, "--json")
    assert done.code == 0, done.err
    counts = {word: done.json[word] for word in ("real", "synthetic", "rejected", "splits")}
    rejected = counts["rejected"]
    assert isinstance(rejected, int)
    assert (rejected > 0) == bool(flags)
    assert counts["real"] == 24
    assert counts["synthetic"] == 82 - rejected
    return out, words, content(out), counts


def moment(kind: str, draw: random.Random, out: Path) -> tuple[int, int]:
    """Draw when a run is killed: how many shards are committed, and how many changes later on the disk."""
    before = committed(out)
    match kind:
        case "start":
            return 0, draw.randint(0, 9)
        case "files":
            return before, draw.randint(10, 60)
        case "shards":
            return min(SHARDS, before + draw.randint(1, 6)), draw.randint(0, 9)
        case "end":
            return SHARDS, draw.randint(0, FINISHING)
    return SHARDS, draw.randint(FINISHING, CLEANING[out.name])


def test_killed_again_and_again(
    undisturbed: tuple[Path, list[str], dict[str, str], dict[str, object]], augmentor: Augmentor, tmp_path: Path
) -> None:
    whole, command, expected, counts = undisturbed
    out = tmp_path / "disturbed" / whole.name
    out.parent.mkdir()
    draw = random.Random(whole.name)
    finished = 0
    reached: list[int] = []
    while len(reached) < len(KILLS):
        shards, changes = moment(KILLS[len(reached)], draw, out)
        done = augmentor.run(out, shards, changes, *command, "--out", out, script=DYING)
        if done.code == -signal.SIGKILL:
            reached.append(committed(out))
        else:  # What an earlier run had left to do was less than that.
            assert done.code == 0, done.err
            finished += 1
            assert content(out) == expected
            shutil.rmtree(out.parent)
            out.parent.mkdir()
        assert finished < 3 * len(KILLS), "the runs end before they can be killed"
    done = augmentor.run(*command, "--out", out, "--json")
    assert done.code == 0, done.err
    assert {word: done.json[word] for word in counts} == counts
    assert content(out) == expected
    assert len(set(reached)) > 2, "all kills came at the same moment"
    leftovers = [path for path in out.parent.rglob("*") if ".tmp-" in path.name or path.name.endswith(".lock")]
    assert leftovers == []
    if out.suffix == ".h5":
        with h5py.File(out) as found, h5py.File(whole) as wanted:
            assert set(found) == set(wanted)
            for name in wanted:
                np.testing.assert_array_equal(found[name][:], wanted[name][:])
