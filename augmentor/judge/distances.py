"""Frechet and kernel distance of translations to real images, per target domain, beside those of real images."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stargan.labels import UNKNOWN, LabelSpace

TORCHMETRICS = importlib.util.find_spec("torchmetrics") is not None
"""Whether the extra for Frechet and kernel distances is installed."""

FEWEST = 20
"""Images that a domain needs on each side: a covariance of fewer is mostly noise."""

_SUBSETS = 50
_MOST, _MOST_REFERENCE = 500, 1000
_DRAWS = 3


class FeatureDistance(NamedTuple):
    """Frechet and kernel distance between two sets of features."""

    frechet: float
    kernel: float


class FeatureSet(NamedTuple):
    """Features (N, F) float32 of images with their labels (N, A) int64, -1 unknown."""

    features: Tensor
    codes: Tensor


@dataclass(frozen=True, kw_only=True)
class DomainDistance:
    """Distances of one target domain to the real images of that domain of other subjects.

    Args:
        domain: for example "smile=1, woman=0".
        images: number of images in each set that is compared with the reference.
        floor: distance of real images of the domain.
        of: distance of each set of translations into the domain, by the set's name.
    """

    domain: str
    images: int
    floor: FeatureDistance
    of: dict[str, FeatureDistance]

    def frechet_ratio(self, name: str) -> float:
        """Return a set's Frechet distance divided by the floor; NaN if that is 0."""
        return _ratio(self.of[name].frechet, self.floor.frechet)

    def kernel_ratio(self, name: str) -> float:
        """Return a set's kernel distance divided by the floor; NaN if that, an unbiased estimate, is 0 or less."""
        return _ratio(self.of[name].kernel, self.floor.kernel)


@dataclass(frozen=True, kw_only=True)
class DomainDistances:
    """Distances of all target domains with enough images.

    Args:
        domains: in the order of their codes.
        left_out: a sentence for each domain that was not measured, with the reason.
    """

    domains: tuple[DomainDistance, ...]
    left_out: tuple[str, ...]

    def frechet_ratio(self, name: str) -> float:
        """Return the mean over the domains of the set's ratio to the floor; NaN without domains."""
        return mean_known([each.frechet_ratio(name) for each in self.domains])

    def kernel(self, name: str | None) -> float:
        """Return the mean kernel distance of a set, or of the floor (None); NaN without domains."""
        return mean_known([(each.floor if name is None else each.of[name]).kernel for each in self.domains])

    def kernel_ratio(self, name: str | None, *, to: str) -> float:
        """Return `kernel(name)` divided by that of the set `to`; NaN if that is 0 or less."""
        return _ratio(self.kernel(name), self.kernel(to))


def domain_distances(
    sets: Mapping[str, Tensor],
    *,
    targets: Tensor,
    own: Tensor,
    real: FeatureSet,
    reference: FeatureSet,
    space: LabelSpace,
    columns: Sequence[int],
    fewest: int = FEWEST,
    go_on: Callable[[], bool] = lambda: True,
) -> DomainDistances | None:
    """Compare translations into each domain with real images of that domain of other subjects.

    Only translations whose source is known to be from another domain count, so that a copy of the source scores
    the distance between the domains. In a domain all sets and the floor have the same number of images, and the
    same reference; what depends on the draw is the mean of a few fixed ones.

    Args:
        sets: features (M, F) of the translations by method; "identity" may be those of the sources.
        targets: (M, A) int64, the requested domains, -1 unknown.
        own: (M, A) int64, the labels of the sources.
        real: real images of the scored rows: the floor.
        reference: real images of other subjects.
        space: the label space of the codes.
        columns: positions of the attributes whose values make a domain.
        fewest: images that a domain needs in `sets`, `real` and `reference`.
        go_on: asked before each domain; False leaves out the rest.

    Returns:
        None where torchmetrics is missing.
    """
    if not TORCHMETRICS:
        return None
    chosen = list(columns)
    known = (targets[:, chosen] != UNKNOWN).all(dim=1) & (own[:, chosen] != UNKNOWN).all(dim=1)
    found, left_out = [], []
    for domain in torch.unique(targets[known][:, chosen], dim=0):
        name = domain_name(domain, space, chosen)
        of_domain = [(codes[:, chosen] == domain).all(dim=1) for codes in (real.codes, reference.codes)]
        real_rows, reference_rows = (torch.nonzero(mask).flatten() for mask in of_domain)
        into = (targets[:, chosen] == domain).all(dim=1) & (own[:, chosen] != domain).any(dim=1) & known
        rows = torch.nonzero(into).flatten()
        if not len(rows):
            continue
        counted = {
            "translations": len(rows),
            "real images": len(real_rows),
            "real images of other subjects": len(reference_rows),
        }
        least, what = min((count, what) for what, count in counted.items())
        if least < max(2, fewest):
            left_out.append(f"{name}: not measured, {least} {what} ({fewest} are needed)")
            continue
        if not go_on():
            left_out.append(f"{name}: not measured, no time left")
            continue
        n = min(len(rows), len(real_rows), _MOST)
        others = reference.features[_draws(reference_rows, _MOST_REFERENCE)[0]]
        picked, floors = _draws(rows, n), _draws(real_rows, n)
        found.append(
            DomainDistance(
                domain=name,
                images=n,
                floor=_mean_distance(real.features, floors, others),
                of={method: _mean_distance(features, picked, others) for method, features in sets.items()},
            )
        )
    return DomainDistances(domains=tuple(found), left_out=tuple(left_out))


def frechet_and_kernel(made: Tensor, real: Tensor) -> FeatureDistance:
    """Return the Frechet and the kernel distance of features (N, F) and (M, F); NaN where one has fewer than two.

    Sources: arXiv 1706.08500 (Frechet), arXiv 1801.01401 (kernel), as torchmetrics computes them.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: PLC0415 - an extra
    from torchmetrics.image.kid import KernelInceptionDistance  # noqa: PLC0415

    if min(len(made), len(real)) < 2:
        return FeatureDistance(math.nan, math.nan)
    size = min(len(made), len(real), 500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of its memory, of which this takes little
        kernel = KernelInceptionDistance(feature=_AsTheyAre(real.shape[1]), subsets=_SUBSETS, subset_size=size)
    turned_made, turned_real = _in_their_span(made, real)
    frechet = FrechetInceptionDistance(feature=_AsTheyAre(turned_real.shape[1]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frechet.update(turned_real, real=True)
        frechet.update(turned_made, real=False)
        kernel.update(real, real=True)
        kernel.update(made, real=False)
        return FeatureDistance(float(frechet.compute()), float(kernel.compute()[0]))


def mean_known(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def domain_name(codes: Tensor, space: LabelSpace, columns: Sequence[int]) -> str:
    """Return a domain as "smile=1, woman=0"; codes are those of the columns, an unknown one is "?"."""
    attributes = [space.attributes[column] for column in columns]
    return ", ".join(
        f"{attribute.name}={'?' if code == UNKNOWN else attribute.values[code]}"
        for attribute, code in zip(attributes, codes.tolist(), strict=True)
    )


class _AsTheyAre(nn.Module):
    """Identity in the place of torchmetrics' network: the inputs are features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _in_their_span(made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in an orthonormal basis of all of them where that is smaller.

    It keeps means, covariances and so the Frechet distance, whose cost grows with the cube of the dimensions.
    """
    together = torch.cat([made, real])
    if len(together) >= together.shape[1]:
        return made, real
    basis = torch.linalg.qr(together.double().T).Q
    return (made.double() @ basis).float(), (real.double() @ basis).float()


def _draws(rows: Tensor, n: int) -> list[Tensor]:
    """Return a few random choices of n of the rows, always the same ones; all rows once where there are just n."""
    if len(rows) <= n:
        return [rows]
    orders = (torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)) for seed in range(_DRAWS))
    return [rows[order[:n]] for order in orders]


def _mean_distance(features: Tensor, draws: Sequence[Tensor], others: Tensor) -> FeatureDistance:
    distances = [frechet_and_kernel(features[rows], others) for rows in draws]
    frechets, kernels = zip(*distances, strict=True)
    return FeatureDistance(sum(frechets) / len(draws), sum(kernels) / len(draws))


def _ratio(value: float, floor: float) -> float:
    return value / floor if floor > 0 else math.nan
