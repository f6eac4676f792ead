"""What the keys of a recipe mean: their descriptions, what they may be, and what the recipes set them to."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from augmentor.data.manifest import TableReading
from augmentor.errors import RecipeError, did_you_mean
from augmentor.recipes import shipped_recipes
from augmentor.training.recipe import Recipe, read_recipe
from augmentor.training.recipe_errors import allowed
from stargan.config import TrainConfig
from stargan.networks import Generator, PatchDiscriminator

_DESCRIBED_BY: Mapping[str, tuple[type, ...]] = {
    "manifest": (TableReading,),
    "generator": (Generator,),
    "discriminator": (PatchDiscriminator,),
    "loss": (TrainConfig,),
    "training": (TrainConfig,),
}
"""Who describes what a section only passes on."""


@dataclass(frozen=True, kw_only=True)
class RecipeKey:
    """A key of a recipe.

    Args:
        name: with its section, `training.targets`.
        description: one or more sentences.
        allowed: what it may be, as in "a whole number, at least 1".
        default: without a recipe; some follow from the method or the images' size.
        recipes: the recipes in which it is something else, and what.
    """

    name: str
    description: str
    allowed: str
    default: object
    recipes: Mapping[str, object]


def recipe_keys() -> list[str]:
    """Return the names of all keys, in the order of their sections."""
    return [f"{section}.{key}" for section, keys in _sections().items() for key in keys]


def explain_key(name: str) -> RecipeKey:
    """Return what a key means.

    Raises:
        RecipeError: there is no such key; the message names the closest.
    """
    section, _, key = name.partition(".")
    fields = _sections().get(section, {})
    if key not in fields:
        known = recipe_keys()
        alike = [each for each in known if each.partition(".")[2] == name] if not key else []
        hint = f" Did you mean {' or '.join(map(repr, alike))}?" if alike else did_you_mean(name, known)
        raise RecipeError(f"{name!r} is no key of a recipe.{hint}")
    default = read_recipe(None).model_dump(mode="json")[section][key]
    values = {
        recipe: read_recipe(file).model_dump(mode="json")[section][key]
        for recipe, file in shipped_recipes().items()
    }
    return RecipeKey(
        name=name,
        description=descriptions()[name],
        allowed=allowed(fields[key], Recipe.model_json_schema()),
        default=default,
        recipes={recipe: value for recipe, value in values.items() if value != default},
    )


def descriptions() -> dict[str, str]:
    """Return the description of every key, in whole sentences."""
    found = {}
    for section, keys in _sections().items():
        settings = Recipe.model_fields[section].annotation
        assert isinstance(settings, type)
        texts: dict[str, str] = {}
        for described in (*_DESCRIBED_BY.get(section, ()), settings):
            texts |= documented(described)
        for key in keys:
            text = texts[key]
            found[f"{section}.{key}"] = text[0].upper() + text[1:]
    return found


def documented(described: type) -> dict[str, str]:
    """Return the descriptions of a class's arguments or attributes by name, from its docstring and its bases'."""
    found: dict[str, str] = {}
    for base in reversed(described.__mro__[:-1]):
        lines = inspect.cleandoc(base.__doc__ or "").splitlines()
        heads = [place for place, line in enumerate(lines) if line in {"Args:", "Attributes:"}]
        body = lines[heads[0] + 1 :] if heads else []
        names = list[str]()
        for line in body:
            if line and not line.startswith("    "):
                break
            if opening := re.fullmatch(r"    (\w+(?:, \w+)*): (.*)", line):
                names = opening[1].split(", ")
                found |= dict.fromkeys(names, opening[2])
            elif line.strip():
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def _sections() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each key by section, without `attributes`, whose keys are the user's."""
    schema = Recipe.model_json_schema()
    definitions, sections = schema["$defs"], dict[str, dict[str, Any]]()
    for section, field in schema["properties"].items():
        if section != "attributes":
            sections[section] = definitions[field["$ref"].rpartition("/")[2]]["properties"]
    return sections
