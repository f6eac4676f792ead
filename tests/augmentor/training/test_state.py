"""What a recipe begins a training run with: no number is lost, and the seed alone decides the weights."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from augmentor.data.manifest import read_manifest
from augmentor.errors import OutputError
from augmentor.training.recipe import read_recipe
from augmentor.training.run_folder import TrainingRun
from augmentor.training.settings import LossSettings, TrainingSettings
from augmentor.training.state import open_run, train_config, untrained_networks
from stargan.config import TrainConfig
from stargan.distributed import SINGLE_RANK
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "red")),
        Attribute(name="smile", kind="binary", values=("0", "1")),
    )
)
SMALL = ("images.size=[16, 24]", "images.channels=1", "generator.width=4", "generator.blocks=1")
"""Of networks that are made in no time."""


def test_the_loop_is_told_what_the_recipe_says() -> None:
    recipe = read_recipe(None, ["training.steps=7", "training.betas=[0.0, 0.9]", "loss.cycle_weight=3.5"])
    config = train_config(recipe)
    assert (config.steps, config.minutes, config.betas, config.cycle_weight) == (7, None, (0.0, 0.9), 3.5)
    given = {**recipe.training.model_dump(), **recipe.loss.model_dump()}
    assert all(getattr(config, field.name) == given[field.name] for field in fields(TrainConfig))


def test_only_what_the_loop_has_no_part_in_stays_behind() -> None:
    """A new setting must either be a field of the loop's numbers, or be named here."""
    behind = {*TrainingSettings.model_fields, *LossSettings.model_fields} - {f.name for f in fields(TrainConfig)}
    targets = {"targets", "for_domains", "for_balance"}
    loading = targets | {
        "initialisation",
        "method",
        "paired_share",
        "batch_size",
        "balanced_sources",
        "joint",
        "workers",
        "cache",
        "init",
        "weigh_translations",
    }
    assert behind == loading | {"keep_checkpoints", "tensorboard"}


def test_networks_fit_to_the_images_and_the_labels() -> None:
    recipe = read_recipe(None, [*SMALL, "discriminator.width=4"])
    generator, discriminator = untrained_networks(recipe, SPACE, seed=3)
    images, vectors = torch.zeros(2, 1, 16, 24), torch.zeros(2, SPACE.vector_size)
    assert generator(images, vectors).shape == images.shape
    assert discriminator.arguments["vector_size"] == SPACE.domain_size
    assert discriminator.arguments["image_size"] == (16, 24)


def test_the_seed_alone_decides_the_weights() -> None:
    recipe = read_recipe(None, [*SMALL, "discriminator.width=4"])
    before = torch.random.get_rng_state()
    first = [network.state_dict() for network in untrained_networks(recipe, SPACE, seed=3)]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    again = [network.state_dict() for network in untrained_networks(recipe, SPACE, seed=3)]
    other = [network.state_dict() for network in untrained_networks(recipe, SPACE, seed=4)]
    for mine, same, different in zip(first, again, other, strict=True):
        assert all(torch.equal(mine[name], same[name]) for name in mine)
        assert any(not torch.equal(mine[name], different[name]) for name in mine)


def test_words_for_unknown_may_be_named_when_a_run_is_resumed(tmp_path: Path) -> None:
    """Versions that blanked "nan" unasked have started runs; the labels themselves must be the same."""
    table = tmp_path / "manifest.csv"
    table.write_text("path,smile\na.png,1\nb.png,0\n")

    def run(*overrides: str) -> TrainingRun:
        recipe = read_recipe(None, [*SMALL, "discriminator.width=4", *overrides])
        rows = read_manifest(table, reading=recipe.manifest.reading)
        config = train_config(recipe)
        cpu, ranks = torch.device("cpu"), SINGLE_RANK
        return TrainingRun(
            folder=tmp_path / "run",
            manifest=rows,
            rows=rows,
            recipe=recipe,
            config=config,
            device=cpu,
            ranks=ranks,
        )

    open_run(run(), resume=False)
    assert "na_values" not in (tmp_path / "run" / "run.toml").read_text()
    open_run(run('manifest.na_values=["nan"]'), resume=True)
    assert 'na_values = [\n    "nan",\n]' in (tmp_path / "run" / "run.toml").read_text()
    with pytest.raises(OutputError, match=r"manifest\.image_column was None, now 'path'"):
        open_run(run('manifest.image_column="path"'), resume=True)


def test_the_recipe_chooses_the_initial_weights_of_both_networks() -> None:
    small = [*SMALL, "discriminator.width=64", "generator.width=32"]
    plain, normal, again = (
        untrained_networks(read_recipe(None, [*small, f"training.initialisation={how}"]), SPACE, seed=3)
        for how in ("default", "normal", "normal")
    )
    for network, other, same in zip(plain, normal, again, strict=True):
        weights, others = network.state_dict(), other.state_dict()
        assert all(torch.equal(tensor, same.state_dict()[name]) for name, tensor in others.items())
        assert any(not torch.equal(tensor, weights[name]) for name, tensor in others.items())
    inner = normal[0].state_dict()["blocks.0.first.convolution.weight"]
    assert float(inner.std()) == pytest.approx(0.02, rel=0.05)
