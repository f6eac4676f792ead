"""What is learnt of a judge from real validation images: temperatures, worth, references and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from augmentor.quality.calibration import fit_temperatures
from augmentor.quality.classifier import Judge, LabelledImages, Seen
from augmentor.quality.kept import KeptJudge
from augmentor.quality.likeness import patch_scores, quantiles_of, similarities
from augmentor.quality.report import JudgeReport, judged_attributes
from augmentor.quality.thresholds import FEWEST, Offers, Thresholds, auto_agreement, preserved_pairs
from stargan.networks import Discriminator

_PAIRS_BELOW = 0.99
"""A translation must be more like its source than this share of pairs of different real images."""


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
    agreement, offers = auto_agreement(judge.calibrated(seen.logits), codes, space, trusted=trusted)
    thresholds = Thresholds(agreement=agreement, preserved=_least_preserved(preserved, images=len(codes)))
    realism = None
    if discriminator is not None and len(codes):
        own = space.asked(codes, codes)
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
        offers=offers,
        notes=_notes(thresholds, offers, images=len(codes)),
        model_sha256=model_sha256,
    )


def _pairs(judge: Judge, seen: Seen, codes: Tensor, groups: Sequence[str], mean: Tensor) -> Tensor:
    first, second, changed = preserved_pairs(codes, groups, judge.space)
    head = judge.network.head.weight.detach().cpu()
    return similarities(
        seen.features[first], seen.features[second], changed, mean=mean, head=head, space=judge.space
    )


def _least_preserved(pairs: Tensor, *, images: int) -> float | None:
    if images < FEWEST or not len(pairs):
        return None
    return round(float(torch.quantile(pairs, _PAIRS_BELOW)), 6)


def _notes(thresholds: Thresholds, offers: Offers | None, *, images: int) -> tuple[str, ...]:
    if thresholds.agreement is None:
        return ("The judge can be trusted with no attribute, so nothing is gated on agreement.",)
    if offers is None:
        return (
            f"{images} validation images are too few to read thresholds from: translations need an agreement of "
            f"{thresholds.agreement:g}, and nothing else is asked of them.",
        )
    return (
        f"An agreement of {thresholds.agreement:.3g} rejects {offers.false_rejected:.1%} of real validation "
        f"images under a label changed to a wrong one, and keeps {offers.true_kept:.1%} of them under their own.",
    )
