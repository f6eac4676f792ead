"""Distances between translations and real images, their diversity, and copies of training images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.errors import MissingExtraError, first_line
from augmentor.evaluation.data import EvaluationData, some_rows
from augmentor.evaluation.result import Distances, Pair
from augmentor.judge import TORCHMETRICS, LabelledImages, frechet_and_kernel

MOST = 4000
"""Images of each kind that are compared, always the same ones."""

_MOST_IN_DOMAIN = 200

_UNCHANGED = 1.0
"""Grey levels, on average, below which a translation has not changed its source."""

_CLOSEST = 1.0
"""Percentile of test images' distances to a training image: a translation nearer than this is called a copy."""

Extract = Callable[[Tensor], Tensor]
"""Maps uint8 images (N, C, H, W) to features (N, F) float32 on the CPU."""


def measure_distances(
    data: EvaluationData, *, ungated: LabelledImages | None, extract: Extract, features: str
) -> Distances:
    """Measure all distances in the features from `extract`; `ungated` are translations without the gate."""
    random = np.random.default_rng(0)
    train_rows, kept_rows = (some_rows(np.arange(len(each)), MOST, random) for each in (data.train, data.kept))
    train, kept = extract(data.train.images[train_rows]), extract(data.kept.images[kept_rows])
    test = extract(data.test.images[some_rows(np.arange(len(data.test)), MOST, random)])
    sources = data.kept_sources[kept_rows]
    sets = {"kept": kept, "real": train}
    if ungated is not None:
        sets["ungated"] = extract(ungated.images[some_rows(np.arange(len(ungated)), MOST, random)])
    near = _nearest(kept, train, own=torch.from_numpy(sources), rows=torch.from_numpy(train_rows))
    near_test = _nearest(test, train)
    closest = float(np.percentile(near_test.numpy(), _CLOSEST))
    synthetic_codes, real_codes = data.kept.codes[kept_rows], data.train.codes[train_rows]
    distances = Distances(
        features=features,
        frechet=None,
        kernel=None,
        within_domain=_within_domains(kept, synthetic_codes, train, real_codes),
        within_source=Pair(synthetic=_within(kept, sources), real=_spread(train[: _MOST_IN_DOMAIN * 5])),
        nearest=Pair(synthetic=float(near.median()), real=float(near_test.median())),
        copies=float((near < closest).double().mean()),
        unchanged=_unchanged(data, kept_rows),
    )
    if not TORCHMETRICS:
        return distances
    compared = {name: frechet_and_kernel(each, test) for name, each in sets.items()}
    return replace(
        distances,
        frechet={name: frechet for name, (frechet, _) in compared.items()},
        kernel={name: kernel for name, (_, kernel) in compared.items()},
    )


def inception() -> Extract:
    """Return the Inception network of published Frechet distances; MissingExtraError if it is missing."""
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: PLC0415 - an extra

        network = FrechetInceptionDistance(feature=2048).inception
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingExtraError(
            f"--inception: the network cannot be had ({first_line(error)}). It needs "
            "`pip install 'stargan-augmentor[evaluate]'` and, once, the network for its weights. "
            "Without --inception the evaluator's own features are used"
        ) from error

    network.eval()

    @torch.inference_mode()
    def extract(images: Tensor) -> Tensor:
        return torch.cat([network(part.expand(-1, 3, -1, -1)).float().cpu() for part in torch.split(images, 64)])

    return extract


def _nearest(made: Tensor, real: Tensor, *, own: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
    """Return (N,) the distance to the nearest of `real`, whose numbers are `rows`, but for each one's `own`."""
    parts = []
    for start in range(0, len(made), 500):
        distances = torch.cdist(made[start : start + 500], real)
        if own is not None and rows is not None:
            distances[own[start : start + 500, None] == rows] = math.inf
        parts.append(distances.min(dim=1).values)
    return torch.cat(parts)


def _spread(features: Tensor) -> float:
    """Return the mean distance between two of N, NaN where there are not two."""
    return float(torch.pdist(features).mean()) if len(features) > 1 else math.nan


def _within(features: Tensor, labels: NDArray[np.integer]) -> float:
    """Return the mean over labels of the mean distance between two features of one label; -1 is none."""
    found = [_spread(features[labels == label]) for label in np.unique(labels[labels >= 0])]
    known = [spread for spread in found if not math.isnan(spread)]
    return float(np.mean(known)) if known else math.nan


def _within_domains(made: Tensor, made_codes: Tensor, real: Tensor, real_codes: Tensor) -> Pair:
    """Return the mean distance between two images of a domain, over the domains that both have two images of."""
    pairs = []
    for domain in torch.unique(made_codes, dim=0):
        of_both = [
            _spread(features[(codes == domain).all(dim=1)][:_MOST_IN_DOMAIN])
            for features, codes in ((made, made_codes), (real, real_codes))
        ]
        if not any(map(math.isnan, of_both)):
            pairs.append(of_both)
    synthetic, own = np.mean(pairs, axis=0).tolist() if pairs else (math.nan, math.nan)
    return Pair(synthetic=synthetic, real=own)


def _unchanged(data: EvaluationData, rows: NDArray[np.intp]) -> float:
    sources = data.kept_sources[rows]
    rows, sources = rows[sources >= 0], sources[sources >= 0]
    if not len(rows):
        return math.nan
    parts = -(-len(rows) // 500)
    differences = [
        (data.kept.images[some].float() - data.train.images[of].float()).abs().mean(dim=(1, 2, 3))
        for some, of in zip(np.array_split(rows, parts), np.array_split(sources, parts), strict=True)
    ]
    return float((torch.cat(differences) < _UNCHANGED).double().mean())
