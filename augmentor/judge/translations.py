"""Translations of images in memory, with a judge's predictions for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from augmentor.judge.classifier import Judge, likeliest
from augmentor.judge.data import LabelledImages
from augmentor.judge.measures import chroma_of_grey
from augmentor.judge.report import share_right
from augmentor.planning import DomainRequest, make_plan
from stargan.inference import Translator
from stargan.labels import UNKNOWN, LabelSpace

_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class TranslationAccuracy:
    """Share of translations in which a judge recognises the target.

    Args:
        translations: how many were judged.
        right: per attribute, the share of all translations that show the target's value.
        changed: per attribute, the same among those translations that had to change it.
        all_right: the share of translations that show every known value of their target.
    """

    translations: int
    right: dict[str, float]
    changed: dict[str, float]
    all_right: float


@dataclass(frozen=True, kw_only=True)
class JudgedTranslations:
    """Translations as a judge classifies them.

    Args:
        rows: (M,) int64, the source of each.
        targets: (M, A) int64, -1 unknown.
        predicted: (M, A) int64, the judge's prediction.
        change: (M,) float64, the mean absolute difference from its source in grey levels, 0 to 255.
        features: (M, F) float32, the judge's.
        hue: mean chroma of the translations of grey sources in grey levels; NaN where no source is grey.
    """

    rows: Tensor
    targets: Tensor
    predicted: Tensor
    change: Tensor
    features: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    hue: float = math.nan

    def __len__(self) -> int:
        return len(self.rows)


def judge_translations(
    judge: Judge, translator: Translator, data: LabelledImages, request: DomainRequest
) -> TranslationAccuracy:
    """Translate images into the targets of a request, and compare a judge's predictions with these.

    The judge must know the translator's label space.
    """
    rows, targets = requested_targets(data, request, translator.model.space)
    predicted = translate_and_judge(judge, translator, data, rows, targets).predicted
    space = translator.model.space
    return TranslationAccuracy(
        translations=len(rows),
        right=share_right(predicted, targets, space),
        changed=share_right(predicted, changed_targets(targets, data.codes[rows]), space),
        all_right=float(((predicted == targets) | (targets == UNKNOWN)).all(dim=1).double().mean()),
    )


def requested_targets(
    data: LabelledImages, request: DomainRequest, space: LabelSpace, *, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return source row, (M,) int64, and target, (M, A) int64, of each translation of a request, row by row.

    `most` limits them to the first ones.
    """
    plan = make_plan(
        data.codes.numpy(),
        space=space,
        request=request,
        eligible=np.ones(len(data), dtype=np.bool_),
        with_real=False,
    )
    items = list(plan.items(0, None if most is None else min(most, len(plan))))
    rows = torch.tensor([item.row for item in items], dtype=torch.int64)
    return rows, torch.tensor([item.target for item in items], dtype=torch.int64).view(-1, len(space))


def changed_targets(targets: Tensor, own: Tensor) -> Tensor:
    """Return the targets, (M, A), with -1 in place of every value that the source has already."""
    return targets.masked_fill(targets == own, UNKNOWN)


def translate_and_judge(
    judge: Judge,
    translator: Translator,
    data: LabelledImages,
    rows: Tensor,
    targets: Tensor,
    *,
    batch_size: int = _BATCH,
    go_on: Callable[[int], bool] = lambda _done: True,
) -> JudgedTranslations:
    """Translate images, classify the translations, and measure how much they differ from their sources.

    rows: (M,) int64, the sources, and the seeds of noise; targets: (M, A) int64, -1 leaves that attribute alone;
    go_on: called before each batch but the first with the number done; False leaves out the rest.
    """
    predicted, change, features, chroma = [], [], [], []
    for start in range(0, len(rows), batch_size):
        if start and not go_on(start):
            break
        some = rows[start : start + batch_size]
        sources, own = data.images[some], data.codes[some]
        asked = translator.model.space.to_one_label_set(targets[start : start + batch_size], own)
        translated = translator.translate(sources, asked, some)
        outputs = judge.outputs(translated)
        predicted.append(likeliest(outputs.logits, judge.space))
        features.append(outputs.features)
        chroma.append(chroma_of_grey(translated, sources))
        change.append((translated.double() - sources.double()).abs().mean(dim=(1, 2, 3)))
    done = sum(map(len, change))
    return JudgedTranslations(
        rows=rows[:done],
        targets=targets[:done],
        predicted=torch.cat(predicted) if predicted else torch.empty(0, targets.shape[1], dtype=torch.int64),
        change=torch.cat(change) if change else torch.empty(0, dtype=torch.float64),
        features=torch.cat(features) if features else torch.empty(0, 0),
        hue=float(torch.cat(chroma).mean()) if chroma else math.nan,
    )
