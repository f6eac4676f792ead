"""`augmentor train`: run folders, interrupts and resuming, and what is said when something is wrong."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stargan.checkpoints import load_model

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small

WEIGHTS = ("generator", "generator_ema", "discriminator", "generator_optimizer", "discriminator_optimizer")
LONG = 150
"""Steps of a run that is long enough to be interrupted, and short enough to be finished."""


def weights(run: Path, step: int) -> dict[str, bytes]:
    """Return the bytes of everything that training changes."""
    folder = run / "checkpoints" / f"{step:08d}"
    return {name: (folder / f"{name}.safetensors").read_bytes() for name in WEIGHTS}


# ---- a whole run ----


def test_a_run_folder(trained: tuple[Path, Done], small: Small) -> None:
    run, done = trained
    assert done.code == 0, done.err
    names = sorted(path.name for path in run.iterdir())
    assert names == [
        *("best.json", "checkpoints", "failures.csv", "judge", "log.jsonl", "obedience.json", "run.toml"),
        "samples",
    ]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["00000006"]
    assert [path.name for path in (run / "samples").iterdir()] == ["00000006.png"]
    assert f"Next:  python -m augmentor preview {small.manifest} --model {run} --out preview.png" in done.out
    assert load_model(run).step == 6


def test_json_is_the_last_line(trained: tuple[Path, Done]) -> None:
    run, done = trained
    losses = done.json.pop("losses")
    assert isinstance(losses, dict)
    assert set(losses) >= {"d/adversarial", "d/domain", "g/adversarial", "g/domain", "g/sparsity"}
    assert (done.json["run"], done.json["step"], done.json["failed"]) == (str(run), 6, 0)
    assert done.json["checkpoint"] == done.json["used"] == str(run / "checkpoints" / "00000006")
    assert done.json["choice"] == (
        "step 6, the last: the judge can be trusted with no attribute, so no checkpoint was scored"
    )
    assert f"Used:  {done.json['choice']}" in done.out


def test_the_verdict_is_printed_kept_and_part_of_the_json(trained: tuple[Path, Done]) -> None:
    run, done = trained
    stated = done.json["obedience"]
    assert stated == json.loads((run / "obedience.json").read_text())
    assert isinstance(stated, dict)
    # Four of val, and two of train with values that no other has.
    assert (stated["step"], stated["judge_steps"], stated["images"]) == (6, 2, 6)
    assert stated["sources"] == "val and held out of train"
    assert [attribute["name"] for attribute in stated["attributes"]] == ["hair", "smile"]
    lines = done.out.splitlines()
    title = lines.index("Target accuracy".ljust(len(lines[1])))
    assert lines[title + 1].split() == ["target", "real"]
    assert lines[title + 2].split() == ["attribute", "accuracy", "source", "accuracy", "chance", "change"]
    assert [line.split()[0] for line in lines[title + 3 : title + 6]] == ["hair", "smile", "identity"]
    # Six images are too few for any verdict, and that is said.
    assert "hair cannot be judged: 6 validation images are too few." in lines


def test_an_interrupted_verdict_leaves_a_finished_run(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    run, manifest = tmp_path / "run", small.folder / "no-val.csv"
    # Without val rows the judge is trained at the end.
    manifest.write_text(small.manifest.read_text().replace(",val,", ",train,"))
    words = ("train", manifest, "--out", run, *tiny, "--set", "judge.steps=5000", "--steps", 2)
    running = augmentor.start(*words)
    said = running.folder / "err"
    running.wait_for(lambda: said.exists() and "measuring target accuracy" in said.read_text())
    running.send(signal.SIGINT)
    stopped = running.end()
    assert stopped.code == 130, stopped.err
    assert "training is finished and saved; only the target accuracy" in stopped.err
    assert not (run / "obedience.json").exists()
    told = augmentor.run("info", run)
    assert f"Target accuracy is not measured yet:  augmentor info {run} --manifest MANIFEST" in told.out
    (again,) = [line for line in stopped.err.splitlines() if line.startswith("Go on with:  ")]
    resumed = augmentor.run(
        *again.removeprefix("Go on with:  augmentor ").split(), "--set", "judge.steps=1", "--json"
    )
    assert resumed.code == 0, resumed.err
    assert (resumed.json["step"], resumed.json["obedience"] is None) == (2, False)
    assert (run / "obedience.json").exists()


def test_without_a_terminal_progress_is_plain_lines(trained: tuple[Path, Done]) -> None:
    run, done = trained
    # On a busy machine the judge takes long enough to be mentioned.
    lines = [line for line in done.err.splitlines() if not line.startswith("training the judge")]
    assert lines[0].startswith("16 training images on cpu; StarGAN with G ")
    assert lines[1:3] == ["  hair: black | blond | red", "  smile: 0 | 1"]
    assert lines[3].startswith("100.0%  step 6, ")
    assert "d/adversarial" in lines[3]
    assert lines[4:7] == [
        f"samples: {run / 'samples' / '00000006.png'}",
        f"checkpoint: {run / 'checkpoints' / '00000006'}",
        "measuring target accuracy: 0%",
    ]
    # A line every few seconds: on a busy machine there are more.
    said = [line.removeprefix("measuring target accuracy: ") for line in lines[6:]]
    shares = [int(share.removesuffix("%")) for share in said]
    assert shares == sorted(set(shares))
    assert "\x1b" not in done.err


def test_cache_is_a_flag_that_resuming_may_change(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for steps, cache in ((1, "off"), (2, "on")):
        words = ("--out", run, *tiny, "--steps", steps, "--cache", cache, "--resume")
        done = augmentor.run("train", small.manifest, *words)
        assert done.code == 0, done.err
        assert f'cache = "{cache}"' in (run / "run.toml").read_text()


def test_tensorboard(augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path) -> None:
    words = (*tiny, "--set", "training.tensorboard=true", "--steps", 1)
    done = augmentor.run("train", small.manifest, "--out", tmp_path / "run", *words)
    assert done.code == 0, done.err
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"loss/d/domain" in events.read_bytes()


# ---- interrupts ----


@pytest.fixture(scope="module")
def long(small: Small, tiny: list[str]) -> list[str]:
    """The command of a run of `LONG` steps, but for its folder."""
    return ["train", str(small.manifest), *tiny, "--steps", str(LONG), "--seed", "3"]


@pytest.fixture(scope="module")
def whole(augmentor: Augmentor, long: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `LONG` steps that nobody disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = augmentor.run(*long, "--out", run)
    assert done.code == 0, done.err
    return run


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_is_equal_to_undisturbed(
    number: signal.Signals, augmentor: Augmentor, long: list[str], whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    loud = ("--set", "training.log_seconds=0", "--set", "training.workers=1")
    running = augmentor.start(*long, "--out", run, *loud)
    running.wait_for(lambda: (run / "log.jsonl").exists() and bool((run / "log.jsonl").read_text()))
    running.send(number)
    stopped = running.end()
    assert stopped.code == 130
    assert "Stopping after this step; the checkpoint is written first" in stopped.err
    (told,) = [line for line in stopped.err.splitlines() if line.startswith("Go on with:  ")]
    assert told.startswith(f"Go on with:  augmentor train {long[1]} ")
    assert told.endswith(" --resume")
    (checkpoint,) = (run / "checkpoints").iterdir()
    reached = int(checkpoint.name)
    assert 0 < reached < LONG

    resumed = augmentor.run(*told.removeprefix("Go on with:  augmentor ").split())
    assert resumed.code == 0, resumed.err
    assert f"resuming from step {reached}" in resumed.err
    assert weights(run, LONG) == weights(whole, LONG)


def test_a_run_is_not_trained_over_or_resumed_with_other_settings(
    augmentor: Augmentor, small: Small, tiny: list[str], model: Path
) -> None:
    before = (model / "run.toml").read_bytes()
    words = ("train", small.manifest, "--out", model, *tiny, "--steps", 6)
    again = augmentor.run(*words)
    assert again.code == 2
    assert "holds a run already. Add --resume to continue it" in again.err
    other = augmentor.run(*words, "--resume", "--set", "training.batch_size=8")
    assert other.code == 2
    assert "training.batch_size was 4, now 8" in other.err
    assert (model / "run.toml").read_bytes() == before
    assert [path.name for path in (model / "checkpoints").iterdir()] == ["00000006"]


def test_resume_needs_no_settings(augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path) -> None:
    words = ("train", small.manifest, "--out", tmp_path / "run")
    assert augmentor.run(*words, *tiny, "--steps", 2).code == 0
    longer = augmentor.run(*words, "--resume", "--steps", 3, "--json")
    assert longer.code == 0, longer.err
    assert longer.json["step"] == 3


# ---- what is wrong is said ----


def test_mistakes_are_short_blocks_and_write_nothing(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for words, said in (
        (("nothing.csv", "--out", run), "nothing.csv"),
        ((small.manifest, "--out", run, "--set", "training.batchsize=4"), "batch_size"),
        ((small.manifest, "--out", run, "--minutes", 1, "--steps", 1), "--minutes and --steps exclude each other"),
        ((small.manifest, "--out", run, *tiny, "--attributes", "hiar"), "hair"),
        ((small.manifest, "--out", run, *tiny, "--device", "gpu"), "--device gpu: not usable here"),
        ((small.manifest, "--out", run, *tiny, "--set", "images.size=15"), "generator.downsamplings"),
        ((small.manifest, "--out", run, "--init", tmp_path / "other"), "other is neither a run folder"),
    ):
        done = augmentor.run("train", *words)
        assert (done.code, done.out) == (2, ""), words
        assert done.err.startswith("error  ")
        assert said in done.err
        assert len(done.err.splitlines()) <= 3
        assert "Traceback" not in done.err
        assert not run.exists()


def test_debug_shows_the_traceback(augmentor: Augmentor, tmp_path: Path) -> None:
    done = augmentor.run("--debug", "train", tmp_path / "nothing.csv", "--out", tmp_path / "run")
    assert done.code not in (0, 130)
    assert "Traceback (most recent call last)" in done.err
    assert "ManifestError" in done.err


def test_images_that_cannot_be_read(augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_text("no picture")
    shutil.copytree(small.folder / "images", tmp_path / "images")
    lines = small.manifest.read_text().splitlines()
    lines[3] = lines[3].replace("images/02.png", "broken.png")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    strict = augmentor.run("train", manifest, "--out", tmp_path / "a", *tiny, "--steps", 5)
    lenient = augmentor.run("train", manifest, "--out", tmp_path / "b", *tiny, "--steps", 5, "--max-failures", 1)
    assert (strict.code, lenient.code) == (1, 0)
    for run, done in ((tmp_path / "a", strict), (tmp_path / "b", lenient)):
        assert f"1 row could not be used: {run / 'failures.csv'}" in done.err
        with (run / "failures.csv").open(newline="") as file:
            (failure,) = csv.DictReader(file)
        assert (failure["id"], failure["path"]) == ("face02", "broken.png")
        assert failure["reason"]
        assert load_model(run).step == 5


def test_divergence_names_the_last_good_checkpoint(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    wild = ("--set", "training.learning_rate=1e4", "--set", "training.checkpoint_minutes=0", "--steps", 200)
    done = augmentor.run("train", small.manifest, "--out", run, *tiny, *wild)
    assert done.code == 1
    newest = max((run / "checkpoints").iterdir())
    (error,) = [line for line in done.err.splitlines() if line.startswith("error  ")]
    assert "training diverged: at step " in error
    assert f"The last good checkpoint is {newest}." in error
    assert "Traceback" not in done.err
    load_model(run)
