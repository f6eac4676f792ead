"""The manifest with a 0/1 column for each label of a column whose cells hold several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from augmentor.data.beside import path_beside, write_beside
from augmentor.data.manifest.columns import (
    FIXED_COLUMNS,
    FORBIDDEN_IN_NAMES,
    LABEL_TABLE_COLUMNS,
    MAX_ATTRIBUTES,
    UNCHANGED_NAME,
)
from augmentor.data.manifest.files import read_table
from augmentor.data.manifest.multi_label import labels_of_cells
from augmentor.data.manifest.reading import AS_WRITTEN, TableReading
from augmentor.data.manifest.table import IMAGE_COLUMNS, clean
from augmentor.errors import ManifestError, did_you_mean, listing


@dataclass(frozen=True, kw_only=True)
class SplitLabels:
    """The written table: its file, and the rows that have each new column's label."""

    path: Path
    counts: dict[str, int]


def split_labels(manifest: Path, column: str, *, reading: TableReading = AS_WRITTEN) -> SplitLabels:
    """Write `NAME-COLUMN.csv` beside a manifest, in which 0/1 columns take the place of `column`.

    Blank cells are blank in all of them, an empty list is 0. A column has its label's name, with the column's
    before it where that is taken.

    Raises:
        ManifestError: no such column, or no cell of it holds several labels.
        OutputError: the file exists, or cannot be written.
    """
    table = read_table(manifest, reading)
    column = clean(column)
    if column not in table.columns or column in FIXED_COLUMNS:
        raise ManifestError(
            f"{manifest}: --split-labels {column}: no attribute column of this name."
            f"{did_you_mean(column, table.columns)} There are {listing(list(table.columns), 12)}"
        )
    cells = table.columns[column]
    labels = labels_of_cells(cells.known)
    names = sorted({label for found in (labels or {}).values() for label in found})
    if labels is None or not names:
        raise ManifestError(f"{manifest}, column '{column}': no cell holds several labels, as in Mass|Edema")
    if len(names) > MAX_ATTRIBUTES:
        raise ManifestError(
            f"{manifest}, column '{column}': {len(names):,} labels, more than {MAX_ATTRIBUTES:,}: {listing(names)}"
        )
    out = path_beside(manifest, column, option="--split-labels")
    taken = {name.casefold() for name in (*table.columns, *IMAGE_COLUMNS, *FIXED_COLUMNS, *LABEL_TABLE_COLUMNS)}
    taken |= {table.image_column.casefold(), UNCHANGED_NAME}
    taken -= {column.casefold()}
    added: dict[str, list[str]] = {}
    counts = {}
    for label in names:
        name = _free_name(label, column, taken)
        taken.add(name.casefold())
        of_value = ["" if not value else str(int(label in labels[value])) for value in cells.values]
        added[name] = np.array(of_value, dtype=object)[cells.codes].tolist()
        counts[name] = added[name].count("1")
    write_beside(out, table, column=column, instead=added)
    return SplitLabels(path=out, counts=counts)


def _free_name(label: str, column: str, taken: set[str]) -> str:
    """Return a column's name for a label, which an attribute can have and no column has."""
    plain = "".join(
        "-" if letter in FORBIDDEN_IN_NAMES or not letter.isprintable() else letter for letter in label
    )
    plain = column if plain in ("*", "~") else plain
    for name in (plain, f"{column}_{plain}"):
        if name.casefold() not in taken:
            return name
    number = 2
    while f"{column}_{plain}_{number}".casefold() in taken:
        number += 1
    return f"{column}_{plain}_{number}"
