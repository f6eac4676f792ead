"""Translations by colour statistics alone, for a model to beat: mean shift, optimal transport, polynomial."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from augmentor.judge.data import LabelledImages

_RIDGE = 1e-3
"""Added to the variances of colours, in squares of grey levels, so that images of one colour have an inverse."""

_DEGREE = 2


class Colours(NamedTuple):
    """Mean (C,) and covariance (C, C) of colours in grey levels, float64."""

    mean: Tensor
    covariance: Tensor


Change = tuple[tuple[int, ...], tuple[int, ...]]
"""The domains of source and target, as codes of the attributes that a request changes."""

Method = Callable[[Tensor], Tensor]
"""Maps images (n, C, H, W) float64 in grey levels, of one change, to their translations."""


def cheap_translations(
    images: Tensor,
    own: Tensor,
    targets: Tensor,
    *,
    train: LabelledImages,
    columns: Sequence[int],
    pairs: Tensor | None = None,
) -> dict[str, Tensor]:
    """Translate images with each cheap method; return (M, C, H, W) uint8 by its name.

    Methods: "identity"; "mean colour shift" adds the target domain's mean colour minus the source domain's;
    "colour transfer" maps an image's colours to the target domain's mean and covariance by optimal transport;
    with pairs "colour polynomial", of degree 2, fitted to the true pairs of a change. Where there are no training
    images of a domain, or no pairs of a change, the image stays as it is.

    Args:
        images: (M, C, H, W) uint8, the sources.
        own: (M, A) int64, their labels, -1 unknown.
        targets: (M, A) int64.
        train: real training images, with their labels.
        columns: positions of the attributes whose values make a domain.
        pairs: (P, 2) int64, rows of `train`: a source and its true translation; see `true_pairs`.
    """
    chosen = list(columns)
    colours = {domain: _colours(train.images[rows]) for domain, rows in _groups(train.codes[:, chosen]).items()}
    changes = _groups(torch.cat([own[:, chosen], targets[:, chosen]], dim=1))

    def by_change(method: Callable[[Change], Method | None]) -> Tensor:
        made = images.clone()
        for codes, rows in changes.items():
            apply = method((codes[: len(chosen)], codes[len(chosen) :]))
            if apply is not None:
                for some in torch.split(rows, 256):
                    made[some] = apply(images[some].double()).round().clamp(0, 255).byte()
        return made

    def shift(change: Change) -> Method | None:
        source, target = change
        if source not in colours or target not in colours:
            return None
        return lambda sources: sources + (colours[target].mean - colours[source].mean)[:, None, None]

    def transfer(change: Change) -> Method | None:
        _, target = change
        if target not in colours:
            return None
        return lambda sources: transfer_colours(sources, colours[target])

    found = {"identity": images, "mean colour shift": by_change(shift), "colour transfer": by_change(transfer)}
    if pairs is None:
        return found
    ends = torch.cat([train.codes[pairs[:, 0]][:, chosen], train.codes[pairs[:, 1]][:, chosen]], dim=1)
    of_change = _groups(ends)

    def polynomial(change: Change) -> Method | None:
        rows = of_change.get((*change[0], *change[1]))
        if rows is None:
            return None
        first, second = pairs[rows].T
        weights = fit_polynomial(train.images[first], train.images[second])
        return lambda sources: apply_polynomial(sources, weights)

    return {**found, "colour polynomial": by_change(polynomial)}


def true_pairs(designs: Sequence[str], codes: Tensor, columns: Sequence[int]) -> Tensor:
    """Return (P, 2) int64 all ordered pairs of rows of one design in different domains, else with equal labels.

    Args:
        designs: the design of each row; rows of one design are the same picture in several domains.
        codes: (N, A) int64, -1 unknown.
        columns: positions of the attributes whose values make a domain; the others must be equal.
    """
    rows_of: dict[str, list[int]] = {}
    for row, design in enumerate(designs):
        rows_of.setdefault(design, []).append(row)
    others = [column for column in range(codes.shape[1]) if column not in columns]
    labels = codes.tolist()
    found = [
        pair
        for rows in rows_of.values()
        for pair in itertools.permutations(rows, 2)
        if all(labels[pair[0]][column] == labels[pair[1]][column] for column in others)
        and any(labels[pair[0]][column] != labels[pair[1]][column] for column in columns)
    ]
    return torch.tensor(found, dtype=torch.int64).view(-1, 2)


def transfer_colours(images: Tensor, wanted: Colours) -> Tensor:
    """Map each image's colours linearly to a mean and covariance, by the optimal transport of Gaussians.

    images: (N, C, H, W) float64, like the result.

    Source: Pitie and Kokaram, The linear Monge-Kantorovitch linear colour mapping for example-based colour
    transfer (CVMP 2007).
    """
    n, c, h, w = images.shape
    colours = images.reshape(n, c, h * w)
    own = colours.mean(dim=2, keepdim=True)
    root = _square_root(_covariance(colours))
    inverse = torch.linalg.inv(root)
    matrix = inverse @ _square_root(root @ wanted.covariance @ root) @ inverse
    moved: Tensor = matrix @ (colours - own) + wanted.mean[:, None]
    return moved.reshape(n, c, h, w)


def fit_polynomial(sources: Tensor, truth: Tensor) -> Tensor:
    """Fit the colours of true images to a polynomial of the sources', by least squares over all pixels.

    sources, truth: (P, C, H, W) uint8, aligned. Returns (T, C) float64 weights of the T terms.
    """
    terms = 1 + sum(1 for degree in range(1, _DEGREE + 1) for _ in _products(sources.shape[1], degree))
    normal = torch.zeros(terms, terms, dtype=torch.float64)
    right = torch.zeros(terms, sources.shape[1], dtype=torch.float64)
    for some, true in zip(torch.split(sources, 256), torch.split(truth, 256), strict=True):
        values = _terms(some.double())
        normal += values.T @ values
        right += values.T @ true.double().movedim(1, -1).flatten(0, 2)
    weights: Tensor = torch.linalg.lstsq(normal, right, driver="gelsd").solution
    return weights


def apply_polynomial(images: Tensor, weights: Tensor) -> Tensor:
    """Map the colours of images, (N, C, H, W) float64 like the result, by the weights of `fit_polynomial`."""
    n, c, h, w = images.shape
    return (_terms(images) @ weights).reshape(n, h, w, c).movedim(-1, 1)


def _products(channels: int, degree: int) -> itertools.combinations_with_replacement[tuple[int, ...]]:
    return itertools.combinations_with_replacement(range(channels), degree)


def _terms(images: Tensor) -> Tensor:
    """Return (N * H * W, T) all products of up to `_DEGREE` channels, scaled to [0, 1]."""
    channels = images.unbind(dim=1)
    scaled = [channel.flatten() / 255 for channel in channels]
    terms = [torch.ones_like(scaled[0])]
    for degree in range(1, _DEGREE + 1):
        terms += [
            torch.stack([scaled[factor] for factor in factors]).prod(dim=0)
            for factors in _products(len(channels), degree)
        ]
    return torch.stack(terms, dim=1)


def _colours(images: Tensor) -> Colours:
    """Return the mean and covariance of all pixels of N uint8 images."""
    n, c, h, w = images.shape
    total, squares = torch.zeros(c, dtype=torch.float64), torch.zeros(c, c, dtype=torch.float64)
    for some in torch.split(images, 256):
        values = some.double().transpose(0, 1).flatten(1)
        total += values.sum(dim=1)
        squares += values @ values.T
    mean = total / (n * h * w)
    ridge = _RIDGE * torch.eye(c, dtype=torch.float64)
    return Colours(mean, squares / (n * h * w) - torch.outer(mean, mean) + ridge)


def _covariance(colours: Tensor) -> Tensor:
    """Return (N, C, C) the covariances of colours (N, C, P), a little enlarged."""
    centred = colours - colours.mean(dim=2, keepdim=True)
    n, c, pixels = colours.shape
    ridge = _RIDGE * torch.eye(c, dtype=colours.dtype).expand(n, c, c)
    return centred @ centred.transpose(1, 2) / pixels + ridge


def _square_root(matrices: Tensor) -> Tensor:
    """Return the symmetric square roots of symmetric positive definite matrices (N, C, C)."""
    values, vectors = torch.linalg.eigh(matrices)
    roots: Tensor = (vectors * values.clamp(min=0).sqrt()[:, None]) @ vectors.transpose(1, 2)
    return roots


def _groups(codes: Tensor) -> dict[tuple[int, ...], Tensor]:
    """Return the rows of each distinct row of codes (N, A)."""
    distinct, place = torch.unique(codes, dim=0, return_inverse=True)
    return {tuple(row): torch.nonzero(place == number).flatten() for number, row in enumerate(distinct.tolist())}
