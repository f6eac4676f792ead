"""`augmentor train`: a manifest and a recipe in, a run folder out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from augmentor.data import Failure, Samples, read_samples
from augmentor.data.manifest import Manifest, describe_sets, frame_notes, refuse_all_outside, refuse_split_leaks
from augmentor.errors import ManifestError, OutputError, TrainingError
from augmentor.judge import Limits, Obedience, judge_run, rarity_weights
from augmentor.storage import locked, read_holder
from augmentor.training.cache import ImageCache, make_cache
from augmentor.training.faults import explained, last_checkpoint
from augmentor.training.loading import TrainingImages, training_batches
from augmentor.training.recipe import Recipe, Targets, read_recipe, write_recipe
from augmentor.training.run_folder import Follower, Judging, Recorder, Started, TrainEvent, checkpoint_folder
from augmentor.training.untrained import train_config, untrained_networks
from stargan.checkpoints import CheckpointError, find_checkpoint, load_model, load_state, remove_incomplete
from stargan.config import TrainConfig
from stargan.distributed import SINGLE_RANK, Ranks
from stargan.labels import LabelSpace
from stargan.training import DivergenceError, TrainState, new_state, train

_LOCK = ".lock"
"""In the run folder: says which process trains."""

_SETTINGS = "run.toml"
"""In the run folder: says that there is a run."""

_SAMPLE_ROWS = 8
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
"""Settings of the section `training` that a resumed run may have changed."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a training run ended.

    Args:
        run: the run folder.
        checkpoint: the newest checkpoint.
        finished: False if the run was stopped and can be resumed.
        step: D steps done.
        elapsed: seconds trained, over all resumed runs.
        failures: rows whose image could not be read.
        losses: the last logged ones.
        obedience: whether the generator obeys; None if the run was stopped, or the recipe leaves it out.
    """

    run: Path
    checkpoint: Path
    finished: bool
    step: int
    elapsed: float
    failures: tuple[Failure, ...]
    losses: dict[str, float]
    obedience: Obedience | None = None


def train_run(
    manifest: Manifest,
    *,
    run: Path,
    recipe: Recipe,
    resume: bool,
    device: torch.device,
    on_event: Callable[[TrainEvent], None],
    should_stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_RANK,
) -> TrainResult:
    """Fit one StarGAN to the manifest's training rows and write a run folder; one training at a time does.

    Args:
        manifest: the user's table.
        run: the folder to write: run.toml, log.jsonl, failures.csv, samples/, checkpoints/, obedience.json.
        recipe: all settings; on resuming, the same as before but for the run's length and what only shows.
        resume: go on from the newest checkpoint, if there is one.
        device: where to compute.
        on_event: told what happens.
        should_stop: asked after every step; True saves a checkpoint and ends. Once the training is over it ends
            the measurement of obedience, and leaves the verdict out.
        ranks: the ranks that train together, each with batches of its own; rank 0 writes, and judges.

    Returns:
        How it ended. A process that does not lead knows nothing of failures, losses and obedience.

    Raises:
        ManifestError: nothing to learn from, or a group stands in two splits.
        OutputError: the folder holds another run, or one and `resume` is not set; another process trains it; or it
            cannot be written.
        TrainingError: a loss is no longer finite, or a process that loads images died, or another one that
            trains; names the last good checkpoint.
        MemoryShortError: the device's memory does not suffice.
        StalledError: what loads images hangs.
    """
    if run.exists() and not run.is_dir():
        raise OutputError(f"{run} is a file; --out names the run's folder")
    # Who trains there is better said where somebody does; the leader of several writes while the others look.
    if ranks.world_size == 1 and read_holder(run / _LOCK) is None:
        _refuse_second_start(run, resume=resume)
    manifest = manifest.allowing(max_pixels=recipe.images.max_pixels)
    rows = _training_rows(manifest)
    refuse_all_outside(rows)
    rows = replace(rows, notes=(*rows.notes, *frame_notes(rows)))
    config = train_config(recipe)
    shape = (*recipe.images.enlarged, recipe.images.channels)
    cache = make_cache(recipe.training.cache, rows=len(rows.rows), shape=shape)
    shown = _sample_images(manifest, recipe)
    with explained(run), ExitStack() as held:
        state = None
        try:
            if ranks.is_rank_0:
                held.enter_context(locked(run / _LOCK, output=run))
                state = _open_run(run, manifest, recipe, resume=resume, config=config, device=device)
        finally:
            step = ranks.all_gather_object(state and state.step)[0]
        if state is None:
            state = _follow(run, step, manifest, recipe, config=config, device=device)
        return _fit(
            manifest,
            rows,
            run=run,
            recipe=recipe,
            config=config,
            state=state,
            cache=cache,
            shown=shown,
            device=device,
            on_event=on_event,
            should_stop=should_stop,
            ranks=ranks,
        )


def _fit(
    manifest: Manifest,
    rows: Manifest,
    *,
    run: Path,
    recipe: Recipe,
    config: TrainConfig,
    state: TrainState,
    cache: ImageCache | None,
    shown: Samples,
    device: torch.device,
    on_event: Callable[[TrainEvent], None],
    should_stop: Callable[[], bool],
    ranks: Ranks,
) -> TrainResult:
    """Train from `state` on and judge the result; the run folder is the leader's."""
    images = TrainingImages(
        paths=tuple(rows.image_path(index) for index in range(len(rows.rows))),
        codes=rows.codes,
        space=rows.space,
        settings=recipe.images,
        seed=config.seed,
        label_sets=rows.label_set_of_rows(),
        cache=cache,
        access=rows.access,
    )
    rarity = rarity_weights(rows.codes, rows.space)
    recorder = (
        Recorder(
            *(run, manifest, recipe, config),
            rows=rows,
            shown=shown,
            device=device,
            step=state.step,
            on_event=on_event,
            ranks=ranks,
        )
        if ranks.is_rank_0
        else Follower(ranks)
    )
    with recorder:
        on_event(_started(rows, state, device, ranks))
        batches = training_batches(
            images,
            batch_size=recipe.training.batch_size,
            first_step=state.step,
            workers=recipe.training.workers,
            pin_memory=device.type == "cuda",
            failures=recorder.broken,
            ranks=ranks,
            joint=recipe.training.joint,
            source_weights=rarity if recipe.training.balanced_sources else None,
            target_weights=_target_weights(recipe.training.targets, rarity),
        )
        try:
            finished = train(
                state=state,
                config=config,
                space=manifest.space,
                batches=batches,
                device=device,
                on_event=recorder.record,
                should_stop=should_stop,
                epoch_steps=len(images) / (recipe.training.batch_size * ranks.world_size),
                ranks=ranks,
            )
        except DivergenceError as error:
            raise TrainingError(_divergence(run, error)) from error
    obedience = None
    if finished and ranks.is_rank_0 and recipe.judge.steps:
        obedience = judge_run(
            run,
            manifest,
            limits=Limits.after(state.elapsed, steps=recipe.judge.steps),
            crop=recipe.images.crop or None,
            flip=recipe.images.flip,
            device=device,
            on_progress=lambda done: on_event(Judging(done=done)),
            should_stop=should_stop,
        )
    return TrainResult(
        run=run,
        checkpoint=checkpoint_folder(run, state.step),
        finished=finished,
        step=state.step,
        elapsed=state.elapsed,
        failures=recorder.failures,
        losses=recorder.losses,
        obedience=obedience,
    )


def describe_attribute(name: str, values: tuple[str, ...]) -> str:
    """Return an attribute in one line, for example "hair: black | blond | red"."""
    return f"{name}: {' | '.join(values)}"


def _describe_space(space: LabelSpace) -> str:
    text = ", ".join(describe_attribute(attribute.name, attribute.values) for attribute in space.attributes)
    return f"{text} ({describe_sets(space)})" if space.label_sets else text


def _training_rows(manifest: Manifest) -> Manifest:
    refuse_split_leaks(manifest)
    labelled = (manifest.codes >= 0).any(axis=1)
    rows = manifest.select(manifest.split_mask(["train"]) & labelled)
    if not len(rows.rows):
        raise ManifestError(
            f"{manifest.title}: no row has split train and a label; there is nothing to learn from"
        )
    for label_set, names in enumerate(rows.space.label_sets):
        if label_set not in rows.label_set_of_rows():
            raise ManifestError(
                f"{manifest.title}: no row has split train and a label of {', '.join(names)}; there is nothing to "
                "learn about them from. Leave them out with --attributes, or give them training rows"
            )
    varied = [
        attribute.name
        for attribute, codes in zip(rows.space.attributes, rows.codes.T, strict=True)
        if len(np.unique(codes[codes >= 0])) > 1
    ]
    if not varied:
        raise ManifestError(
            f"{manifest.title}: the training rows are all of one domain. StarGAN learns from differences: at "
            "least one attribute must have two values among the rows with split train"
        )
    return rows


def _target_weights(targets: Targets, rarity: NDArray[np.float64]) -> NDArray[np.float64] | None:
    match targets:
        case "permuted":
            return None
        case "drawn":
            return np.ones_like(rarity)
        case "balanced":
            return rarity


def _open_run(
    run: Path, manifest: Manifest, recipe: Recipe, *, resume: bool, config: TrainConfig, device: torch.device
) -> TrainState:
    settings = run / _SETTINGS
    _refuse_second_start(run, resume=resume)
    if settings.exists():
        _refuse_other_settings(settings, recipe)
    try:
        run.mkdir(parents=True, exist_ok=True)
        header = [*(f"Manifest: {path}" for path in manifest.paths), "Resume with: --resume"]
        write_recipe(settings, recipe, header=header)
        remove_incomplete(run / "checkpoints")
    except OSError as error:
        raise OutputError(f"{run} cannot be written ({error.strerror or error})") from None
    try:
        checkpoint = find_checkpoint(run)
    except CheckpointError:
        return _fresh_state(manifest, recipe, config, device)
    try:
        learnt = load_model(checkpoint).space
        state = load_state(checkpoint, config=config, device=device)
    except CheckpointError as error:
        raise OutputError(f"{error}. Delete {checkpoint} to resume from the checkpoint before it") from None
    if learnt != manifest.space:
        raise OutputError(
            f"{manifest.title}: the attributes are not those that {run} was started with. They were "
            f"{_describe_space(learnt)}; now they are {_describe_space(manifest.space)}"
        )
    return state


def _follow(
    run: Path, step: object, manifest: Manifest, recipe: Recipe, *, config: TrainConfig, device: torch.device
) -> TrainState:
    """Return the state that the leading process starts from: at the step that it found in the run folder."""
    match step:
        case 0:
            return _fresh_state(manifest, recipe, config, device)
        case int():
            return load_state(checkpoint_folder(run, step), config=config, device=device)
        case _:
            raise OutputError(f"{run}: the leading process could not open the run")


def _refuse_second_start(run: Path, *, resume: bool) -> None:
    """Refuse a folder that holds a run already, unless that is to go on."""
    if not resume and (run / _SETTINGS).exists():
        raise OutputError(f"{run} holds a run already. Add --resume to go on with it, or give another --out")


def _refuse_other_settings(settings: Path, recipe: Recipe) -> None:
    before, now = read_recipe(settings).model_dump(mode="json"), recipe.model_dump(mode="json")
    for name in _MAY_CHANGE:
        before["training"].pop(name)
        now["training"].pop(name)
    del before["judge"], now["judge"]  # it works on the finished run
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


def _fresh_state(manifest: Manifest, recipe: Recipe, config: TrainConfig, device: torch.device) -> TrainState:
    generator, discriminator = untrained_networks(recipe, manifest.space, seed=config.seed)
    return new_state(generator=generator.to(device), discriminator=discriminator.to(device), config=config)


def _started(rows: Manifest, state: TrainState, device: torch.device, ranks: Ranks) -> Started:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return Started(
        images=len(rows.rows),
        attributes=tuple(describe_attribute(a.name, a.values) for a in rows.space.attributes),
        generator_parameters=sum(weight.numel() for weight in state.generator.parameters()),
        discriminator_parameters=sum(weight.numel() for weight in state.discriminator.parameters()),
        device=name if ranks.world_size == 1 else f"{ranks.world_size} processes, {name}",
        step=state.step,
        notes=rows.notes,
    )


def _divergence(run: Path, error: DivergenceError) -> str:
    return (
        f"training diverged: {error}. {last_checkpoint(run)} Try a lower training.learning_rate (half of it), or "
        "another training.objective, in a new run"
    )


def _sample_images(manifest: Manifest, recipe: Recipe) -> Samples:
    """Return the sources of the sample grids: validation rows if there are any."""
    splits = ["val"] if manifest.split_mask(["val"]).any() else ["train"]
    settings = recipe.images
    shown = read_samples(
        manifest,
        splits=splits,
        size=settings.height_width,
        channels=settings.channels,
        crop=settings.crop or None,
        most=_SAMPLE_ROWS,
    )
    if not shown.images:
        raise ManifestError(f"{manifest.title}: no image of {splits[0]} can be read; augmentor check says why")
    return shown
