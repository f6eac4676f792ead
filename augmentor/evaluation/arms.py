"""Arms of an evaluation: ways to train a classifier, each a mixture of real images and translations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from augmentor.evaluation.data import EvaluationData
from augmentor.evaluation.training import Loss
from augmentor.judge import LabelledImages, joint_rarity

EVENED = "oversampled-synthetic"
"""The output with all combinations drawn equally often, as the oversampled baselines have them."""

TITLES = {
    "real": "real only",
    "oversampled": "real, rare ones oversampled",
    "trivialaugment": "real, TrivialAugment",
    "geometric": "real, geometric augmentation",
    "oversampled-trivialaugment": "oversampled, TrivialAugment",
    "oversampled-geometric": "oversampled, geometric augm.",
    "group-balanced": "real, group-balanced loss",
    "logit-adjusted": "real, logit-adjusted loss",
    "ungated": "real + synthetic, ungated",
    "gated": "real + synthetic, gated",
    EVENED: "real + synthetic, oversampled",
    "pretrained": "synthetic, then real",
    "synthetic": "synthetic only",
}
"""The arms in the order in which they are shown."""

BASELINES = (
    "oversampled",
    "trivialaugment",
    "geometric",
    "oversampled-trivialaugment",
    "oversampled-geometric",
    "group-balanced",
    "logit-adjusted",
)
"""Arms without a generator; synthetic images must be better than the best of those that are there."""

DEFAULT_ARMS = (
    "real",
    "oversampled",
    "oversampled-trivialaugment",
    "ungated",
    "gated",
    EVENED,
    "synthetic",
)
"""Those that run by default; "real", and the output's own of "ungated" and "gated", always run."""

Augmentation = Literal["trivial", "geometric"]


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Images that an arm draws from.

    Args:
        share: how much of every batch comes from here; the shares of all pools add up to 1.
        weights: (N,) how often each image is drawn, summing to 1; None goes through all of them in turn.
    """

    data: LabelledImages
    share: float
    weights: NDArray[np.float64] | None = None


def batches(
    pools: Sequence[Pool], *, steps: int, batch_size: int, seed: int, flip: bool, augment: Augmentation | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield training batches from non-empty pools: images (N, C, H, W) uint8 and codes (N, A).

    Every image is shifted by up to 1/16 of its side, mirrored half the time if `flip`, and changed by
    TrivialAugment (arXiv 2103.10158), or by rotation, scale, shear and shift alone.
    """
    random = np.random.default_rng(seed)
    streams = [_stream(pool, random) for pool in pools]
    drawn = np.zeros(len(pools))
    shares = np.array([pool.share for pool in pools])
    change = None if augment is None else _augmentation(augment)
    for step in range(1, steps + 1):
        # So many of each pool in all as its share requires, to the nearest image.
        wanted = _rounded(shares * (step * batch_size), step * batch_size) - drawn
        drawn += wanted
        parts = [
            (pool.data.images[rows], pool.data.codes[rows])
            for pool, stream, count in zip(pools, streams, wanted.astype(int).tolist(), strict=True)
            for rows in [torch.tensor([next(stream) for _ in range(count)], dtype=torch.int64)]
        ]
        images = jitter(torch.cat([part[0] for part in parts]), random, flip=flip)
        if change is not None:
            images = _augmented(images, change, seed=int(random.integers(1 << 62)))
        yield images, torch.cat([part[1] for part in parts])


def jitter(images: Tensor, random: np.random.Generator, *, flip: bool) -> Tensor:
    """Return images (N, C, H, W), shifted by up to 1/16 of the side, their edges repeated, and mirrored or not."""
    n, _, h, w = images.shape
    down, across = max(1, h // 16), max(1, w // 16)
    tops = torch.from_numpy(random.integers(-down, down + 1, size=n))
    lefts = torch.from_numpy(random.integers(-across, across + 1, size=n))
    mirrored = torch.from_numpy(random.random(n) < 0.5) & flip
    rows = (tops[:, None] + torch.arange(h)).clamp(0, h - 1)
    columns = (lefts[:, None] + torch.arange(w)).clamp(0, w - 1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    shifted = images[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return shifted.permute(0, 3, 1, 2)


def _stream(pool: Pool, random: np.random.Generator) -> Iterator[int]:
    """Yield row numbers for ever: every row once, in a new order each time, or drawn by their weights."""
    while True:
        if pool.weights is None:
            yield from random.permutation(len(pool.data)).tolist()
        else:
            yield from random.choice(len(pool.data), size=len(pool.data), p=pool.weights).tolist()


def _rounded(wanted: NDArray[np.float64], total: int) -> NDArray[np.float64]:
    """Return whole numbers close to `wanted` that add up to `total`."""
    ends = np.round(np.cumsum(wanted))
    ends[-1] = total
    return np.diff(ends, prepend=0.0)


def _augmentation(kind: Augmentation) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import InterpolationMode, v2  # noqa: PLC0415 - slow to import

    if kind == "trivial":
        trivial: Callable[[Tensor], Tensor] = v2.TrivialAugmentWide()
        return trivial
    bilinear = InterpolationMode.BILINEAR
    # Edges are repeated, then cut off again: a black corner would be no geometry.
    affine = v2.RandomAffine(15, translate=(0.1, 0.1), scale=(0.85, 1.15), shear=8, interpolation=bilinear)

    def change(image: Tensor) -> Tensor:
        _, h, w = image.shape
        padded = functional.pad(image[None].float(), (w // 2, w // 2, h // 2, h // 2), mode="replicate")[0]
        changed: Tensor = affine(padded).round().to(torch.uint8)
        return changed[:, h // 2 : h // 2 + h, w // 2 : w // 2 + w]

    return change


def _augmented(images: Tensor, augment: Callable[[Tensor], Tensor], *, seed: int) -> Tensor:
    """Augment each image by itself; torchvision draws from torch's own generator, which is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.stack([augment(image) for image in images])


@dataclass(frozen=True, kw_only=True)
class TrainingArm:
    """One way to train a classifier; its name is one of `TITLES`, in the sweep with the ratio behind it.

    Args:
        ratio: that of synthetic to real images, in the sweep alone.
        augment: how images are changed beyond shifts and mirrors.
        loss: see `augmentor.evaluation.training.Loss`.
        pretraining: images of the first third of the steps, those of `pools` in the others.
    """

    name: str
    title: str
    pools: tuple[Pool, ...]
    ratio: float | None = None
    augment: Augmentation | None = None
    loss: Loss = "plain"
    pretraining: tuple[Pool, ...] = ()

    @property
    def synthetic(self) -> bool:
        """Whether it learns from translations."""
        return self.name != "real" and self.name not in BASELINES

    @property
    def images(self) -> int:
        """Number of different images that it draws from."""
        return sum(len(pool.data) for pool in (*self.pretraining, *self.pools))


def main_arm(data: EvaluationData) -> str:
    """Return the name of the arm that stands for the output as it is."""
    return "gated" if data.output.gated or len(data.rejected.rows) else "ungated"


def judged_arm(data: EvaluationData, arms: Sequence[TrainingArm]) -> str:
    """Return the name of the arm that the verdict is about: evened where it is trained, else the output as it is.

    Baselines draw rare combinations more often. An arm that does not differs from them by more than its images.
    """
    return EVENED if any(arm.name == EVENED for arm in arms) else main_arm(data)


def make_arms(
    data: EvaluationData, *, ungated: LabelledImages | None, wanted: Sequence[str] = DEFAULT_ARMS
) -> list[TrainingArm]:
    """Return the wanted arms in the order of `TITLES`; one that there is nothing for is left out.

    `ungated` are translations as without the gate; None where there are none, or no others.
    """
    real = (Pool(data=data.train, share=1.0),)
    changed = data.train.codes[:, list(data.changed)]
    oversampled = (Pool(data=data.train, share=1.0, weights=joint_rarity(changed.numpy())),)
    synthetic = (Pool(data=data.kept, share=1.0),)
    found: dict[str, dict[str, Any]] = {
        "real": {"pools": real},
        "oversampled": {"pools": oversampled},
        "trivialaugment": {"pools": real, "augment": "trivial"},
        "geometric": {"pools": real, "augment": "geometric"},
        "oversampled-trivialaugment": {"pools": oversampled, "augment": "trivial"},
        "oversampled-geometric": {"pools": oversampled, "augment": "geometric"},
        "group-balanced": {"pools": real, "loss": "group_balanced"},
        "logit-adjusted": {"pools": real, "loss": "logit_adjusted"},
        main_arm(data): {"pools": mixed(data.train, data.kept)},
        EVENED: {"pools": evened(data.train, data.kept, attributes=data.changed)},
        "pretrained": {"pools": oversampled, "pretraining": synthetic},
        "synthetic": {"pools": synthetic},
    }
    if ungated is not None:
        found.setdefault("ungated", {"pools": mixed(data.train, ungated)})
    names = {"real", main_arm(data), *wanted}
    return [
        TrainingArm(name=name, title=title, **found[name])
        for name, title in TITLES.items()
        if name in found and name in names
    ]


def make_sweep(data: EvaluationData, ratios: Sequence[float]) -> list[TrainingArm]:
    """Return the output's arm again, with so many translations drawn for each real image."""
    name = main_arm(data)
    return [
        TrainingArm(
            name=f"{name} {ratio:g}",
            title=f"{TITLES[name]}, {ratio:g} : 1",
            pools=mixed(data.train, data.kept, ratio=ratio),
            ratio=ratio,
        )
        for ratio in ratios
    ]


def evened(real: LabelledImages, synthetic: LabelledImages, *, attributes: Sequence[int]) -> tuple[Pool, Pool]:
    """Return both kinds of images, drawn so that all combinations of these attributes come up equally."""
    weights = joint_rarity(torch.cat([real.codes, synthetic.codes])[:, list(attributes)].numpy())
    parts = weights[: len(real)], weights[len(real) :]
    first, second = (
        Pool(data=data, share=float(part.sum()), weights=part / part.sum())
        for data, part in zip((real, synthetic), parts, strict=True)
    )
    return first, second


def mixed(real: LabelledImages, synthetic: LabelledImages, *, ratio: float | None = None) -> tuple[Pool, Pool]:
    """Return both kinds of images as they are drawn together, in the ratio of translations to real images.

    None draws every image as often as any other, as a training job does that reads the label table as it is.
    """
    ratio = len(synthetic) / len(real) if ratio is None else ratio
    share = ratio / (1 + ratio)
    return Pool(data=real, share=1 - share), Pool(data=synthetic, share=share)
