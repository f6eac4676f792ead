"""Training targets: mixtures of changes, those of a request that the model is meant for, and their weights.

A policy turns the image's own domain and that of a randomly drawn row into a target. All codes are (A,) int64, -1
unknown; attributes that are unknown in a target keep the image's value (`stargan.labels.merge_targets`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from augmentor.errors import DomainError
from augmentor.planning import BalanceRequest, TargetGrid, parse_domains
from stargan.labels import UNKNOWN, LabelSpace

Codes = npt.NDArray[np.int64]

TargetPolicy = Callable[[Codes, Codes, np.random.Generator], Codes]
"""Returns the target for an image's own domain and the domain of a drawn row."""

_MOST_WEIGHT = 2.0
"""Of a translation, before weights are divided by their mean: a few should not count for many."""


@dataclass(frozen=True, kw_only=True)
class TargetMixture:
    """Equal parts of the drawn row's domain, a change of one attribute, and a product of single values.

    The drawn domain is as frequent as its images; the product draws each attribute on its own, so that every
    combination is requested, also those without an image. Both changes stay within one label set, the drawn row's.

    Args:
        space: the label space.
        frequencies: per attribute, (values,) float64 that sum to 1: how often the product has each value.
    """

    space: LabelSpace
    frequencies: tuple[npt.NDArray[np.float64], ...]

    def __call__(self, own: Codes, drawn: Codes, random: np.random.Generator) -> Codes:
        """See `TargetPolicy`."""
        part = int(random.integers(3))
        varied = self._varied(drawn)
        if part == 0 or not varied:
            return drawn
        if part == 1:
            return self._changed(own, varied, random)
        target = np.full(len(own), UNKNOWN, dtype=np.int64)
        for column in varied:
            frequencies = self.frequencies[column]
            target[column] = random.choice(len(frequencies), p=frequencies)
        return target

    def other(self, own: Codes, drawn: Codes, random: np.random.Generator) -> Codes:
        """See `TargetPolicy`; always a change of one attribute, where that is possible."""
        varied = self._varied(drawn)
        return self._changed(own, varied, random) if varied else drawn

    def _changed(self, own: Codes, varied: Sequence[int], random: np.random.Generator) -> Codes:
        """Return a target that gives one of the attributes at positions `varied` another value."""
        target = np.full(len(own), UNKNOWN, dtype=np.int64)
        column = int(random.choice(varied))
        others = np.flatnonzero(self.frequencies[column])
        target[column] = random.choice(others[others != own[column]])
        return target

    def _varied(self, drawn: Codes) -> list[int]:
        """Return the positions of the attributes of a drawn domain's label set that have several values."""
        return [
            column
            for column, frequencies in enumerate(self.frequencies)
            if self._in_set_of(drawn, column) and np.count_nonzero(frequencies) > 1
        ]

    def _in_set_of(self, drawn: Codes, column: int) -> bool:
        """Return whether an attribute belongs to the label set of a drawn domain."""
        sets = self.space.set_of_attribute
        known = np.flatnonzero(drawn != UNKNOWN)
        return not self.space.label_sets or (len(known) > 0 and sets[column] == sets[known[0]])


@dataclass(frozen=True, kw_only=True)
class HalfRequested:
    """Targets of a request, and as many of a mixture, in which D meets translations into domains with images."""

    requested: TargetPolicy
    mixture: TargetMixture

    def __call__(self, own: Codes, drawn: Codes, random: np.random.Generator) -> Codes:
        """See `TargetPolicy`."""
        policy = self.requested if random.random() < 0.5 else self.mixture
        return policy(own, drawn, random)


@dataclass(frozen=True, kw_only=True)
class RequestedTargets:
    """The targets of `--domains` SPECs, each as likely; rows without one keep their domain."""

    grid: TargetGrid

    def __call__(self, own: Codes, drawn: Codes, random: np.random.Generator) -> Codes:
        """See `TargetPolicy`; the drawn row counts for nothing."""
        del drawn
        touched = self.grid.touched
        choices = self.grid.targets(own[touched].astype(np.int16))
        target = own.copy()
        if len(choices):
            target[touched] = choices[random.integers(len(choices))]
        return target


@dataclass(frozen=True, kw_only=True)
class MissingCombinations:
    """The combinations that `--balance` fills up, each as likely as its share of the missing images.

    Args:
        attributes: positions of the balanced attributes, K.
        values: (C, K) codes of the combinations that lack images.
        shares: (C,) float64, their shares of the missing images.
    """

    attributes: tuple[int, ...]
    values: npt.NDArray[np.int16]
    shares: npt.NDArray[np.float64]

    def __call__(self, own: Codes, drawn: Codes, random: np.random.Generator) -> Codes:
        """See `TargetPolicy`; the drawn row counts for nothing."""
        del drawn
        target = own.copy()
        target[list(self.attributes)] = self.values[random.choice(len(self.shares), p=self.shares)]
        return target


@dataclass(frozen=True, kw_only=True)
class TranslationWeights:
    """How much a translation counts in D's adversarial loss, by its target: less where few real images have it.

    D looks at an image and the domain that it should show. A combination that is more frequent among targets than
    among real images is a sign of a translation by itself: D learns to reject it whatever the image shows, and G,
    which learns from D, to avoid it. With importance weights, the share of real images that have the target
    divided by the share of targets, D meets every domain as often on both sides. Shares of pairs of values are
    compared, and the least of a target's pairs counts: combinations of many attributes are too rare for that.

    Args:
        ratios: (E, E) float32 for the values of all attributes, in order: how many times as often real images have
            both as targets do.
        first: (A,) int64, the position of each attribute's first value.
        mean: weights are divided by it, so that they are 1 on average.
    """

    ratios: Tensor
    first: Tensor
    mean: float = 1.0

    def __call__(self, targets: Tensor) -> Tensor:
        """Return the (N,) float32 weights of (N, A) int64 targets, -1 unknown."""
        known = targets != UNKNOWN
        values = torch.where(known, targets + self.first, 0)
        ratios = self.ratios[values[:, :, None], values[:, None, :]]
        ratios = torch.where(known[:, :, None] & known[:, None, :], ratios, torch.inf)
        return ratios.flatten(1).amin(dim=1).clamp(max=_MOST_WEIGHT) / self.mean


def translation_weights(
    codes: npt.NDArray[np.integer],
    targets: Tensor,
    space: LabelSpace,
    *,
    row_weights: npt.NDArray[np.float64] | None = None,
) -> TranslationWeights:
    """Return the weights for training rows with the codes (N, A) and targets like the (M, A) int64 given.

    `row_weights` says how often each row is shown, (N,); None is all alike. Where no row knows two attributes
    together, or no target weighs anything, targets count alike.
    """
    sizes = torch.tensor([len(attribute.values) for attribute in space.attributes])
    first = sizes.cumsum(0) - sizes
    attribute_of = torch.repeat_interleave(torch.arange(len(space)), sizes)

    def shares(domains: Tensor, shown: Tensor) -> Tensor:
        """Return (E, E) shares of pairs of values among the domains that know both, NaN where none does."""
        has = (domains[:, attribute_of] + first[attribute_of] == torch.arange(len(attribute_of))).double()
        known = (domains != UNKNOWN).double()
        return (shown * has.T) @ has / ((shown * known.T) @ known)[attribute_of][:, attribute_of]

    every_row = torch.from_numpy(np.ones(len(codes)) if row_weights is None else row_weights)
    real = shares(torch.from_numpy(codes.astype(np.int64)), every_row)
    asked = shares(targets, torch.ones(len(targets), dtype=torch.float64)).nan_to_num()
    ratios = torch.where(real.isnan(), 1.0, real / asked.clamp(min=1 / len(targets))).float()
    weights = TranslationWeights(ratios=ratios, first=first)
    mean = float(weights(targets).mean())
    return replace(weights, mean=mean) if mean > 0 else replace(weights, ratios=torch.ones_like(ratios))


def target_mixture(codes: npt.NDArray[np.integer], space: LabelSpace, *, balanced: bool) -> TargetMixture:
    """Return the mixture for training rows with the codes (N, A).

    `balanced` draws the values of the product equally often, else as often as they are among the rows.
    """
    frequencies = []
    for attribute, column in zip(space.attributes, codes.T, strict=True):
        counts = np.bincount(column[column != UNKNOWN], minlength=len(attribute.values)).astype(np.float64)
        counts = (counts > 0).astype(np.float64) if balanced else counts
        frequencies.append(counts / max(counts.sum(), 1.0))
    return TargetMixture(space=space, frequencies=tuple(frequencies))


def rows_of_request(
    codes: npt.NDArray[np.integer], space: LabelSpace, domains: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Return (N,) bool: the rows with the codes (N, A) whose labels SPECs of `--domains` ask for."""
    found = np.zeros(len(codes), dtype=np.bool_)
    for spec in parse_domains(domains, space).specs:
        sizes = [len(space.attributes[choice.attribute].values) for choice in spec]
        each = [
            np.isin(codes[:, choice.attribute], choice.candidates(size))
            for choice, size in zip(spec, sizes, strict=True)
        ]
        found |= np.logical_and.reduce(each)
    return found


def requested_policy(
    codes: npt.NDArray[np.integer], space: LabelSpace, *, domains: Sequence[str], balance: Sequence[str]
) -> TargetPolicy:
    """Return the policy for what the model is meant for: SPECs of `--domains`, or the attributes of `--balance`.

    Half of the targets are the request's, half a mixture's.

    Raises:
        DomainError: a name or value is unknown, or all combinations are equally frequent.
    """
    mixture = target_mixture(codes, space, balanced=False)
    if domains:
        request = parse_domains(domains, space)
        requested = RequestedTargets(grid=TargetGrid(request, space=space, include_identity=False))
        return HalfRequested(requested=requested, mixture=mixture)
    cells = BalanceRequest.parse(attributes=tuple(balance), space=space)
    there = cells.cells.count(cells.cells.of(codes.astype(np.int16)))
    missing = np.maximum(cells.wanted(there) - there, 0)
    if not missing.any():
        raise DomainError(
            f"training.for_balance: all combinations of {', '.join(balance)} have equally many training rows, so "
            "there is nothing to fill up. Leave it out"
        )
    lacking = np.flatnonzero(missing)
    combinations = MissingCombinations(
        attributes=cells.cells.attributes,
        values=cells.cells.values[lacking],
        shares=missing[lacking] / missing.sum(),
    )
    return HalfRequested(requested=combinations, mixture=mixture)
