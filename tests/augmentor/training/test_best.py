"""The best checkpoint of a run: it is scored, kept, used, and chosen again after a kill."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augmentor.data import describe_choice
from augmentor.data.manifest import read_manifest
from augmentor.judge.checkpoint_score import AttributeScore, ScoreSample, TranslationScore
from augmentor.judge.stored import load_judge
from augmentor.training.best import SHARES, CheckpointScores, Point, Scored, TrainingJudge
from augmentor.training.recipe import read_recipe
from augmentor.training.run import TrainResult, train_run
from augmentor.training.run_folder import TrainEvent
from stargan.checkpoints import BEST, find_checkpoint, load_model, newest_checkpoint
from stargan.config import TrainConfig
from stargan.inference import Translator
from stargan.training import LogEvent

CPU = torch.device("cpu")
SETTINGS = (
    *("images.size=16", "images.random_crop=1", "generator.width=4", "generator.blocks=1"),
    *("generator.downsamplings=1", "discriminator.width=4", "discriminator.depth=2", "training.steps=12"),
    *("training.batch_size=4", "training.learning_rate=0.01", "training.workers=0", "training.log_seconds=0"),
    *("training.sample_minutes=60", "training.checkpoint_minutes=60", "judge.steps=12"),
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 training and 24 validation images, bright ones and dark ones."""
    folder = tmp_path_factory.mktemp("bright")
    random = np.random.default_rng(0)
    lines = ["path,split,bright"]
    for i in range(64):
        pixels = random.integers(0, 60, (16, 16, 3)) + (170 if i % 2 else 20)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{'train' if i < 40 else 'val'},{i % 2}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def fit(
    manifest: Path,
    run: Path,
    *overrides: str,
    events: list[TrainEvent] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainResult:
    return train_run(
        read_manifest(manifest),
        run=run,
        recipe=read_recipe(None, [*SETTINGS, *overrides]),
        resume=True,
        device=CPU,
        on_event=(events if events is not None else []).append,
        should_stop=should_stop,
    )


def choice(run: Path) -> dict[str, object]:
    """Return best.json without durations."""
    found: dict[str, object] = json.loads((run / BEST).read_text())
    points = found["points"]
    assert isinstance(points, list)
    return found | {"points": [{**point, "seconds": 0, "elapsed": 0} for point in points]}


@pytest.fixture(scope="module")
def whole(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult, list[TrainEvent]]:
    run, events = tmp_path_factory.mktemp("whole") / "run", list[TrainEvent]()
    return run, fit(manifest, run, "training.keep_checkpoints=0", events=events), events


def test_scores_are_taken_in_the_second_part_of_the_run(
    whole: tuple[Path, TrainResult, list[TrainEvent]],
) -> None:
    run, result, events = whole
    scored = [event for event in events if isinstance(event, Scored)]
    steps = [event.point.step for event in scored]
    assert steps == [5, 6, 7, 8, 9, 10, 11, 12]  # ten shares of twelve steps
    judged = [event.done for event in events if isinstance(event, TrainingJudge)]
    assert judged == sorted(judged)
    # The judge is there before the first score.
    assert next(i for i, event in enumerate(events) if isinstance(event, TrainingJudge)) < events.index(scored[0])
    best = json.loads((run / BEST).read_text())
    assert [point["step"] for point in best["points"]] == steps
    assert (best["last"], best["images"], best["translations"]) == (12, 24, 24)
    assert best["judge"] == getattr(load_judge(run / "judge"), "sha256", None)
    assert list(best["points"][0]["attributes"]) == ["bright"]
    assert best["points"][0]["attributes"]["bright"].keys() == {"accuracy", "kept", "same"}
    assert best["step"] == [event.point.step for event in scored if event.best][-1]
    # Every line of the log is one of before; those after a score have it, too.
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert [point for line in lines for point in line.get("scores", [])] == best["points"]
    assert result.used == find_checkpoint(run) == run / "checkpoints" / f"{best['step']:08d}"
    assert result.checkpoint == newest_checkpoint(run)


def test_the_best_is_what_a_run_means(whole: tuple[Path, TrainResult, list[TrainEvent]], tmp_path: Path) -> None:
    source, _, _ = whole
    run = tmp_path / "run"
    shutil.copytree(source, run)
    best = json.loads((run / BEST).read_text())
    (run / BEST).write_text(json.dumps({**best, "step": best["points"][0]["step"]}))
    assert load_model(run).step == 5
    assert describe_choice(run, 5) == "step 5 of 12, the best of 8 scored on val"
    assert describe_choice(run / "checkpoints" / "00000005", 5) == "step 5 of 12, the best of 8 scored on val"
    assert describe_choice(run, 6) is None  # not the run's choice
    assert newest_checkpoint(run).name == "00000012"
    (run / BEST).write_text(json.dumps({**best, "step": 12}))
    assert describe_choice(run, 12) == "step 12, the last, the best of 8 scored on val"
    # An earlier version's run has no such file; the newest is taken, as there.
    (run / BEST).unlink()
    assert load_model(run).step == 12
    assert describe_choice(run, 12) is None


def test_the_verdict_and_the_judge_belong_to_the_checkpoint_that_is_used(
    whole: tuple[Path, TrainResult, list[TrainEvent]],
) -> None:
    run, result, _ = whole
    trained = load_judge(run / "judge")
    used = load_judge(result.used)
    assert trained is not None
    assert used is not None
    assert trained.model_sha256 is None
    assert used.model_sha256 == load_model(run).sha256
    assert used.realism is not None
    assert used.report == trained.report
    assert result.obedience is not None
    assert (result.obedience.step, result.obedience.judge_steps) == (load_model(run).step, 12)
    assert load_judge(newest_checkpoint(run)) is not None


def test_killed_and_resumed_makes_the_same_choice(
    manifest: Path, whole: tuple[Path, TrainResult, list[TrainEvent]], tmp_path: Path
) -> None:
    source, undisturbed, _ = whole
    ended: list[TrainEvent] = []

    class KilledError(BaseException):
        """In the place of a kill."""

    def kill_at(step: int) -> Callable[[], bool]:
        def kill() -> bool:
            if any(isinstance(event, LogEvent) and event.step == step for event in ended):
                raise KilledError
            return False

        return kill

    run = tmp_path / "run"
    for step in (3, 6, 9):
        # Checkpoints on the way, so that it goes on from one that was not scored, too.
        with pytest.raises(KilledError):
            fit(manifest, run, "training.checkpoint_minutes=0", events=ended, should_stop=kill_at(step))
        ended.clear()
    assert (run / "judge" / "judge.json").exists()
    written = (run / "judge" / "judge.safetensors").stat().st_mtime_ns
    resumed = fit(manifest, run)
    assert (run / "judge" / "judge.safetensors").stat().st_mtime_ns == written
    assert choice(run) == choice(source)
    assert resumed.used.name == undisturbed.used.name
    for name in ("generator", "generator_ema", "generator_ema_short", "discriminator"):
        weights = f"{name}.safetensors"
        assert (resumed.checkpoint / weights).read_bytes() == (undisturbed.checkpoint / weights).read_bytes()


def test_an_interrupt_stops_the_training_of_the_judge(manifest: Path, tmp_path: Path) -> None:
    run, events = tmp_path / "run", list[TrainEvent]()
    stopped = fit(
        manifest,
        run,
        "judge.steps=-1",
        events=events,
        should_stop=lambda: any(isinstance(event, TrainingJudge) for event in events),
    )
    assert (stopped.finished, stopped.obedience) == (False, None)
    assert not (run / "judge").exists()
    assert stopped.choice is None
    resumed = fit(manifest, run, "judge.steps=2")
    assert resumed.finished
    judge = load_judge(run / "judge")
    assert judge is not None
    assert judge.report.steps == 2


def test_the_best_is_kept_beside_the_newest(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        CheckpointScores, "chosen", property(lambda self: self.points[0].step if self.points else None)
    )
    run = tmp_path / "run"
    few = "training.keep_checkpoints=2", "training.checkpoint_minutes=0"
    result = fit(manifest, run, *few)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["00000005", "00000011", "00000012"]
    assert (result.used.name, result.checkpoint.name) == ("00000005", "00000012")
    assert result.choice == "step 5 of 12, the best of 8 scored on val"
    # Longer: from the newest on, and scored to the new end.
    longer = fit(manifest, run, *few, "training.steps=13")
    assert (longer.step, longer.used.name) == (13, "00000005")
    assert [point["step"] for point in json.loads((run / BEST).read_text())["points"]][-2:] == [12, 13]


def test_without_a_trusted_judge_the_last_is_used(manifest: Path, tmp_path: Path) -> None:
    text = manifest.read_text().splitlines()
    few = manifest.with_name("few.csv")
    few.write_text("\n".join(text[:-20]) + "\n")  # four validation images
    result = fit(few, tmp_path / "few", "training.steps=4")
    assert result.choice == (
        "step 4, the last: the judge can be trusted with no attribute, so no checkpoint was scored"
    )
    none = manifest.with_name("none.csv")
    none.write_text("\n".join(text[:41]) + "\n")
    result = fit(none, tmp_path / "none", "training.steps=4")
    assert result.choice == "step 4, the last: no labelled row has split val, so no checkpoint was scored"
    assert not (tmp_path / "none" / "judge").exists()
    assert result.obedience is not None  # as before: measured at the end
    result = fit(few, tmp_path / "off", "training.steps=4", "judge.steps=0")
    assert result.choice is None
    assert not (tmp_path / "off" / BEST).exists()


def test_the_short_average_is_used_where_it_scores_better(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = iter(range(100))

    def score(_sample: ScoreSample, _translator: Translator) -> TranslationScore:
        # The long average first, then the short one: the latter is better from the third step on.
        point, short = divmod(next(marks), 2)
        accuracy = 0.1 + 0.05 * point + (0.3 if short and point > 2 else 0.01 * short)
        part = AttributeScore(accuracy=accuracy, kept=1, same=1)
        return TranslationScore(attributes={"bright": part}, translations=100)

    monkeypatch.setattr(ScoreSample, "score", score)
    run = tmp_path / "run"
    result = fit(manifest, run, "training.keep_checkpoints=0")
    points = json.loads((run / BEST).read_text())["points"]
    assert [point["average"] for point in points] == [*["long"] * 3, *["short"] * 5]
    assert [point["other"] < point["score"] for point in points] == [*[False] * 3, *[True] * 5]
    assert result.choice == "step 12, the last (short average), the best of 8 scored on val"
    assert load_model(run).sha256 == digest(result.used / "generator_ema_short.safetensors")
    earlier = run / "checkpoints" / "00000005"
    assert load_model(earlier).sha256 == digest(earlier / "generator_ema.safetensors")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_latest_within_the_error_of_the_highest_is_chosen() -> None:
    def chosen(*scores: float) -> int | None:
        points = tuple(
            Point(step=step, elapsed=0, seconds=0, score=score, error=0.02, attributes={})
            for step, score in enumerate(scores, 1)
        )
        return CheckpointScores(judge="", images=0, translations=0, points=points).chosen

    assert chosen() is None
    assert chosen(0.5, 0.6, 0.7) == 3
    assert chosen(0.5, 0.7, 0.6) == 2
    assert chosen(0.5, 0.7, 0.69) == 3
    assert chosen(0.5, 0.7, 0.69, 0.66) == 3
    assert chosen(0.7, 0.69, 0.9, 0.5) == 3


def test_the_shares_of_the_run() -> None:
    assert (len(SHARES), SHARES[0], SHARES[-1]) == (10, 0.4, 1.0)
    assert list(SHARES) == sorted(SHARES)
    scores = CheckpointScores(
        judge="",
        images=0,
        translations=0,
        points=(Point(step=60, elapsed=30.0, seconds=0, score=0, error=0, attributes={}),),
    )
    assert scores.done(TrainConfig(steps=60)) == 1
    assert scores.done(TrainConfig(steps=120)) == 0.5
    assert scores.done(TrainConfig(steps=None, minutes=1)) == 0.5
