"""Folds over subjects: tables that differ in the column `split` alone, and take turns in what is test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augmentor.data.beside import path_beside, write_beside
from augmentor.data.manifest import AS_WRITTEN, SPLITS, Manifest, TableReading, bound_together
from augmentor.data.manifest.files import read_table
from augmentor.data.manifest.read import infer_manifest
from augmentor.errors import ManifestError
from stargan.labels import UNKNOWN

LEAST_FOLDS = 3
"""With fewer, there is nothing left to train on beside test and val."""

MOST_FOLDS = 20


@dataclass(frozen=True, kw_only=True)
class WrittenFold:
    """A fold's table, and its numbers of images."""

    path: Path
    train: int
    val: int
    test: int


@dataclass(frozen=True, kw_only=True)
class Folds:
    """The written tables.

    Args:
        subjects: groups, and images without one; those with rows of the same pair count as one.
        lacking: combinations that some folds' test part lacks, the rarest first, and these folds, from 1.
    """

    written: tuple[WrittenFold, ...]
    subjects: int
    lacking: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]


def write_folds(
    path: Path,
    folds: int,
    *,
    attributes: Sequence[str] | None = None,
    one_hot: Mapping[str, Sequence[str]] | None = None,
    reading: TableReading = AS_WRITTEN,
) -> Folds:
    """Write `NAME-fold1.csv`, `NAME-fold2.csv`, ... beside a manifest, equal but for the column `split`.

    Subjects (groups, images without one, and those together that have a pair in common) are dealt into as many
    parts, whatever their split was. Part k is the test split of table k, the next one its val split, all others
    are train. Rows that repeat another are left out.

    Raises:
        ManifestError: the manifest cannot be used, or has too few subjects.
        OutputError: one of the tables exists, or cannot be written.
    """
    if not LEAST_FOLDS <= folds <= MOST_FOLDS:
        raise ManifestError(f"--folds must be from {LEAST_FOLDS} to {MOST_FOLDS}, not {folds}")
    table = read_table(path, reading)
    manifest = infer_manifest(table, attributes=attributes, one_hot=one_hot)
    # Numbered by their first row, so that the parts depend on the order of the rows alone.
    subjects = bound_together(manifest.rows["group"], manifest.pairs)
    count = int(subjects.max()) + 1
    if count < folds:
        raise ManifestError(
            f"{path}: {count} subjects (groups, and images without one), fewer than --folds {folds}: "
            "each fold's test split needs one"
        )
    outs = [path_beside(path, f"fold{fold}", option="--folds") for fold in range(1, folds + 1)]
    parts = deal(manifest.codes, subjects, folds)
    kept = table.take(np.flatnonzero(np.isin(table.lines, manifest.rows["line"])))
    written = []
    for number, out in enumerate(outs):
        splits = np.full(len(parts), "train", dtype=object)
        splits[parts == number] = "test"
        splits[parts == (number + 1) % folds] = "val"
        write_beside(out, kept, column="split", instead={"split": splits.tolist()})
        train, val, test = (int((splits == split).sum()) for split in SPLITS)
        written.append(WrittenFold(path=out, train=train, val=val, test=test))
    return Folds(
        written=tuple(written),
        subjects=count,
        lacking=_lacking(manifest, parts, folds),
        notes=manifest.notes,
    )


def deal(codes: NDArray[np.integer], subjects: NDArray[np.intp], parts: int) -> NDArray[np.intp]:
    """Deal whole subjects into parts that are alike in their labels; return the part of each row, (N,) from 0.

    Those with the rarest combination come first, large ones before small ones. Each goes to the part that has the
    least of its combinations of labels; where several have, of its single labels, then of all images.

    codes: (N, A) labels, -1 unknown, a label like any other. subjects: (N,) the subject of each row, from 0.
    """
    n = len(codes)
    combinations = np.unique(codes, axis=0, return_inverse=True)[1].reshape(n)
    values = np.stack([np.unique(column, return_inverse=True)[1] for column in codes.T], axis=1)
    values += np.concatenate([[0], np.cumsum(values.max(axis=0) + 1)[:-1]]).astype(values.dtype)
    pairs = np.unique(np.stack([subjects, combinations]), axis=1)
    having = np.bincount(pairs[1])  # subjects of each combination
    sizes = np.bincount(subjects)
    rarity = np.full(len(sizes), n)
    np.minimum.at(rarity, pairs[0], having[pairs[1]])
    rows_of = np.split(np.argsort(subjects, kind="stable"), np.cumsum(sizes)[:-1])
    all_combinations, all_values = np.bincount(combinations), np.bincount(values.ravel())
    of_combination, of_value = np.zeros((parts, len(all_combinations))), np.zeros((parts, len(all_values)))
    images = np.zeros(parts)
    dealt = np.zeros(n, dtype=np.intp)
    for subject in np.lexsort((-sizes, rarity)):
        rows = rows_of[subject]
        combination, value = combinations[rows], values[rows].ravel()
        part = np.lexsort(
            (
                images,
                (of_value[:, value] / all_values[value]).sum(axis=1),
                (of_combination[:, combination] / all_combinations[combination]).sum(axis=1),
            )
        )[0]
        dealt[rows] = part
        np.add.at(of_combination[part], combination, 1)
        np.add.at(of_value[part], value, 1)
        images[part] += len(rows)
    return dealt


def _lacking(manifest: Manifest, parts: NDArray[np.intp], folds: int) -> dict[str, tuple[int, ...]]:
    """Return the combinations that some parts lack, and these parts, from 1; the rarest first."""
    known = (manifest.codes != UNKNOWN).all(axis=1)
    combinations, which, counts = np.unique(manifest.codes[known], axis=0, return_inverse=True, return_counts=True)
    having = np.zeros((len(combinations), folds), dtype=np.bool_)
    having[which.reshape(-1), parts[known]] = True
    lacking = {}
    for number in np.argsort(counts, kind="stable"):
        if not having[number].all():
            domain = manifest.space.domain(combinations[number].tolist())
            name = ", ".join(f"{attribute}={value}" for attribute, value in domain.items())
            lacking[name] = tuple((np.flatnonzero(~having[number]) + 1).tolist())
    return lacking
