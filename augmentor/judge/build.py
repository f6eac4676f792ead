"""Building a judge: training, calibration on real validation images, and thresholds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from augmentor.data.manifest import Manifest
from augmentor.errors import AugmentorError, ManifestError
from augmentor.judge.calibration import cross_fitted, fit_temperatures
from augmentor.judge.classifier import Judge, JudgeOutputs, likeliest, train_judge
from augmentor.judge.data import (
    FEWEST_IMAGES,
    InputSettings,
    LabelledImages,
    judge_split,
    read_rows,
    subject_halves,
)
from augmentor.judge.limits import TimeBudget
from augmentor.judge.report import JudgeReport, judged_attributes
from augmentor.judge.scores import patch_scores, preserved_pairs, quantiles_of, shares_below, similarities
from augmentor.judge.stored import KeptJudge
from augmentor.judge.thresholds import FEWEST, AgreementReference, Thresholds
from augmentor.judge.translations import requested_targets
from augmentor.planning import parse_domains
from stargan.checkpoints import CheckpointError, Model, load_discriminator
from stargan.inference import Translator
from stargan.labels import LabelSpace
from stargan.networks import Discriminator

_MOST_VALIDATION = 512

_MOST_TRAINING = 4096

_MOST_BYTES = 256 << 20
"""Maximum size of the training images in memory."""

_FEWEST_STEPS = 4

BATCH = 32

_LEAST_TRANSLATIONS, _MOST_TRANSLATIONS = 32, 128
"""Of validation images, scored by D."""

_TRAINING_READ, _VALIDATION_READ, _TRAINED = 0.2, 0.33, 0.92
"""Shares of the time at which reading training images, reading validation images, and training end."""

_LEAST_REALISM = 0.05
"""A translation must look as real to D as at least this share of real validation images."""

_MOST_UNREAL = 0.25
"""Share of translations that may fail this: above it, D recognises the generator's images as such."""

_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class BuiltJudge:
    """A judge, the real images that it is validated on, their subjects, and the number of unreadable images."""

    kept: KeptJudge
    validation: LabelledImages
    groups: tuple[str, ...]
    unreadable: int


def make_judge(
    manifest: Manifest,
    *,
    looks: InputSettings,
    clock: TimeBudget,
    device: torch.device,
    share: float = 1.0,
    model: Model | None = None,
    checkpoint: Path | None = None,
    weights: Path | None = None,
) -> BuiltJudge:
    """Train a judge on real training rows, and calibrate it on real validation rows, which give the thresholds.

    It also learns tampered images, which show no value. It takes `share` of the clock's time. `model` is the model
    that the judge is for, or None; `checkpoint` holds its discriminator, None for a judge without realism.
    `weights` are those of a pretrained ResNet-18, of which the head alone is trained.

    Raises:
        JudgingStopped: the user stopped it.
        AugmentorError: no training row has a label and a readable image, or the discriminator or the weights are
            damaged.
    """
    discriminator = None if checkpoint is None else _discriminator(checkpoint, device)
    split = judge_split(manifest)
    clock.part(0, _TRAINING_READ * share)
    bytes_each = math.prod(looks.size) * looks.channels
    most = min(_MOST_TRAINING, max(FEWEST_IMAGES, _MOST_BYTES // bytes_each))
    read = read_rows(manifest, split.training, looks=looks, clock=clock, most=most)
    learnt = read.data
    if not len(learnt):
        raise ManifestError(
            f"{manifest.path}: no row with split train has a label and an image that can be read, so there is "
            "nothing for the classifier to learn from"
        )
    clock.part(_TRAINING_READ * share, _VALIDATION_READ * share)
    shown = read_rows(manifest, split.validation, looks=looks, clock=clock, most=_MOST_VALIDATION)
    clock.part(_VALIDATION_READ * share, _TRAINED * share)
    judge, steps = _train(learnt, manifest.space, flip=looks.flip, weights=weights, device=device, clock=clock)
    kept = appraise(
        judge,
        shown.data,
        groups=shown.groups,
        steps=steps,
        images=len(learnt),
        validation_from=split.sources,
        rare=split.rare,
        crop=looks.crop,
        discriminator=discriminator,
        model_sha256=None if model is None else model.sha256,
    )
    clock.part(_TRAINED * share, share)
    if model is not None and discriminator is not None:
        kept = with_realism(kept, _some_translations(model, shown.data, device=device, clock=clock), discriminator)
    unreadable = read.unreadable + shown.unreadable
    return BuiltJudge(kept=kept, validation=shown.data, groups=shown.groups, unreadable=unreadable)


def with_validation(
    kept: KeptJudge, manifest: Manifest, *, looks: InputSettings, clock: TimeBudget, most: int = _MOST_VALIDATION
) -> BuiltJudge:
    """Return a judge of an earlier call with real validation images of a manifest, `most` at most."""
    read = read_rows(manifest, judge_split(manifest).validation, looks=looks, clock=clock, most=most)
    return BuiltJudge(kept=kept, validation=read.data, groups=read.groups, unreadable=read.unreadable)


def with_model(
    built: BuiltJudge, model: Model, checkpoint: Path, *, device: torch.device, clock: TimeBudget
) -> BuiltJudge:
    """Return a judge that was built without a model with the realism of the discriminator in a checkpoint."""
    kept, shown = replace(built.kept, model_sha256=model.sha256), built.validation
    discriminator = _discriminator(checkpoint, device)
    if discriminator is not None:
        kept = replace(kept, realism=_realism(discriminator, shown, model.space))
        kept = with_realism(kept, _some_translations(model, shown, device=device, clock=clock), discriminator)
    return replace(built, kept=kept)


def _discriminator(checkpoint: Path, device: torch.device) -> Discriminator | None:
    """Return a checkpoint's discriminator; None without one, or if it scores no image without its source."""
    try:
        discriminator = load_discriminator(checkpoint)
    except CheckpointError as error:
        raise AugmentorError(str(error)) from error
    return None if discriminator is None or discriminator.sees_source else discriminator.to(device)


def _realism(discriminator: Discriminator, shown: LabelledImages, space: LabelSpace) -> tuple[float, ...] | None:
    if not len(shown):
        return None
    own = space.to_one_label_set(shown.codes, shown.codes)
    return quantiles_of(patch_scores(discriminator, shown.images, own, space))


def _some_translations(
    model: Model, shown: LabelledImages, *, device: torch.device, clock: TimeBudget
) -> LabelledImages:
    """Translate real images, each attribute in turn; return the translations with the targets that D scores."""
    rows, targets = requested_targets(shown, parse_domains(["each"], model.space), model.space)
    reached = model.supports(targets)
    rows, targets = rows[reached], targets[reached]
    some = torch.linspace(0, max(0, len(rows) - 1), min(len(rows), _MOST_TRANSLATIONS)).round().long()
    order = some[torch.randperm(len(some), generator=torch.Generator().manual_seed(0))]
    asked = model.space.to_one_label_set(targets[order], shown.codes[rows[order]])
    translator, pictures = Translator(model, device=device, batch_size=BATCH), list[Tensor]()
    for start in range(0, len(order), BATCH):
        if start >= _LEAST_TRANSLATIONS and clock.over():
            break
        some = rows[order[start : start + BATCH]]
        pictures.append(translator.translate(shown.images[some], asked[start : start + BATCH], some))
        clock.report(start / len(order))
    images = torch.cat(pictures) if pictures else shown.images[:0]
    return LabelledImages(images=images, codes=asked[: len(images)])


def _train(
    data: LabelledImages,
    space: LabelSpace,
    *,
    flip: bool,
    weights: Path | None,
    device: torch.device,
    clock: TimeBudget,
) -> tuple[Judge, int]:
    """Train the judge; without a set number of steps, for as many as there is time for by the speed of two."""
    train = partial(
        train_judge, data, space=space, seed=0, device=device, flip=flip, weights=weights, tampering=True
    )
    steps = clock.limits.steps
    if steps is None:
        moments: list[float] = []

        def note(_step: int) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            moments.append(time.monotonic())
            clock.check()

        train(steps=2, on_step=note)
        # The first step is slow: it sets things up.
        possible = clock.left() / max(moments[1] - moments[0], 1e-6)
        steps = round(min(clock.limits.most_steps, max(_FEWEST_STEPS, possible)))
    return train(steps=steps, on_step=lambda step: clock.report(step / steps)), steps


def appraise(
    judge: Judge,
    validation: LabelledImages,
    *,
    groups: Sequence[str],
    steps: int,
    images: int,
    validation_from: str,
    rare: tuple[str, ...] = (),
    crop: int | None,
    discriminator: Discriminator | None = None,
    model_sha256: str | None = None,
) -> KeptJudge:
    """Calibrate a judge on real images that it was not trained on, and store what scores are compared with.

    `groups` are the images' subjects ("" is one of its own); `steps` and `images` count the judge's training;
    `validation_from` and `rare` are those of `JudgeSplit`; discriminator and SHA-256 are of the judge's model.
    """
    space, codes = judge.space, validation.codes
    _, channels, height, width = validation.images.shape
    seen = judge.outputs(validation.images)
    judge = replace(judge, temperatures=fit_temperatures(seen.logits, codes, space))
    # What is reported of a temperature or a threshold comes from other subjects than those that it was fitted to.
    half = subject_halves(groups)
    held_out = cross_fitted(seen.logits, codes, space, half)
    attributes = judged_attributes(
        seen.logits,
        likeliest(seen.logits, space),
        codes,
        temperatures=judge.temperatures,
        space=space,
        held_out=held_out,
    )
    trusted = torch.tensor([attribute.trusted for attribute in attributes], dtype=torch.bool)
    mean = seen.features.mean(dim=0) if len(seen.features) else torch.zeros(seen.features.shape[1])
    preserved = _pairs(judge, seen, codes, groups, mean)
    reference = AgreementReference(
        probabilities=judge.calibrated(seen.logits, held_out), codes=codes, space=space, trusted=trusted, half=half
    )
    # None for preserved: it measures how little changes, not how good a translation is (BENCHMARKS.md, the gate).
    thresholds = Thresholds(agreement=reference.threshold)
    return KeptJudge(
        judge=judge,
        report=JudgeReport(
            steps=steps,
            images=images,
            validation=validation_from,
            attributes=attributes,
            rare=rare,
        ),
        image_size=(height, width),
        image_channels=channels,
        crop=crop,
        mean=mean,
        realism=None if discriminator is None else _realism(discriminator, validation, space),
        preserved=quantiles_of(preserved),
        auto=thresholds,
        reference=reference,
        notes=(*_notes(reference), *_rare_notes(rare)),
        model_sha256=model_sha256,
    )


def with_realism(kept: KeptJudge, translations: LabelledImages, discriminator: Discriminator) -> KeptJudge:
    """Return the judge with a threshold of realism, or a floor of D's score where that would reject too many.

    `translations` are of validation images, with their targets.
    """
    if not kept.realism:
        return kept
    space, real = kept.judge.space, torch.tensor(kept.realism, dtype=torch.float64)
    scores = patch_scores(discriminator, translations.images, translations.codes, space)
    unreal = float((shares_below(scores, real) < _LEAST_REALISM).double().mean()) if len(scores) else 0.0
    if len(real) < FEWEST or len(scores) < FEWEST:
        note = (
            "There are too few validation images for a threshold of realism: only translations are rejected that "
            "the discriminator finds less real than the least real of them and of their translations by more than "
            "the range of all their scores."
        )
        lowest, highest = torch.cat([real, scores]).aminmax()
        floor = float(2 * lowest - highest)
        return replace(kept, floor=floor, notes=(*kept.notes, note))
    judged = f"{unreal:.1%} of {len(translations)} translations of validation images look less real to the "
    if unreal <= _MOST_UNREAL:
        note = f"{judged}discriminator than {1 - _LEAST_REALISM:.0%} of real ones; such are rejected."
        return replace(kept, auto=replace(kept.auto, realism=_LEAST_REALISM), notes=(*kept.notes, note))
    note = (
        f"{judged}discriminator than {1 - _LEAST_REALISM:.0%} of real ones: it tells the model's pictures apart "
        f"as such. The {_LEAST_REALISM:.0%} least real of them are rejected."
    )
    floor = float(torch.quantile(scores, _LEAST_REALISM))
    return replace(kept, floor=floor, notes=(*kept.notes, note))


def _pairs(judge: Judge, seen: JudgeOutputs, codes: Tensor, groups: Sequence[str], mean: Tensor) -> Tensor:
    first, second, changed = preserved_pairs(codes, groups, judge.space)
    head = judge.network.head.weight.detach().cpu()
    return similarities(
        seen.features[first], seen.features[second], changed, mean=mean, head=head, space=judge.space
    )


def _rare_notes(rare: Sequence[str]) -> tuple[str, ...]:
    if not rare:
        return ()
    more = f" and {len(rare) - _NAMED} more" if len(rare) > _NAMED else ""
    return (f"Too rare to be among the validation images: {'; '.join(rare[:_NAMED])}{more}.",)


def _notes(reference: AgreementReference) -> tuple[str, ...]:
    least, offers = reference.threshold, reference.offers
    if least is None:
        return ("The judge can be trusted with no attribute, so nothing is gated on agreement.",)
    if offers is None:
        return (
            f"{len(reference.codes)} validation images are too few to read thresholds from: translations need an "
            f"agreement of {least:g}, and nothing else is asked of them.",
        )
    notes = (
        f"An agreement of {least:.3g} rejects {offers.false_rejected:.1%} of real validation "
        f"images under a label changed to a wrong one, and keeps {offers.true_kept:.1%} of them under their own.",
    )
    lowered = reference.lowered()
    if not lowered:
        return notes
    attributes = reference.space.attributes
    named = [
        f"{least:.2f} for {' with '.join(f'{attributes[a].name}={attributes[a].values[x]}' for a, x in values)}"
        for values, least in lowered[:_NAMED]
    ]
    more = f" and {len(lowered) - _NAMED} more" if len(lowered) > _NAMED else ""
    return (
        *notes,
        f"The judge knows the real images of some pairs of values less well, and asks less of translations into "
        f"them: {', '.join(named)}{more}. About a value that the source has already it is not asked there.",
    )
