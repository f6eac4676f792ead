"""Recipes: a TOML file and `--set` overrides as validated settings; unknown keys are errors."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import tomli_w
import torch
from pydantic import Field, ValidationError, model_validator

from augmentor.errors import RecipeError
from augmentor.recipes import find_recipe
from augmentor.storage import replacing_text
from augmentor.training.initial import adopt_architecture
from augmentor.training.methods import check_batch, deepest_discriminator, with_method
from augmentor.training.recipe_errors import explain
from augmentor.training.settings import (
    AttributeSettings,
    DiscriminatorSettings,
    GeneratorSettings,
    ImageSettings,
    JudgeSettings,
    LossSettings,
    ManifestSettings,
    Section,
    TrainingSettings,
)
from stargan.config import check_augmentation
from stargan.networks import build_discriminator, build_generator, check_networks

Toml = bool | int | float | str | list["Toml"] | dict[str, "Toml"]

_MOST_WEIGHTS = 1_000_000_000
"""Of one network: 16 GB with gradients and Adam's averages, 16 bytes each; the paper's D has 45 million."""

_MOST_BYTES = 1 << 40
"""Of the first feature maps of a batch. Training keeps dozens of maps of that size."""

_ALSO = {"generator": "blocks, downsamplings or latent", "discriminator": "depth"}
"""Settings besides the width that a network's number of weights grows with."""

_YOUNGER = (
    ("training", "warmup_steps", 0),
    ("loss", "weigh_translations", False),
    ("loss", "cycle_changed_share", 1.0),
)
"""Section, key and value of settings that runs of earlier versions do not have, and what these did."""


class Recipe(Section):
    """All settings of a training run except the manifest and the device."""

    manifest: ManifestSettings = ManifestSettings()
    images: ImageSettings = ImageSettings()
    generator: GeneratorSettings = GeneratorSettings()
    discriminator: DiscriminatorSettings = DiscriminatorSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings(steps=200_000)
    judge: JudgeSettings = JudgeSettings()
    attributes: dict[str, AttributeSettings] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _follow_method(cls, given: object) -> object:
        """Add what follows from the method, and the numbers of layers that follow from the images' size."""
        if not isinstance(given, dict):
            return given
        completed = with_method(given)
        try:
            size = ImageSettings.model_validate(completed.get("images", {})).height_width
        except ValidationError:
            return completed  # The section `images` raises its own error.
        generator, discriminator = completed.get("generator", {}), completed.get("discriminator", {})
        if isinstance(discriminator, dict):
            depth = min(fitting_depth(size), deepest_discriminator(completed))
            completed["discriminator"] = {"depth": depth, **discriminator}
        if isinstance(generator, dict) and generator.get("kind") == "pix2pix-unet":
            completed["generator"] = {"downsamplings": unet_downsamplings(size), **generator}
        return completed

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        try:
            check_networks(
                image_size=self.images.height_width,
                generator=self.generator.model_dump(),
                discriminator=self.discriminator.model_dump(),
                objective=self.training.objective,
            )
        except ValueError as error:
            # stargan names its argument; in a recipe it is a key of another section.
            raise ValueError(str(error).replace(" objective = ", " training.objective = ")) from error
        try:
            check_augmentation(
                self.training.augment,
                probability=self.training.augment_probability,
                objective=self.training.objective,
            )
        except ValueError as error:
            raise ValueError(f"training.{error}") from error
        check_sizes(self)
        check_batch(self.training.method, self.training.batch_size)
        side = min(self.images.height_width)
        for key in ("multiscale_weights", "source_multiscale_weights"):
            levels = len(getattr(self.loss, key))
            if side >> max(0, levels - 1) >= 1:
                continue
            raise ValueError(
                f"loss.{key} has {levels} levels, each half the size of the one before, but images "
                f"of {side} px shrink to nothing before that; use fewer"
            )
        if (self.training.steps is None) == (self.training.minutes is None):
            raise ValueError("training.steps and training.minutes: give one of the two")
        if self.training.for_domains and self.training.for_balance:
            raise ValueError("training.for_domains and training.for_balance: give one of the two")
        meant = self.training.for_domains or self.training.for_balance
        if self.training.batch_size == 1 and self.training.targets == "permuted" and not meant:
            raise ValueError(
                "training.batch_size = 1 with training.targets = 'permuted': every target would be the "
                "image's own domain, so the generator would learn to change nothing. Set training.targets to "
                "'mixed', 'drawn' (the labels' frequencies) or 'balanced', or a larger training.batch_size"
            )
        if self.loss.reads_partners and self.training.targets == "permuted" and not meant:
            key = "pair_weight" if self.loss.pair_weight else "pair_feature_weight"
            raise ValueError(
                f"loss.{key} with training.targets = 'permuted': where all targets are labels of the batch, "
                "none can be a partner's. Set training.targets to 'mixed', 'drawn' or 'balanced'"
            )
        return self

    @property
    def one_hot(self) -> dict[str, tuple[str, ...]]:
        """The declared one-hot groups: attribute name -> its columns."""
        return {name: settings.one_hot for name, settings in self.attributes.items()}


def fitting_depth(size: tuple[int, int]) -> int:
    """Return the discriminator's depth for (height, width): halvings until a side has 2 px or is odd, from 1 to 6.

    Six are the paper's at 128 px.
    """
    depths = [min((side & -side).bit_length() - 1, side.bit_length() - 2) for side in size]
    return max(1, min(6, *depths))


def unet_downsamplings(size: tuple[int, int]) -> int:
    """Return a U-Net's downsamplings for (height, width): halvings until a side is odd, from 2 to pix2pix's 8."""
    return max(2, min(8, *((side & -side).bit_length() - 1 for side in size)))


def check_sizes(recipe: Recipe) -> None:
    """Refuse networks and batches too large for any machine; ValueError names the keys, the reason and the fix."""
    images, batch_size = recipe.images, recipe.training.batch_size
    height, width = images.height_width
    sections: dict[str, GeneratorSettings | DiscriminatorSettings] = {
        "generator": recipe.generator,
        "discriminator": recipe.discriminator,
    }
    # Quick, so it comes first: a network of huge layers may be slow to build, even without memory.
    for name, section in sections.items():
        halved = 1 if name == "generator" and section.kind == "resnet" else 4
        maps = batch_size * height * width // halved * section.width * 4
        if maps > _MOST_BYTES:
            raise ValueError(
                f"training.batch_size = {batch_size:,}, images.size = {height} x {width} px and {name}.width = "
                f"{section.width:,}: the first feature maps of a batch alone take {maps / 1e9:,.0f} GB, and "
                "training keeps dozens like them. Make one of the three smaller"
            )
    data = {"vector_size": 1, "image_channels": images.colours, "image_size": images.height_width}
    for name, section in sections.items():
        build = build_generator if name == "generator" else build_discriminator
        with torch.device("meta"):  # Shapes without memory and without random numbers.
            # Spectral norm adds no weights and takes seconds to set up.
            network = build({**data, **section.model_dump(), "spectral": False})
        weights = sum(weight.numel() for weight in network.parameters())
        if weights > _MOST_WEIGHTS:
            raise ValueError(
                f"the {name} would have {weights:,} weights, which take {16 * weights / 1e9:,.0f} GB to train; "
                f"there may be {_MOST_WEIGHTS:,}. Make {name}.width or {_ALSO[name]} smaller"
            )


def read_recipe(
    path: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    of_run: bool = False,
    **training: float | str | None,
) -> Recipe:
    """Read a recipe, apply overrides, fill in the defaults, validate.

    Args:
        path: a TOML file, or the name of a recipe that ships; None means all defaults (`default`).
        overrides: `section.key=value` lines; a value is read as TOML, and as text if it is none.
        of_run: the file is a run's own, with all settings: those that it lacks are younger than the run, which
            goes on as it did without them. Without, `training.init` adds the architecture of its model.
        training: flags of the section `training`, None if not given. One of steps and minutes drops the other.

    Raises:
        RecipeError: a file that cannot be read or parsed, an unknown key, or a value that cannot work.
    """
    where = str(path) if path is not None else "the settings"
    content = _read_toml(Path(path) if of_run else find_recipe(path)) if path is not None else {}
    if of_run:
        _add_younger(content)
    set_by = {_apply(content, override): override for override in overrides}
    for name, value in training.items():
        if value is not None:
            _set(content, ["training", name], value)
    section, unfit = content.get("training"), None
    if isinstance(section, dict) and isinstance(init := section.get("init"), str) and not of_run:
        try:
            adopt_architecture(cast(dict[str, object], content), Path(init))
        except RecipeError as error:
            unfit = error  # faults of single settings come first
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        if unfit is not None and not any(problem["loc"] for problem in problems):
            raise unfit from None
        raise RecipeError(
            explain(problems, where=where, content=content, overrides=set_by, schema=_schema())
        ) from None
    if unfit is not None:
        raise unfit
    return recipe


@cache
def _schema() -> dict[str, Any]:
    return Recipe.model_json_schema()


def recipe_of_run(settings: object) -> Recipe:
    """Return the recipe that a checkpoint was trained with; see `of_run` of `read_recipe`.

    Raises:
        ValidationError: the settings are no recipe.
    """
    if isinstance(settings, dict):
        settings = copy.deepcopy(settings)
        _add_younger(settings)
    return Recipe.model_validate(settings)


def write_recipe(path: Path, recipe: Recipe, *, header: Sequence[str] = ()) -> None:
    """Write all settings as TOML below a header of comment lines, for `read_recipe` to return the same recipe."""
    comments = "".join(f"# {line}\n" for line in header)
    with replacing_text(path) as file:  # A kill in between must not leave a run without its settings.
        file.write(comments + tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)))


def _read_toml(path: Path) -> dict[str, Toml]:
    if path.exists() and not path.is_file():
        raise RecipeError(f"{path}: the recipe cannot be read (it is a folder, a pipe or a device)")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path}: the recipe cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start}); is it a recipe?") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not valid TOML: {error}") from None
    except (ValueError, RecursionError) as error:  # Numbers of thousands of digits, or lists as deep.
        raise RecipeError(f"{path}: not a recipe: {str(error) or 'nested too deeply'}") from None


def _add_younger(content: dict[str, Toml]) -> None:
    for section, key, value in _YOUNGER:
        table = content.setdefault(section, {})
        if isinstance(table, dict):
            table.setdefault(key, value)


def _apply(content: dict[str, Toml], override: str) -> tuple[str, ...]:
    """Set what a `--set` gives, and return its key."""
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or len(parts) < 2 or not all(parts):
        raise RecipeError(f"--set {override}: write it as section.key=value, for example training.batch_size=8")
    try:
        value: Toml = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    try:
        _set(content, parts, value)
    except TypeError:
        raise RecipeError(f"--set {override}: {'.'.join(parts[:-1])} is not a section") from None
    return tuple(parts)


def _set(content: dict[str, Toml], parts: Sequence[str], value: Toml) -> None:
    table = content
    for part in parts[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise TypeError(part)
        table = inner
    table[parts[-1]] = value
    # Steps and minutes exclude each other: the later one wins.
    rival = {("training", "steps"): "minutes", ("training", "minutes"): "steps"}.get((parts[0], parts[-1]))
    if rival is not None:
        table.pop(rival, None)
