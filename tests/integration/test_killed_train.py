"""`augmentor train`, killed while a checkpoint is written: it goes on from the last one that is whole."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stargan.checkpoints import CheckpointError, find_checkpoint, load_model
from tests.integration.killing import kill_when

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

STEPS = 60
KILLS = 6
WEIGHTS = ("generator", "generator_ema", "discriminator", "generator_optimizer", "discriminator_optimizer")


def weights(run: Path) -> dict[str, bytes]:
    """Return the bytes of everything that training changes, at the end."""
    folder = run / "checkpoints" / f"{STEPS:08d}"
    return {name: (folder / f"{name}.safetensors").read_bytes() for name in WEIGHTS}


def drafts(run: Path) -> list[str]:
    """Return the names of checkpoints that are not whole."""
    return [path.name for path in (run / "checkpoints").glob(".*")]


@pytest.fixture(scope="module")
def command(small: Small, tiny: list[str]) -> list[str]:
    """A run that writes a checkpoint after every step, but for its folder."""
    often = (
        "--set",
        "training.checkpoint_minutes=0",
        "--set",
        "training.log_seconds=0",
        "--set",
        "training.workers=0",
    )
    return ["train", str(small.manifest), *tiny, *often, "--steps", str(STEPS), "--resume"]


def test_killed_while_a_checkpoint_is_written(augmentor: Augmentor, command: list[str], tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    done = augmentor.run(*command, "--out", whole)
    assert done.code == 0, done.err
    draw = random.Random(5)
    kills, cut = 0, 0
    for _ in range(KILLS):
        left = set(drafts(run))
        running = augmentor.start(*command, "--out", run)
        killed = kill_when(
            running,
            lambda left=left: bool(set(drafts(run)) - left),  # type: ignore[misc]
            after=draw.uniform(0, 0.004),
        )
        kills += killed
        cut += killed and bool(drafts(run))
        try:
            load_model(run)  # Whatever is called a checkpoint is whole.
        except CheckpointError as error:
            assert "neither a run folder with a checkpoint" in str(error)  # noqa: PT017 - or there is none yet
        if not killed:
            break
    assert kills >= 3
    assert cut >= 1, "no kill came while a checkpoint was written"
    reached = int(find_checkpoint(run).name)
    done = augmentor.run(*command, "--out", run)
    assert done.code == 0, done.err
    if reached < STEPS:
        assert f"resuming from step {reached}" in done.err
    assert weights(run) == weights(whole)
    assert drafts(run) == []
    assert not (run / ".lock").exists()
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))
