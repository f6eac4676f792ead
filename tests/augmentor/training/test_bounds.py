"""Numbers that are too large, and how they are counted: without taking the memory that they would need."""

from __future__ import annotations

import pytest
import torch

from augmentor.training.recipe import check_sizes, read_recipe
from augmentor.training.settings import at_most, check_side
from stargan.networks import build_discriminator, build_generator


def test_a_bound_lets_pass_what_it_bounds() -> None:
    passed = at_most(10, "there are no more")
    assert [passed(value) for value in (-5, 0, 10)] == [-5, 0, 10]
    with pytest.raises(ValueError, match="11 is more than 10: there are no more"):
        passed(11)


def test_sides() -> None:
    for side in (4, 101, 4096):
        check_side(side)
    for side in (-1, 3, 4097, 10**400):
        with pytest.raises(ValueError, match="sides must be at "):
            check_side(side)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["generator.spectral=true", "discriminator.spectral=true", "discriminator.norm=batch"],
        ["generator.kind=encoder-decoder", "discriminator.kind=dcgan", "images.size=28"],
        ["generator.conditioning=concat", "generator.output=residual", "images.channels=1"],
    ],
)
def test_weights_are_counted_as_they_would_be(overrides: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One weight less than a network has is refused, naming their number; as many are not. Nothing is drawn."""
    recipe = read_recipe(None, overrides)
    sections = {"generator": recipe.generator.model_dump(), "discriminator": recipe.discriminator.model_dump()}
    data = {
        "vector_size": 1,
        "image_channels": recipe.images.colours,
        "image_size": recipe.images.height_width,
    }
    state = torch.get_rng_state()
    counts = {}
    with torch.random.fork_rng(devices=[]):
        for name, build in (("generator", build_generator), ("discriminator", build_discriminator)):
            counts[name] = sum(weight.numel() for weight in build({**data, **sections[name]}).parameters())

    monkeypatch.setattr("augmentor.training.recipe._MOST_WEIGHTS", max(counts.values()))
    check_sizes(recipe)
    for name, count in counts.items():
        monkeypatch.setattr("augmentor.training.recipe._MOST_WEIGHTS", count - 1)
        first = name == "generator" or counts["generator"] < count  # Of the two, the generator is looked at first.
        with pytest.raises(
            ValueError, match=f"the {name} would have {count:,} weights" if first else "the generator"
        ):
            check_sizes(recipe)
    assert torch.equal(torch.get_rng_state(), state)
