"""What a recipe begins a training run with: its numbers, and networks that have not learnt anything yet."""

from __future__ import annotations

from dataclasses import fields

import torch

from augmentor.training.recipe import Recipe
from stargan.config import TrainConfig
from stargan.labels import LabelSpace
from stargan.networks import Discriminator, TranslatingGenerator, build_discriminator, build_generator


def train_config(recipe: Recipe) -> TrainConfig:
    """Return a recipe's numbers as the training loop takes them; what concerns loading and saving stays behind."""
    given = {**recipe.training.model_dump(), **recipe.loss.model_dump()}
    return TrainConfig(**{field.name: given[field.name] for field in fields(TrainConfig)})


def untrained_networks(
    recipe: Recipe, space: LabelSpace, *, seed: int
) -> tuple[TranslatingGenerator, Discriminator]:
    """Return a recipe's networks before their first step, on the CPU; the global random state stays as it is.

    Args:
        recipe: its sections `images`, `generator` and `discriminator` are read.
        space: what the networks are told, and asked for.
        seed: the same one gives the same weights.
    """
    data = {"image_channels": recipe.images.channels, "image_size": recipe.images.height_width}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        generator = build_generator({"vector_size": space.vector_size, **data, **recipe.generator.model_dump()})
        discriminator = build_discriminator(
            {"vector_size": space.domain_size, **data, **recipe.discriminator.model_dump()}
        )
    return generator, discriminator
