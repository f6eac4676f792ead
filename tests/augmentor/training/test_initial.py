"""`train --init`: what a training takes from a model, and that it goes on without the model."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from augmentor.data.manifest import read_manifest
from augmentor.errors import OutputError, RecipeError
from augmentor.training.initial import take_initial_weights
from augmentor.training.recipe import Recipe, read_recipe
from augmentor.training.run import TrainResult, train_run
from augmentor.training.run_folder import Started, TrainEvent, TrainingRun
from augmentor.training.state import open_run, train_config, untrained_networks
from stargan.checkpoints import Model, load_discriminator, load_model, save_checkpoint, save_model
from stargan.checkpoints.foreign import parse_attributes, read_foreign
from stargan.distributed import SINGLE_RANK
from stargan.labels import LabelSpace
from stargan.training import LogEvent, new_state

CPU = torch.device("cpu")
MakeManifest = Callable[..., Path]
LOOP = (
    "training.steps=4",
    "training.batch_size=4",
    "training.workers=0",
    "training.warmup_steps=0",
    "training.log_seconds=0",
    "training.sample_minutes=60",
    "training.checkpoint_minutes=60",
    "judge.steps=0",
)
NETWORKS = (
    "images.size=16",
    "generator.width=4",
    "generator.blocks=1",
    "generator.downsamplings=1",
    "discriminator.width=4",
    "discriminator.depth=2",
)


class Trainings:
    """Trains on a manifest, and keeps the notes of the last training."""

    def __init__(self, manifest: Path) -> None:
        self.manifest = manifest
        self.notes: tuple[str, ...] = ()

    def run(self, out: Path, recipe: Recipe, *, resume: bool = False, stop_at: int = 0) -> TrainResult:
        last = 0

        def hear(event: TrainEvent) -> None:
            nonlocal last
            if isinstance(event, Started):
                self.notes = event.notes
            if isinstance(event, LogEvent):
                last = event.step

        return train_run(
            read_manifest(self.manifest),
            run=out,
            recipe=recipe,
            resume=resume,
            device=CPU,
            on_event=hear,
            should_stop=lambda: last + 1 == stop_at,
        )


@pytest.fixture
def trainings(small_manifest: MakeManifest) -> Trainings:
    return Trainings(small_manifest())


@pytest.fixture
def source(trainings: Trainings, tmp_path: Path) -> Path:
    """A run without a step of training, but with weights of its own."""
    recipe = recipe_of(*NETWORKS)
    generator, discriminator = untrained_networks(recipe, read_manifest(trainings.manifest).space, seed=7)
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in (*generator.parameters(), *discriminator.parameters()):
            weight.add_(torch.randn(weight.shape, generator=random) * 0.1)
    config = train_config(recipe)
    save_checkpoint(
        tmp_path / "source" / "checkpoints" / "00000004",
        state=replace(new_state(generator=generator, discriminator=discriminator, config=config), step=4),
        config=config,
        space=read_manifest(trainings.manifest).space,
        image_size=(16, 16),
        settings={},
    )
    return tmp_path / "source"


def recipe_of(*overrides: str) -> Recipe:
    return read_recipe(None, [*LOOP, *overrides])


def begin(space: LabelSpace, recipe: Recipe) -> tuple[Model, str]:
    """Return the model at step 0 of a training from `training.init`, and what is said of it."""
    generator, discriminator = untrained_networks(recipe, space, seed=0)
    assert recipe.training.init is not None
    said = take_initial_weights(generator, discriminator, space, Path(recipe.training.init))
    size = recipe.images.height_width
    model = Model(generator=generator.eval(), space=space, image_size=size, step=0, settings={}, sha256="")
    return model, said


def translate(model: Model, *domains: str) -> Tensor:
    """Return a noise image in each of the domains "hair=red,glasses=1"."""
    codes = [model.space.codes(dict(part.split("=") for part in domain.split(","))) for domain in domains]
    side = 16
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made: Tensor = model.generator(image.expand(len(codes), -1, -1, -1), model.space.encode(torch.tensor(codes)))
    return made


def files(checkpoint: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in checkpoint.glob("*.safetensors")}


def test_equal_settings_begin_where_the_model_ended(source: Path, trainings: Trainings, tmp_path: Path) -> None:
    """Without a word on the networks: they are the model's. A resumed run needs the model no more."""
    init = f"training.init={source}"
    whole = trainings.run(tmp_path / "whole", recipe_of(init))
    assert re.search(rf"^taken from {source} \(step 4\): (\d+) of \1 tensors$", trainings.notes[-1])
    first = tmp_path / "whole" / "checkpoints" / "00000000"
    before, after = load_model(source), load_model(first)
    assert after.generator.arguments == before.generator.arguments
    domains = ("hair=black,glasses=1", "hair=brown,glasses=0", "glasses=1")
    assert torch.equal(translate(after, *domains), translate(before, *domains))
    trained, taken = load_discriminator(source), load_discriminator(first)
    assert trained is not None
    assert taken is not None
    weights = trained.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in taken.state_dict().items())
    assert not torch.equal(translate(load_model(whole.checkpoint), *domains), translate(before, *domains))

    trainings.run(tmp_path / "parts", recipe_of(init), stop_at=2)
    shutil.copytree(tmp_path / "parts", tmp_path / "killed")
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "00000002")
    shutil.rmtree(source)
    for run in (tmp_path / "parts", tmp_path / "killed"):
        kept = read_recipe(run / "run.toml", [init], of_run=True)
        assert kept.training.init == str(source)
        resumed = trainings.run(run, kept, resume=True)
        assert resumed.finished
        assert not any("taken from" in note for note in trainings.notes)
        assert files(resumed.checkpoint) == files(whole.checkpoint)


def test_a_run_that_began_otherwise_is_not_resumed_so(source: Path, trainings: Trainings, tmp_path: Path) -> None:
    table, init = read_manifest(trainings.manifest), f"training.init={source}"

    def begun(name: str, recipe: Recipe) -> TrainingRun:
        config, ranks = train_config(recipe), SINGLE_RANK
        return TrainingRun(
            folder=tmp_path / name,
            manifest=table,
            rows=table,
            recipe=recipe,
            config=config,
            device=CPU,
            ranks=ranks,
        )

    open_run(begun("plain", recipe_of(*NETWORKS)), resume=False)
    with pytest.raises(OutputError, match=rf"training\.init was None, now '{source}'"):
        open_run(begun("plain", read_recipe(tmp_path / "plain" / "run.toml", [init], of_run=True)), resume=True)
    open_run(begun("from", recipe_of(init)), resume=False)
    with pytest.raises(OutputError, match=rf"training\.init was '{source}', now None"):
        open_run(begun("from", recipe_of(*NETWORKS)), resume=True)


def test_labels_are_matched_by_name_and_new_ones_named(source: Path) -> None:
    before = load_model(source)
    space = parse_attributes("smile,hair=black|blond|red")
    after, said = begin(space, recipe_of(f"training.init={source}"))
    assert re.search(r"(\d+) of \1 tensors; new: smile, hair=red; left there: hair=brown, glasses$", said)
    # Without glasses: their entry is gone, and its 0 is all that is left of it.
    expected = translate(before, "hair=black,glasses=0", "hair=blond,glasses=0")
    for smile in (0, 1):
        made = translate(after, f"hair=black,smile={smile}", f"hair=blond,smile={smile}")
        torch.testing.assert_close(made, expected)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["generator.width=8"], r"generator\.width = 8, but the weights of --init .*source are for 4"),
        (["generator.conditioning=concat"], r"generator\.conditioning = concat, but .* are for norm"),
        (["discriminator.width=8"], r"discriminator\.width = 8, but"),
        (["images.channels=1"], r"images\.channels = 1, but .* are for 3"),
    ],
)
def test_another_architecture_is_refused_by_name(overrides: list[str], message: str, source: Path) -> None:
    init = f"training.init={source}"
    with pytest.raises(RecipeError, match=message):
        recipe_of(init, *overrides)
    assert recipe_of(init, *NETWORKS, "images.channels=auto") == recipe_of(init)


def test_images_of_another_size(source: Path) -> None:
    recipe = recipe_of(f"training.init={source}", "images.size=32")
    assert (recipe.images.size, recipe.discriminator.width, recipe.discriminator.depth) == (32, 4, 4)
    # D is deeper now, and its heads see other maps.
    _, said = begin(load_model(source).space, recipe)
    assert re.search(r" of \d+ tensors; of another shape: discriminator\.", said)


def test_a_converted_stargan(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    shapes = {
        "main.0.weight": (4, 7, 7, 7),
        "main.3.weight": (3, 4, 7, 7),
        "main.1.weight": (4,),
        "main.1.bias": (4,),
    }
    file, ours = tmp_path / "9-G.ckpt", tmp_path / "model"
    torch.save({name: torch.randn(shape, generator=random) * 0.2 for name, shape in shapes.items()}, file)
    with pytest.raises(
        RecipeError, match=r"--init .*9-G\.ckpt: .* Convert it first: augmentor convert checkpoint"
    ):
        recipe_of(f"training.init={file}")
    model = read_foreign(file).to_model(parse_attributes("hair=black|blond|brown,male"), image_size=(16, 16))
    save_model(ours, model=model)
    recipe = recipe_of(f"training.init={ours}")
    assert (recipe.generator.conditioning, recipe.generator.output, recipe.generator.width) == (
        "concat",
        "direct",
        4,
    )
    begun, said = begin(parse_attributes("glasses,hair=brown|black"), recipe)
    assert "new: glasses; left there: hair=blond, male; the discriminator starts anew" in said
    made = translate(begun, "hair=brown,glasses=1", "hair=black,glasses=0")
    torch.testing.assert_close(made, translate(model, "hair=brown,male=0", "hair=black,male=0"))
    with pytest.raises(RecipeError, match=r"--init .*nothing: .* neither a run folder"):
        recipe_of(f"training.init={tmp_path / 'nothing'}")
