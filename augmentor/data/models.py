"""Models for `--model`: augmentor's own checkpoints, and other implementations' files with a description."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from augmentor.data.manifest import Manifest, TableReading, read_manifest
from augmentor.errors import AugmentorError, did_you_mean, listing
from augmentor.images import parse_size
from augmentor.storage import GreyRange, as_grey_range, read_declared
from stargan.checkpoints import BEST, CheckpointError, Json, Model, load_model
from stargan.checkpoints.foreign import parse_attributes, read_foreign


@dataclass(frozen=True, kw_only=True)
class ForeignDescription:
    """Label vector, size and crop of a foreign file, which does not store them, and where its generator is.

    Args:
        attributes: its label vector in words, see `stargan.checkpoints.foreign.parse_attributes`.
        size: of its images, "128" or WIDTHxHEIGHT; None for the usual one of its kind.
        crop: side of the centred square that its training images were cut to first, in pixels, or None.
        key: of the generator's state dict, where the file holds several: "G_ema", "state_dict.netG".
        unlabelled: values in the place of unknown labels, "male=0,young=1".
    """

    attributes: str | None = None
    size: str | None = None
    crop: int | None = None
    key: str | None = None
    unlabelled: str | None = None

    def flags(self) -> list[str]:
        """Return the description as words of a command line; none where nothing is described."""
        named = (
            ("--attributes", self.attributes),
            ("--model-size", self.size),
            ("--model-crop", self.crop),
            ("--key", self.key),
            ("--unlabelled", self.unlabelled),
        )
        return [word for flag, value in named if value is not None for word in (flag, str(value))]

    @property
    def note(self) -> str | None:
        """A remark on entries whose names look like values of one attribute, such as Black_Hair,Blond_Hair."""
        try:
            space = parse_attributes(self.attributes or "")
        except ValueError:
            return None  # nothing is described, or `open_model` reports it
        bare = (
            (each.kind == "binary" and each.name.rpartition("_")[2].casefold(), each) for each in space.attributes
        )
        runs = [(word, [each.name for _, each in run]) for word, run in groupby(bare, key=itemgetter(0))]
        advice = [f"{word}={'|'.join(names)}" for word, names in runs if word and len(names) > 1]
        if not advice:
            return None
        return (
            f"--attributes: each bare name is yes or no by itself. Where an image has one of several, write "
            f"{' and '.join(advice)}: setting one of them then takes back the others"
        )


NO_DESCRIPTION = ForeignDescription()
"""For augmentor's own checkpoints."""


def open_model(path: Path, description: ForeignDescription = NO_DESCRIPTION) -> Model:
    """Load a model from a run folder, a checkpoint, or a foreign file with its description.

    Raises:
        AugmentorError: nothing to load, a damaged file, or a description that is missing, does not fit or is not
            needed.
    """
    try:
        if is_foreign(path):
            return _with_unlabelled(_open_foreign(path, description), path, description.unlabelled)
        model = load_model(path)
    except CheckpointError as error:
        raise AugmentorError(f"--model {path}: {error}") from error
    _refuse_channels(path, model.image_channels)
    if flags := replace(description, unlabelled=None).flags():
        raise AugmentorError(
            f"{flags[0]}: {path} is a checkpoint of augmentor's own, and stores its attributes "
            f"({', '.join(model.space.names)}), size and crop. Leave out {' '.join(flags[::2])}"
        )
    return _with_unlabelled(model, path, description.unlabelled)


def read_model_manifest(manifest: Path, model: Model, *, reading: TableReading) -> Manifest:
    """Read a manifest in a model's label space; what `reading` does not say is as in the model's training.

    So is the range of grey values.
    """
    recipe = model.settings.get("recipe")
    trained = recipe.get("manifest") if isinstance(recipe, dict) else None
    if isinstance(trained, dict):
        reading = reading.or_else(read_declared(TableReading, trained, lenient=True))
    table = read_manifest(manifest, space=model.space, reading=reading)
    return replace(table, grey_range=model_grey_range(model))


def model_crop(model: Model) -> int | None:
    """Return the centred square that the model's training images were cut to first, in pixels, or None."""
    images = model.settings.get("images")
    crop = images.get("crop") if isinstance(images, dict) else None
    return int(crop) if isinstance(crop, int) and crop > 0 else None


def model_grey_range(model: Model) -> GreyRange | None:
    """Return the range of grey values that the model was trained with; None for that of 16 bits."""
    images = model.settings.get("images")
    return as_grey_range(images.get("range")) if isinstance(images, dict) else None


@dataclass(frozen=True, kw_only=True)
class _Point:
    step: int
    average: str = "long"


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """The entries of best.json that name a run's checkpoint to translate with, and why."""

    step: int | None
    last: int
    reason: str | None
    points: tuple[_Point, ...] = ()


def describe_choice(path: Path, step: int) -> str | None:
    """Return which step of its run a model is: "step 9,000 of 12,000, the best of 8 scored on val".

    None without scores, or where the model is not the run's own choice.

    Args:
        path: a run folder, or a checkpoint in one.
        step: the model's.
    """
    folder = path.absolute().parent.parent if (path / "config.json").is_file() else path
    try:
        choice = read_declared(_Choice, json.loads((folder / BEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # without scores; `find_checkpoint` reports damaged files
    if step != (choice.last if choice.step is None else choice.step):
        return None
    place = f"step {step:,}, the last" if step == choice.last else f"step {step:,} of {choice.last:,}"
    scored = len(choice.points)
    short = any(point.step == step and point.average == "short" for point in choice.points)
    place += " (short average)" if short else ""
    why = choice.reason if choice.step is None else f"the best of {scored} scored on val"
    return f"{place}{',' if choice.step is not None else ':'} {why}"


def is_foreign(path: Path) -> bool:
    """Return whether a path names another implementation's file, not a run folder or checkpoint of our own."""
    return path.is_file() and not (path.parent / "config.json").is_file()


def _refuse_channels(path: Path, channels: int) -> None:
    if channels not in (1, 3):
        raise AugmentorError(
            f"--model {path}: it translates images of {channels} channels. Images are read and written with 1 "
            "(grey) or 3 (colour): a generator of these is needed"
        )


def _is_run(folder: Path) -> bool:
    return (folder / "checkpoints").is_dir() and (folder / "run.toml").is_file()


def _open_foreign(path: Path, description: ForeignDescription) -> Model:
    try:
        found = read_foreign(path, description.key)
    except CheckpointError as error:
        parents = (*path.parents, *path.absolute().parents)
        run = next((folder for folder in parents if _is_run(folder)), None)
        if run is not None:
            raise AugmentorError(
                f"--model {path}: a file of the run {run}, and no model. Give the run: --model {run}"
            ) from error
        raise AugmentorError(f"--model {error}") from error
    _refuse_channels(path, found.arguments["image_channels"])
    if description.attributes is None:
        unknown = "what it makes" if found.entries is None else f"what its {found.entries} label entries mean"
        raise AugmentorError(
            f"--model {path}: {found.title} does not store {unknown}: describe it with --attributes. {found.hint}"
        )
    try:
        space = parse_attributes(description.attributes)
        found.check_space(space)
    except ValueError as error:
        raise AugmentorError(f"--attributes: {error}") from error
    size = None if description.size is None else parse_size(description.size, "--model-size")
    try:
        found.check_size(size or found.usual_size)
    except ValueError as error:
        raise AugmentorError(f"--model-size: {error}") from error
    settings: dict[str, Json] = {} if description.crop is None else {"images": {"crop": description.crop}}
    return found.to_model(space, image_size=size, settings=settings)


def _with_unlabelled(model: Model, path: Path, text: str | None) -> Model:
    """Return the model with values in the place of unknown labels, "male=0,young=1"; None leaves it."""
    if text is None:
        return model
    foreign, space = model.settings.get("foreign"), model.space
    if model.learnt_unknown or not isinstance(foreign, dict):
        raise AugmentorError(
            f"--unlabelled is for generators of other implementations that read labels, and {path} is none. Leave "
            "it out"
        )
    values: dict[str, Json] = {}
    for part in text.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in space.names:
            raise AugmentorError(
                f"--unlabelled {text}: no attribute is called '{name}'.{did_you_mean(name, space.names)} Write "
                "ATTR=VALUE, several with commas"
            )
        if value not in space[name].values:
            raise AugmentorError(
                f"--unlabelled {text}: {name} is one of {listing(space[name].values)}, not '{value}'"
            )
        values[name] = value
    return replace(model, settings={**model.settings, "foreign": {**foreign, "unlabelled": values}})
