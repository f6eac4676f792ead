"""`train_run`: what a run folder holds, and that a stopped run goes on as if it had not been stopped."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augmentor.data.manifest import Manifest, read_manifest
from augmentor.errors import ManifestError, OutputError, RecipeError, TrainingError
from augmentor.judge.target_accuracy import read_target_accuracy
from augmentor.training.recipe import Recipe, read_recipe
from augmentor.training.run import (
    TrainResult,
    train_run,
)
from augmentor.training.run_folder import (
    MeasuringAccuracy,
    Sampled,
    Saved,
    Started,
    TrainEvent,
    describe_attribute,
)
from stargan import diffaugment
from stargan.checkpoints import load_model, load_state
from stargan.config import TrainConfig
from stargan.training import LogEvent

CPU = torch.device("cpu")
MakeManifest = Callable[..., Path]
TINY = (
    "images.size=16",
    "images.random_crop=1.25",
    "generator.width=4",
    "generator.blocks=1",
    "generator.downsamplings=1",
    "discriminator.width=4",
    "discriminator.depth=2",
    "training.steps=8",
    "training.batch_size=4",
    "training.critic_steps=2",
    "training.learning_rate=0.001",
    "training.workers=0",
    "training.log_seconds=0",
    "training.sample_minutes=60",
    "training.checkpoint_minutes=60",
    "judge.steps=0",
)
STATE_FILES = (
    "generator",
    "generator_ema",
    "discriminator",
    "generator_optimizer",
    "discriminator_optimizer",
)


@dataclass
class Trainer:
    """Runs tiny trainings on one manifest and keeps what was said."""

    manifest: Path
    events: list[TrainEvent] = field(default_factory=list)

    def run(
        self,
        run: Path,
        *overrides: str,
        resume: bool = False,
        stop_at: int | None = None,
        recipe: Recipe | None = None,
    ) -> TrainResult:
        def hear(event: TrainEvent) -> None:
            self.events.append(event)

        def should_stop() -> bool:
            last = self.events[-1]
            # Asked ahead of the step's own log.
            return isinstance(last, LogEvent) and last.step + 1 == stop_at

        return train_run(
            self.read(),
            run=run,
            recipe=recipe or read_recipe(None, [*TINY, *overrides]),
            resume=resume,
            device=CPU,
            on_event=hear,
            should_stop=should_stop,
        )

    def read(self) -> Manifest:
        return read_manifest(self.manifest)


@pytest.fixture
def trainer(small_manifest: MakeManifest) -> Trainer:
    return Trainer(small_manifest())


def logged(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def state_bytes(result: TrainResult) -> dict[str, bytes]:
    return {name: (result.checkpoint / f"{name}.safetensors").read_bytes() for name in STATE_FILES}


# ---- a whole run ----


def test_a_run_folder(trainer: Trainer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = trainer.run(run)

    assert (result.run, result.finished, result.step, result.failures) == (run, True, 8, ())
    assert result.elapsed > 0
    assert sorted(path.name for path in run.iterdir()) == [
        "checkpoints",
        "failures.csv",
        "log.jsonl",
        "run.toml",
        "samples",
    ]
    assert (run / "failures.csv").read_text() == "id,path,reason\n"
    assert read_recipe(run / "run.toml") == read_recipe(None, [*TINY, "images.channels=3"])
    assert f"# Manifest: {trainer.manifest}\n" in (run / "run.toml").read_text()

    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[-1]["learning_rate"] == 0
    assert lines[-1]["losses"] == result.losses
    assert lines[-1].keys() == {"step", "progress", "elapsed", "learning_rate", "images_per_second", "losses"}

    assert [path.name for path in (run / "checkpoints").iterdir()] == ["00000008"]
    model = load_model(run)
    assert model.space == trainer.read().space
    assert (model.step, model.image_size) == (8, (16, 16))
    assert model.settings["manifest"] == "manifest.csv"
    images = model.settings["images"]
    assert isinstance(images, dict)
    assert images["size"] == 16


def test_the_sample_grid_shows_every_target(trainer: Trainer, tmp_path: Path) -> None:
    trainer.run(tmp_path / "run")
    (sample,) = (tmp_path / "run" / "samples").iterdir()
    assert sample.name == "00000008.png"
    with Image.open(sample) as picture:
        assert picture.mode == "RGB"
        # Two validation rows; the source, three hair colours and two glasses, in cells of 96 px.
        assert 6 * 96 < picture.width < 9 * 96
        assert 2 * 96 < picture.height < 3 * 96
        assert np.asarray(picture).std() > 10


def test_the_news(trainer: Trainer, tmp_path: Path) -> None:
    result = trainer.run(tmp_path / "run")
    started = trainer.events[0]
    assert isinstance(started, Started)
    assert (started.images, started.step, started.device) == (10, 0, "cpu")
    assert started.attributes == ("hair: black | blond | brown", "glasses: 0 | 1")
    state = load_state(result.checkpoint, config=TrainConfig(), device=CPU)
    assert started.generator_parameters == sum(weight.numel() for weight in state.generator.parameters())
    assert started.discriminator_parameters == sum(weight.numel() for weight in state.discriminator.parameters())
    assert [type(event) for event in trainer.events] == [Started, *[LogEvent] * 8, Sampled, Saved]
    last = trainer.events[-1]
    assert isinstance(last, Saved)
    assert last.path == result.checkpoint


def test_minutes_end_a_run(trainer: Trainer, tmp_path: Path) -> None:
    result = trainer.run(tmp_path / "run", "training.minutes=0.002")
    assert result.finished
    assert result.elapsed >= 0.12
    assert logged(tmp_path / "run")[-1] == result.step


def test_the_seed_decides_the_start(trainer: Trainer, tmp_path: Path) -> None:
    first, again, other = (
        trainer.run(tmp_path / name, "training.steps=1", f"training.seed={seed}")
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert state_bytes(first) == state_bytes(again)
    assert state_bytes(first)["generator"] != state_bytes(other)["generator"]


def test_the_global_random_states_are_untouched(trainer: Trainer, tmp_path: Path) -> None:
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state(legacy=False))
    trainer.run(tmp_path / "run", stop_at=3)
    trainer.run(tmp_path / "run", resume=True)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state(legacy=False)) == before[2]


def test_tensorboard_is_written_where_asked(trainer: Trainer, tmp_path: Path) -> None:
    trainer.run(tmp_path / "run", "training.tensorboard=true", "training.steps=2")
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"loss/d/domain" in content
    assert b"samples" in content


# ---- does it obey? ----


def test_a_finished_run_is_judged(trainer: Trainer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stopped = trainer.run(run, "judge.steps=1", stop_at=3)
    assert stopped.obedience is None
    assert not (run / "obedience.json").exists()
    assert not any(isinstance(event, MeasuringAccuracy) for event in trainer.events)

    # The judge's settings may change: it comes after the training.
    done = trainer.run(run, "judge.steps=2", resume=True)
    assert done.obedience is not None
    assert (done.obedience.step, done.obedience.judge_steps) == (8, 2)
    # Two of val, and four of train with values that val lacks.
    assert (done.obedience.images, done.obedience.sources) == (6, "val and held out of train")
    assert [attribute.name for attribute in done.obedience.attributes] == ["hair", "glasses"]
    assert read_target_accuracy(run, load_model(run)) == done.obedience
    shares = [event.done for event in trainer.events if isinstance(event, MeasuringAccuracy)]
    assert shares[0] == 0
    assert shares[-1] == 1

    # Again: nothing is left to do, so nothing is measured anew. Longer: it is.
    assert trainer.run(run, "judge.steps=2", resume=True).obedience == done.obedience
    longer = trainer.run(run, "judge.steps=2", "training.steps=9", resume=True)
    assert longer.obedience is not None
    assert longer.obedience.step == 9


def test_a_verdict_that_is_not_waited_for_costs_nothing_else(trainer: Trainer, tmp_path: Path) -> None:
    def judging() -> bool:
        return any(isinstance(event, MeasuringAccuracy) for event in trainer.events)

    done = train_run(
        trainer.read(),
        run=tmp_path / "run",
        recipe=read_recipe(None, [*TINY, "judge.steps=1"]),
        resume=False,
        device=CPU,
        on_event=trainer.events.append,
        should_stop=judging,
    )
    assert (done.finished, done.step, done.obedience) == (True, 8, None)
    assert not (tmp_path / "run" / "obedience.json").exists()
    assert load_model(tmp_path / "run").step == 8
    assert trainer.run(tmp_path / "run", "judge.steps=1", resume=True).obedience is not None


# ---- resume ----


@pytest.mark.parametrize("objective", ["wgan-gp", "logistic"])
@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_is_equal_to_uninterrupted(objective: str, workers: int, trainer: Trainer, tmp_path: Path) -> None:
    settings = f"training.objective={objective}", "loss.r1_every=3"
    whole = trainer.run(tmp_path / "whole", *settings)
    stopped = trainer.run(tmp_path / "parts", *settings, f"training.workers={workers}", stop_at=3)
    assert (stopped.finished, stopped.step) == (False, 3)
    assert stopped.checkpoint.name == "00000003"
    resumed = trainer.run(tmp_path / "parts", *settings, f"training.workers={workers}", resume=True)
    assert (resumed.finished, resumed.step) == (True, 8)
    assert state_bytes(resumed) == state_bytes(whole)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole") == list(range(1, 9))
    assert resumed.elapsed > stopped.elapsed


@pytest.mark.parametrize("split", ["val", "test"])
def test_an_adaptive_augmentation_is_resumed(
    split: str, trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With validation rows, and without: then the scores of training images decide."""
    monkeypatch.setattr(diffaugment, "ADAPT_IMAGES", 60)  # so that it moves far in a few steps of 4 images
    trainer.manifest.write_text(trainer.manifest.read_text().replace(",val,", f",{split},"))
    settings = (
        *("training.augment=['geometry']", "training.augment_probability=adaptive", "training.steps=14"),
        *("training.warmup_steps=0", "training.critic_steps=1"),
    )
    whole = trainer.run(tmp_path / "whole", *settings)
    without_rows = [note for event in trainer.events if isinstance(event, Started) for note in event.notes]
    assert any("no labelled row has split val" in note for note in without_rows) == (split == "test")
    trainer.run(tmp_path / "parts", *settings, stop_at=9)
    resumed = trainer.run(tmp_path / "parts", *settings, resume=True)
    assert state_bytes(resumed) == state_bytes(whole)
    lines = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    probabilities = [line["losses"]["d/augment_p"] for line in lines]
    assert probabilities[:3] == [0, 0, 0]
    assert all(0 <= p <= 1 for p in probabilities)
    assert probabilities[8] > 0 or split == "test"
    end = json.loads((resumed.checkpoint / "config.json").read_text())["augment_probability"]
    assert probabilities[-1] == pytest.approx(end)


def test_images_kept_in_memory_change_nothing(trainer: Trainer, tmp_path: Path) -> None:
    kept = trainer.run(tmp_path / "kept", "training.cache=on", "training.workers=2")
    read = trainer.run(tmp_path / "read", "training.cache=off", stop_at=5)
    assert read.step == 5
    read = trainer.run(tmp_path / "read", "training.cache=on", resume=True)
    assert state_bytes(kept) == state_bytes(read)


def test_what_a_killed_run_logged_after_its_checkpoint_goes(trainer: Trainer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer.run(run, stop_at=3)
    with (run / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "losses": {}}\n{"step": 5, "losses": {}}\n{"step": 6, "lo')
    trainer.run(run, resume=True)
    assert logged(run) == list(range(1, 9))
    assert all("progress" in line for line in (run / "log.jsonl").read_text().splitlines())


def test_a_run_that_was_killed_ahead_of_its_first_checkpoint(trainer: Trainer, tmp_path: Path) -> None:
    whole = trainer.run(tmp_path / "whole")
    run = tmp_path / "run"
    trainer.run(run, stop_at=3)
    # As a kill during the rename of the first checkpoint leaves it: a whole draft, but no checkpoint.
    checkpoint = run / "checkpoints" / "00000003"
    checkpoint.rename(checkpoint.with_name(".00000003.part"))
    resumed = trainer.run(run, resume=True)
    assert state_bytes(resumed) == state_bytes(whole)
    assert logged(run) == list(range(1, 9))


def test_a_finished_run_is_resumed_with_nothing_to_do_or_made_longer(trainer: Trainer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = trainer.run(run)
    again = trainer.run(run, resume=True)
    assert again.finished
    assert again.checkpoint == first.checkpoint
    longer = trainer.run(run, "training.steps=10", "training.log_seconds=1", resume=True)
    assert (longer.step, longer.checkpoint.name) == (10, "00000010")
    assert read_recipe(run / "run.toml").training.steps == 10


def test_resume_of_nothing_starts(trainer: Trainer, tmp_path: Path) -> None:
    assert trainer.run(tmp_path / "run", resume=True).step == 8


def test_an_existing_run_is_not_trained_over(trainer: Trainer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    before = state_bytes(trainer.run(run, "training.steps=2"))
    with pytest.raises(OutputError, match=r"run holds a run already\. Add --resume to continue it"):
        trainer.run(run)
    assert state_bytes(trainer.run(run, "training.steps=2", resume=True)) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch_size=5", "training.batch_size was 4, now 5"),
        ("training.seed=1", "training.seed was 0, now 1"),
        ("generator.blocks=2", "generator.blocks was 1, now 2"),
        ("loss.cycle_weight=7", f"loss.cycle_weight was {Recipe().loss.cycle_weight}, now 7.0"),
        ("images.flip=false", "images.flip was True, now False"),
    ],
)
def test_other_settings_are_refused_by_name(override: str, message: str, trainer: Trainer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trainer.run(run, "training.steps=1")
    settings = (run / "run.toml").read_bytes()
    with pytest.raises(OutputError) as caught:
        trainer.run(run, override, resume=True)
    assert message in str(caught.value)
    assert "run.toml" in str(caught.value)
    assert (run / "run.toml").read_bytes() == settings


def test_other_attributes_are_refused(trainer: Trainer, tmp_path: Path) -> None:
    trainer.run(tmp_path / "run", stop_at=2)
    trainer.manifest.write_text(trainer.manifest.read_text().replace("brown", "red"))
    with pytest.raises(
        OutputError, match=r"hair: black \| blond \| brown.*now they are hair: black \| blond \| red"
    ):
        trainer.run(tmp_path / "run", resume=True)


def test_a_damaged_checkpoint_is_named(trainer: Trainer, tmp_path: Path) -> None:
    result = trainer.run(tmp_path / "run", stop_at=2)
    file = result.checkpoint / "discriminator.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(OutputError, match=r"discriminator\.safetensors is damaged.*Delete .*00000002 to resume"):
        trainer.run(tmp_path / "run", resume=True)


def test_a_file_is_no_run_folder(trainer: Trainer, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OutputError, match="run is a file; --out names the run's folder"):
        trainer.run(tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


# ---- the user's images ----


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_images_are_reported(workers: int, small_manifest: MakeManifest, tmp_path: Path) -> None:
    trainer = Trainer(small_manifest(broken=(1, 4)))
    result = trainer.run(tmp_path / "run", f"training.workers={workers}")
    assert [(failure.id, failure.path) for failure in result.failures] == [("face1", "1.png"), ("face4", "4.png")]
    with (tmp_path / "run" / "failures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["face1", "face4"]
    assert "1.png" in rows[0]["reason"]


def test_a_broken_validation_image_is_not_shown(small_manifest: MakeManifest, tmp_path: Path) -> None:
    trainer = Trainer(small_manifest(broken=(11,)))
    trainer.run(tmp_path / "run", "training.steps=1")
    with Image.open(tmp_path / "run" / "samples" / "00000001.png") as picture:
        assert 96 < picture.height < 2 * 96


def test_where_no_image_can_be_read_nothing_is_written(small_manifest: MakeManifest, tmp_path: Path) -> None:
    trainer = Trainer(small_manifest(broken=tuple(range(12))))
    with pytest.raises(ManifestError, match="no image of val can be read; augmentor check"):
        trainer.run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_validation_rows_training_rows_are_shown(trainer: Trainer, tmp_path: Path) -> None:
    trainer.manifest.write_text(trainer.manifest.read_text().replace(",val,", ",train,"))
    trainer.run(tmp_path / "run", "training.steps=1")
    with Image.open(tmp_path / "run" / "samples" / "00000001.png") as picture:
        assert 8 * 96 < picture.height < 10 * 96


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",train,", ",test,", "no row has split train and a label; there is nothing to learn from"),
        (",split,", ",dataset,", ""),  # a column of another meaning: every row is train, and it works
    ],
)
def test_a_manifest_needs_training_rows(
    old: str, new: str, message: str, trainer: Trainer, tmp_path: Path
) -> None:
    trainer.manifest.write_text(trainer.manifest.read_text().replace(old, new))
    if message:
        with pytest.raises(ManifestError, match=message):
            trainer.run(tmp_path / "run")
        assert not (tmp_path / "run").exists()
    else:
        trainer.run(tmp_path / "run", "training.steps=1")
        started = trainer.events[0]
        assert isinstance(started, Started)
        assert started.images == 12


def test_rows_of_one_domain_teach_nothing(trainer: Trainer, tmp_path: Path) -> None:
    lines = ["path,split,glasses", *(f"{i}.png,train,1" for i in range(4)), "5.png,val,0"]
    trainer.manifest.write_text("\n".join(lines) + "\n")
    with pytest.raises(ManifestError, match="the training rows are all of one domain"):
        trainer.run(tmp_path / "run")


def test_every_label_set_needs_training_rows(trainer: Trainer, tmp_path: Path) -> None:
    lines = ["path,split,dataset,hair,glasses", "0.png,train,a,red,", "1.png,train,a,ash,", "2.png,val,b,,1"]
    trainer.manifest.write_text("\n".join(lines) + "\n")
    with pytest.raises(ManifestError, match="no row has split train and a label of glasses; there is nothing"):
        trainer.run(tmp_path / "run")
    trainer.manifest.write_text("\n".join([*lines, "3.png,train,b,,0"]) + "\n")
    run = trainer.run(tmp_path / "run", "training.steps=2").run
    assert load_model(run).space.label_sets == (("hair",), ("glasses",))


def test_a_group_in_two_splits_is_refused(trainer: Trainer, tmp_path: Path) -> None:
    lines = ["path,split,group,glasses", "0.png,train,ann,1", "1.png,train,bob,0", "2.png,val,ann,0"]
    trainer.manifest.write_text("\n".join(lines) + "\n")
    with pytest.raises(ManifestError, match="group 'ann' is in train"):
        trainer.run(tmp_path / "run")


PAIRED = ["path,split,pair,glasses", *(f"{i}.png,train,{i % 5},{i // 5}" for i in range(10)), "10.png,val,,0"]
"""Ten training rows in five pairs, which differ in glasses."""


def test_pairs_are_used_where_their_loss_counts(trainer: Trainer, tmp_path: Path) -> None:
    trainer.manifest.write_text("\n".join(PAIRED) + "\n")
    trainer.run(tmp_path / "run", "training.steps=2", "loss.pair_weight=10")
    started = trainer.events[0]
    assert isinstance(started, Started)
    assert "10 training images of 10 with a partner (column pair)" in started.notes


def test_pairs_that_cannot_be_used_are_refused(trainer: Trainer, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no training row has a partner.* loss\.pair_weight has nothing"):
        trainer.run(tmp_path / "run", "loss.pair_weight=10")
    trainer.manifest.write_text("\n".join(PAIRED) + "\n")
    Image.new("RGB", (30, 18)).save(trainer.manifest.with_name("3.png"))
    with pytest.raises(ManifestError, match=r"pair '3' has images of 30x18 px \(row 5\) and 20x18 px \(row 10\)"):
        trainer.run(tmp_path / "run", "loss.pair_weight=10")
    assert not (tmp_path / "run").exists()
    trainer.run(tmp_path / "run", "training.steps=1")  # without the loss, pairs do not count


def test_rows_without_a_label_are_left_out(trainer: Trainer, tmp_path: Path) -> None:
    lines = ["path,hair,glasses", "0.png,red,1", "1.png,,0", "2.png,,", "3.png,ash,"]
    trainer.manifest.write_text("\n".join(lines) + "\n")
    trainer.run(tmp_path / "run", "training.steps=2")
    started = trainer.events[0]
    assert isinstance(started, Started)
    assert started.images == 3


# ---- divergence ----


def test_divergence_names_the_last_good_checkpoint(trainer: Trainer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(
        TrainingError, match=r"at step 1 the loss d/adversarial is .* There is no checkpoint yet"
    ) as caught:
        trainer.run(run, "training.diverged_above=0.01", "training.warmup_steps=0")
    assert caught.value.exit_code == 1
    assert not (run / "checkpoints").exists()

    shutil.rmtree(run)
    # A learning rate of this size ruins the weights within a few steps.
    wild = ("training.learning_rate=10000", "training.steps=60", "training.checkpoint_minutes=0")
    with pytest.raises(
        TrainingError, match=r"training diverged: at step \d+ .*The last good checkpoint is "
    ) as caught:
        trainer.run(run, *wild)
    newest = max((run / "checkpoints").iterdir())
    assert f"The last good checkpoint is {newest}." in str(caught.value)
    state = load_state(newest, config=TrainConfig(), device=CPU)
    for network in (state.generator, state.average, state.discriminator):
        assert all(bool(torch.isfinite(weight).all()) for weight in network.parameters())


# ---- words ----


def test_an_attribute_in_words() -> None:
    assert describe_attribute("hair", ("black", "red")) == "hair: black | red"


# ---- grey images ----


def test_grey_images_are_trained_grey_and_that_is_said(trainer: Trainer, tmp_path: Path) -> None:
    for path in trainer.manifest.parent.rglob("*.png"):
        with Image.open(path) as image:
            grey = image.convert("L").convert("RGB")
        grey.save(path)
    trainer.run(tmp_path / "run", "training.steps=2")
    started = trainer.events[0]
    assert isinstance(started, Started)
    assert any("images looked at are grey" in note for note in started.notes)
    assert read_recipe(tmp_path / "run" / "run.toml").images.channels == 1
    assert load_model(tmp_path / "run").image_channels == 1
    # A run keeps what it was started with, whatever the images have become.
    for path in trainer.manifest.parent.rglob("*.png"):
        with Image.open(path) as image:
            coloured = image.convert("RGB")
        coloured.paste((250, 20, 20), (0, 0, 4, 4))
        coloured.save(path)
    assert trainer.run(tmp_path / "run", "training.steps=3", resume=True).step == 3
    trainer.run(tmp_path / "coloured", "training.steps=2")
    assert read_recipe(tmp_path / "coloured" / "run.toml").images.channels == 3


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ('{"glases=1"=2}', "no attribute is called 'glases'. Did you mean 'glasses'"),
        ('{"hair=blondd"=2}', "hair has no value 'blondd'. Did you mean 'blond'"),
    ],
)
def test_cycle_weights_of_unknown_values_are_refused_first(
    weights: str, message: str, trainer: Trainer, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        trainer.run(tmp_path / "run", f"loss.cycle_weights={weights}")
    assert not (tmp_path / "run").exists()
