"""Measurements whose outcome is known, their limits, and how they are left alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from augmentor.data.manifest import Manifest, read_manifest
from augmentor.errors import ManifestError
from augmentor.judge.data import read_images
from augmentor.judge.limits import JudgingStopped, Limits
from augmentor.judge.run import JudgeRequest, judge_manifest, judge_run, measure_target_accuracy, model_looks
from augmentor.judge.scores import patch_scores
from augmentor.judge.stored import load_judge
from augmentor.judge.target_accuracy import TargetAccuracy
from stargan.checkpoints import Model, load_discriminator, load_model, save_checkpoint, save_model
from stargan.config import TrainConfig
from stargan.labels import UNKNOWN, Attribute, LabelSpace
from stargan.networks import CycleGanResnet, Features, Generator
from stargan.training import TrainState

CPU = torch.device("cpu")


class Painter(Generator):
    """Knows the trick of `bright`: glasses are a bright image, no glasses a dark one. Hair it leaves as it is."""

    def decoder_stage(self, encoded: Features, images: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        bright = vectors[:, 3, None, None, None] > 0.5
        return images - images.mean(dim=(1, 2, 3), keepdim=True) + torch.where(bright, 0.6, -0.6)


def model(space: LabelSpace, *, obedient: bool = False) -> Model:
    kind = Painter if obedient else Generator
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = kind(vector_size=space.vector_size, width=2, downsamplings=0, blocks=0, output="masked")
    assert generator.masker is not None
    assert generator.masker.bias is not None
    nn.init.zeros_(generator.masker.weight)
    nn.init.constant_(generator.masker.bias, -1e4)  # a closed mask: what it is given comes back
    return Model(
        generator=generator.requires_grad_(False).eval(),
        space=space,
        image_size=(8, 8),
        step=7,
        settings={},
        sha256="",
    )


@pytest.fixture
def bright(tmp_path: Path) -> Manifest:
    """40 training and 20 validation images: glasses are a bright image, hair is the strong colour channel."""
    random = np.random.default_rng(0)
    lines = ["path,split,hair,glasses"]
    for i in range(60):
        hair, glasses = i % 3, i // 3 % 2
        pixels = random.integers(0, 20, (8, 8, 3)) + (140 if glasses else 20)
        pixels[:, :, hair] += 90
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(
            f"{i}.png,{'val' if i % 3 == i // 3 % 3 else 'train'},{('black', 'blond', 'brown')[hair]},{glasses}"
        )
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return read_manifest(tmp_path / "manifest.csv")


def test_an_obedient_attribute_and_an_ignored_one(space: LabelSpace, bright: Manifest) -> None:
    shares: list[float] = []
    found = measure_target_accuracy(
        model(space, obedient=True),
        bright,
        limits=Limits(steps=10),
        device=CPU,
        on_progress=shares.append,
    )
    hair, glasses = found.attributes
    assert glasses.real is not None
    assert glasses.real > 0.9
    assert glasses.level == "obeys"
    assert glasses.change is not None
    assert glasses.change > 60
    assert hair.level == "ignores"
    assert hair.obeys == pytest.approx(hair.untouched, abs=0.2)
    assert (found.images, found.translations, found.sources) == (20, 20 * 3, "val")
    assert (hair.translations, glasses.translations) == (40, 20)
    assert (found.step, found.judge_steps, found.judge_images, found.unreadable) == (7, 10, 40, 0)
    assert "The generator follows glasses." in found.verdict
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_model_of_one_direction_is_measured_in_it(bright: Manifest) -> None:
    glasses = LabelSpace(attributes=(Attribute(name="glasses"),))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = CycleGanResnet(vector_size=1, width=2, blocks=1).eval()
    one_way = Model(generator=generator, space=glasses, image_size=(8, 8), step=0, settings={}, sha256="")
    manifest = read_manifest(bright.path, space=glasses)
    found = measure_target_accuracy(one_way, manifest, limits=Limits(steps=1), device=CPU)
    validation = manifest.codes[manifest.split_mask(["val"])]
    assert (found.images, found.translations) == (20, int((validation == 0).sum()))
    assert list(found.attributes[0].values) == ["1"]
    assert found.identity_change is not None
    assert found.identity_change > 0


def test_a_lazy_generator_changes_nothing(space: LabelSpace, bright: Manifest) -> None:
    before = torch.get_rng_state()
    found = measure_target_accuracy(model(space), bright, limits=Limits(seconds=0.0), device=CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.identity_change == 0
    assert [attribute.change for attribute in found.attributes] == [0, 0]
    assert [attribute.obeys for attribute in found.attributes] == [
        attribute.untouched for attribute in found.attributes
    ]
    # No time at all: the least of everything.
    assert (found.judge_steps, found.images, found.translations) == (4, 20, 32)


def test_the_time_bounds_the_work() -> None:
    assert Limits.after(600, steps=-1).seconds == 60
    assert Limits.after(0.5, steps=-1).seconds == 1
    assert Limits.after(600, steps=25) == Limits(steps=25, seconds=math.inf)


def test_an_image_that_cannot_be_read_is_counted(space: LabelSpace, bright: Manifest) -> None:
    for row in (0, 1):
        bright.image_path(row).write_text("no picture")
    found = measure_target_accuracy(model(space), bright, limits=Limits(steps=1), device=CPU)
    assert (found.images, found.judge_images, found.unreadable) == (19, 39, 2)


def test_nothing_to_learn_from(space: LabelSpace, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,split,hair\n0.png,val,black\n1.png,test,blond\n")
    manifest = read_manifest(tmp_path / "manifest.csv", space=space)
    with pytest.raises(ManifestError, match="nothing for the classifier to learn from"):
        measure_target_accuracy(model(space), manifest, limits=Limits(steps=1), device=CPU)


def test_a_run_is_measured_once_and_can_be_left_alone(space: LabelSpace, bright: Manifest, tmp_path: Path) -> None:
    run = tmp_path / "run"
    save_model(run / "checkpoints" / "00000007", model=model(space), half=False)
    asked = 0

    def after_a_while() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    def judged(should_stop: Callable[[], bool] = lambda: False) -> TargetAccuracy | None:
        return judge_run(
            run, bright, limits=Limits(steps=1), crop=None, flip=True, device=CPU, should_stop=should_stop
        )

    assert judged(after_a_while) is None
    assert not (run / "obedience.json").exists()
    first = judged()
    assert first is not None
    checkpoint = run / "checkpoints" / "00000007"
    kept = load_judge(checkpoint)
    assert kept is not None
    # The judge that measured is the judge that is kept.
    assert [each.accuracy for each in kept.report.attributes] == [each.real for each in first.attributes]
    assert (kept.report.steps, kept.report.images) == (first.judge_steps, first.judge_images)
    assert kept.model_sha256 == load_model(run).sha256
    assert judged() == first  # read: the seconds are the same
    (run / "obedience.json").write_text("damaged")
    weights = (checkpoint / "judge.safetensors").stat()
    again = judged()
    assert again is not None
    assert again.attributes == first.attributes
    # It was measured anew, but with the judge that is there.
    assert (checkpoint / "judge.safetensors").stat().st_mtime_ns == weights.st_mtime_ns
    (checkpoint / "judge.json").write_text("damaged")
    assert judged() is not None
    mended = load_judge(checkpoint)
    assert mended is not None
    assert mended.sha256 == kept.sha256
    with pytest.raises(JudgingStopped):
        measure_target_accuracy(model(space), bright, limits=Limits(steps=1), device=CPU, should_stop=lambda: True)


def test_a_judge_belongs_to_its_model_and_its_discriminator(
    tiny_state: Callable[..., TrainState], space: LabelSpace, bright: Manifest, tmp_path: Path
) -> None:
    config = TrainConfig(steps=1)
    run, state = tmp_path / "run", tiny_state(config, matches=True)
    save_checkpoint(
        run / "checkpoints" / "00000000",
        state=state,
        config=config,
        space=space,
        image_size=(16, 16),
        settings={"images": {"crop": 6, "flip": False}},
    )
    request = JudgeRequest(manifest=bright.path, model=run, steps=12)
    shares: list[float] = []
    result = judge_manifest(request, device=CPU, on_progress=shares.append)
    assert result.out == run / "checkpoints" / "00000000"
    kept = load_judge(result.out)
    assert kept is not None
    assert (kept.image_size, kept.crop, kept.model_sha256) == ((16, 16), 6, load_model(run).sha256)
    assert kept.report.validation == "val"
    assert kept.realism is not None
    # D's scores of the 20 validation images under their own labels.
    looks = model_looks(load_model(run))
    assert looks.flip is False
    discriminator = load_discriminator(run)
    assert discriminator is not None
    data = read_images(bright.select(bright.split_mask(["val"])), size=(16, 16), channels=3, crop=6)
    expected = patch_scores(discriminator, data.images, data.codes, space).sort().values
    assert list(kept.realism) == pytest.approx(expected.tolist(), abs=1e-5)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    stopped = tmp_path / "stopped"
    with pytest.raises(JudgingStopped):
        judge_manifest(replace(request, out=stopped), device=CPU, should_stop=lambda: True)
    assert not stopped.exists()


def test_unknown_attributes_are_asked_for_in_translations_only(space: LabelSpace, bright: Manifest) -> None:
    codes = bright.codes.copy()
    codes[::2, 1] = UNKNOWN
    half = replace(bright, codes=codes)
    found = measure_target_accuracy(model(space, obedient=True), half, limits=Limits(steps=1), device=CPU)
    _, glasses = found.attributes
    known = int((codes[bright.split_mask(["val"]), 1] != UNKNOWN).sum())
    assert glasses.real_images == known
    # One translation where the value is known, two where it is not.
    assert glasses.translations == known + 2 * (20 - known)


def test_joint_label_sets(space: LabelSpace, bright: Manifest) -> None:
    joint = replace(space, label_sets=(("hair",), ("glasses",)))
    codes = bright.codes.copy()
    codes[::2, 1] = codes[1::2, 0] = UNKNOWN
    found = measure_target_accuracy(
        model(joint, obedient=True), replace(bright, space=joint, codes=codes), limits=Limits(steps=1), device=CPU
    )
    hair, glasses = found.attributes
    known = codes[bright.split_mask(["val"])] != UNKNOWN
    assert (hair.real_images, glasses.real_images) == tuple(known.sum(axis=0))
    assert hair.translations == 2 * known[:, 0].sum() + 3 * known[:, 1].sum()
    assert glasses.translations == known[:, 1].sum() + 2 * known[:, 0].sum()
    # Whoever is asked for glasses is told of glasses alone, also where hair is what is known.
    assert glasses.change is not None
    assert glasses.change > 60
