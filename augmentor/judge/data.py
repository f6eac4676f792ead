"""Real images of a judge in memory, and the split into training and validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.data.manifest import Manifest, subject_names
from augmentor.errors import ImageError, counted
from augmentor.images import Pixels, decode
from augmentor.judge.limits import TimeBudget
from stargan.labels import UNKNOWN, LabelSpace

FEWEST_IMAGES = 32
"""Read in any case, however little time is left."""

_FOLDS = 5
"""One of so many folds is held out."""

_MOST_SPLIT = 16_384
"""Training rows among which some are held out: more than a judge ever reads."""

_FIRST = 8
"""Images of every combination that are read first."""

_MOST_COMBINATIONS = 64
"""Combinations of labels above which rows are drawn by single labels."""

_MOST_WEIGHT = 40.0
"""Of a row, against one of a set that has one combination: a single image should not stand for all of its kind."""

_MOST_NAMED = 256
"""Combinations above which those without a validation image are not named."""


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


_VAL, _TRAIN = "val", "held out of train"
_BOTH = f"{_VAL} and {_TRAIN}"


class JudgeSplit(NamedTuple):
    """Rows of a judge, in a fixed random order in which rare labels come early.

    Args:
        training: rows to learn from.
        validation: rows to validate on, of other subjects.
        sources: where these are from: "val", "held out of train", or "val and held out of train".
        rare: values and combinations that no validation row has, with their numbers of training images.
    """

    training: NDArray[np.intp]
    validation: NDArray[np.intp]
    sources: str
    rare: tuple[str, ...]

    @property
    def has_val(self) -> bool:
        """Whether there are rows of split val, which the generator has not seen."""
        return self.sources != _TRAIN


def _decode(manifest: Manifest, row: int, *, size: tuple[int, int], channels: int, crop: int | None) -> Pixels:
    return decode(manifest.image_path(row), size=size, channels=channels, crop=crop, access=manifest.access)


def judge_split(manifest: Manifest) -> JudgeSplit:
    """Split the labelled rows of train and val for a judge.

    Without a val split a fifth of train, whole groups, is held out. Every value and combination that train has is
    in both parts, as far as it has two subjects: what val lacks is held out of train, too.
    """
    labelled = (manifest.codes != UNKNOWN).any(axis=1)
    training, validation = (
        _shuffled(manifest, np.flatnonzero(manifest.split_mask([split]) & labelled)) for split in ("train", "val")
    )
    sources = _VAL if len(validation) else _TRAIN
    # Later rows are never read.
    some = training[:_MOST_SPLIT]
    subjects = _subjects(manifest)
    folds = assign_folds(manifest.codes[some], subjects[some], space=manifest.space, folds=_FOLDS)
    held_out = some[folds == 0]
    if len(validation):
        numbers = _combinations(manifest.codes[np.concatenate([held_out, validation])])
        held_out = held_out[~np.isin(numbers[: len(held_out)], numbers[len(held_out) :])]
    if len(held_out):
        sources = _TRAIN if sources == _TRAIN else _BOTH
        mask = np.isin(subjects[training], subjects[held_out])
        training, validation = training[~mask], _shuffled(manifest, np.concatenate([validation, training[mask]]))
    return JudgeSplit(training, validation, sources, _rare(manifest, training, validation))


def assign_folds(
    codes: NDArray[np.integer], subjects: NDArray[np.integer], *, space: LabelSpace, folds: int
) -> NDArray[np.intp]:
    """Return the fold of each row, (N,): all rows of a subject are in one, and values and combinations in all.

    The rarest are spread first: one of at least two subjects is in fold 0 and in another one; a value of one
    subject is not in fold 0.

    codes: (N, A), -1 unknown; subjects: (N,).
    """
    _, units = np.unique(subjects, return_inverse=True)
    sizes = np.bincount(units)
    numbers = _combinations(codes)
    order = np.argsort(numbers, kind="stable")
    parts = np.split(units[order], np.flatnonzero(np.diff(numbers[order])) + 1)
    cells = [np.unique(part) for part in parts]
    values = [
        np.unique(units[codes[:, column] == code])
        for column, attribute in enumerate(space.attributes)
        for code in range(len(attribute.values))
    ]
    chance = np.random.default_rng(0).permutation(len(sizes))
    fold_of: NDArray[np.intp] = np.full(len(sizes), -1, dtype=np.intp)
    filled = np.zeros(folds, dtype=np.intp)
    spread = [cell for cell in cells if len(cell) > 1] + [value for value in values if len(value)]
    for cell in [*sorted(spread, key=len), np.arange(len(sizes))]:
        there = np.bincount(fold_of[cell][fold_of[cell] >= 0], minlength=folds)
        free = cell[fold_of[cell] < 0]
        for unit in free[np.argsort(chance[free])].tolist():
            if len(cell) == 1:
                fold = 1 + int(filled[1:].argmin())
            else:
                fold = 0 if not there[0] else min(range(folds), key=lambda each: (there[each], filled[each]))
            fold_of[unit] = fold
            there[fold] += 1
            filled[fold] += sizes[unit]
    return np.asarray(fold_of[units], dtype=np.intp)


def _subjects(manifest: Manifest) -> NDArray[np.intp]:
    """Return a number per row, (N,), equal for rows of one group; a row without a group is its own subject."""
    numbers, names = pd.factorize(manifest.rows["group"].astype(str))
    alone = names[numbers] == ""
    return np.where(alone, len(names) + np.arange(len(manifest)), numbers).astype(np.intp)


def _combinations(codes: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return a number per row, (N,), that is equal for equal rows of codes."""
    table = pd.DataFrame(codes)  # hashed: sorting millions of rows takes long
    return np.asarray(table.groupby(list(table), sort=False).ngroup(), dtype=np.intp)


def _rare(manifest: Manifest, training: NDArray[np.intp], validation: NDArray[np.intp]) -> tuple[str, ...]:
    """Return in words what training rows have and validation rows lack, values first, with the rows' numbers."""
    space, found = manifest.space, []
    learnt, shown = manifest.codes[training], manifest.codes[validation]
    for column, attribute in enumerate(space.attributes):
        for code, value in enumerate(attribute.values):
            count = int((learnt[:, column] == code).sum())
            if count and not (shown[:, column] == code).any():
                found.append((f"{attribute.name}={value}", count))
    _, examples, counts = np.unique(_combinations(learnt), return_index=True, return_counts=True)
    if len(space) > 1 and len(examples) <= _MOST_NAMED:
        for codes, count in zip(learnt[examples], counts.tolist(), strict=True):
            if not (shown == codes).all(axis=1).any():
                words = (f"{name}={value}" for name, value in space.domain(codes.tolist()).items())
                found.append((", ".join(words), count))
    return tuple(f"{words} ({counted(count, 'image')})" for words, count in found)


def _shuffled(manifest: Manifest, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the rows in a random order weighted by `combination_weights`, so that the first ones are balanced.

    The first few rows of every combination come before all others.
    """
    if not len(rows):
        return rows
    weights = combination_weights(manifest.codes[rows], manifest.space)
    order = np.random.default_rng(0).choice(rows, size=len(rows), replace=False, p=weights)
    cells = pd.Series(_combinations(manifest.codes[order]))
    first = cells.groupby(cells).cumcount().to_numpy() < _FIRST
    return np.concatenate([order[first], order[~first]])


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


def joint_rarity(codes: NDArray[np.integer], *, most: float = math.inf) -> NDArray[np.float64]:
    """Return how often each row should be drawn so that all domains come equally often, (N,) summing to 1.

    Args:
        codes: (N, A), -1 unknown, which counts as a value of its own.
        most: bound of a row's weight, as a multiple of that of rows of one domain.
    """
    _, inverse, counts = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    weights = np.minimum(1.0 / counts[inverse.ravel()], most / max(1, len(codes)))
    normal: NDArray[np.float64] = weights / weights.sum()
    return normal


def combination_weights(codes: NDArray[np.integer], space: LabelSpace) -> NDArray[np.float64]:
    """Return how often each row should be drawn so that a classifier does not learn how labels correlate, (N,).

    By `joint_rarity`, so that a classifier of 20 smiling women among a thousand smiling men does not take a smile
    for a man's; with more than `_MOST_COMBINATIONS` of labels, which have too few rows each, by `rarity_weights`.

    codes: (N, A), -1 unknown.
    """
    if len(np.unique(codes, axis=0)) > _MOST_COMBINATIONS:
        return rarity_weights(codes, space)
    return joint_rarity(codes, most=_MOST_WEIGHT)


def subject_halves(groups: Sequence[str]) -> Tensor:
    """Return (N,) bool, which half each image is in: whole subjects, in a fixed random order."""
    units = subject_names(groups, range(len(groups)))
    names = sorted(set(units))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
    place = dict(zip(names, order, strict=True))
    return torch.tensor([place[unit] % 2 == 1 for unit in units], dtype=torch.bool)
