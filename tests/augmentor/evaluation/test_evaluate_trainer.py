"""Classifiers that are trained side by side: the same ones as one after the other, also after an interruption."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from augmentor.evaluation import EvaluateSettings, evaluate, trainer
from augmentor.storage import run_processes

if TYPE_CHECKING:
    from tests.augmentor.evaluation.conftest import Planted

SETTINGS = EvaluateSettings(seeds=2, steps=4, batch_size=8, arms=(), flip=True)


def evaluated(made: Planted, out: Path) -> dict[Path, bytes]:
    """Evaluate, and return what is kept of every classifier and of the result."""
    steps = list[int]()
    evaluate(
        made.manifest(),
        out,
        settings=SETTINGS,
        device=torch.device("cpu"),
        on_steps=lambda done, _total, _before: steps.append(done),
    )
    assert steps == sorted(steps)
    assert steps[-1] == 2 * 2 * 4
    return {file: file.read_bytes() for file in [*out.rglob("*.npz"), out / "evaluation.json"]}


def test_processes_train_the_same_classifiers(lopsided: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    translations = [lopsided.translate(row, (row.codes[0], 1 - row.codes[1])) for row in lopsided.of("train")]
    out = lopsided.output("out", translations)
    names = list[str]()

    def run(*arguments: Any, **options: Any) -> None:
        names.extend(options["names"])
        run_processes(*arguments, **options)

    monkeypatch.setattr(trainer, "run_processes", run)
    monkeypatch.setattr(trainer, "usable_cores", lambda: 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = evaluated(lopsided, out)
        assert len(alone) == 5
        assert not names
        # As an interruption leaves it: one of four is there.
        for file in sorted(alone)[:-2]:
            file.unlink()
        monkeypatch.setattr(trainer, "_SHORT_SECONDS", 0.0)
        assert evaluated(lopsided, out) == alone
        assert len(names) == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
