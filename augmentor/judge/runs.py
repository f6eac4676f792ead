"""A model's judge: made when its training ends, or when it is asked for, and what it says of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from augmentor.data import NO_DESCRIPTION, ForeignDescription, model_crop, open_model, read_model_manifest
from augmentor.data.manifest import Manifest, refuse_all_outside, refuse_split_leaks
from augmentor.errors import AugmentorError, OutputError
from augmentor.judge.limits import JudgingStopped, Limits, TimeBudget
from augmentor.judge.making import BuiltJudge, make_judge, read_shown
from augmentor.judge.measuring import JUDGE_MADE, measure_target_accuracy, target_accuracy_of
from augmentor.judge.obedience import TargetAccuracy, read_target_accuracy, write_target_accuracy
from augmentor.judge.reading import InputSettings
from augmentor.judge.stored import KeptJudge, load_judge, open_judge, save_judge
from augmentor.storage import MAX_PIXELS
from stargan.checkpoints import CheckpointError, Model, find_checkpoint, load_discriminator, load_model

ASKED_SECONDS = 60.0
"""The time that judging may take where it was asked for by itself."""


def judge_run(
    run: Path,
    manifest: Manifest,
    *,
    limits: Limits,
    crop: int | None,
    flip: bool,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda _share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TargetAccuracy | None:
    """Make the judge of a run's newest checkpoint, keep it there, and let it say whether the model obeys.

    What is there already is only read: a judge is never trained again, nor obedience measured again.

    Args:
        run: the run folder.
        manifest: what it was trained on, in its label space.
        limits: how much it may cost.
        crop: side of the centred square that is cut out of each image first, or None.
        flip: whether mirrored images keep their labels.
        device: where to compute.
        on_progress: told the share that is done, in [0, 1].
        should_stop: asked often; True gives up.

    Returns:
        What was measured; None if it was stopped.

    Raises:
        AugmentorError: a file cannot be written.
    """
    checkpoint = find_checkpoint(run)
    model, there = load_model(checkpoint), _usable_judge(checkpoint)
    try:
        known = read_target_accuracy(run, model)
    except OutputError:
        known = None  # damaged: what is measured now takes its place
    if known is not None and there is not None:
        return known
    clock = TimeBudget(seconds=limits.seconds, on_progress=on_progress, should_stop=should_stop)
    looks = InputSettings(size=model.image_size, channels=model.image_channels, crop=crop, flip=flip)
    try:
        if there is None:
            made = make_kept(checkpoint, model, manifest, looks=looks, limits=limits, clock=clock, device=device)
            made = replace(made, kept=save_judge(checkpoint, made.kept))
        else:
            made = _made_before(there, manifest, looks=looks, clock=clock)
        obedience = target_accuracy_of(model, made, device=device, clock=clock)
    except JudgingStopped:
        return None
    write_target_accuracy(run, obedience)
    return obedience


def judge_model(
    path: Path,
    manifest: Path,
    *,
    image_column: str | None,
    device: torch.device,
    description: ForeignDescription = NO_DESCRIPTION,
    max_pixels: int = MAX_PIXELS,
    allow_outside: bool = False,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> TargetAccuracy:
    """Measure with a model's own judge, or a new one, whether it obeys; a run folder's obedience.json is written.

    Args:
        path: a run folder, a checkpoint, or a foreign file.
        manifest: the user's table.
        image_column: the column of the images' paths, if it has an unusual name.
        device: where to compute.
        description: what a foreign file does not say of itself.
        max_pixels: images of more pixels (width x height) are not read.
        allow_outside: images may lie outside the manifest's folder.
        on_progress: told the share that is done, in [0, 1].

    Raises:
        AugmentorError: the model, its judge or the manifest cannot be used.
    """
    model = open_model(path, description)
    table = read_model_manifest(manifest, model, image_column=image_column)
    table = checked(table, max_pixels=max_pixels, allow_outside=allow_outside)
    looks, kept, limits = model_looks(model), open_judge(path), _trained_limits(model)
    if kept is None:
        obedience = measure_target_accuracy(
            model,
            table,
            limits=limits,
            crop=looks.crop,
            flip=looks.flip,
            device=device,
            on_progress=on_progress,
        )
    else:
        kept = kept.for_model(model, crop=looks.crop, where=f"--model {path}")
        clock = TimeBudget(seconds=limits.seconds, on_progress=on_progress, should_stop=lambda: False)
        made = _made_before(kept, table, looks=looks, clock=clock)
        obedience = target_accuracy_of(model, made, device=device, clock=clock)
    if (path / "checkpoints").is_dir():
        write_target_accuracy(path, obedience)
    return obedience


def model_looks(model: Model) -> InputSettings:
    """Return what images a model's judge looks at: the model's."""
    images = model.settings.get("images")
    flip = bool(images.get("flip", True)) if isinstance(images, dict) else True
    return InputSettings(size=model.image_size, channels=model.image_channels, crop=model_crop(model), flip=flip)


def make_kept(
    checkpoint: Path | None,
    model: Model | None,
    manifest: Manifest,
    *,
    looks: InputSettings,
    limits: Limits,
    clock: TimeBudget,
    device: torch.device,
    share: float = JUDGE_MADE,
) -> BuiltJudge:
    """Make a judge, with what it must know of a model's discriminator; see `make_judge`.

    Args:
        checkpoint: where the discriminator lies, or None.
        model: what the judge is to belong to, or None.
        manifest: the user's table; its label space is the judge's.
        looks: what images it looks at.
        limits: how much it may cost.
        clock: says how much time is left.
        device: where to compute.
        share: of the clock's time, for this.

    Raises:
        AugmentorError: the discriminator is damaged, or there is nothing to learn from.
    """
    try:
        discriminator = None if checkpoint is None else load_discriminator(checkpoint)
    except CheckpointError as error:
        raise AugmentorError(str(error)) from error
    return make_judge(
        manifest,
        looks=looks,
        limits=limits,
        clock=clock,
        device=device,
        share=share,
        model=model,
        discriminator=None if discriminator is None else discriminator.to(device),
    )


def _made_before(kept: KeptJudge, manifest: Manifest, *, looks: InputSettings, clock: TimeBudget) -> BuiltJudge:
    clock.part(0, JUDGE_MADE)
    shown, unreadable = read_shown(manifest, looks=looks, clock=clock)
    return BuiltJudge(kept=kept, shown=shown.data, unreadable=unreadable)


def _usable_judge(checkpoint: Path) -> KeptJudge | None:
    try:
        return load_judge(checkpoint)
    except CheckpointError:
        return None  # damaged: a new one takes its place


def checked(table: Manifest, *, max_pixels: int, allow_outside: bool) -> Manifest:
    """Return a table that may be judged with: no subject in two splits, and some images that may be read."""
    table = table.allowing(outside=allow_outside, max_pixels=max_pixels)
    refuse_split_leaks(table)
    refuse_all_outside(table)
    return table


def _trained_limits(model: Model) -> Limits:
    """Return the limits that its recipe set for the judge, or those of what is asked for by itself."""
    recipe = model.settings.get("recipe")
    judging = recipe.get("judge") if isinstance(recipe, dict) else None
    steps = judging.get("steps") if isinstance(judging, dict) else None
    return Limits(steps=steps) if isinstance(steps, int) and steps > 0 else Limits(seconds=ASKED_SECONDS)
