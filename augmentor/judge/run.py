"""Judge of a model or a manifest: built after training or on request, and measuring target accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from augmentor.data import NO_DESCRIPTION, ForeignDescription, model_crop, open_model, read_model_manifest
from augmentor.data.manifest import (
    AS_WRITTEN,
    Manifest,
    TableReading,
    read_manifest,
    refuse_split_leaks,
    refuse_unreachable,
)
from augmentor.errors import AugmentorError, OutputError
from augmentor.images import DEFAULT_SIDE, parse_size
from augmentor.judge.build import BATCH, BuiltJudge, make_judge, with_model, with_validation
from augmentor.judge.classifier import likeliest
from augmentor.judge.data import InputSettings, subject_halves
from augmentor.judge.distances import FeatureSet
from augmentor.judge.limits import JudgingStopped, Limits, TimeBudget
from augmentor.judge.measures import detail_ratio, mask_share
from augmentor.judge.report import rounded
from augmentor.judge.stored import KeptJudge, load_judge, open_judge, save_judge
from augmentor.judge.target_accuracy import (
    TargetAccuracy,
    advice,
    attribute_accuracies,
    domain_realism,
    read_target_accuracy,
    write_target_accuracy,
)
from augmentor.judge.translations import JudgedTranslations, requested_targets, translate_and_judge
from augmentor.planning import parse_domains
from augmentor.storage import MAX_PIXELS
from stargan.checkpoints import CheckpointError, Model, find_checkpoint, load_model, newest_checkpoint
from stargan.inference import Translator

_REQUESTED_SECONDS = 60.0
"""Time for judging without a training before it."""

_MOST_STEPS = 10_000
"""Maximum of steps where minutes are given."""

_MOST_TRANSLATIONS = 4096

_BUILT, _TRANSLATED = 0.7, 0.9
"""Shares of the time at which building the judge and translating end; distances have the rest."""

_MASKS = 128
"""Translations whose masks are measured."""

_READ = 0.5
"""Share of the time for reading validation images where the judge is there already."""

TRAINED = "judge"
"""In a run folder: the judge that was built during the training."""


def judge_of_training(
    run: Path,
    manifest: Manifest,
    *,
    looks: InputSettings,
    limits: Limits,
    device: torch.device,
    validation: int | None = None,
    on_progress: Callable[[float], None] = lambda _share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> BuiltJudge:
    """Return the judge of a run in training with its validation images; build and save it if there is none yet.

    Args:
        run: the run folder.
        manifest: the training data.
        looks: the form of the model's images.
        limits: of the judge and of the target accuracy after the training.
        device: where to compute.
        validation: number of validation images; None for as many as there is time for.
        on_progress: called with the share that is done, in [0, 1].
        should_stop: called often; True stops.

    Raises:
        JudgingStopped: `should_stop` returned True; nothing was written.
        AugmentorError: a file cannot be written.
    """
    kept = _of_training(run, limits)
    if kept is not None:
        clock = TimeBudget(Limits(), on_progress=on_progress, should_stop=should_stop)
        most = {} if validation is None else {"most": validation}
        return with_validation(kept, manifest, looks=looks, clock=clock, **most)
    limits = replace(limits, seconds=_BUILT * limits.seconds)
    clock = TimeBudget(limits, on_progress=on_progress, should_stop=should_stop)
    built = make_judge(manifest, looks=looks, clock=clock, device=device)
    return replace(built, kept=save_judge(run / TRAINED, built.kept))


def _of_training(run: Path, limits: Limits) -> KeptJudge | None:
    """Return the judge of a run's training; None if there is none, or it is damaged or had other steps."""
    try:
        kept = load_judge(run / TRAINED)
    except CheckpointError:
        return None  # a new one replaces it
    return kept if kept is not None and limits.steps in (None, kept.report.steps) else None


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
    """Save the judge of a run's checkpoint beside it, and measure the model's target accuracy.

    The checkpoint is the one to translate with; the newest one gets a judge, too. The judge is the one that is
    there, that of the training, or a new one. A measurement that is there is returned.

    Args:
        run: the run folder.
        manifest: the training data, in the model's label space.
        limits: steps and seconds.
        crop: side of the centred square that is cut out of each image first, or None.
        flip: whether mirrored images keep their labels.
        device: where to compute.
        on_progress: called with the share that is done, in [0, 1].
        should_stop: called often; True stops, and the result is None.

    Raises:
        AugmentorError: a file cannot be written.
    """
    checkpoint = find_checkpoint(run)
    model = load_model(checkpoint)
    try:
        kept = load_judge(checkpoint)
    except CheckpointError:
        kept = None  # damaged: a new one replaces it
    try:
        known = read_target_accuracy(run, model)
    except OutputError:
        known = None  # damaged: the new measurement replaces it
    if known is not None and kept is not None:
        return known
    clock = TimeBudget(limits, on_progress=on_progress, should_stop=should_stop)
    looks = InputSettings(size=model.image_size, channels=model.image_channels, crop=crop, flip=flip)
    try:
        trained = _of_training(run, limits) if kept is None else None
        if trained is not None:
            # Most of the time was for building it.
            rest = replace(limits, seconds=(1 - _BUILT) * limits.seconds)
            clock = TimeBudget(rest, on_progress=on_progress, should_stop=should_stop)
            clock.part(0, _READ)
            built = with_validation(trained, manifest, looks=looks, clock=clock)
            newest = newest_checkpoint(run)
            clock.part(_READ, (_READ + _BUILT) / 2)
            if newest != checkpoint:
                last = with_model(built, load_model(newest), newest, device=device, clock=clock)
                save_judge(newest, last.kept)
            clock.part((_READ + _BUILT) / 2, _BUILT)
            built = with_model(built, model, checkpoint, device=device, clock=clock)
        else:
            built = _built(kept, model, manifest, looks=looks, clock=clock, device=device, checkpoint=checkpoint)
        if kept is None:
            built = replace(built, kept=save_judge(checkpoint, built.kept))
        found = _target_accuracy(model, built, device=device, clock=clock)
    except JudgingStopped:
        return None
    write_target_accuracy(run, found)
    return found


def judge_model(
    path: Path,
    manifest: Path,
    *,
    reading: TableReading,
    device: torch.device,
    description: ForeignDescription = NO_DESCRIPTION,
    max_pixels: int = MAX_PIXELS,
    allow_outside: bool = False,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> TargetAccuracy:
    """Measure a model's target accuracy with its own judge, or a new one; write it into a run folder.

    `path` is a run folder, a checkpoint, or a foreign file with its description; images of more than `max_pixels`
    (width x height) are not read; `on_progress` is called with the share that is done, in [0, 1].

    Raises:
        AugmentorError: the model, its judge or the manifest cannot be used.
    """
    model = open_model(path, description)
    table = read_model_manifest(manifest, model, reading=reading)
    table = _checked(table, max_pixels=max_pixels, allow_outside=allow_outside)
    kept = open_judge(path)
    if kept is not None:
        kept = kept.for_model(model, crop=model_crop(model), where=f"--model {path}")
    found = measure_target_accuracy(
        model, table, kept=kept, limits=_trained_limits(model), device=device, on_progress=on_progress
    )
    if (path / "checkpoints").is_dir():
        write_target_accuracy(path, found)
    return found


def measure_target_accuracy(
    model: Model,
    manifest: Manifest,
    *,
    limits: Limits,
    device: torch.device,
    kept: KeptJudge | None = None,
    on_progress: Callable[[float], None] = lambda _share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TargetAccuracy:
    """Translate validation rows, and count in how many translations a judge recognises the target.

    `kept` is the judge; None builds one, which is not saved. Validation rows that are held out of train are rows
    that the model was trained on.
    """
    clock = TimeBudget(limits, on_progress=on_progress, should_stop=should_stop)
    built = _built(kept, model, manifest, looks=model_looks(model), clock=clock, device=device)
    return _target_accuracy(model, built, device=device, clock=clock)


def _built(
    kept: KeptJudge | None,
    model: Model,
    manifest: Manifest,
    *,
    looks: InputSettings,
    clock: TimeBudget,
    device: torch.device,
    checkpoint: Path | None = None,
) -> BuiltJudge:
    """Return a judge with its validation images: `kept`, or a new one, which belongs to a checkpoint if any."""
    if kept is not None:
        clock.part(0, _BUILT)
        return with_validation(kept, manifest, looks=looks, clock=clock)
    owner = None if checkpoint is None else model
    return make_judge(
        manifest, looks=looks, clock=clock, device=device, share=_BUILT, model=owner, checkpoint=checkpoint
    )


def _target_accuracy(
    model: Model, built: BuiltJudge, *, device: torch.device, clock: TimeBudget
) -> TargetAccuracy:
    """Translate validation images; compare predictions with targets, and translations with real images."""
    clock.part(_BUILT, _TRANSLATED)
    judge, validation, report = built.kept.judge, built.validation, built.kept.report
    judge.network.to(device)
    translator = Translator(model, device=device, batch_size=BATCH)

    def translate(rows: Tensor, targets: Tensor) -> JudgedTranslations:
        def go_on(done: int) -> bool:
            clock.report(done / len(rows))
            return not clock.over()

        return translate_and_judge(judge, translator, validation, rows, targets, batch_size=BATCH, go_on=go_on)

    some = torch.arange(min(len(validation), 2 * BATCH))
    some = some[model.supports(validation.codes[some])]
    identity = translate(some, validation.codes[some])
    each = parse_domains(["each"], model.space)
    rows, targets = requested_targets(validation, each, model.space, most=_MOST_TRANSLATIONS)
    reached = model.supports(targets)
    translated = translate(rows[reached], targets[reached])
    clock.report(1.0)
    clock.part(_TRANSLATED, 1)
    seen = judge.outputs(validation.images)
    domains, left_out = domain_realism(
        translated,
        FeatureSet(seen.features, validation.codes),
        groups=built.groups,
        space=model.space,
        go_on=lambda: not clock.over(),
    )
    some = torch.linspace(0, len(translated) - 1, min(len(translated), _MASKS)).round().long()
    sources = translated.rows[some]
    asked = model.space.to_one_label_set(translated.targets[some], validation.codes[sources])
    mask = mask_share(model, validation.images[sources], asked, go_on=lambda: not clock.over())
    detail = None
    if len(sources) and not clock.over():
        halves = subject_halves(built.groups)
        into = halves[sources] == halves[sources[:1]]  # of one half of the subjects, compared with the other
        made = translator.translate(validation.images[sources[into]], asked[into], sources[into])
        others = validation.images[halves != halves[sources[:1]]]
        detail = detail_ratio(made, validation.images[sources[into]], others)
    clock.report(1.0)
    return TargetAccuracy(
        step=model.step,
        model_sha256=model.sha256,
        sources=report.validation,
        images=len(validation),
        translations=len(translated),
        judge_steps=report.steps,
        judge_images=report.images,
        unreadable=built.unreadable,
        seconds=round(clock.passed, 3),
        identity_change=rounded(float(identity.change.mean())) if len(identity) else None,
        attributes=attribute_accuracies(
            likeliest(seen.logits, model.space), validation.codes, translated, model.space
        ),
        advice=advice(model),
        domains=domains,
        distances_left_out=left_out,
        mask_share=None if mask is None else rounded(mask),
        hue_introduced=rounded(translated.hue),
        detail=None if detail is None else rounded(detail),
    )


def model_looks(model: Model) -> InputSettings:
    """Return the form of a model's images, which is that of its judge."""
    images = model.settings.get("images")
    flip = bool(images.get("flip", True)) if isinstance(images, dict) else True
    return InputSettings(size=model.image_size, channels=model.image_channels, crop=model_crop(model), flip=flip)


def _checked(table: Manifest, *, max_pixels: int, allow_outside: bool) -> Manifest:
    """Return the table with its access rules; refuse subjects in two splits, and images that are all outside."""
    table = table.allowing(outside=allow_outside, max_pixels=max_pixels)
    refuse_split_leaks(table)
    refuse_unreachable(table)
    return table


def _trained_limits(model: Model) -> Limits:
    """Return the limits that a model's recipe sets for the judge, or the default ones."""
    recipe = model.settings.get("recipe")
    section = recipe.get("judge") if isinstance(recipe, dict) else None
    steps = section.get("steps") if isinstance(section, dict) else None
    return Limits(steps=steps) if isinstance(steps, int) and steps > 0 else Limits(seconds=_REQUESTED_SECONDS)


@dataclass(frozen=True, kw_only=True)
class JudgeRequest:
    """Arguments of `augmentor judge`.

    Args:
        out: the folder to write; None is the model's checkpoint.
        model: run folder, checkpoint or foreign file of the model that the judge is for, or None.
        description: what a foreign file does not describe.
        attributes: the manifest's columns to use where there is no model; none takes all.
        reading: how the manifest's cells are read.
        size: of images where there is no model, "128" or WIDTHxHEIGHT; None is the default recipe's.
        crop: side of the centred square that is cut out first where there is no model, or None.
        flip: whether mirrored images keep their labels; a model's own setting forbids it, too.
        minutes: about how long it may take; without minutes and steps one minute, and 2,000 steps at most.
        weights: of a pretrained ResNet-18, of which the head alone is trained; None trains a network from scratch.
        max_pixels: images of more pixels (width x height) are not read.
        allow_outside: images may be outside the manifest's folder.
    """

    manifest: Path
    out: Path | None = None
    model: Path | None = None
    description: ForeignDescription = NO_DESCRIPTION
    attributes: Sequence[str] = ()
    reading: TableReading = AS_WRITTEN
    size: str | None = None
    crop: int | None = None
    flip: bool = True
    steps: int | None = None
    minutes: float | None = None
    weights: Path | None = None
    max_pixels: int = MAX_PIXELS
    allow_outside: bool = False

    def __post_init__(self) -> None:
        """Refuse options that exclude each other, by the names of their flags."""
        if self.steps is not None and self.minutes is not None:
            raise AugmentorError("--minutes and --steps exclude each other: give one of them")
        if self.model is None and self.out is None:
            raise AugmentorError("--out says where to write the judge; only with --model can it be left out")
        if self.model is not None and (self.size is not None or self.crop is not None):
            raise AugmentorError("--size and --crop are the model's; leave them out, or --model")
        if self.model is not None and self.out is None and self.model.is_file():
            raise AugmentorError(f"--model {self.model} is a file: say with --out where to write its judge")

    @property
    def limits(self) -> Limits:
        """Steps and seconds that it may take."""
        if self.minutes is not None:
            return Limits(seconds=60 * self.minutes, most_steps=_MOST_STEPS)
        return Limits(steps=self.steps) if self.steps is not None else Limits(seconds=_REQUESTED_SECONDS)


@dataclass(frozen=True, kw_only=True)
class JudgeResult:
    """A judge, and the folder that it was written to."""

    out: Path
    kept: KeptJudge


def judge_manifest(
    request: JudgeRequest,
    *,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda _share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> JudgeResult:
    """Build a judge and write it; an old one is replaced when the new one is complete.

    `on_progress` is called with the share that is done, in [0, 1], `should_stop` often; True stops.

    Raises:
        JudgingStopped: `should_stop` returned True; nothing was written.
        AugmentorError: the manifest or the model cannot be used, or the judge cannot be written.
    """
    model, checkpoint = None, None
    if request.model is None:
        table = read_manifest(
            request.manifest, attributes=tuple(request.attributes) or None, reading=request.reading
        )
        size = (DEFAULT_SIDE, DEFAULT_SIDE) if request.size is None else parse_size(request.size, "--size")
        looks = InputSettings(size=size, crop=request.crop, flip=request.flip)
    else:
        model = open_model(request.model, request.description)
        table = read_model_manifest(request.manifest, model, reading=request.reading)
        looks = model_looks(model)
        looks = replace(looks, flip=looks.flip and request.flip)
        checkpoint = None if request.model.is_file() else find_checkpoint(request.model)
    table = _checked(table, max_pixels=request.max_pixels, allow_outside=request.allow_outside)
    out = request.out or checkpoint
    if out is None or out.is_file():
        raise AugmentorError(f"--out {out}: a file; --out names the folder to write the judge to")
    clock = TimeBudget(request.limits, on_progress=on_progress, should_stop=should_stop)
    built = make_judge(
        table,
        looks=looks,
        clock=clock,
        device=device,
        model=model,
        checkpoint=checkpoint,
        weights=request.weights,
    )
    on_progress(1.0)
    return JudgeResult(out=out, kept=save_judge(out, built.kept))
