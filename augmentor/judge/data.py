"""Real images of a judge in memory, and the split into training and validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.data.manifest import Manifest
from augmentor.errors import ImageError
from augmentor.images import Pixels, decode
from augmentor.judge.limits import TimeBudget
from stargan.labels import UNKNOWN, LabelSpace

FEWEST_IMAGES = 32
"""Read in any case, however little time is left."""


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images (N, C, H, W) uint8 in memory, with their labels (N, A) int64, -1 unknown."""

    images: Tensor
    codes: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def stack(
        cls, images: Sequence[Pixels], codes: NDArray[np.integer], *, size: tuple[int, int], channels: int
    ) -> Self:
        """Return N images (H, W, C) of a size and number of channels, with their codes (N, A)."""
        stacked = np.stack(images) if len(images) else np.zeros((0, *size, channels), dtype=np.uint8)
        return cls(
            images=torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
            codes=torch.from_numpy(codes.astype(np.int64)),
        )


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Form of the images that a judge is given.

    Args:
        size: (height, width) in pixels.
        channels: 1 or 3.
        crop: side of the centred square that is cut out of each image first, or None.
        flip: whether mirrored images keep their labels.
    """

    size: tuple[int, int]
    channels: int = 3
    crop: int | None = None
    flip: bool = True


class RealImages(NamedTuple):
    """Images that were read, their subjects ("" where a row has none), and how many rows could not be read."""

    data: LabelledImages
    groups: tuple[str, ...]
    unreadable: int


def read_rows(
    manifest: Manifest, rows: NDArray[np.intp], *, looks: InputSettings, clock: TimeBudget, most: int
) -> RealImages:
    """Read the first `most` of `rows` into memory, or as many as there is time for; skip unreadable ones."""
    images, kept, unreadable = list[NDArray[np.uint8]](), list[int](), 0
    wanted = min(most, len(rows))
    for row in rows.tolist():
        if len(kept) == wanted or (clock.over() and len(kept) >= FEWEST_IMAGES):
            break
        clock.report(len(kept) / wanted)
        try:
            images.append(_decode(manifest, row, size=looks.size, channels=looks.channels, crop=looks.crop))
            kept.append(row)
        except ImageError:
            unreadable += 1
    data = LabelledImages.stack(images, manifest.codes[kept], size=looks.size, channels=looks.channels)
    return RealImages(data, tuple(manifest.rows["group"].astype(str).iloc[kept]), unreadable)


def read_images(
    manifest: Manifest, *, size: tuple[int, int], channels: int, crop: int | None = None
) -> LabelledImages:
    """Read all images of a manifest into memory.

    `size` is (height, width) in pixels; `crop` is the side of the centred square that is cut out first, or None.

    Raises:
        ImageError: an image cannot be read.
    """
    images = [_decode(manifest, row, size=size, channels=channels, crop=crop) for row in range(len(manifest))]
    return LabelledImages.stack(images, manifest.codes, size=size, channels=channels)


def _decode(manifest: Manifest, row: int, *, size: tuple[int, int], channels: int, crop: int | None) -> Pixels:
    return decode(manifest.image_path(row), size=size, channels=channels, crop=crop, access=manifest.access)


def judge_split(manifest: Manifest) -> tuple[NDArray[np.intp], NDArray[np.intp], str]:
    """Return the labelled rows of train and of val, and the source of the latter: "val" or "held out of train".

    Without a val split a fifth of train, whole groups, is held out. The order is fixed; rare labels come early.
    """
    labelled = (manifest.codes != UNKNOWN).any(axis=1)
    training, validation = (np.flatnonzero(manifest.split_mask([split]) & labelled) for split in ("train", "val"))
    sources = "val"
    if not len(validation):
        held_out = _held_out(manifest, training)
        training, validation = training[~held_out], training[held_out]
        sources = "held out of train"
    return _shuffled(manifest, training), _shuffled(manifest, validation), sources


def _held_out(manifest: Manifest, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return a mask over `rows`: about a fifth of them, all of a group or none; all but one unit at most."""
    groups = manifest.rows["group"].to_numpy()[rows]
    names = np.array([str(group) or f"\0{row}" for group, row in zip(groups, rows, strict=True)], dtype=object)
    units, counts = np.unique(names, return_counts=True)
    order = np.random.default_rng(0).permutation(len(units))[: max(0, len(units) - 1)]
    before = np.cumsum(counts[order]) - counts[order]
    mask: NDArray[np.bool_] = np.isin(names, units[order[before < len(rows) / 5]])
    return mask


def _shuffled(manifest: Manifest, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the rows in a random order weighted by rarity, so that the first ones are balanced."""
    if not len(rows):
        return rows
    weights = rarity_weights(manifest.codes[rows], manifest.space)
    return np.random.default_rng(0).choice(rows, size=len(rows), replace=False, p=weights)


def rarity_weights(codes: NDArray[np.integer], space: LabelSpace) -> NDArray[np.float64]:
    """Return how often each row should be drawn, (N,) summing to 1: inversely to its rarest label's frequency.

    codes: (N, A), -1 unknown, which counts as no label.
    """
    weights = np.zeros(len(codes))
    for attribute, column in zip(space.attributes, codes.T, strict=True):
        counts = np.bincount(column[column != UNKNOWN], minlength=len(attribute.values))
        known = column != UNKNOWN
        weights[known] = np.maximum(weights[known], known.sum() / np.maximum(counts[column[known]], 1))
    weights[weights == 0] = 1.0
    normal: NDArray[np.float64] = weights / weights.sum()
    return normal
