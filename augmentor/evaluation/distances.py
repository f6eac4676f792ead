"""How far translations are from real images, how much they differ from each other, and whether they are copies."""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from augmentor.errors import MissingExtraError, first_line
from augmentor.evaluation.material import Material
from augmentor.judge import LabelledImages

MOST = 4000
"""Images of each kind that are compared, always the same ones."""

_MOST_IN_DOMAIN = 200
_SUBSETS = 50
_UNCHANGED = 1.0
"""Grey levels, on average, below which a translation has not changed its source."""

_CLOSEST = 1.0
"""Per cent of test images that lie nearest to a training image: what lies nearer still is called a copy."""

TORCHMETRICS = importlib.util.find_spec("torchmetrics") is not None
"""Whether the extra is there that Frechet and kernel distances need."""

Extract = Callable[[Tensor], Tensor]
"""Maps uint8 images (N, C, H, W) to features (N, F) float32 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same figure of translations and of real images.

    Args:
        synthetic: of translations; NaN where there are too few.
        real: of real images.
    """

    synthetic: float
    real: float


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Figures of features, which only compare with one another.

    Args:
        features: what described the images: "evaluator", the classifier of the real images, or "inception".
        frechet: Frechet distance to the real test images, of "kept", "ungated" (where that was made) and "real",
            the training images; None without torchmetrics.
        kernel: kernel distance (unbiased, squared MMD), likewise.
        within_domain: mean distance between two images of one domain.
        within_source: between two translations of one source, and between any two real training images.
        nearest: median distance to the nearest training image but the own source; "real" is of test images.
        copies: share of translations nearer to such an image than 99 % of test images are.
        unchanged: share of translations that differ from their source by less than a grey level on average.
    """

    features: str
    frechet: Mapping[str, float] | None
    kernel: Mapping[str, float] | None
    within_domain: Pair
    within_source: Pair
    nearest: Pair
    copies: float
    unchanged: float


def measure_distances(
    material: Material, *, ungated: LabelledImages | None, extract: Extract, features: str
) -> Distances:
    """Measure everything.

    Args:
        material: what is evaluated.
        ungated: translations drawn as if nobody had judged them, or None.
        extract: what describes images.
        features: its name.
    """
    random = np.random.default_rng(0)
    train_rows = _some(len(material.train), random)
    kept_rows = _some(len(material.kept), random)
    train, kept = extract(material.train.images[train_rows]), extract(material.kept.images[kept_rows])
    test = extract(material.test.images[_some(len(material.test), random)])
    sources = material.kept_sources[kept_rows]
    sets = {"kept": kept, "real": train}
    if ungated is not None:
        sets["ungated"] = extract(ungated.images[_some(len(ungated), random)])
    near = _nearest(kept, train, own=torch.from_numpy(sources), rows=torch.from_numpy(train_rows))
    near_test = _nearest(test, train)
    closest = float(np.percentile(near_test.numpy(), _CLOSEST))
    synthetic_codes, real_codes = material.kept.codes[kept_rows], material.train.codes[train_rows]
    distances = Distances(
        features=features,
        frechet=None,
        kernel=None,
        within_domain=_within_domains(kept, synthetic_codes, train, real_codes),
        within_source=Pair(synthetic=_within(kept, sources), real=_spread(train[: _MOST_IN_DOMAIN * 5])),
        nearest=Pair(synthetic=float(near.median()), real=float(near_test.median())),
        copies=float((near < closest).double().mean()),
        unchanged=_unchanged(material, kept_rows),
    )
    if not TORCHMETRICS:
        return distances
    compared = {name: _compare(each, test) for name, each in sets.items()}
    return replace(
        distances,
        frechet={name: frechet for name, (frechet, _) in compared.items()},
        kernel={name: kernel for name, (_, kernel) in compared.items()},
    )


def inception() -> Extract:
    """Return the Inception network that published Frechet distances are measured with.

    Raises:
        MissingExtraError: torchmetrics or torch-fidelity is not installed, or the weights cannot be had.
    """
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


class _AsTheyAre(nn.Module):
    """Stands where torchmetrics wants a network: images have been described already."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _compare(made: Tensor, real: Tensor) -> tuple[float, float]:
    """Return the Frechet and the kernel distance of features (N, F) and (M, F)."""
    from torchmetrics.image.fid import FrechetInceptionDistance  # noqa: PLC0415 - an extra
    from torchmetrics.image.kid import KernelInceptionDistance  # noqa: PLC0415

    if min(len(made), len(real)) < 2:
        return math.nan, math.nan
    size = min(len(made), len(real), 500)
    frechet = FrechetInceptionDistance(feature=_AsTheyAre(real.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of its memory, of which this takes little
        kernel = KernelInceptionDistance(feature=_AsTheyAre(real.shape[1]), subsets=_SUBSETS, subset_size=size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for metric in (frechet, kernel):
            metric.update(real, real=True)
            metric.update(made, real=False)
        return float(frechet.compute()), float(kernel.compute()[0])


def _some(count: int, random: np.random.Generator) -> NDArray[np.intp]:
    rows = np.arange(count)
    return rows if count <= MOST else np.sort(random.choice(rows, size=MOST, replace=False))


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


def _unchanged(material: Material, rows: NDArray[np.intp]) -> float:
    sources = material.kept_sources[rows]
    rows, sources = rows[sources >= 0], sources[sources >= 0]
    if not len(rows):
        return math.nan
    parts = -(-len(rows) // 500)
    differences = [
        (material.kept.images[some].float() - material.train.images[of].float()).abs().mean(dim=(1, 2, 3))
        for some, of in zip(np.array_split(rows, parts), np.array_split(sources, parts), strict=True)
    ]
    return float((torch.cat(differences) < _UNCHANGED).double().mean())
