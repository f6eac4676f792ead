"""The tables of an output, gathered and counted in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

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

_COMPARED = (*SCORES, "discriminator")
"""First words of reasons that compare a score with its minimum."""


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
    kept, real, rejected = list[SurveyedRows](), list[SurveyedRows](), list[SurveyedRows]()
    splits: list[NDArray[np.object_]] = []
    place = 0
    translated: set[str] = set()
    for chunk in output.label_rows():
        made = chunk["is_synthetic"].to_numpy(dtype=bool)
        places = np.arange(place, place + len(chunk))
        place += len(chunk)
        kept.append(_surveyed(chunk[made], places[made], space))
        real.append(_surveyed(chunk[~made], places[~made], space))
        splits.append(chunk["split"].to_numpy(dtype=object)[~made])
        translated.update(chunk["split"][made].unique())
    scored = _with_scores(_joined(kept, space), output)
    reasons, each, first = Counter[str](), np.zeros((len(space), BINS), dtype=np.int64), 0
    for chunk in output.rejected_rows():
        rejected.append(_surveyed(chunk, np.arange(first, first + len(chunk)), space))
        each += _each(chunk, space)
        first += len(chunk)
        for words, count in chunk["reason"].value_counts().items():
            reasons.update(dict.fromkeys(reason_kinds(str(words)), int(count)))
    return Survey(
        real=_joined(real, space),
        real_splits=np.concatenate([*splits, np.array([], dtype=object)]),
        kept=scored,
        rejected=_joined(rejected, space, each=each),
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        splits=tuple(sorted(map(str, translated))),
    )


def reason_kinds(reason: str) -> list[str]:
    """Return the kinds of a reason, without its numbers: "agreement too low" for "agreement 0.12 < 0.41"."""
    kinds = []
    for part in reason.split(", "):
        words = part.split()
        name = words[0] if words and words[0] in _COMPARED else part.split(":")[0].strip()
        kinds.append(f"{name} too low" if name in _COMPARED else name.rstrip("0123456789.<> "))
    return list(dict.fromkeys(kind for kind in kinds if kind))


def histogram(values: NDArray[np.float32], *, low: float = 0.0, high: float = 1.0) -> NDArray[np.int64]:
    """Count the known values in `BINS` equal bins; the outer bins include values outside of the range."""
    known = values[np.isfinite(values)]
    places = np.clip(((known - low) / (high - low) * BINS).astype(np.int64), 0, BINS - 1)
    return np.bincount(places, minlength=BINS).astype(np.int64)


def _surveyed(rows: pd.DataFrame, places: NDArray[np.int64], space: LabelSpace) -> SurveyedRows:
    """Return one chunk of a table, without `each`."""
    codes = np.full((len(rows), len(space)), UNKNOWN, dtype=np.int16)
    for column, attribute in enumerate(space.attributes):
        codes[:, column] = pd.Index(attribute.values).get_indexer(pd.Index(rows[attribute.name]))
    unknown = np.full(len(rows), np.nan, dtype=np.float32)
    return SurveyedRows(
        places=places.astype(np.int64),
        codes=codes,
        changes=np.where(_changed(rows["changed"], space), codes, np.int16(UNKNOWN)),
        sources=hashes(rows["source_id"]),
        keys=hashes(rows["key"]),
        scores={name: numbers(rows[name]) if name in rows else unknown for name in SCORES},
        each=np.zeros((len(space), BINS), dtype=np.int64),
    )


def _joined(
    chunks: Sequence[SurveyedRows], space: LabelSpace, *, each: NDArray[np.int64] | None = None
) -> SurveyedRows:
    """Return all chunks as one, which may be empty, with the histograms of attributes in `each`."""
    columns = ["changed", "source_id", "key", *space.names]
    none = _surveyed(pd.DataFrame(columns=columns, dtype=object), np.empty(0, np.int64), space)
    parts = [none, *chunks]
    return SurveyedRows(
        places=np.concatenate([part.places for part in parts]),
        codes=np.concatenate([part.codes for part in parts]),
        changes=np.concatenate([part.changes for part in parts]),
        sources=np.concatenate([part.sources for part in parts]),
        keys=np.concatenate([part.keys for part in parts]),
        scores={name: np.concatenate([part.scores[name] for part in parts]) for name in SCORES},
        each=none.each if each is None else each,
    )


def _each(rows: pd.DataFrame, space: LabelSpace) -> NDArray[np.int64]:
    return np.stack([histogram(numbers(rows[f"agreement:{name}"])) for name in space.names])


def _with_scores(kept: SurveyedRows, output: FinishedOutput) -> SurveyedRows:
    """Return the kept translations with their scores from `scores.csv`, which has the same order."""
    keys, each, first = kept.keys, kept.each, 0
    for chunk in output.score_rows():
        found = hashes(chunk["key"])
        there = first + np.flatnonzero(np.isin(keys[first:], found))
        if len(there) != len(found) or (keys[there] != found).any():
            path = output.beside("scores.csv")
            raise OutputError(f"{path}: its rows are not those of the label table. Run augmentor verify")
        for name in SCORES:
            kept.scores[name][there] = numbers(chunk[name])
        each = each + _each(chunk, output.space)
        first = int(there[-1]) + 1 if len(there) else first
    return replace(kept, each=each)


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
