"""Methods: what each sets in a recipe, refuses, asks of a manifest, and takes from converted models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from augmentor.data.manifest import read_manifest
from augmentor.errors import ManifestError, RecipeError
from augmentor.training.initial import take_initial_weights
from augmentor.training.methods import METHODS, check_rows
from augmentor.training.recipe import read_recipe, write_recipe
from augmentor.training.state import untrained_networks
from stargan.checkpoints import Model, save_model
from stargan.labels import Attribute, LabelSpace
from stargan.networks import build_generator

MakeManifest = Callable[..., Path]
SEASON = LabelSpace(attributes=(Attribute(name="season", kind="categorical", values=("summer", "winter")),))


def test_cyclegan_is_the_papers() -> None:
    recipe = read_recipe(None, ["training.method=cyclegan", "images.size=256"])
    loss, training = recipe.loss, recipe.training
    assert (recipe.generator.kind, recipe.generator.per_value, recipe.discriminator.per_value) == (
        "cyclegan-resnet",
        True,
        True,
    )
    # Half least squares, twice: G's adversarial loss weighs 1, the cycle 10, the identity half of it.
    assert (loss.adversarial_weight, loss.cycle_weight, loss.identity_weight, loss.cycle_every) == (2, 10, 5, 1)
    assert (loss.domain_weight, loss.real_domain_weight, loss.r1_weight, loss.pair_weight) == (0, 0, 0, 0)
    assert (training.objective, training.buffer_size, training.targets) == ("least-squares", 50, "other")
    assert (training.batch_size, training.learning_rate, training.warmup_steps) == (2, 2e-4, 0)


def test_pix2pix_is_the_papers() -> None:
    recipe = read_recipe(None, ["training.method=pix2pix", "images.size=256"])
    assert (recipe.generator.kind, recipe.generator.downsamplings, recipe.generator.dropout) == (
        "pix2pix-unet",
        8,
        0.5,
    )
    assert recipe.discriminator.sees_source
    assert not recipe.generator.per_value
    assert (recipe.loss.pair_weight, recipe.loss.cycle_weight, recipe.loss.domain_weight) == (100, 0, 0)
    assert (recipe.training.objective, recipe.training.paired_share) == ("logistic", 1)


def test_the_recipe_has_the_last_word_where_the_method_leaves_it(tmp_path: Path) -> None:
    recipe = read_recipe(None, ["training.method=cyclegan", "generator.kind=resnet"])
    assert (recipe.generator.kind, recipe.generator.output, recipe.loss.sparsity_weight) == ("resnet", "direct", 0)
    changes = ["generator.output=masked", "loss.identity_weight=0"]
    recipe = read_recipe(None, ["training.method=cyclegan", "generator.kind=resnet", *changes])
    assert (recipe.generator.output, recipe.loss.identity_weight) == ("masked", 0)
    write_recipe(tmp_path / "run.toml", recipe)
    assert read_recipe(tmp_path / "run.toml", of_run=True) == recipe


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["cyclegan", "loss.domain_weight=1"],
            'loss.domain_weight = 1 does not go with training.method = "cyclegan"',
        ),
        (["cyclegan", "training.batch_size=3"], "use an even number"),
        (["cyclegan", "training.targets=mixed"], 'CycleGAN has "other"'),
        (["cyclegan", 'training.for_domains=["a=b"]'], "training.for_domains"),
        (["pix2pix", "training.paired_share=0.5"], "pix2pix has 1.0"),
        (["pix2pix", "generator.conditioning=concat"], 'use "norm"'),
        (["pix2pix", "training.buffer_size=50"], "training.buffer_size = 50 does not go with"),
        (["stargan", "generator.per_value=true"], "StarGAN has false. Leave it out"),
        (["stargan", "generator.kind=cyclegan-resnet"], 'as training.method = "cyclegan" has'),
        (["star", "images.size=64"], "training.method must be 'stargan', 'cyclegan' or 'pix2pix', not 'star'"),
    ],
)
def test_what_does_not_go_with_a_method_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(None, [f"training.method={overrides[0]}", *overrides[1:]])
    assert message in str(caught.value)


def test_demands_are_settings_that_the_method_could_not_do_without() -> None:
    """A recipe may repeat all of them; no method both demands and implies a setting."""
    for name, method in METHODS.items():
        for section, values in method.demands.items():
            assert not set(values) & set(method.implies.get(section, {}))
        said = {
            (section, key): value for section, values in method.demands.items() for key, value in values.items()
        }
        written = [
            f"{section}.{key}={str(value).lower() if isinstance(value, bool) else value}"
            for (section, key), value in said.items()
        ]
        recipe = read_recipe(None, [f"training.method={name}", *written]).model_dump(mode="json")
        assert all(recipe[section][key] == value for (section, key), value in said.items())


def test_cyclegan_asks_for_two_values(small_manifest: MakeManifest) -> None:
    rows = read_manifest(small_manifest())
    with pytest.raises(ManifestError) as caught:
        check_rows("cyclegan", rows)
    assert "hair (3 values), glasses (2 values). Name one: --attributes glasses; or use" in str(caught.value)
    hair = read_manifest(rows.path, attributes=("hair",))
    with pytest.raises(ManifestError, match="Keep the rows of two values alone"):
        check_rows("cyclegan", hair)
    check_rows("cyclegan", read_manifest(rows.path, attributes=("glasses",)))
    check_rows("stargan", rows)


def converted(folder: Path, space: LabelSpace, **arguments: object) -> Model:
    """Save a model as `convert checkpoint` makes it of a file of one direction."""
    generator = build_generator({"vector_size": space.vector_size, "width": 4, **arguments})
    model = Model(generator=generator, space=space, image_size=(16, 16), step=0, settings={}, sha256="")
    save_model(folder, model=model)
    return model


def test_a_converted_cyclegan_goes_on_in_its_direction(tmp_path: Path) -> None:
    """The last value of the description is the target of the file."""
    towards_summer = LabelSpace(
        attributes=(Attribute(name="season", kind="categorical", values=("winter", "summer")),)
    )
    source = converted(tmp_path / "model", towards_summer, kind="cyclegan-resnet", blocks=1, downsamplings=1)
    words = [f"training.init={tmp_path / 'model'}", "discriminator.width=4"]
    with pytest.raises(RecipeError, match=r"add --set training\.method=cyclegan"):
        read_recipe(None, words)
    recipe = read_recipe(None, [*words, "training.method=cyclegan"])
    generator, discriminator = untrained_networks(recipe, SEASON, seed=0)
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    note = take_initial_weights(generator, discriminator, SEASON, tmp_path / "model")
    assert "the generator of the other direction starts anew" in note
    for name, tensor in generator.state_dict().items():
        _, value, inner = name.split(".", maxsplit=2)
        wanted = source.generator.state_dict()[inner] if value == "0" else before[name]
        assert torch.equal(tensor, wanted), name
    weather = LabelSpace(attributes=(Attribute(name="weather", kind="categorical", values=("a", "b")),))
    with pytest.raises(RecipeError, match="the attribute is weather"):
        take_initial_weights(generator, discriminator, weather, tmp_path / "model")


def test_a_converted_pix2pix_translates_as_before_until_it_learns(tmp_path: Path) -> None:
    """Its decoder's norms do not read the labels yet, so every target is what the file made."""
    source = converted(tmp_path / "model", SEASON, kind="pix2pix-unet", downsamplings=3)
    words = [f"training.init={tmp_path / 'model'}", "training.method=pix2pix", "discriminator.width=4"]
    generator, discriminator = untrained_networks(read_recipe(None, words), SEASON, seed=0)
    take_initial_weights(generator, discriminator, SEASON, tmp_path / "model")
    images = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, 16, 16))).float()
    vectors = SEASON.encode(torch.tensor([[0], [1]]))
    with torch.no_grad():
        made, wanted = generator.eval()(images, vectors), source.generator.eval()(images, vectors)
    torch.testing.assert_close(made, wanted)
    assert generator.reads_labels
