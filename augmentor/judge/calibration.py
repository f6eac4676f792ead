"""Temperature scaling per attribute, and the expected calibration error."""

from __future__ import annotations

import torch
from torch import Tensor

from stargan.labels import UNKNOWN, LabelSpace

_COOLEST, _HOTTEST = 0.05, 20.0

_HALVINGS = 60

_BINS = 15

_FEWEST = 16
"""Images of a half below which it gives no temperatures of its own."""


def value_logits(logits: Tensor, space: LabelSpace) -> list[Tensor]:
    """Return per attribute (N, values) float64 logits, a column per value; a binary one's "0" has the logit 0.

    logits: (N, D), in the label vector's order; or (N, D + A) with those of "no value", each then a last column.
    """
    columns = []
    for place, (attribute, run) in enumerate(zip(space.attributes, space.slices, strict=True)):
        own, none = logits[:, run].double(), logits[:, space.domain_size :][:, place : place + 1].double()
        zero = [torch.zeros_like(own)] if attribute.kind == "binary" else []
        columns.append(torch.cat([*zero, own, none], dim=1))
    return columns


def fit_temperatures(logits: Tensor, codes: Tensor, space: LabelSpace) -> Tensor:
    """Return per attribute the temperature with the least mean negative log-likelihood of the labels.

    Labels are softened by Laplace's rule, so that a classifier without a mistake does not become certain.

    logits: (N, D) of images that the classifier was not trained on; codes: (N, A) int64, -1 unknown.

    Returns:
        (A,) float32 in [0.05, 20]; 1 where no label is known, or there is one value only.

    Source: Guo et al., section 4.2 (arXiv 1706.04599); Platt's softened labels.
    """
    fitted = [
        _fit(column[code != UNKNOWN], code[code != UNKNOWN])
        for column, code in zip(value_logits(logits, space), codes.T, strict=True)
    ]
    return torch.tensor(fitted, dtype=torch.float32)


def _fit(logits: Tensor, codes: Tensor) -> float:
    n, values = logits.shape
    if not n or values < 2:
        return 1.0
    doubt = 1 / (n + 2)
    wanted = torch.full_like(logits, doubt / (values - 1))
    wanted[torch.arange(n), codes] = 1 - doubt
    low, high = 1 / _HOTTEST, 1 / _COOLEST
    # The loss is convex in the inverse temperature: its slope has one zero.
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        slope = float(((torch.softmax(middle * logits, dim=1) - wanted) * logits).sum())
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 2 / (low + high)


def cross_fitted(logits: Tensor, codes: Tensor, space: LabelSpace, half: Tensor) -> Tensor:
    """Return temperatures for each image that were fitted on the other half of them, (N, A) float32.

    Where a half has too few images, they are fitted on all. half: (N,) bool.
    """
    if min(int(half.sum()), int((~half).sum())) < _FEWEST:
        return fit_temperatures(logits, codes, space).expand(len(codes), -1)
    heats = torch.stack([fit_temperatures(logits[half != other], codes[half != other], space) for other in (0, 1)])
    return heats[half.long()]


def calibration_error(
    logits: Tensor, codes: Tensor, space: LabelSpace, *, temperatures: Tensor | None = None
) -> dict[str, float]:
    """Return per attribute the expected calibration error, 0 to 1; NaN where no label is known.

    logits: (N, D); codes: (N, A) int64, -1 unknown; temperatures: (A,), or (N, A) for each image; ones if not
    given.

    Source: Guo et al., eq. 3 (arXiv 1706.04599): 15 bins of equal width.
    """
    heats = torch.ones(len(space)) if temperatures is None else temperatures
    errors = {}
    for name, column, code, heat in zip(
        space.names, value_logits(logits, space), codes.T, heats.expand(len(codes), -1).T, strict=True
    ):
        known = code != UNKNOWN
        confidence, said = torch.softmax(column[known] / heat[known, None], dim=1).max(dim=1)
        right = (said == code[known]).double()
        bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
        apart = torch.zeros(_BINS, dtype=torch.float64).index_add(0, bins, confidence - right).abs().sum()
        errors[name] = float(apart / known.sum()) if known.any() else float("nan")
    return errors
