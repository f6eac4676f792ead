"""The guided run on a few portraits, and what the shipped model can do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from augmentor.data.manifest import read_manifest
from augmentor.demo.portraits import write_portraits
from augmentor.demo.run import MODEL, DemoResult, run_demo, shipped_recipe
from augmentor.expansion.progress import Progress
from augmentor.judge.classifier import train_judge
from augmentor.judge.data import read_images
from augmentor.judge.report import share_right
from augmentor.judge.translations import judge_translations
from augmentor.planning.domains import parse_domains
from augmentor.training.recipe import read_recipe
from augmentor.training.run_folder import TrainEvent
from stargan.checkpoints import load_model
from stargan.inference import Translator

CPU = torch.device("cpu")
RECIPES = Path(__file__).resolve().parents[3] / "recipes"

Shipped = tuple[Path, DemoResult, list[str], list[TrainEvent]]


def few(out: Path, *, train_minutes: float | None = None) -> tuple[DemoResult, list[str], list[TrainEvent]]:
    stages: list[str] = []
    events: list[TrainEvent] = []
    progress: list[Progress] = []
    result = run_demo(
        out,
        train_minutes=train_minutes,
        seed=3,
        device=CPU,
        on_stage=stages.append,
        on_train=events.append,
        on_progress=progress.append,
        counts={"train": 72, "val": 12, "test": 24},
        steps=3,
    )
    return result, stages, events


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """A demo with the shipped model, and its folder; tests may run another one there."""
    folder = tmp_path_factory.mktemp("shipped") / "demo"
    return folder, *few(folder)


def test_the_demo_makes_what_it_says(shipped: Shipped) -> None:
    folder, result, stages, events = shipped
    assert len(stages) == 5
    assert not events
    table = read_manifest(result.manifest)
    train = table.split_mask(["train"])
    rare = (table.codes[:, table.space.index("hair")] == table.space["hair"].code("red")) & (
        table.codes[:, table.space.index("smile")] == 1
    )
    assert result.rare_before == int((rare & train).sum())
    assert result.rare_after == int(train.sum())  # every training portrait is one now, or was
    assert result.expanded.counts.real == 108
    assert result.expanded.counts.synthetic == 72 - result.rare_before
    assert result.without.images == 72
    assert result.with_synthetic.images == 72 + result.expanded.counts.synthetic
    assert result.verdict.translations == 24 * 4  # two other hair colours, glasses, smile
    for path in (result.folder / "labels.csv", result.hdf5, result.preview, result.model / "config.json"):
        assert path.exists()

    again, _, _ = few(folder)
    assert again.expanded.was_complete


def test_the_demo_trains_first_if_asked(tmp_path: Path) -> None:
    result, stages, events = few(tmp_path / "demo", train_minutes=0.01)
    assert len(stages) == 6
    assert events
    assert result.model == tmp_path / "demo" / "run"
    assert load_model(result.model).space == load_model(MODEL).space


def test_the_demo_trains_in_the_folder_of_one_that_did_not(shipped: Shipped) -> None:
    """As the README has it: `make demo`, then the same with --train; neither spoils the other's outputs."""
    folder, first, _, _ = shipped
    before = (first.folder / "labels.csv").stat().st_mtime_ns
    trained, _, _ = few(folder, train_minutes=0.01)
    assert trained.manifest == first.manifest
    assert {trained.folder, trained.hdf5, trained.preview}.isdisjoint({first.folder, first.hdf5, first.preview})
    assert (first.folder / "labels.csv").stat().st_mtime_ns == before
    for path in (trained.folder / "labels.csv", trained.hdf5, trained.preview, first.hdf5, first.preview):
        assert path.exists()


def test_the_shipped_model_was_trained_with_the_recipe_that_is_shown() -> None:
    shown = read_recipe(RECIPES / "portraits.toml")
    shipped = shipped_recipe(minutes=shown.training.minutes or 0)
    # The demo judges by itself, and looks more often.
    often = {"sample_minutes", "checkpoint_minutes", "keep_checkpoints"}
    assert shipped.model_dump(exclude={"training": often, "judge": True}) == shown.model_dump(
        exclude={"training": often, "judge": True}
    )


def test_the_shipped_model_is_small() -> None:
    assert sum(file.stat().st_size for file in MODEL.iterdir()) <= 2_000_000


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portraits(
        tmp_path_factory.mktemp("portraits"), seed=11, counts={"train": 480, "val": 12, "test": 60}
    )


def test_a_classifier_of_real_portraits_finds_what_the_shipped_model_was_asked_for(portraits: Path) -> None:
    """Other portraits than those that the model was trained on, and a classifier that saw only real ones."""
    model = load_model(MODEL)
    table = read_manifest(portraits, space=model.space)
    train, test = (
        read_images(table.select(table.split_mask([split])), size=model.image_size, channels=3)
        for split in ("train", "test")
    )
    judge = train_judge(train, space=model.space, steps=400, seed=1, device=CPU, kind="small")
    assert min(share_right(judge.predict(test.images), test.codes, model.space).values()) > 0.95
    verdict = judge_translations(judge, Translator(model, device=CPU), test, parse_domains(["each"], model.space))
    assert verdict.right["hair"] >= 0.98
    assert verdict.right["glasses"] >= 0.93
    assert verdict.right["smile"] >= 0.93
    assert np.isfinite(verdict.all_right)
