"""Below what a translation is thrown out, and how that follows from real validation images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from augmentor.quality.likeness import joined, target_probabilities
from stargan.labels import UNKNOWN, LabelSpace

_FALSE_REJECTED = 0.98
"""Share of false offers that the automatic threshold of agreement rejects."""

_AS_REAL = 0.3
"""Share of real images under their own labels that may be less convincing than a translation that is kept."""

_SURE = 0.9
"""Nobody need be more convincing than this: of a judge that is always sure, the least sure images are no worse."""

FEWEST = 32
"""Validation images below which no threshold can be read from them."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a translation's scores must reach; None does not ask.

    Args:
        agreement: 0 to 1.
        realism: 0 to 1.
        preserved: -1 to 1.
    """

    agreement: float | None = None
    realism: float | None = None
    preserved: float | None = None


@dataclass(frozen=True, kw_only=True)
class Offers:
    """How an automatic threshold of agreement does on real validation images.

    Each image is offered once under its own labels, which is true, and once under every change of one of them,
    which is false.

    Args:
        true: offers under own labels.
        false: offers under other labels.
        true_kept: share of the true ones that reach the threshold.
        false_rejected: share of the false ones that do not.
    """

    true: int
    false: int
    true_kept: float
    false_rejected: float


def auto_agreement(
    probabilities: Tensor, codes: Tensor, space: LabelSpace, *, trusted: Tensor
) -> tuple[float | None, Offers | None]:
    """Return the threshold of agreement that real validation images ask for, and how it does on them.

    It rejects 98 % of false offers, and whatever is less convincing than seven of ten real images under their own
    labels. The first alone would ask the less of translations, the better the judge is: of one without a mistake
    it is near 0, and what a translation fails in by half passes (BENCHMARKS.md, the gate).

    Args:
        probabilities: (N, D) of real validation images, see `Judge.probabilities`.
        codes: (N, A) int64, their labels, -1 unknown.
        space: what both mean.
        trusted: (A,) bool, the attributes that count.

    Returns:
        No threshold where no attribute is trusted; no offers where there are too few images to ask.
    """
    if not trusted.any():
        return None, None
    if len(codes) < FEWEST:
        return 0.5, None
    own = joined(target_probabilities(probabilities, codes, space), trusted)
    own = own[~own.isnan()]
    false = torch.cat(
        [
            joined(target_probabilities(probabilities[rows], offered, space), trusted)
            for rows, offered in _false_offers(codes, space, trusted)
        ]
    )
    convincing = min(_SURE, float(torch.quantile(own, _AS_REAL)))
    threshold = max(_just_above(false, _FALSE_REJECTED), convincing)
    return threshold, Offers(
        true=len(own),
        false=len(false),
        true_kept=round(float((own >= threshold).double().mean()), 6),
        false_rejected=round(float((false < threshold).double().mean()), 6),
    )


def _false_offers(codes: Tensor, space: LabelSpace, trusted: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and their domains with one trusted, known attribute changed: every other value in turn."""
    for column, attribute in enumerate(space.attributes):
        if not trusted[column]:
            continue
        for value in range(len(attribute.values)):
            rows = torch.nonzero((codes[:, column] != UNKNOWN) & (codes[:, column] != value))[:, 0]
            offered = codes[rows].clone()
            offered[:, column] = value
            yield rows, offered


def _just_above(scores: Tensor, share: float) -> float:
    """Return the smallest number that is above this share of the scores."""
    ordered = scores.sort().values
    return math.nextafter(float(ordered[max(0, math.ceil(share * len(ordered)) - 1)]), math.inf)


def preserved_pairs(codes: Tensor, groups: Sequence[str], space: LabelSpace) -> tuple[Tensor, Tensor, Tensor]:
    """Return pairs of real images of different subjects, each with one attribute that is taken for changed.

    Args:
        codes: (N, A) int64, the images' labels.
        groups: the subject of each; "" is one of its own.
        space: names the attributes.

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
