"""The survey of pairs: which rows have a partner, which changes they show, and which are of unequal size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.manifest import Manifest, Partners
from augmentor.errors import ImageError, ManifestError, counted, row_list
from augmentor.images import upright_size
from augmentor.storage import RemotePath, side_by_side
from stargan.labels import UNKNOWN

_MOST_ROWS = 10
"""Rows of a pair whose size is looked at before a training."""


@dataclass(frozen=True, kw_only=True)
class PairSummary:
    """The pairs of a manifest; changes and domains are those of its training rows.

    Args:
        rows: rows of each split that have a partner, a row of the same pair with other labels.
        changes: attribute -> (value, other value) -> the pairs of rows that differ in this.
        domains: the labels of rows without a partner, where no row of these labels has one -> their number, the
            most frequent first.
    """

    rows: dict[str, int]
    changes: dict[str, dict[tuple[str, str], int]]
    domains: dict[str, int]

    def to_json(self) -> dict[str, object]:
        """Return the summary as plain JSON values."""
        changes = {
            name: [{"values": list(values), "pairs": count} for values, count in counts.items()]
            for name, counts in self.changes.items()
        }
        return {"rows": self.rows, "changes": changes, "domains_without": self.domains}


def summarize_pairs(manifest: Manifest) -> PairSummary | None:
    """Count the pairs; no image is opened. None for a manifest without any."""
    if not (manifest.pairs >= 0).any():
        return None
    paired = Partners.of(manifest.pairs, manifest.codes).mask()
    splits = manifest.rows["split"][paired].value_counts(sort=False)
    training = manifest.split_mask(["train"])
    return PairSummary(
        rows={str(split): int(count) for split, count in splits.items() if count},
        changes=_changes(manifest.select(training)),
        domains=_domains_without(manifest.select(training), paired[training]),
    )


def _changes(rows: Manifest) -> dict[str, dict[tuple[str, str], int]]:
    """Count the pairs of rows that differ in each attribute, for all values that rows have."""
    pairs = rows.pairs
    found = {}
    for attribute, codes in zip(rows.space.attributes, rows.codes.T, strict=True):
        known = (codes != UNKNOWN) & (pairs >= 0)
        # Of each pair and value the number of rows, and then of each two values of a pair the product.
        counts = pd.DataFrame({"pair": pairs[known], "value": codes[known]}).value_counts().rename("rows")
        both = counts.reset_index().merge(counts.reset_index(), on="pair")
        both = both[both["value_x"] < both["value_y"]]
        sums = (both["rows_x"] * both["rows_y"]).groupby([both["value_x"], both["value_y"]]).sum()
        values = np.unique(codes[codes != UNKNOWN]).tolist()
        found[attribute.name] = {
            (attribute.values[one], attribute.values[other]): int(sums.get((one, other), 0))
            for one, other in combinations(values, 2)
        }
    return found


def _domains_without(rows: Manifest, paired: NDArray[np.bool_]) -> dict[str, int]:
    domains, which, counts = np.unique(rows.codes, axis=0, return_inverse=True, return_counts=True)
    having = np.bincount(which.reshape(-1), weights=paired, minlength=len(domains))
    return {
        ", ".join(f"{name}={value}" for name, value in rows.space.domain(domains[number].tolist()).items()): int(
            counts[number]
        )
        for number in np.argsort(-counts, kind="stable")
        if having[number] == 0 and (domains[number] != UNKNOWN).any()
    }


def pair_notes(manifest: Manifest) -> list[str]:
    """Return notes on pairs that teach nothing, or that bind groups together."""
    partners = Partners.of(manifest.pairs, manifest.codes)
    paired, lines = partners.mask(), manifest.rows["line"].to_numpy()
    where = f"{manifest.title}, column 'pair'"
    sizes = np.diff(partners.first)
    of = partners.pairs[partners.order]
    alone = partners.order[sizes[of] == 1]
    notes = []
    if len(alone):
        rows = lines[np.sort(alone)].tolist()
        notes.append(f"{where}: {counted(len(alone), 'row')} with a name that no other row has ({row_list(rows)})")
    useful = np.bincount(of, weights=paired[partners.order], minlength=len(sizes)) > 0
    alike = np.flatnonzero((sizes > 1) & ~useful)
    if len(alike):
        rows = lines[np.sort(partners.order[np.isin(of, alike)])].tolist()
        notes.append(
            f"{where}: {counted(len(alike), 'pair')} whose rows have the same labels, which show no change "
            f"({row_list(rows)})"
        )
    groups = pd.Series(manifest.rows["group"].to_numpy()[partners.order])
    several = int((groups[groups != ""].groupby(of[(groups != "").to_numpy()]).nunique() > 1).sum())
    if several:
        notes.append(
            f"{where}: {counted(several, 'pair')} with rows of several groups: all rows of these groups have to "
            "be in one split"
        )
    return notes


def refuse_unequal_pairs(manifest: Manifest) -> None:
    """Refuse a manifest whose pairs differ in size; reads headers, of a part of the pairs where they are many."""
    partners = Partners.of(manifest.pairs, manifest.codes)
    # A file of an object store is downloaded whole.
    most = 16 if isinstance(manifest.root, RemotePath) else 500
    pairs = np.linspace(0, len(partners) - 1, min(len(partners), most)).astype(int).tolist()
    rows = np.concatenate([partners.rows_of(pair)[:_MOST_ROWS] for pair in pairs]).tolist()

    def size(row: int) -> tuple[int, int] | None:
        try:
            return upright_size(manifest.image_path(row), access=manifest.access)
        except (ImageError, OSError):
            return None  # reported where the row is used

    sizes = zip(rows, side_by_side(size, rows), strict=True)
    unequal = unequal_pairs(manifest, {row: found for row, found in sizes if found is not None})
    if unequal:
        raise ManifestError(
            f"{manifest.title}, column 'pair': {unequal[0]}. A pair is aligned pixel for pixel: make its images "
            "equally large, or leave their cells blank. augmentor check names all such pairs"
        )


def unequal_pairs(manifest: Manifest, sizes: Mapping[int, tuple[int, int]]) -> list[str]:
    """Return a message for every pair whose images differ in size; `sizes` is row -> (height, width) in pixels."""
    pairs = manifest.pairs
    found: dict[int, dict[tuple[int, int], list[int]]] = {}
    for row in sorted(sizes):
        if pairs[row] >= 0:
            found.setdefault(int(pairs[row]), {}).setdefault(sizes[row], []).append(row)
    messages = []
    for _, rows in sorted(found.items()):
        if len(rows) > 1:
            name = manifest.rows["pair"].iat[next(iter(rows.values()))[0]]
            lines = manifest.rows["line"]
            each = " and ".join(
                f"{width}x{height} px ({row_list(lines.iloc[those].tolist())})"
                for (height, width), those in rows.items()
            )
            messages.append(f"pair '{name}' has images of {each}")
    return messages
