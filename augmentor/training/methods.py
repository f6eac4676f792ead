"""The methods StarGAN, CycleGAN and pix2pix: what each sets in a recipe, and asks of a manifest.

A method is networks, weights of losses and targets; the training loop is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from augmentor.data.manifest import Manifest
from augmentor.errors import ManifestError, listing
from augmentor.training.settings import MethodName

Value = bool | int | float | str | list[str]
Sections = Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a method sets in a recipe: section -> key -> value.

    Args:
        title: its name in text.
        demands: settings that a recipe cannot change.
        implies: its defaults, in the place of the general ones.
        deepest: default of the discriminator's depth, at most: it decides the size of the patches that are scored.
    """

    title: str
    demands: Sections
    implies: Sections = field(default_factory=dict)
    deepest: int = 6


_NO_DOMAIN_LOSS: Mapping[str, Value] = {
    "domain_weight": 0.0,
    "real_domain_weight": 0.0,
    "weigh_translations": False,
}

METHODS: Mapping[str, Method] = {
    "stargan": Method(
        title="StarGAN",
        demands={
            "generator": {"per_value": False},
            "discriminator": {"per_value": False, "sees_source": False},
        },
    ),
    "cyclegan": Method(
        title="CycleGAN",
        demands={
            "generator": {"per_value": True},
            "discriminator": {"per_value": True, "sees_source": False, "matches": False},
            "loss": _NO_DOMAIN_LOSS,
            "training": {
                "targets": "other",
                "joint": "mixed",
                "warmup_steps": 0,
                "for_domains": [],
                "for_balance": [],
            },
        },
        implies={
            # A mask closes: cycle and identity losses are smallest where nothing changes.
            "generator": {"kind": "cyclegan-resnet", "output": "direct"},
            "discriminator": {"norm": "instance"},
            # The loop's least squares are halved, as in LSGAN, so that they weigh as much as the paper's at 2.
            "loss": {
                "adversarial_weight": 2.0,
                "cycle_changed_share": 1.0,
                "cycle_every": 1,
                "identity_weight": 5.0,
                "sparsity_weight": 0.0,
                "r1_weight": 0.0,
            },
            "training": {
                "objective": "least-squares",
                "batch_size": 2,
                "learning_rate": 2e-4,
                "buffer_size": 50,
            },
        },
        deepest=4,
    ),
    "pix2pix": Method(
        title="pix2pix",
        demands={
            "generator": {"per_value": False},
            "discriminator": {"per_value": False},
            "loss": _NO_DOMAIN_LOSS,
            "training": {
                "paired_share": 1.0,
                "warmup_steps": 0,
                "buffer_size": 0,
                "augment": [],
                "for_balance": [],
            },
        },
        implies={
            "generator": {"kind": "pix2pix-unet", "dropout": 0.5},
            "discriminator": {"sees_source": True, "norm": "instance"},
            "loss": {"pair_weight": 100.0, "cycle_weight": 0.0, "sparsity_weight": 0.0, "r1_weight": 0.0},
            "training": {"learning_rate": 2e-4, "batch_size": 4},
        },
        deepest=4,
    ),
}


def method_title(settings: Mapping[str, object]) -> str | None:
    """Return the title of the method of a checkpoint's settings; None for a model of another program."""
    recipe = settings.get("recipe")
    training = recipe.get("training") if isinstance(recipe, dict) else None
    return METHODS[str(training.get("method", "stargan"))].title if isinstance(training, dict) else None


def with_method(content: Mapping[str, object]) -> dict[str, object]:
    """Return a recipe, as read from TOML, with what its method sets; as it is where the method is none.

    Raises:
        ValueError: a setting is not what the method demands; the message names both and what to do.
    """
    name = _name(content)
    if name not in METHODS:
        return dict(content)  # the validation of the section says so
    method, completed = METHODS[name], dict(content)
    for section in {*method.demands, *method.implies}:
        given = content.get(section, {})
        if not isinstance(given, dict):
            continue
        demanded = method.demands.get(section, {})
        for key, value in demanded.items():
            said = given.get(key, value)
            if _is_of_kind(said, value) and said != value and not (value == [] and not said):
                raise ValueError(
                    f'{section}.{key} = {_toml(said)} does not go with training.method = "{name}": {method.title} '
                    f"has {_toml(value)}. Leave it out, or choose another training.method"
                )
        completed[section] = {**method.implies.get(section, {}), **demanded, **given}
    return completed


def deepest_discriminator(content: Mapping[str, object]) -> int:
    """Return `Method.deepest` of a recipe, as read from TOML."""
    return METHODS.get(_name(content), METHODS["stargan"]).deepest


def learns_from_pairs_alone(name: MethodName) -> bool:
    """Return whether all images of a batch have to have a partner."""
    return name == "pix2pix"


def check_batch(name: MethodName, batch_size: int) -> None:
    """Refuse a batch that cannot hold both values of CycleGAN's attribute equally often, with a ValueError."""
    if name == "cyclegan" and batch_size % 2:
        raise ValueError(
            f'training.batch_size = {batch_size} with training.method = "cyclegan": each batch has as many images '
            "of one value as of the other; use an even number (2 is the paper's batch of one pair of images)"
        )


def check_rows(name: MethodName, rows: Manifest) -> None:
    """Refuse training rows that a method cannot learn from, with a ManifestError."""
    attributes = rows.space.attributes
    if name != "cyclegan" or (len(attributes) == 1 and len(attributes[0].values) == 2):
        return
    found = listing([f"{each.name} ({len(each.values)} values)" for each in attributes], 6)
    fitting = [each.name for each in attributes if len(each.values) == 2]
    advice = f"Name one: --attributes {fitting[0]}" if fitting else "Keep the rows of two values alone"
    raise ManifestError(
        f'{rows.title}: training.method = "cyclegan" translates between the two values of one attribute, but the '
        f'manifest has {found}. {advice}; or use training.method = "stargan", whose one generator makes them all'
    )


def sets_of_rows(name: MethodName, rows: Manifest) -> NDArray[np.integer] | None:
    """Return the set that each row belongs to, (N,), of which batches have equally many rows; None for one set.

    For CycleGAN these are the two values of its attribute, else the label sets of joint training.
    """
    return rows.codes[:, 0] if name == "cyclegan" else rows.label_set_of_rows()


def _name(content: Mapping[str, object]) -> str:
    """Return what a recipe, as read from TOML, gives as its method, which may be none."""
    training = content.get("training", {})
    return str(training.get("method", "stargan")) if isinstance(training, dict) else ""


def _is_of_kind(said: object, value: Value) -> bool:
    """Return whether a setting has the type of a value; the validation of its section refuses others."""
    if isinstance(value, bool) or isinstance(said, bool):
        return isinstance(value, bool) and isinstance(said, bool)
    return isinstance(said, int | float) if isinstance(value, int | float) else isinstance(said, type(value))


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
