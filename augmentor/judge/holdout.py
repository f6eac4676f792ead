"""Which rows a classifier that judges learns from, and which it is tried on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from augmentor.data.manifest import Manifest
from augmentor.judge.measures import rarity_weights
from stargan.labels import UNKNOWN


def judge_split(manifest: Manifest) -> tuple[NDArray[np.intp], NDArray[np.intp], str]:
    """Return the rows that the classifier learns from, those that it is tried on, and where these come from.

    They are the labelled rows of train and val. Without a val split a fifth of train, whole groups, is held out.

    Returns:
        Row numbers, each in a fixed order in which rare labels come early; then "val" or "held out of train".
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
    """Return the rows in an order that is as good as drawing: where only the first ones are read, none is rare."""
    if not len(rows):
        return rows
    weights = rarity_weights(manifest.codes[rows], manifest.space)
    return np.random.default_rng(0).choice(rows, size=len(rows), replace=False, p=weights)
