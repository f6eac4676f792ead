"""Networks and settings of a recipe before the first step, or of a run's newest checkpoint."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import fields
from pathlib import Path

import torch

from augmentor.data.manifest import describe_sets
from augmentor.errors import OutputError
from augmentor.training.best import scores_checkpoints
from augmentor.training.initial import take_initial_weights
from augmentor.training.recipe import Recipe, read_recipe, write_recipe
from augmentor.training.run_folder import TrainingRun, describe_attribute
from stargan.checkpoints import CheckpointError, load_model, load_state, newest_checkpoint, remove_incomplete
from stargan.config import TrainConfig
from stargan.labels import LabelSpace
from stargan.networks import Discriminator, TranslatingGenerator, build_discriminator, build_generator, initialise
from stargan.training import TrainState, new_state

_SETTINGS = "run.toml"
"""In the run folder: its settings. A folder without it holds no run."""

_MAY_READ = ("image_prefix", "image_suffix", "na_values")
"""Settings of the section `manifest` that may change: the labels that they lead to may not."""

_MAY_CHANGE = frozenset(
    {
        "steps",
        "minutes",
        "workers",
        "cache",
        "compile",
        "log_seconds",
        "sample_minutes",
        "checkpoint_minutes",
        "keep_checkpoints",
        "tensorboard",
    }
)
"""Settings of the section `training` that may change when a run is resumed."""


def train_config(recipe: Recipe) -> TrainConfig:
    """Return the part of a recipe that the training loop takes; loading and saving have other settings."""
    given = {**recipe.training.model_dump(), **recipe.loss.model_dump()}
    return TrainConfig(**{field.name: given[field.name] for field in fields(TrainConfig)})


def untrained_networks(
    recipe: Recipe, space: LabelSpace, *, seed: int
) -> tuple[TranslatingGenerator, Discriminator]:
    """Return a recipe's networks before their first step, on the CPU; the global random state stays as it is.

    `space` is the label space of sources and targets; `seed` decides the weights.
    """
    data = {"image_channels": recipe.images.colours, "image_size": recipe.images.height_width}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        generator = build_generator({"vector_size": space.vector_size, **data, **recipe.generator.model_dump()})
        discriminator = build_discriminator(
            {"vector_size": space.domain_size, **data, **recipe.discriminator.model_dump()}
        )
        for network in (generator, discriminator):
            initialise(network, recipe.training.initialisation)
    return generator, discriminator


def refuse_second_start(folder: Path, *, resume: bool) -> None:
    """Refuse a folder that holds a run already, unless it is to be resumed, with an OutputError."""
    if not resume and (folder / _SETTINGS).exists():
        raise OutputError(f"{folder} holds a run already. Add --resume to continue it, or give another --out")


def stored_recipe(folder: Path) -> Recipe | None:
    """Return the settings that a run folder was started with; None if it holds no run."""
    settings = folder / _SETTINGS
    return read_recipe(settings, of_run=True) if settings.exists() else None


def open_run(run: TrainingRun, *, resume: bool) -> tuple[TrainState, str | None]:
    """Write the run's settings and return the state to train from: a new one, or that of the newest checkpoint.

    With it comes a remark on the weights that a new one takes from the model of `training.init`, None without.

    Raises:
        OutputError: another run's folder, one not to be resumed, a damaged checkpoint, or a failed write.
    """
    settings = run.folder / _SETTINGS
    refuse_second_start(run.folder, resume=resume)
    before = stored_recipe(run.folder)
    if before is not None:
        _refuse_other_settings(settings, before, run.recipe)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        header = [*(f"Manifest: {path}" for path in run.manifest.paths), "Resume with: --resume"]
        write_recipe(settings, run.recipe, header=header)
        remove_incomplete(run.folder / "checkpoints")
    except OSError as error:
        raise OutputError(f"{run.folder}: cannot be written ({error.strerror or error})") from None
    try:
        checkpoint = newest_checkpoint(run.folder)
    except CheckpointError:
        return _fresh_state(run)
    try:
        learnt = load_model(checkpoint).space
        state = load_state(checkpoint, config=run.config, device=run.device)
    except CheckpointError as error:
        raise OutputError(f"{error}. Delete {checkpoint} to resume from the checkpoint before it") from None
    if _composed(learnt) != _composed(run.manifest.space):
        raise OutputError(
            f"{run.manifest.title}: the attributes are not those that {run.folder} was started with. They were "
            f"{_describe_space(learnt)}; now they are {_describe_space(run.manifest.space)}"
            f"{_nan_hint(run.manifest.space)}"
        )
    return state, None


def follow_rank_0(run: TrainingRun, step: object) -> TrainState:
    """Return the state at the step that rank 0 found in the run folder; for None, raise an OutputError."""
    match step:
        case 0 if not run.checkpoint(0).exists():
            return _fresh_state(run)[0]
        case int():
            return load_state(run.checkpoint(step), config=run.config, device=run.device)
        case _:
            raise OutputError(f"{run.folder}: rank 0 could not open the run")


def _fresh_state(run: TrainingRun) -> tuple[TrainState, str | None]:
    init, space = run.recipe.training.init, run.manifest.space
    generator, discriminator = untrained_networks(run.recipe, space, seed=run.config.seed)
    taken = None if init is None else take_initial_weights(generator, discriminator, space, Path(init))
    state = new_state(
        generator=generator.to(run.device),
        discriminator=discriminator.to(run.device),
        config=run.config,
        with_short_average=scores_checkpoints(run),
    )
    return state, taken


def _refuse_other_settings(settings: Path, stored: Recipe, recipe: Recipe) -> None:
    before, now = stored.model_dump(mode="json"), recipe.model_dump(mode="json")
    for name in _MAY_CHANGE:
        before["training"].pop(name)
        now["training"].pop(name)
    for name in _MAY_READ:
        before["manifest"].pop(name)
        now["manifest"].pop(name)
    del before["judge"], now["judge"]  # the weights do not depend on the judge
    changed = [
        f"{section}.{key} was {before[section].get(key)!r}, now {value!r}"
        for section, values in now.items()
        for key, value in values.items()
        if before[section].get(key) != value
    ]
    if changed:
        raise OutputError(
            f"{settings}: the run was started with other settings: {'; '.join(changed)}. "
            "Resume it with its own settings (leave out --recipe and --set), or give another --out"
        )


def _composed(space: LabelSpace) -> str:
    """Return a label space as text in Unicode NFC, as which manifests are read; once they were read as written."""
    return unicodedata.normalize("NFC", json.dumps(space.to_json(), ensure_ascii=False))


def _nan_hint(space: LabelSpace) -> str:
    words = [value for a in space.attributes for value in a.values if value.casefold() == "nan"]
    return f". Earlier versions read it as blank: --na-values {','.join(dict.fromkeys(words))}" if words else ""


def _describe_space(space: LabelSpace) -> str:
    text = ", ".join(describe_attribute(attribute.name, attribute.values) for attribute in space.attributes)
    return f"{text} ({describe_sets(space)})" if space.label_sets else text
