"""Training batches of an arm: which images are drawn how often, shifted, mirrored, and augmented."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.judge import LabelledImages


class Batch(NamedTuple):
    """What a step learns from.

    Args:
        images: (N, C, H, W) uint8.
        codes: (N, A) int64, -1 unknown.
    """

    images: Tensor
    codes: Tensor


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Images that an arm draws from.

    Args:
        data: the images.
        share: how much of every batch comes from here; the shares of all pools add up to 1.
        weights: (N,) how often each image is drawn, summing to 1; None goes through all of them in turn.
    """

    data: LabelledImages
    share: float
    weights: NDArray[np.float64] | None = None


def batches(
    pools: Sequence[Pool], *, steps: int, batch_size: int, seed: int, flip: bool, trivial_augment: bool
) -> Iterator[Batch]:
    """Yield training batches; every image is shifted by up to 1/16 of its side and, half the time, mirrored.

    Args:
        pools: where images come from, none of them empty.
        steps: how many batches.
        batch_size: images of each.
        seed: of all draws.
        flip: whether mirrored images keep their labels.
        trivial_augment: whether each image also goes through TrivialAugment (arXiv 2103.10158).
    """
    from torchvision.transforms import v2  # noqa: PLC0415 - takes seconds

    random = np.random.default_rng(seed)
    streams = [_stream(pool, random) for pool in pools]
    drawn = np.zeros(len(pools))
    shares = np.array([pool.share for pool in pools])
    augment = v2.TrivialAugmentWide() if trivial_augment else None
    for step in range(1, steps + 1):
        # As many of each pool so far as its share says, to the nearest image.
        wanted = _rounded(shares * (step * batch_size), step * batch_size) - drawn
        drawn += wanted
        parts = [
            (pool.data.images[rows], pool.data.codes[rows])
            for pool, stream, count in zip(pools, streams, wanted.astype(int).tolist(), strict=True)
            for rows in [torch.tensor([next(stream) for _ in range(count)], dtype=torch.int64)]
        ]
        images = jitter(torch.cat([part[0] for part in parts]), random, flip=flip)
        if augment is not None:
            images = _augmented(images, augment, seed=int(random.integers(1 << 62)))
        yield Batch(images, torch.cat([part[1] for part in parts]))


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


def even_weights(codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return how often each row is drawn, (N,) summing to 1, so that all combinations of labels come up equally.

    Args:
        codes: (N, A) of the attributes that count, -1 unknown, which is a label like any other.
    """
    _, which, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[which.reshape(-1)]
    normal: NDArray[np.float64] = weights / weights.sum()
    return normal


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


def _augmented(images: Tensor, augment: Callable[[Tensor], Tensor], *, seed: int) -> Tensor:
    """Augment each image by itself; torchvision draws from torch's own generator, which is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.stack([augment(image) for image in images])
