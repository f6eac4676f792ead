"""What is learnt of a judge from real validation images: temperatures, worth, references and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from augmentor.judge.calibration import fit_temperatures
from augmentor.judge.classifier import Judge, JudgeOutputs, LabelledImages
from augmentor.judge.likeness import patch_scores, quantiles_of, shares_below, similarities
from augmentor.judge.report import JudgeReport, judged_attributes
from augmentor.judge.stored import KeptJudge
from augmentor.judge.thresholds import Thresholds, preserved_pairs
from augmentor.judge.yardstick import FEWEST, AgreementReference
from stargan.networks import Discriminator

_LEAST_REALISM = 0.05
"""A translation must look as real to D as at least this share of real validation images."""

_MOST_UNREAL = 0.25
"""Share of translations that may fail this: where it is more, D tells the generator's pictures apart as such."""


_NAMED = 3
"""Pairs of values with a lower threshold that are named."""


def appraise(
    judge: Judge,
    validation: LabelledImages,
    *,
    groups: Sequence[str],
    steps: int,
    images: int,
    validation_from: str,
    crop: int | None,
    discriminator: Discriminator | None = None,
    model_sha256: str | None = None,
) -> KeptJudge:
    """Try a judge on real images that it did not learn from, and note all that scores are compared with.

    Args:
        judge: newly trained.
        validation: real images with labels.
        groups: the subject of each; "" is one of its own.
        steps: optimisation steps of the judge.
        images: real training images that it learnt from.
        validation_from: "val" or "held out of train".
        crop: side of the centred square that was cut out of images first, or None.
        discriminator: the model's, where the judge is to belong to one.
        model_sha256: of that model's weights.
    """
    space, codes = judge.space, validation.codes
    _, channels, height, width = validation.images.shape
    seen = judge.see(validation.images)
    judge = replace(judge, temperatures=fit_temperatures(seen.logits, codes, space))
    attributes = judged_attributes(
        seen.logits, judge.likeliest(seen.logits), codes, temperatures=judge.temperatures, space=space
    )
    trusted = torch.tensor([attribute.trusted for attribute in attributes], dtype=torch.bool)
    mean = seen.features.mean(dim=0) if len(seen.features) else torch.zeros(seen.features.shape[1])
    preserved = _pairs(judge, seen, codes, groups, mean)
    yardstick = AgreementReference(
        probabilities=judge.calibrated(seen.logits), codes=codes, space=space, trusted=trusted
    )
    # None for preserved: measured, it says how shy a translation is, not how good (BENCHMARKS.md, the gate).
    thresholds = Thresholds(agreement=yardstick.threshold)
    realism = None
    if discriminator is not None and len(codes):
        own = space.to_one_label_set(codes, codes)
        realism = quantiles_of(patch_scores(discriminator, validation.images, own, space))
    return KeptJudge(
        judge=judge,
        report=JudgeReport(steps=steps, images=images, validation=validation_from, attributes=attributes),
        image_size=(height, width),
        image_channels=channels,
        crop=crop,
        mean=mean,
        realism=realism,
        preserved=quantiles_of(preserved),
        auto=thresholds,
        yardstick=yardstick,
        notes=_notes(yardstick),
        model_sha256=model_sha256,
    )


def with_realism(kept: KeptJudge, translations: LabelledImages, discriminator: Discriminator) -> KeptJudge:
    """Return the judge with a threshold of realism, if that threshold leaves most translations alone.

    Args:
        kept: with D's scores of real images.
        translations: some of validation images, with what D is asked of them (their targets).
        discriminator: D.
    """
    few = kept.realism is None or len(kept.realism) < FEWEST or len(translations) < FEWEST
    if kept.realism is None or few:
        return kept
    space, real = kept.judge.space, torch.tensor(kept.realism, dtype=torch.float64)
    scores = patch_scores(discriminator, translations.images, translations.codes, space)
    unreal = float((shares_below(scores, real) < _LEAST_REALISM).double().mean())
    judged = f"{unreal:.1%} of {len(translations)} translations of validation images look less real to the "
    if unreal <= _MOST_UNREAL:
        note = f"{judged}discriminator than {1 - _LEAST_REALISM:.0%} of real ones; such are rejected."
        return replace(kept, auto=replace(kept.auto, realism=_LEAST_REALISM), notes=(*kept.notes, note))
    note = (
        f"{judged}discriminator than {1 - _LEAST_REALISM:.0%} of real ones: it tells the model's pictures apart "
        "as such, so realism is not gated on."
    )
    return replace(kept, notes=(*kept.notes, note))


def _pairs(judge: Judge, seen: JudgeOutputs, codes: Tensor, groups: Sequence[str], mean: Tensor) -> Tensor:
    first, second, changed = preserved_pairs(codes, groups, judge.space)
    head = judge.network.head.weight.detach().cpu()
    return similarities(
        seen.features[first], seen.features[second], changed, mean=mean, head=head, space=judge.space
    )


def _notes(yardstick: AgreementReference) -> tuple[str, ...]:
    least, offers = yardstick.threshold, yardstick.offers
    if least is None:
        return ("The judge can be trusted with no attribute, so nothing is gated on agreement.",)
    if offers is None:
        return (
            f"{len(yardstick.codes)} validation images are too few to read thresholds from: translations need an "
            f"agreement of {least:g}, and nothing else is asked of them.",
        )
    notes = (
        f"An agreement of {least:.3g} rejects {offers.false_rejected:.1%} of real validation "
        f"images under a label changed to a wrong one, and keeps {offers.true_kept:.1%} of them under their own.",
    )
    lowered = yardstick.lowered()
    if not lowered:
        return notes
    attributes = yardstick.space.attributes
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
