"""The label table: every image of an output, real and synthetic, with its labels and its lineage."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import compress
from operator import ne
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pandas as pd

from augmentor.errors import AugmentorError, OutputError, did_you_mean
from stargan.labels import UNKNOWN, Attribute, LabelSpace

COLUMNS_BEFORE = ("file_name", "key", "split", "group", "is_synthetic", "source_id", "source_path")
COLUMNS_AFTER = ("changed", "agreement", "realism")
SCORE_COLUMNS = ("agreement", "realism")

UNCHECKED = "unchecked"
"""Cell of `agreement` in `labels.csv` where an attribute that changed was not checked."""

CHUNK = 1 << 16
"""Rows of a table in memory at once."""

UNCHANGED = "none"
"""Cell of `changed` where nothing changed. Not blank: Hugging Face's loader takes a blank column for numbers
and refuses to join it with text."""

_MAX_KEY = 180
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_KEPT_DOMAINS = 4096
_LOOK = "look"

RowState: TypeAlias = list[str | int | float | list[int] | list[str] | None]
"""A `LabelRow` as a JSON list, its fields in order."""

_KINDS = (str, str, str, str, int, str, str, list, list, int | float | None, int | float | None)
"""Types of the fields of a `RowState`."""


class LabelRow(NamedTuple):
    """One image of the output. A tuple, because millions of them are made.

    Args:
        file_name: path inside the output, with forward slashes.
        key: the image's readable, unique name.
        split: train, val or test.
        group: the source's group; "" for none.
        source_id: id of the manifest row that it comes from.
        source_path: that row's path, as the manifest writes it.
        codes: (A,) labels in the label space's order, -1 unknown.
        changed: names of the attributes that differ from the source.
        agreement: the judge's probability in [0, 1] for the target's values; None without a judge, and where it
            cannot tell whether a value changed.
        realism: share of real validation images, in [0, 1], that the discriminator scores no higher; None for
            real images, and without a judge or discriminator.
    """

    file_name: str
    key: str
    split: str
    group: str
    is_synthetic: bool
    source_id: str
    source_path: str
    codes: tuple[int, ...]
    changed: tuple[str, ...] = ()
    agreement: float | None = None
    realism: float | None = None

    def to_json(self) -> RowState:
        """Return the row as plain JSON values."""
        names, sources = self[:4], (self.source_id, self.source_path)
        scores = rounded(self.agreement), rounded(self.realism)
        return [*names, int(self.is_synthetic), *sources, list(self.codes), list(self.changed), *scores]

    @classmethod
    def from_json(cls, state: RowState) -> LabelRow:
        """Return the row that `to_json` described.

        Raises:
            ValueError: the list has another length or other types.
        """
        fits = isinstance(state, list) and len(state) == len(_KINDS) and all(map(isinstance, state, _KINDS))
        if not fits:
            raise ValueError(f"not a row of a label table: {state!r}")
        row = cls._make(state)
        return row._replace(
            is_synthetic=bool(row.is_synthetic),
            codes=tuple(map(int, row.codes)),
            changed=tuple(map(str, row.changed)),
        )

    @property
    def changed_text(self) -> str:
        """The cell of the column `changed`."""
        return ";".join(self.changed) or UNCHANGED


def columns(space: LabelSpace) -> list[str]:
    """Return the table's columns."""
    return [*COLUMNS_BEFORE, *space.names, *COLUMNS_AFTER]


def cells(row: LabelRow, space: LabelSpace) -> list[str]:
    """Return a row's cells: unknown is blank, yes and no are 1 and 0, scores have 4 decimals."""
    values = [
        "" if code == UNKNOWN else attribute.values[code]
        for attribute, code in zip(space.attributes, row.codes, strict=True)
    ]
    scores = [score_cell(score) for score in (row.agreement, row.realism)]
    lineage = [row.source_id, row.source_path]
    synthetic = str(int(row.is_synthetic))
    first = [row.file_name, row.key, row.split, row.group, synthetic, *lineage]
    return [*first, *values, row.changed_text, *scores]


def read_label_table(path: Path, space: LabelSpace) -> pd.DataFrame:
    """Read a label table: text (unknown is ""), `is_synthetic` bool, scores float64 with NaN for unknown.

    Raises:
        OutputError: the file is missing or damaged, or its columns are not this label space's.
    """
    table = pd.concat(read_chunks(path, expected=columns(space)), ignore_index=True)
    table["is_synthetic"] = table["is_synthetic"] == "1"
    for score in SCORE_COLUMNS:
        table[score] = pd.to_numeric(table[score].mask(table[score].isin(["", UNCHECKED]))).astype("float64")
    return table


def read_chunks(path: Path, *, expected: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield a CSV file in chunks, all cells as text; `expected` are its columns, in order.

    Raises:
        OutputError: it is missing, damaged, or has other columns.
    """
    try:
        with pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", chunksize=CHUNK) as chunks:
            for chunk in chunks:
                if list(chunk.columns) != list(expected):
                    raise OutputError(
                        f"{path}: the columns are {', '.join(chunk.columns)}, not {', '.join(expected)}. The "
                        "table was changed, or belongs to another output."
                    )
                yield chunk
    except FileNotFoundError:
        raise OutputError(f"{path}: is missing. Run the same expand again.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise OutputError(f"{path}: is damaged: {error}") from error


def key(stem: str, domain: Mapping[str, str]) -> str:
    """Return the readable, unique, file-safe name of a translation: `00012__hair-blond_male-0`.

    A name with unsafe characters, an ambiguous one, or one of more than 180 characters is cut to fit and ends in a
    hash of the exact domain. `stem` is the source's unique and file-safe name, without "__".
    """
    return _KeyEnd.of(domain).key(stem)


def seed_of(key: str) -> int:
    """Return the seed of a translation's noise, in [0, 2**32), which depends on its key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little")


class Keys:
    """Keys of one label space's translations; caches what depends on target and look alone."""

    def __init__(self, space: LabelSpace) -> None:
        names = [name.casefold() for name in space.names]
        twins = {
            attribute.name
            for attribute, name in zip(space.attributes, names, strict=True)
            if _has_twins(attribute) or names.count(name) > 1
        }

        words = (*names, *(value.casefold() for attribute in space.attributes for value in attribute.values))
        speaks_of_looks = any(_LOOK in word for word in words)

        def end(target: tuple[int, ...], look: int) -> _KeyEnd:
            domain = space.domain(target)
            made = _KeyEnd.of(domain)
            if look > 1:
                made = made.with_look(look, suffices=not speaks_of_looks)
            return made if twins.isdisjoint(domain) else made._replace(suffices=False)

        self._end = lru_cache(_KEPT_DOMAINS)(end)

    def key(self, stem: str, target: tuple[int, ...], look: int = 1) -> str:
        """Return what the function `key` returns for this stem and the domain of these codes.

        Looks from 2 on end in their number: `00012__hair-blond_male-0__look-2`. Where names of attributes, or
        values of one, differ in case alone, the key ends in a hash as well, because some disks ignore case; so do
        those of further looks where a name or a value has the word "look".
        """
        return self._end(target, look).key(stem)


def _has_twins(attribute: Attribute) -> bool:
    return len({value.casefold() for value in attribute.values}) < len(attribute.values)


class _KeyEnd(NamedTuple):
    """The part of a key after the stem: in file-safe characters, and exact for the hash.

    `suffices` says whether `readable` is unambiguous.
    """

    readable: str
    exact: str
    suffices: bool

    @classmethod
    def of(cls, domain: Mapping[str, str]) -> _KeyEnd:
        exact = "_".join(f"{name}-{value}" for name, value in domain.items())
        # "a-b" + "c" and "a" + "b-c" read alike, and so do one value "1_b-2" and two attributes.
        ambiguous = any("-" in name for name in domain) or any(re.search("_.*-", v) for v in domain.values())
        return cls(
            readable=f"__{_UNSAFE.sub('-', exact)}",
            exact=str(list(domain.items())),
            suffices=not ambiguous and not _UNSAFE.search(exact),
        )

    def with_look(self, look: int, *, suffices: bool) -> _KeyEnd:
        """Return the end of a further look's key; `suffices` says whether no other key can end in its number."""
        return _KeyEnd(
            readable=f"{self.readable}__{_LOOK}-{look}",
            exact=f"{self.exact}, {_LOOK} {look}",
            suffices=self.suffices and suffices,
        )

    def key(self, stem: str) -> str:
        readable = stem + self.readable
        if self.suffices and len(readable) <= _MAX_KEY:
            return readable
        digest = hashlib.sha1(f"{stem}|{self.exact}".encode(), usedforsecurity=False).hexdigest()[:8]
        return f"{readable[: _MAX_KEY - 9]}-{digest}"


def real_key(stem: str) -> str:
    """Return the key of a source's own image: `00012__real`, never a number or a translation's key."""
    return f"{stem}__real"


def changed_names(source: Sequence[int], target: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the attributes whose code differs; all three sequences have the same length."""
    return tuple(compress(names, map(ne, source, target)))


def attribute_named(space: LabelSpace, name: str) -> Attribute:
    """Return an attribute; raise AugmentorError, which suggests the nearest name, where there is none."""
    if name in space.names:
        return space[name]
    hint = did_you_mean(name, space.names)
    raise AugmentorError(f"There is no attribute {name!r}; there are {', '.join(space.names)}.{hint}")


def rounded(score: float | None) -> float | None:
    """Return a score with 4 decimals, None where it is not finite."""
    return None if score is None or not math.isfinite(score) else round(float(score), 4)


def score_cell(score: float | None) -> str:
    """Return the cell of a score: 4 decimals, blank where unknown."""
    score = rounded(score)
    return "" if score is None else f"{score:.4f}"
