"""The model that a training starts from, `train --init`: its architecture and its weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from augmentor.data import is_foreign, model_crop
from augmentor.errors import RecipeError, listing
from augmentor.training.settings import DiscriminatorSettings, GeneratorSettings
from stargan.checkpoints import CheckpointError, Model, load_discriminator, load_model, take_weights
from stargan.labels import LabelSpace
from stargan.networks import Discriminator, TranslatingGenerator, build_discriminator, build_generator

Value = bool | int | float | str | list[int]


def adopt_architecture(content: dict[str, object], path: Path) -> None:
    """Complete the sections of a recipe, as read from TOML, by the settings of the model in `path`.

    Those are the networks' architecture, and the size, channels and crop of the images; where the recipe says
    another size or crop, that stays.

    Raises:
        RecipeError: there is no model that can be trained, or a setting of the recipe does not fit its weights.
    """
    model, discriminator = _open(path)
    _check_direction(model, content, path)
    height, width = model.image_size
    size: Value = height if height == width else [height, width]
    images: dict[str, Value] = {"size": size, "channels": model.image_channels, "crop": model_crop(model) or 0}
    sections = {
        "images": images,
        "generator": _known(model.generator.arguments, GeneratorSettings),
        "discriminator": {} if discriminator is None else _known(discriminator.arguments, DiscriminatorSettings),
    }
    if not model.generator.reads_labels:
        sections["generator"].pop("conditioning", None)  # the labels are new to its weights
    given = content.get("images")
    if isinstance(given, dict) and given.get("size", size) not in (size, [height, width]):
        sections["discriminator"].pop("depth", None)  # it follows from the size
    for section, values in sections.items():
        table = content.setdefault(section, {})
        if not isinstance(table, dict):
            continue  # the recipe's validation reports it
        for key, value in values.items():
            said = table.get(key, "auto")
            if said == "auto":
                table[key] = value
            elif said != value and (section, key) not in (("images", "size"), ("images", "crop")):
                raise RecipeError(
                    f"{section}.{key} = {said}, but the weights of --init {path} are for {value}. Leave the "
                    "setting out, or train without --init"
                )


def take_initial_weights(
    generator: TranslatingGenerator, discriminator: Discriminator, space: LabelSpace, path: Path
) -> str:
    """Give new networks the weights of the model in `path` that fit to them, and return in words which do.

    Raises:
        RecipeError: there is no model that can be trained.
    """
    model, trained = _open(path)
    entries = space.matching_entries(model.space) if model.generator.reads_labels else (None,) * space.vector_size
    taking = _of_direction(generator, space, model, path)
    left = [
        f"generator.{name}"
        for name in take_weights(
            taking,
            model.generator,
            entries=entries,
            build=build_generator,
            clear=True,
        )
    ]
    total = len(taking.state_dict())
    if trained is not None:
        total += len(discriminator.state_dict())
        left += [
            f"discriminator.{name}"
            for name in take_weights(
                discriminator,
                trained,
                entries=space.matching_entries(model.space)[: space.domain_size],
                build=build_discriminator,
                clear=False,
            )
        ]
    parts = [f"taken from {path} (step {model.step:,}): {total - len(left)} of {total} tensors"]
    new, gone = list(_missing(space, model.space)), list(_missing(model.space, space))
    parts += [f"new: {listing(new)}"] if new else []
    parts += [f"left there: {listing(gone)}"] if gone else []
    parts += [f"of another shape: {listing(left, 3)}"] if left else []
    parts += [] if taking is generator else ["the generator of the other direction starts anew"]
    parts += ["the discriminator starts anew, since the model has none"] if trained is None else []
    return "; ".join(parts)


def _open(path: Path) -> tuple[Model, Discriminator | None]:
    if is_foreign(path):
        raise RecipeError(
            f"--init {path}: is a file of another program, which does not say what its labels mean. Convert it "
            f"first: augmentor convert checkpoint {path} --attributes ... --out MODEL"
        )
    try:
        model, discriminator = load_model(path), load_discriminator(path)
    except CheckpointError as error:
        raise RecipeError(f"--init {path}: {error}") from error
    return model, discriminator


def _check_direction(model: Model, content: dict[str, object], path: Path) -> None:
    """Refuse a generator of one direction but for the method of its kind, with a RecipeError."""
    if model.generator.reads_labels:
        return
    training = content.get("training")
    method = training.get("method") if isinstance(training, dict) else None
    fitting = {"cyclegan-resnet": "cyclegan", "pix2pix-unet": "pix2pix"}[model.generator.arguments["kind"]]
    if method != fitting:
        raise RecipeError(
            f"--init {path}: its generator translates in one direction, and reads no labels to train. Only "
            f'training.method = "{fitting}" goes on with it: add --set training.method={fitting}'
        )


def _of_direction(
    generator: TranslatingGenerator, space: LabelSpace, model: Model, path: Path
) -> TranslatingGenerator:
    """Return the network that takes a model's weights: of one for each value, that of a one-way model's target."""
    if model.only_target is None or not generator.arguments.get("per_value", False):
        return generator
    theirs, ours = model.space.attributes[0], space.attributes[0]
    value = theirs.values[model.only_target]
    if theirs.name != ours.name or value not in ours.values:
        raise RecipeError(
            f"--init {path}: it translates into {theirs.name}={value}, but the attribute is {ours.name} with the "
            f"values {listing(ours.values)}. Name the direction as it is converted: augmentor convert checkpoint "
            f"FILE --attributes {ours.name}={'|'.join(ours.values)} --out MODEL, the last value is the target"
        )
    inner = generator.get_submodule(f"generators.{ours.code(value)}")
    assert isinstance(inner, TranslatingGenerator)
    return inner


def _known(
    arguments: dict[str, Value], section: type[GeneratorSettings | DiscriminatorSettings]
) -> dict[str, Value]:
    return {key: value for key, value in arguments.items() if key in section.model_fields}


def _missing(space: LabelSpace, other: LabelSpace) -> Iterator[str]:
    """Yield the attributes and values of a label space that another lacks, "glasses" or "hair=red"."""
    entries = space.matching_entries(other)
    for attribute, run in zip(space.attributes, space.slices, strict=True):
        lacking = [
            value
            for value, entry in zip(attribute.values[-attribute.size :], entries[run], strict=True)
            if entry is None
        ]
        if len(lacking) == attribute.size:
            yield attribute.name
        else:
            yield from (f"{attribute.name}={value}" for value in lacking)
