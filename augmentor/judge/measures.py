"""Measures of translations: target accuracy, error to the true image, change outside, hue, detail, looks, mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from augmentor.judge.report import share_right
from stargan.checkpoints import Model
from stargan.labels import UNKNOWN, LabelSpace
from stargan.pixels import to_signed

EQUAL = 4
"""Grey levels up to which a pixel of the source and of the true image are equal."""

_GREY = 1.0
"""Mean chroma, in grey levels, up to which a source is grey: JPEG files of grey images may have a little."""

_CHUNK = 256

_PATCH, _PATCHES, _DIRECTIONS = 5, 30_000, 128
"""Side of the patches whose detail is compared, how many of each set, and the directions they are projected on."""

_BATCH = 16
"""Translations in memory with the features of the generator."""


@dataclass(frozen=True, kw_only=True)
class TargetShares:
    """Shares of translations in which a classifier finds the target's values; NaN where there is nothing to count.

    Args:
        changed: per attribute, of the translations that had to change it, those with the new value.
        kept: per attribute, of the translations that had to keep its known value, those that show it.
        all_right: of all translations, those that show every known value of their target.
        several: of the translations that had to change several attributes, those that show all their new values.
    """

    changed: dict[str, float]
    kept: dict[str, float]
    all_right: float
    several: float


class TruthError(NamedTuple):
    """Error of translations to their true images.

    `pairs` is their number, `error` the mean absolute difference in grey levels, `untouched` that of the sources.
    """

    pairs: int
    error: float
    untouched: float

    @property
    def ratio(self) -> float:
        """The error as a ratio to that of the source (identity = 1); NaN if source and true image are equal."""
        return self.error / self.untouched if self.untouched else math.nan


def changed_attributes(targets: Tensor, own: Tensor) -> Tensor:
    """Return which attributes a translation has to change, (M, A) bool, of targets and source labels (M, A)."""
    return (targets != UNKNOWN) & (targets != own)


def target_shares(predicted: Tensor, targets: Tensor, own: Tensor, space: LabelSpace) -> TargetShares:
    """Compare predictions for translations with their targets and their sources' labels, all (M, A) int64."""
    changed = changed_attributes(targets, own)
    found = (predicted == targets) | (targets == UNKNOWN)
    several = changed.sum(dim=1) > 1
    all_changed = (found | ~changed).all(dim=1)
    return TargetShares(
        changed=share_right(predicted, targets.masked_fill(~changed, UNKNOWN), space),
        kept=share_right(predicted, targets.masked_fill(changed, UNKNOWN), space),
        all_right=_mean(found.all(dim=1)),
        several=_mean(all_changed[several]),
    )


def kinds_of_change(changed: Tensor, names: Sequence[str]) -> list[str]:
    """Return for each translation which attributes change, as "tone + style"; "" for none.

    changed: (M, A) bool, see `changed_attributes`.
    """
    return [
        " + ".join(name for name, changes in zip(names, row, strict=True) if changes) for row in changed.tolist()
    ]


def errors_by_change(
    translations: Tensor, sources: Tensor, truth: Tensor, kinds: Sequence[str]
) -> dict[str, TruthError]:
    """Return the error to the true image of all pairs, under "all", and of each kind of change.

    Images are (M, C, H, W) uint8; `kinds` are those of `kinds_of_change`.
    """
    errors, untouched = mean_differences(translations, truth), mean_differences(sources, truth)
    found = {}
    for kind in ("all", *sorted(set(kinds), key=lambda kind: (kind.count("+"), kind))):
        some = torch.tensor([kind in ("all", each) for each in kinds], dtype=torch.bool)
        found[kind] = TruthError(int(some.sum()), _mean(errors[some]), _mean(untouched[some]))
    return found


def change_outside(translations: Tensor, sources: Tensor, truth: Tensor, *, equal: int = EQUAL) -> float:
    """Return the mean absolute change, in grey levels, of the pixels that the true change leaves alone.

    These are equal in source and truth, up to `equal` grey levels in every channel. Images are (M, C, H, W) uint8;
    NaN where there is no such pixel.
    """
    total, pixels = 0.0, 0
    for made, source, true in _chunks(translations, sources, truth):
        same = (source.int() - true.int()).abs().amax(dim=1) <= equal
        total += float((made.double() - source.double()).abs().mean(dim=1)[same].sum())
        pixels += int(same.sum())
    return total / pixels if pixels else math.nan


def hue_introduced(translations: Tensor, sources: Tensor) -> float:
    """Return the mean chroma, largest minus smallest channel in grey levels, of translations of grey sources.

    Images are (M, C, H, W) uint8; NaN where no source is grey, 0 for images of one channel.
    """
    found = [chroma_of_grey(made, source) for made, source in _chunks(translations, sources)]
    return _mean(torch.cat(found)) if found else math.nan


def chroma_of_grey(translations: Tensor, sources: Tensor) -> Tensor:
    """Return the mean chroma in grey levels, float64, of each translation whose source is grey."""
    return _chroma(translations[_chroma(sources) <= _GREY])


def mean_differences(first: Tensor, second: Tensor) -> Tensor:
    """Return (M,) float64 the mean absolute difference in grey levels between images (M, C, H, W) uint8."""
    parts = [(one.double() - other.double()).abs().mean(dim=(1, 2, 3)) for one, other in _chunks(first, second)]
    return torch.cat(parts)


def detail_ratio(translations: Tensor, sources: Tensor, others: Tensor) -> float:
    """Return how far the fine detail of translations is from real images', as a ratio to that of their sources.

    Untouched sources have 1; blur, speckle and patterns of the generator's layers have several times as much, also
    where a classifier finds the requested values. NaN where there are no images, or none with detail.

    translations, sources: (M, C, H, W) uint8; others: (N, C, H, W) uint8, real images of other subjects.
    """
    if not len(translations) or not len(others) or min(others.shape[2:]) < _PATCH:
        return math.nan
    untouched = detail_distance(sources, others)
    return detail_distance(translations, others) / untouched if untouched else math.nan


@torch.inference_mode()
def detail_distance(first: Tensor, second: Tensor) -> float:
    """Return the sliced Wasserstein distance of patches of the finest Laplacian level, in grey levels.

    Images are (N, C, H, W) uint8. Unlike in the source, patches are not normalised: the strength of detail counts.

    Source: Karras et al., section 5 (arXiv 1710.10196), the finest level.
    """
    random = torch.Generator().manual_seed(0)
    size = first.shape[1] * _PATCH**2
    directions = functional.normalize(torch.randn(size, _DIRECTIONS, generator=random), dim=0)
    # The same quantiles of both, however many patches each has.
    shares = torch.linspace(0, 1, 1001)
    one, other = (
        torch.stack([torch.quantile(column, shares) for column in (_patches(images, random) @ directions).T])
        for images in (first, second)
    )
    return float((one - other).abs().mean())


def _patches(images: Tensor, random: torch.Generator) -> Tensor:
    """Return (P, C x 25) patches of the finest Laplacian level at random places."""
    taken = []
    each = max(1, _PATCHES // len(images))
    for (some,) in _chunks(images):
        coarse = functional.avg_pool2d(some.float(), 2, ceil_mode=True)
        fine = some.float() - functional.interpolate(coarse, size=some.shape[2:], mode="bilinear")
        found = functional.unfold(fine, _PATCH).transpose(1, 2)
        places = torch.randint(found.shape[1], (len(found), each), generator=random)
        taken.append(found.gather(1, places[:, :, None].expand(-1, -1, found.shape[2])).flatten(0, 1))
    return torch.cat(taken)


def looks_ratio(features: Tensor, targets: Tensor, subjects: Tensor) -> float:
    """Return how far the looks of a translation are apart, as a ratio to different subjects in the same target.

    Distances are Euclidean, on a classifier's features. NaN where there are no two looks, or no two subjects that
    differ.

    Args:
        features: (N, L, F) of L looks of N translations.
        targets: (N, A) int64.
        subjects: (N,) int64, whom the sources show.
    """
    apart, between = list[Tensor](), list[Tensor]()
    upper = torch.triu(torch.ones(features.shape[1], features.shape[1], dtype=torch.bool), diagonal=1)
    for looks in features:
        apart.append(torch.cdist(looks, looks)[upper])
    for target in torch.unique(targets, dim=0):
        same = torch.nonzero((targets == target).all(dim=1)).flatten()
        first, who = features[same, 0], subjects[same]
        between.append(torch.cdist(first, first)[who[:, None] != who])
    subjects_apart = _mean(torch.cat(between)) if between else 0.0
    return _mean(torch.cat(apart)) / subjects_apart if subjects_apart else math.nan


@torch.inference_mode()
def mask_share(
    model: Model, images: Tensor, targets: Tensor, *, go_on: Callable[[], bool] = lambda: True
) -> float | None:
    """Return the mean of the generator's mask, 1 = all repainted; None for a generator without one.

    images: (M, C, H, W) uint8 on the CPU; targets: (M, A) int64 codes of one label set each;
    go_on: asked after each batch; False leaves out the rest.
    """
    if model.generator.arguments["output"] != "masked" or not len(images):
        return None
    device = next(model.generator.parameters()).device
    total, done = 0.0, 0
    for some, wanted in zip(torch.split(images, _BATCH), torch.split(targets, _BATCH), strict=True):
        _, mask = model.generator.translate(to_signed(some.to(device)), model.space.encode(wanted).to(device))
        if mask is None:
            return None
        total, done = total + float(mask.double().mean()) * len(some), done + len(some)
        if not go_on():
            break
    return total / done


def _mean(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else math.nan


def _chroma(images: Tensor) -> Tensor:
    """Return (N,) the mean over pixels of the largest minus the smallest channel."""
    return (images.amax(dim=1).int() - images.amin(dim=1).int()).double().mean(dim=(1, 2))


def _chunks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the tensors in parts that fit the memory as floats."""
    return list(zip(*(torch.split(tensor, _CHUNK) for tensor in tensors), strict=True))
