"""The tables of an output, gathered and counted in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.errors import OutputError
from augmentor.outputs import UNCHANGED
from augmentor.outputs.readers import FinishedOutput
from stargan.labels import UNKNOWN, LabelSpace

BINS = 20
"""Bars of a histogram of scores."""

SCORES = ("agreement", "realism", "preserved")


@dataclass(frozen=True, kw_only=True)
class SurveyedRows:
    """Images, a row each, in the order of their table.

    Args:
        places: (N,) int64, their rows in that table.
        codes: (N, A) int16, the labels, -1 unknown.
        changes: (N, A) int16, the labels where they differ from the source's, else -1.
        sources: (N,) uint64, a hash of the source's id.
        keys: (N,) uint64, a hash of their key.
        scores: per name of `SCORES` (N,) float32, NaN where unknown.
        each: per attribute how often the judge's probability fell into each of `BINS` equal bins of [0, 1].
    """

    places: NDArray[np.int64]
    codes: NDArray[np.int16]
    changes: NDArray[np.int16]
    sources: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    scores: dict[str, NDArray[np.float32]]
    each: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The tables of an output: real images, kept translations, and those in `rejected.csv`.

    Args:
        real_splits: (N,) the names of the real images' splits.
        reasons: number of rejected translations per reason, the most frequent first; one may have several.
        splits: the splits that have translations.
    """

    real: SurveyedRows
    real_splits: NDArray[np.object_]
    kept: SurveyedRows
    rejected: SurveyedRows
    reasons: dict[str, int]
    splits: tuple[str, ...]

    @property
    def scored(self) -> bool:
        """Whether any translation has a score."""
        return any(
            bool(np.isfinite(values).any())
            for made in (self.kept, self.rejected)
            for values in made.scores.values()
        )


def survey(output: FinishedOutput) -> Survey:
    """Read the tables of an output; OutputError if one is missing or damaged, or they do not fit together."""
    space = output.space
    kept, real = _Gathered(space), _Gathered(space)
    splits: list[NDArray[np.object_]] = []
    place = 0
    translated: set[str] = set()
    for chunk in output.label_rows():
        made = chunk["is_synthetic"].to_numpy(dtype=bool)
        places = np.arange(place, place + len(chunk))
        place += len(chunk)
        kept.add(chunk[made], places[made])
        real.add(chunk[~made], places[~made])
        splits.append(chunk["split"].to_numpy(dtype=object)[~made])
        translated.update(chunk["split"][made].unique())
    _add_scores(output, kept)
    rejected, reasons, first = _Gathered(space), Counter[str](), 0
    for chunk in output.rejected_rows():
        rejected.add(chunk, np.arange(first, first + len(chunk)))
        rejected.add_each(chunk)
        first += len(chunk)
        for words, count in chunk["reason"].value_counts().items():
            reasons.update(dict.fromkeys(reason_kinds(str(words)), int(count)))
    return Survey(
        real=real.rows(),
        real_splits=np.concatenate([*splits, np.array([], dtype=object)]),
        kept=kept.rows(),
        rejected=rejected.rows(),
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        splits=tuple(sorted(map(str, translated))),
    )


def reason_kinds(reason: str) -> list[str]:
    """Return the kinds of a reason, without its numbers: "agreement too low" for "agreement 0.12 < 0.41"."""
    kinds = []
    for part in reason.split(", "):
        words = part.split()
        name = words[0] if words and words[0] in SCORES else part.split(":")[0].strip()
        kinds.append(f"{name} too low" if name in SCORES else name.rstrip("0123456789.<> "))
    return list(dict.fromkeys(kind for kind in kinds if kind))


def histogram(values: NDArray[np.float32], *, low: float = 0.0, high: float = 1.0) -> NDArray[np.int64]:
    """Count the known values in `BINS` equal bins; the outer bins include values outside of the range."""
    known = values[np.isfinite(values)]
    places = np.clip(((known - low) / (high - low) * BINS).astype(np.int64), 0, BINS - 1)
    return np.bincount(places, minlength=BINS).astype(np.int64)


@dataclass
class _Gathered:
    """Pieces of `SurveyedRows`."""

    space: LabelSpace
    places: list[NDArray[np.int64]] = field(default_factory=list)
    codes: list[NDArray[np.int16]] = field(default_factory=list)
    changes: list[NDArray[np.int16]] = field(default_factory=list)
    sources: list[NDArray[np.uint64]] = field(default_factory=list)
    scores: dict[str, list[NDArray[np.float32]]] = field(default_factory=lambda: {name: [] for name in SCORES})
    keys: list[NDArray[np.uint64]] = field(default_factory=list)
    each: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.each = np.zeros((len(self.space), BINS), dtype=np.int64)

    def add(self, rows: pd.DataFrame, places: NDArray[np.int64]) -> None:
        codes = np.full((len(rows), len(self.space)), UNKNOWN, dtype=np.int16)
        for column, attribute in enumerate(self.space.attributes):
            codes[:, column] = pd.Index(attribute.values).get_indexer(pd.Index(rows[attribute.name]))
        self.places.append(places.astype(np.int64))
        self.codes.append(codes)
        self.changes.append(np.where(_changed(rows["changed"], self.space), codes, np.int16(UNKNOWN)))
        self.sources.append(hashes(rows["source_id"]))
        self.keys.append(hashes(rows["key"]))
        for name in SCORES:
            known = numbers(rows[name]) if name in rows else np.full(len(rows), np.nan, dtype=np.float32)
            self.scores[name].append(known)

    def add_each(self, rows: pd.DataFrame) -> None:
        for column, name in enumerate(self.space.names):
            self.each[column] += histogram(numbers(rows[f"agreement:{name}"]))

    def rows(self) -> SurveyedRows:
        attributes = len(self.space)
        return SurveyedRows(
            places=_joined(self.places, np.empty(0, np.int64)),
            codes=_joined(self.codes, np.empty((0, attributes), np.int16)),
            changes=_joined(self.changes, np.empty((0, attributes), np.int16)),
            sources=_joined(self.sources, np.empty(0, np.uint64)),
            keys=_joined(self.keys, np.empty(0, np.uint64)),
            scores={name: _joined(pieces, np.empty(0, np.float32)) for name, pieces in self.scores.items()},
            each=self.each,
        )


def _add_scores(output: FinishedOutput, kept: _Gathered) -> None:
    """Add the scores of the kept translations from `scores.csv`, which has the same order."""
    keys = _joined(kept.keys, np.empty(0, np.uint64))
    scores = {name: _joined(pieces, np.empty(0, np.float32)) for name, pieces in kept.scores.items()}
    first = 0
    for chunk in output.score_rows():
        found = hashes(chunk["key"])
        there = first + np.flatnonzero(np.isin(keys[first:], found))
        if len(there) != len(found) or (keys[there] != found).any():
            path = output.beside("scores.csv")
            raise OutputError(f"{path}: its rows are not those of the label table. Run augmentor verify")
        for name in SCORES:
            scores[name][there] = numbers(chunk[name])
        kept.add_each(chunk)
        first = int(there[-1]) + 1 if len(there) else first
    kept.scores = {name: [values] for name, values in scores.items()}


def numbers(cells: pd.Series[str]) -> NDArray[np.float32]:
    """Return cells of a score as float32, NaN where blank or not a number."""
    return pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float32)


def _changed(cells: pd.Series[str], space: LabelSpace) -> NDArray[np.bool_]:
    """Return (N, A), whether the column `changed` names each attribute."""
    codes, texts = pd.factorize(cells)
    named = np.zeros((len(texts), len(space)), dtype=bool)
    for row, text in enumerate(map(str, texts)):
        names: Sequence[str] = () if text == UNCHANGED else text.split(";")
        for column, name in enumerate(space.names):
            named[row, column] = name in names
    return named[codes]


def hashes(cells: pd.Series[str]) -> NDArray[np.uint64]:
    """Return a hash of every text, equal on all machines."""
    return pd.util.hash_array(cells.to_numpy(dtype=object), categorize=False)


def _joined(pieces: list[NDArray], empty: NDArray) -> NDArray:  # type: ignore[type-arg]
    return np.concatenate([empty, *pieces])
