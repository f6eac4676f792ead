"""Commands that lose power: files that were not synced are cut, and the same command ends as without that."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from augmentor.judge.stored import load_judge
from stargan.checkpoints import CheckpointError, find_checkpoint, load_model
from tests.integration.killing import committed, content

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

DYING = Path(__file__).with_name("dying.py")

EXPANSIONS = {
    "packs": ("--domains", "all", "--format", "webdataset", "--keep-best", "2"),
    "balance": ("--balance", "hair,smile", "--balance-to", "4"),
}
"""Flags of expansions with a judge."""

CUTS = 3
"""Cuts of each expansion."""


def cut(augmentor: Augmentor, out: Path, shards: int, changes: int, *words: object) -> bool:
    """Run a command that loses power; return whether it had not ended before."""
    done = augmentor.run("--power-cut", out, shards, changes, *words, script=DYING)
    assert done.code in (0, -signal.SIGKILL), done.err
    return done.code != 0


@pytest.mark.parametrize("kind", EXPANSIONS)
def test_expansions(
    kind: str, augmentor: Augmentor, small: Small, model: Path, judge: Path, tmp_path: Path
) -> None:
    words = ["expand", small.manifest, "--model", model, "--judge", judge, "--shard-size", "8", *EXPANSIONS[kind]]
    whole, out = tmp_path / "whole" / "out", tmp_path / "cut" / "out"
    for folder in (whole.parent, out.parent):
        folder.mkdir()
    done = augmentor.run(*words, "--out", whole)
    assert done.code == 0, done.err
    shards = committed(whole)
    draw, cuts = random.Random(kind), 0
    for number in range(CUTS):
        moment = shards if number == CUTS - 1 else min(shards, committed(out) + draw.randint(1, 2))
        cuts += cut(augmentor, out, moment, draw.randint(0, 12), *words, "--out", out)
    assert cuts >= 2
    done = augmentor.run(*words, "--out", out)
    assert done.code == 0, done.err
    assert content(out) == content(whole)


def test_merge(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    words = ["expand", small.manifest, "--model", model, "--domains", "all", "--shard-size", "16"]
    whole, out = tmp_path / "whole" / "out", tmp_path / "cut" / "out"
    for folder in (whole.parent, out.parent):
        folder.mkdir()
    assert augmentor.run(*words, "--out", whole).code == 0
    shards = committed(whole)
    assert augmentor.run(*words, "--out", out, "--shards", "1/2").code == 0
    assert cut(augmentor, out, shards, 4, *words, "--out", out, "--shards", "2/2")
    cuts = sum(cut(augmentor, out, shards, changes, "merge", out) for changes in (2, 9, 17))
    assert cuts >= 2
    done = augmentor.run("merge", out)
    assert done.code == 0, done.err
    assert content(out) == content(whole)


def test_judge(augmentor: Augmentor, small: Small, model: Path, tmp_path: Path) -> None:
    """No half of a judge is taken for one, not even beside an earlier one's weights."""
    words = ["judge", small.manifest, "--model", model, "--steps", "2"]
    whole, out = tmp_path / "whole" / "judge", tmp_path / "cut" / "judge"
    for folder in (whole.parent, out.parent):
        folder.mkdir()
    assert augmentor.run(*words, "--out", whole).code == 0
    expected = content(whole)
    cuts = 0
    for changes in (1, 2, 3, 5):
        cuts += cut(augmentor, out, 0, changes, *words, "--out", out)
        kept = load_judge(out) if out.exists() else None
        assert kept is None or content(out) == expected
    assert cuts >= 3
    assert augmentor.run(*words, "--out", out).code == 0
    assert content(out) == expected


def test_train(augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path) -> None:
    often = ("--set", "training.checkpoint_minutes=0", "--set", "training.log_seconds=0")
    words = ["train", small.manifest, *tiny, *often, "--set", "judge.steps=2", "--steps", "8"]
    whole, run = tmp_path / "whole" / "run", tmp_path / "cut" / "run"
    for folder in (whole.parent, run.parent):
        folder.mkdir()
    assert augmentor.run(*words, "--out", whole).code == 0
    reached = [0]
    cuts = 0
    for changes in (6, 30, 41, 52):
        cuts += cut(augmentor, run, 0, changes, *words, "--out", run, "--resume")
        try:
            reached.append(load_model(run).step)
        except CheckpointError as error:
            assert reached[-1] == 0, error  # noqa: PT017 - none was whole yet
    assert cuts >= 3
    assert reached == sorted(reached)
    done = augmentor.run(*words, "--out", run, "--resume")
    assert done.code == 0, done.err
    for name in ("generator", "generator_ema", "discriminator", "generator_optimizer"):
        file = Path("checkpoints", "00000008", f"{name}.safetensors")
        assert (run / file).read_bytes() == (whole / file).read_bytes(), name
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))
    for name in ("judge.json", "judge.safetensors"):
        assert (find_checkpoint(run) / name).exists() == (find_checkpoint(whole) / name).exists()
