"""`recipes/`: every TOML file trains, every script runs, on what the commands wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from augmentor.recipe import read_recipe
from stargan.checkpoint import load_model

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small

RECIPES = Path(__file__).parents[2] / "recipes"
SMALLER = {
    "images.size": "16",
    "images.crop": "16",
    "generator.width": "4",
    "generator.blocks": "1",
    "generator.downsamplings": "1",
    "discriminator.width": "4",
    "discriminator.depth": "2",
    "training.batch_size": "2",
    "training.workers": "0",
}
"""Sizes alone: what kind of networks and losses they are stays as the recipe has it."""


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_train(recipe: Path, augmentor: Augmentor, small: Small, tmp_path: Path) -> None:
    settings = read_recipe(recipe)
    smaller = [word for key, value in SMALLER.items() for word in ("--set", f"{key}={value}")]
    run = tmp_path / "run"
    # As many steps as it takes until G has learnt once.
    steps = max(2, settings.training.critic_steps)
    done = augmentor.run("train", small.manifest, "--out", run, "--recipe", recipe, *smaller, "--steps", steps)
    assert done.code == 0, done.err
    made = read_recipe(run / "run.toml")
    assert made.generator.conditioning == settings.generator.conditioning
    assert made.training.objective == settings.training.objective
    assert load_model(run).step == steps


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_say_how_they_are_run(recipe: Path) -> None:
    header = recipe.read_text().split("\n\n", maxsplit=1)[0]
    assert all(line.startswith("#") for line in header.splitlines())
    assert f"--recipe recipes/{recipe.name}" in header


def test_training_a_classifier(augmentor: Augmentor, outputs: dict[str, tuple[Path, Done]]) -> None:
    script = RECIPES / "train_classifier.py"
    source = script.read_text()
    assert len(source.splitlines()) < 100
    assert re.findall(r"^(?:from|import) augmentor.*$", source, flags=re.MULTILINE) == [
        "from augmentor import ExpandedDataset, open_dataset"
    ]
    both = augmentor.run(outputs["folder"][0], "--steps", 2, "--batch-size", 8, script=script)
    # More in a batch than there are images: that must not wait for a full one.
    real = augmentor.run(outputs["hdf5"][0], "--real-only", "--steps", 2, "--batch-size", 64, script=script)
    for done, images in ((both, 66), (real, 16)):
        assert done.code == 0, done.err
        first, *rest = done.out.splitlines()
        assert first == f"{images} training images, 2 steps; balanced accuracy on 4 real test images:"
        assert [line.split(":")[0].strip() for line in rest] == ["hair", "smile"]
        assert all(re.fullmatch(r"  \w+: (100|\d?\d)\.\d%", line) for line in rest)


def test_scoring_translations(augmentor: Augmentor, small: Small, model: Path) -> None:
    words = ("--model", model, "--domains", "hair=*,smile=*", "--steps", 2)
    done = augmentor.run(small.manifest, *words, script=RECIPES / "score_translations.py")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    # Three test rows know their smile: five other domains each; one does not: six.
    assert lines[0] == "21 translations of 4 test images; share judged right"
    assert [line.split()[0] for line in lines[1:]] == ["attribute", "hair", "smile", "all"]
    assert all(re.search(r"\d\.\d%$", line) for line in lines[2:])
