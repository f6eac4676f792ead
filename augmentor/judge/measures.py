"""Counts of what a classifier gets right, and what its word is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stargan.labels import UNKNOWN, LabelSpace

_KNOWS = 0.5
"""Share of the way from guessing to always right that a classifier must go on real images to be believed."""

_FEWEST = 8
"""Of anything that is counted: below, a share says nothing."""


def rarity_weights(codes: NDArray[np.integer], space: LabelSpace) -> NDArray[np.float64]:
    """Return how often each row should be drawn, (N,) summing to 1: inversely to its rarest label's frequency.

    Args:
        codes: (N, A), -1 unknown (which counts as no label).
        space: what the codes mean.
    """
    weights = np.zeros(len(codes))
    for attribute, column in zip(space.attributes, codes.T, strict=True):
        counts = np.bincount(column[column != UNKNOWN], minlength=len(attribute.values))
        known = column != UNKNOWN
        weights[known] = np.maximum(weights[known], known.sum() / np.maximum(counts[column[known]], 1))
    weights[weights == 0] = 1.0
    normal: NDArray[np.float64] = weights / weights.sum()
    return normal


def share_right(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, float]:
    """Return per attribute the share of rows whose predicted value is the wanted one, unknown rows left out.

    Args:
        predicted: (N, A) int64.
        wanted: (N, A) int64, -1 unknown.
        space: names the attributes.
    """
    shares = {}
    for name, said, want in zip(space.names, predicted.T, wanted.T, strict=True):
        known = want != UNKNOWN
        shares[name] = float((said[known] == want[known]).double().mean()) if known.any() else float("nan")
    return shares


def balanced_accuracy(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, float]:
    """Return per attribute the mean over its values of the share of that value's rows that are recognised.

    Args:
        predicted: (N, A) int64.
        wanted: (N, A) int64, -1 unknown.
        space: names the attributes and their values.
    """
    return {
        name: sum(shares.values()) / len(shares) if shares else float("nan")
        for name, shares in recalls(predicted, wanted, space).items()
    }


def recalls(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, dict[str, float]]:
    """Return per attribute and value the share of that value's rows that are recognised.

    Args:
        predicted: (N, A) int64.
        wanted: (N, A) int64, -1 unknown.
        space: names the attributes and their values; a value that no row wants is left out.
    """
    return {
        attribute.name: {
            value: float((said[want == code] == code).double().mean())
            for code, value in enumerate(attribute.values)
            if (want == code).any()
        }
        for attribute, said, want in zip(space.attributes, predicted.T, wanted.T, strict=True)
    }


def doubt(accuracy: float | None, *, chance: float, counted: Mapping[str, int]) -> str | None:
    """Return why a classifier's word about an attribute counts for nothing, in plain words; None where it counts.

    Args:
        accuracy: its balanced accuracy on real validation images, 0 to 1; None where no label of them is known.
        chance: what guessing reaches there: 1 / the number of values that they have.
        counted: what the figures rest on, by name, for example {"validation images": 40}.
    """
    if accuracy is None:
        return "no validation image has a label for it"
    if chance >= 1:
        return "the validation images have one value of it only"
    fewest, what = min((count, what) for what, count in counted.items())
    if fewest < _FEWEST:
        return f"{fewest} {what} are too few"
    if accuracy < chance + _KNOWS * (1 - chance):
        return f"the classifier itself is right about only {accuracy:.0%} of real images (guessing: {chance:.0%})"
    return None


def rounded(value: float) -> float | None:
    """Return a number as JSON can hold it: None in place of NaN."""
    return None if math.isnan(value) else round(value, 6)
