"""Scores of translations: agreement with the target, realism, and similarity to the source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stargan.labels import UNKNOWN, LabelSpace
from stargan.networks import Discriminator
from stargan.pixels import to_signed

_BATCH = 256


class Scores(NamedTuple):
    """The scores of n translations, float64; NaN where there is none.

    Args:
        agreement: (n,) the judge's probability of the whole target: product over the attributes that count there.
        per_attribute: (n, A) its probability of the target's value of each attribute.
        realism: (n,) share of real validation images that D finds no more real; NaN without D.
        preserved: (n,) -1 to 1, how much of the source is left, apart from what had to change.
        expected: (n,) the agreement that real images of such a domain reach; see `AgreementReference`.
        checked: (n,) bool, whether every attribute that changes counts in the agreement.
        discriminator: (n,) D's mean score over an image's patches, which `realism` compares; NaN without D.
    """

    agreement: NDArray[np.float64]
    per_attribute: NDArray[np.float64]
    realism: NDArray[np.float64]
    preserved: NDArray[np.float64]
    expected: NDArray[np.float64]
    checked: NDArray[np.bool_]
    discriminator: NDArray[np.float64]


def target_probabilities(probabilities: Tensor, targets: Tensor, space: LabelSpace) -> Tensor:
    """Return the probability of each value of the targets, (N, A) float64; NaN where the target is unknown.

    probabilities: (N, D) or (N, D + A), see `Judge.calibrated`; targets: (N, A) int64, -1 unknown.
    """
    columns = []
    for place, (attribute, run, target) in enumerate(zip(space.attributes, space.slices, targets.T, strict=True)):
        entries = probabilities[:, run].double()
        if attribute.kind == "binary":
            none = probabilities[:, space.domain_size :][:, place : place + 1].double().sum(dim=1, keepdim=True)
            values = torch.cat([(1 - entries - none).clamp(min=0), entries], dim=1)
        else:
            values = entries
        chosen = values.gather(1, target.clamp(min=0)[:, None])[:, 0]
        columns.append(chosen.masked_fill(target == UNKNOWN, torch.nan))
    return torch.stack(columns, dim=1)


def joined(per_attribute: Tensor, trusted: Tensor) -> Tensor:
    """Return the product over the trusted attributes, (N,) float64; NaN where none of them is known.

    per_attribute: (N, A), NaN unknown; trusted: (A,) or (N, A) bool.
    """
    counts = ~per_attribute.isnan() & trusted
    product = torch.where(counts, per_attribute, 1.0).prod(dim=1)
    return product.masked_fill(~counts.any(dim=1), torch.nan)


@torch.inference_mode()
def patch_scores(discriminator: Discriminator, images: Tensor, domains: Tensor, space: LabelSpace) -> Tensor:
    """Return D's mean score over an image's patches, (N,) float64 on the CPU; higher is more real.

    images: (N, C, H, W) uint8; domains: (N, A) int64, -1 unknown, ignored by a D that does not match labels.
    """
    device = next(discriminator.parameters()).device
    scores = [torch.empty(0, dtype=torch.float64)]
    for some, wanted in zip(torch.split(images, _BATCH), torch.split(domains, _BATCH), strict=True):
        if len(some):
            shown = space.encode_signed(wanted).to(device)
            scored, _ = discriminator(to_signed(some.to(device)), shown)
            scores.append(scored.flatten(1).mean(dim=1).double().cpu())
    return torch.cat(scores)


def shares_below(scores: Tensor, quantiles: Tensor) -> Tensor:
    """Return for each score the share of `quantiles` (sorted) that are not above it, float64 in [0, 1]."""
    places = torch.searchsorted(quantiles, scores.contiguous(), right=True)
    return places.double() / len(quantiles)


def quantiles_of(values: Tensor, *, most: int = 1001) -> tuple[float, ...]:
    """Return `values` in order; where there are more than `most`, evenly spaced quantiles of them."""
    ordered = values.double().sort().values
    if len(ordered) > most:
        places = torch.linspace(0, len(ordered) - 1, most, dtype=torch.float64).round().long()
        ordered = ordered[places]
    return tuple(ordered.tolist())


def similarities(
    pictures: Tensor, sources: Tensor, changed: Tensor, *, mean: Tensor, head: Tensor, space: LabelSpace
) -> Tensor:
    """Return the cosine similarity of pictures' features with their sources', apart from what had to change.

    The origin is the mean of real images; directions from which the judge reads `changed` attributes are left out.

    pictures, sources: (N, F); changed: (N, A) bool; mean: (F,); head: (D, F) weights of the judge's head.

    Returns:
        (N,) float64 in [-1, 1]; 0 where nothing is left of one of the two.
    """
    result = torch.zeros(len(pictures), dtype=torch.float64)
    if not len(pictures):
        return result
    patterns, kinds = torch.unique(changed, dim=0, return_inverse=True)
    for kind, pattern in enumerate(patterns):
        some = kinds == kind
        one, other = (features[some].double() - mean.double() for features in (pictures, sources))
        runs = [run for run, changes in zip(space.slices, pattern.tolist(), strict=True) if changes]
        if runs:
            basis, _ = torch.linalg.qr(torch.cat([head[run] for run in runs]).double().T)
            one, other = (features - features @ basis @ basis.T for features in (one, other))
        result[some] = torch.nn.functional.cosine_similarity(one, other, dim=1)
    return result


def preserved_pairs(codes: Tensor, groups: Sequence[str], space: LabelSpace) -> tuple[Tensor, Tensor, Tensor]:
    """Return pairs of real images of different subjects, each with one attribute that is taken for changed.

    codes: (N, A) int64; groups: the subject of each, "" is one of its own.

    Returns:
        Two (P,) int64 of rows, and (P, A) bool.
    """
    n = len(codes)
    first, second = [], []
    for apart in sorted({max(1, n // 7), max(1, n // 3), max(1, n // 2)}):
        for row in range(n):
            other = (row + apart) % n
            if other != row and (not groups[row] or groups[row] != groups[other]):
                first.append(row)
                second.append(other)
    changed = torch.zeros(len(first), len(space), dtype=torch.bool)
    changed[torch.arange(len(first)), torch.arange(len(first)) % len(space)] = True
    return torch.tensor(first, dtype=torch.int64), torch.tensor(second, dtype=torch.int64), changed
