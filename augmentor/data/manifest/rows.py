"""Columns with a fixed meaning (path, id, split, group, pair, dataset), duplicate rows, subjects, output stems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha1

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.manifest.columns import BINARY_FAMILIES
from augmentor.data.manifest.lookalikes import doubts
from augmentor.data.manifest.table import Column, Table, composed
from augmentor.errors import ManifestError, counted, did_you_mean, listing, row_list, short

SPLITS = ("train", "val", "test")

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Accepted names of the splits, in lower case."""

MAX_STEM = 100

_MOST_BINARY = 20
"""Rows of a table whose pairs may be called 0 and 1, or yes and no; in a larger one they are an attribute."""


def without_duplicates(table: Table, used: Sequence[str]) -> tuple[Table, list[str]]:
    """Drop rows that repeat another in every used cell, with a note.

    Refused are rows with the same id, or the same path and no id, that differ in another cell.
    """
    key = composed(table.images if table.ids is None else table.ids)
    if table.ids is not None and bool((key == "").any()):
        row = int(table.lines[int((key == "").to_numpy().argmax())])
        raise ManifestError(
            f"{table.path}, row {row}, column 'id': no id. Give every row one, or remove the column"
        )
    suspects = np.flatnonzero(key.duplicated(keep=False).to_numpy())
    if not len(suspects):
        return table, []
    cells = pd.DataFrame({name: table.columns[name].codes[suspects] for name in used if name in table.columns})
    cells["(key)"] = key.iloc[suspects].to_numpy()
    cells["(image)"] = composed(table.images.iloc[suspects]).to_numpy()
    repeated = cells.duplicated().to_numpy()
    left = cells["(key)"][~repeated]
    if bool(left.duplicated().any()):
        first_name = left[left.duplicated()].iloc[0]
        rows = table.lines[suspects[left.index[left == first_name]]]
        column = table.image_column if table.ids is None else "id"
        raise ManifestError(
            f"{table.path}, rows {rows[0]} and {rows[1]}, column '{column}': both are '{first_name}', but other "
            f"cells differ. {'Give each image one row' if table.ids is None else 'Give each row an id of its own'}"
        )
    dropped = suspects[repeated]
    where = row_list(table.lines[dropped].tolist())
    note = f"{table.path}: dropped {counted(len(dropped), 'duplicate row')} ({where})"
    return table.take(np.setdiff1d(np.arange(len(table)), dropped, assume_unique=True)), [note]


def build_rows(table: Table, *, pairs: Column | None) -> pd.DataFrame:
    """Return the rows that `Manifest.rows` describes; `pairs` is the column that names them, None for no pairs."""
    return pd.DataFrame(
        {
            "path": table.images,
            "id": ids_from_paths(table) if table.ids is None else table.ids,
            "split": _splits(table),
            "group": _texts(table.columns.get("group"), len(table)),
            "pair": _pairs(table, pairs),
            "dataset": _texts(table.columns.get("dataset"), len(table)).astype("category"),
            "line": table.lines,
        },
        copy=False,
    )


def subject_notes(table: Table) -> list[str]:
    """Return notes on doubtful groups and data sets."""
    notes = []
    for name, what in (("group", "groups"), ("dataset", "data sets")):
        column = table.columns.get(name)
        notes += doubts(table.path, name, column.known, what=what) if column is not None else []
    return notes


def _texts(column: Column | None, n: int) -> pd.Series[str]:
    if column is None:
        return pd.Series(np.full(n, "", dtype=object), dtype=str)
    return pd.Series(np.array([*column.values, ""], dtype=object)[column.codes], dtype=str)


def _splits(table: Table) -> pd.Categorical[str]:
    column = table.columns.get("split")
    if column is None:
        return pd.Categorical.from_codes(np.zeros(len(table), dtype=np.int8), categories=pd.Index(SPLITS))
    splits = [SPLIT_WORDS.get(text.casefold()) for text in column.values]
    wrong = [text for text, split in zip(column.values, splits, strict=True) if split is None]
    if wrong:
        text = min(wrong, key=lambda text: table.line_of(column, text))
        lines: list[int] = table.lines[column.rows_with(text)].tolist()
        problem = (
            f"'{short(text)}' is not train, val or test.{did_you_mean(text, SPLIT_WORDS)}" if text else "blank."
        )
        more = f" The same goes for {row_list(lines[1:])}." if len(lines) > 1 else ""
        way_out = "" if text else " Write train, val or test in every row, or remove the column"
        raise ManifestError(f"{table.path}, row {lines[0]}, column 'split': {problem}{more}{way_out}")
    codes = np.array([SPLITS.index(split) for split in splits if split is not None], dtype=np.int8)
    return pd.Categorical.from_codes(codes[column.codes], categories=pd.Index(SPLITS))


def _pairs(table: Table, column: Column | None) -> pd.Categorical[str]:
    if column is None:
        return pd.Categorical.from_codes(
            np.full(len(table), -1, dtype=np.int8), categories=pd.Index([], dtype=str)
        )
    words = {text.casefold() for text in column.known}
    if (
        len(table) > _MOST_BINARY
        and any(words <= set(spelling) for spelling in BINARY_FAMILIES.values())
        and words
    ):
        raise ManifestError(
            f"{table.path}, column 'pair': holds only {listing(list(column.known))}, as an attribute does; but it "
            "names the rows that are the same picture under other labels. Rename it if it is an attribute, else "
            "give each picture a name of its own"
        )
    known = np.array([value != "" for value in column.values], dtype=np.bool_)
    numbers = np.where(known, np.cumsum(known) - 1, -1)
    return pd.Categorical.from_codes(numbers[column.codes], categories=pd.Index(column.known, dtype=str))


def ids_from_paths(table: Table) -> pd.Series[str]:
    """Return an id for every row, made from its path as written: "images/ann 1.png" is "images-ann_1".

    So an output's ids stay when the images are read from another folder. Paths that give the same
    id, also in another case, all get a digest of their path behind it.
    """
    paths = table.images if table.written is None else table.written
    ids = paths.str.replace(r"\.[^./]+$", "", regex=True)
    ids = ids.str.replace(r"^[./]+", "", regex=True).str.replace("/", "-", regex=False)
    ids = ids.str.replace(r"[^A-Za-z0-9._-]+", "_", regex=True)
    ids = ids.where(ids != "", "image")
    for digits in (8, 40):
        clash = np.flatnonzero(ids.str.lower().duplicated(keep=False).to_numpy())
        if len(clash):
            digests = _digests(paths.iloc[clash], digits)
            ids = _replaced(ids, clash, ids.iloc[clash] + "-" + digests)
    return ids


def key_stems(rows: pd.DataFrame) -> pd.Series[str]:
    """Return a stem for each row's output files, unique without regard to case and safe on any file system.

    A safe id is its own stem: letters, digits, ".", "_" and "-", not starting with ".", without "__" (which
    separates the id from the domain in a key), at most 100 characters. Other ids are made so, and end in a digest
    of the id. Stems depend on the other rows' ids too: take them from the whole manifest.

    Args:
        rows: `Manifest.rows`, or any table with unique ids in the column `id`.
    """
    ids: pd.Series[str] = rows["id"]
    safe = ids.str.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
    safe &= ~ids.str.contains("__", regex=False)
    # "a_" and the key's "__" would read like "a" and an attribute that starts with "_".
    safe &= ~ids.str.endswith("_")
    safe &= ~ids.str.lower().duplicated(keep=False)
    unsafe = np.flatnonzero(~safe.to_numpy(dtype=bool))
    if not len(unsafe):
        return ids
    sources = ids.iloc[unsafe]
    bases = sources.str.replace(r"[^A-Za-z0-9.-]+", "_", regex=True).str.replace(r"^\.+", "", regex=True)
    for digits in (8, 40):
        tagged = bases.str.slice(0, MAX_STEM - 1 - digits) + "-" + _digests(sources, digits)
        stems = _replaced(ids, unsafe, tagged)
        if not stems.str.lower().duplicated().any():
            break
    return stems


def _digests(texts: pd.Series[str], digits: int) -> pd.Series[str]:
    """Return the first `digits` of each text's sha1, in hexadecimal."""
    return texts.map(lambda text: sha1(text.encode(), usedforsecurity=False).hexdigest()[:digits])


def _replaced(texts: pd.Series[str], where: NDArray[np.intp], new: pd.Series[str]) -> pd.Series[str]:
    """Return `texts` with `new` at the positions `where`."""
    cells = texts.to_numpy(dtype=object, copy=True)
    cells[where] = new.to_numpy()
    return pd.Series(cells, index=texts.index, dtype=str)


def bound_together(groups: Iterable[object], pairs: NDArray[np.integer]) -> NDArray[np.intp]:
    """Return which rows must stay in one split, (N,) equal numbers from 0 in the order of their first rows.

    Rows of a group are bound together, rows of a pair are, and what has a row in common is, too.

    Args:
        groups: (N,) "" for none.
        pairs: (N,) -1 for none.
    """
    subjects = pd.factorize(np.array(subject_names(groups, range(len(pairs))), dtype=object))[0]
    paired = np.flatnonzero(pairs >= 0)
    of_rows, pairs = subjects[paired], pairs[paired]
    joined = np.arange(subjects.max() + 1)
    while True:
        lowest = np.full(int(pairs.max(initial=-1)) + 1, len(joined))
        np.minimum.at(lowest, pairs, joined[of_rows])
        before = joined.copy()
        np.minimum.at(joined, of_rows, lowest[pairs])
        if np.array_equal(joined, before):
            return pd.factorize(joined[subjects])[0]


def subject_names(groups: Iterable[object], rows: Iterable[int]) -> list[str]:
    """Return a name for each row's subject: its group, or one of the row's own where that is blank."""
    return [str(group) or f"\0{row}" for group, row in zip(groups, rows, strict=True)]
