"""`augmentor expand`, killed again and again at any moment: the same command ends as if it had not been."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from tests.integration.killing import committed, content, kill_when, unfinished, work_folder

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

KILLS = 13
"""Of each form of the output."""

SHARDS = 27
"""Shards of 4 of the 106 items that `--domains all` asks for: 24 real and 82 synthetic."""

FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "folder": ("out", ()),
    "hdf5": ("out.h5", ()),
}
"""The output's name, and flags more. The quality gate becomes one line here."""


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
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[str], dict[str, str]]:
    """An output that was made in one go, the command without --out, and what the output holds."""
    name, flags = FORMS[request.param]
    out = tmp_path_factory.mktemp("undisturbed") / name
    done = augmentor.run(*command, *flags, "--out", out)
    assert done.code == 0, done.err
    return out, [*command, *flags], content(out)


def moment(draw: random.Random, out: Path) -> Callable[[], bool]:
    """Draw what a kill waits for: it must come soon, and from every part of a run."""
    before = committed(out)
    match draw.choice(["start", "files", "files", "shards", "shards", "end"]):
        case "start":
            return work_folder(out).exists
        case "files":
            most = draw.randint(1, 9)
            return lambda: unfinished(out) >= most or committed(out) > before
        case "shards":
            more = min(SHARDS, before + draw.randint(1, 6))
            return lambda: committed(out) >= more
    return lambda: out.is_file() or (out / "dataset.json").exists() or committed(out) >= before + 9


def test_killed_again_and_again(
    undisturbed: tuple[Path, list[str], dict[str, str]], augmentor: Augmentor, tmp_path: Path
) -> None:
    whole, command, expected = undisturbed
    out = tmp_path / "disturbed" / whole.name
    out.parent.mkdir()
    draw = random.Random(whole.name)
    kills, finished, reached = 0, 0, []
    while kills < KILLS:
        seen = moment(draw, out)
        running = augmentor.start(*command, "--out", out)
        if kill_when(running, seen, after=draw.uniform(0, 0.02)):
            kills += 1
            reached.append(committed(out))
        else:
            finished += 1
            assert content(out) == expected
            shutil.rmtree(out.parent)
            out.parent.mkdir()
        assert finished < 10 * KILLS, "the runs end before they can be killed"
    done = augmentor.run(*command, "--out", out, "--json")
    assert done.code == 0, done.err
    assert (done.json["real"], done.json["synthetic"]) == (24, 82)
    assert content(out) == expected
    assert len(set(reached)) > 1, "all kills came at the same moment"
    leftovers = [path for path in out.parent.rglob("*") if ".tmp-" in path.name or path.name.endswith(".lock")]
    assert leftovers == []
    if out.suffix == ".h5":
        with h5py.File(out) as found, h5py.File(whole) as wanted:
            assert set(found) == set(wanted)
            for name in wanted:
                np.testing.assert_array_equal(found[name][:], wanted[name][:])
