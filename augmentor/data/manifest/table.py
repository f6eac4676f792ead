"""The uninterpreted table: its header, rows and columns of text cells."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.manifest.reading import TableReading
from augmentor.errors import ManifestError, counted, did_you_mean, listing

IMAGE_COLUMNS = ("path", "file_name", "image")
"""The columns that may hold the image, the first one present wins."""


MAX_COLUMNS = 4096
"""Each column takes a millisecond or more to read; a table of more columns is no manifest."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """The cells of one column, every different text once.

    Args:
        name: the header's cell, stripped.
        codes: (N,) int32, which of `values` each row holds.
        values: the different texts, each used by a row at least; "" is a blank cell.
    """

    name: str
    codes: NDArray[np.int32]
    values: tuple[str, ...]

    @classmethod
    def of(cls, name: str, codes: NDArray[np.integer], texts: Sequence[str]) -> Column:
        """Return the column with its texts as `cleaned`, merged where they became equal."""
        used = np.flatnonzero(np.bincount(codes, minlength=len(texts))) if len(codes) else np.arange(0)
        cleaned = [clean(texts[int(code)]) for code in used]
        values = tuple(dict.fromkeys(cleaned))
        position = {value: code for code, value in enumerate(values)}
        lookup = np.zeros(max(len(texts), 1), dtype=np.int32)
        lookup[used] = [position[text] for text in cleaned]
        return cls(name=name, codes=lookup[codes], values=values)

    @property
    def known(self) -> tuple[str, ...]:
        """The texts that are not blank."""
        return tuple(value for value in self.values if value)

    def take(self, kept: NDArray[np.intp]) -> Column:
        """Return the column with only the rows `kept`, and only the texts that these use."""
        return Column.of(self.name, self.codes[kept], self.values)

    def blanked(self, words: Sequence[str]) -> Column:
        """Return the column with `words` as blank cells."""
        if not set(words) & set(self.values):
            return self
        return Column.of(self.name, self.codes, ["" if value in words else value for value in self.values])

    def rows_with(self, value: str) -> NDArray[np.intp]:
        """Return the positions of the rows that hold `value`."""
        if value not in self.values:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(self.codes == self.values.index(value))


@dataclass(frozen=True, kw_only=True)
class Table:
    """The file's rows, wholly blank ones left out.

    Args:
        images: (N,) str, stripped, with "/" between folders, and as the options read them.
        written: (N,) str, the images as the cells have them; None where these are the same.
        ids: (N,) str, stripped, or None without an `id` column.
        columns: every other column that has a name, in the file's order.
        lines: (N,) int32, the row's number as a spreadsheet shows it; the header is row 1.
    """

    path: Path
    image_column: str
    images: pd.Series[str]
    ids: pd.Series[str] | None
    columns: dict[str, Column]
    lines: NDArray[np.int32]
    notes: tuple[str, ...] = field(default=())
    written: pd.Series[str] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, kept: NDArray[np.intp]) -> Table:
        """Return the table with only the rows at the positions `kept`."""
        return replace(
            self,
            images=self.images.iloc[kept].reset_index(drop=True),
            written=None if self.written is None else self.written.iloc[kept].reset_index(drop=True),
            ids=None if self.ids is None else self.ids.iloc[kept].reset_index(drop=True),
            columns={name: column.take(kept) for name, column in self.columns.items()},
            lines=self.lines[kept],
        )

    def line_of(self, column: Column, value: str) -> int:
        """Return the number of the first row that holds `value` in `column`."""
        return int(self.lines[column.rows_with(value)[0]])


def clean(text: str) -> str:
    """Return a text without blanks at its ends and in Unicode NFC, as most keyboards type it."""
    text = text.strip()
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def composed(texts: pd.Series[str]) -> pd.Series[str]:
    """Return stripped texts in Unicode NFC; most tables are plain ASCII, and are not gone through."""
    return texts if "".join(texts).isascii() else texts.map(clean)


def check_header(path: Path, header: Sequence[str], image_column: str | None) -> tuple[list[str], str]:
    """Return the stripped column names, and which holds the images: `image_column`, or one of `IMAGE_COLUMNS`."""
    if len(header) > MAX_COLUMNS:
        raise ManifestError(
            f"{path}: {len(header):,} columns, more than {MAX_COLUMNS:,}. Keep that of the images and those that "
            "label them"
        )
    names = [clean(name) for name in header]
    filled = [name for name in names if name]
    repeated = sorted(name for name, count in Counter(filled).items() if count > 1)
    if repeated:
        raise ManifestError(f"{path}, column '{repeated[0]}': the header has this name twice. Rename one of them")
    wanted = (clean(image_column),) if image_column is not None else IMAGE_COLUMNS
    for name in wanted:
        if name in filled:
            return names, name
    there = f"Its columns are {listing(filled, 12)}." if filled else "Its header is blank."
    if image_column is not None:
        raise ManifestError(f"{path}: no column '{image_column}'. {there}{did_you_mean(image_column, filled)}")
    guess = next(filter(None, (did_you_mean(name, filled) for name in IMAGE_COLUMNS)), "")
    raise ManifestError(
        f"{path}: no column 'path' (or 'file_name', 'image') that holds the images. {there}{guess} "
        "Rename the column, or name it with --image-column"
    )


def assemble(
    path: Path,
    names: Sequence[str],
    image: str,
    frame: pd.DataFrame,
    lines: NDArray[np.int32],
    *,
    reading: TableReading,
    notes: list[str],
) -> Table:
    """Make the table from parsed cells; more notes are added. Which cells are blank is decided here alone.

    `names` is the stripped header, "" for a column without a name; `frame` has a column for each, str for the
    images and `id`, categoricals of str for the others; `lines` is (N,) int32.
    """
    frame = frame.set_axis(range(len(names)), axis=1).reset_index(drop=True)
    images, ids = pd.Series(dtype=str), None
    columns: dict[str, Column] = {}
    unused: list[str] = []
    for i, name in enumerate(names):
        cells = frame[i]
        if name == image:
            images = cells.str.strip().str.replace("\\", "/", regex=False).rename(None)
        elif name == "id":
            ids = cells.str.strip().rename(None)
        elif name in IMAGE_COLUMNS:
            unused.append(f"{name} (the images are in {image})")
        elif name:
            columns[name] = Column.of(name, cells.cat.codes.to_numpy(), list(cells.cat.categories))
        else:
            unused.append(f"column {i + 1} (it has no name)")
    if unused:
        notes.append(f"{path}: not used: {listing(unused)}")
    written = images if reading.moves else None
    images = images.map(reading.moved) if reading.moves else images
    words = [clean(word) for word in reading.na_values]
    for name, column in columns.items():
        notes += _na_notes(path, column, words)
        columns[name] = column.blanked(words)
    table = Table(
        path=path, image_column=image, images=images, written=written, ids=ids, columns=columns, lines=lines
    )
    return _without_blank_rows(table, notes)


def _na_notes(path: Path, column: Column, words: Sequence[str]) -> list[str]:
    """Return a note that counts the cells that `words` make blank."""
    found = {word: len(column.rows_with(word)) for word in dict.fromkeys(words) if word in column.known}
    if not found:
        return []
    each = ", ".join(f"'{word}' ({count:,})" for word, count in found.items())
    total = counted(sum(found.values()), "cell")
    return [f"{path}, column '{column.name}': {total} read as blank, as --na-values says: {each}"]


def _without_blank_rows(table: Table, notes: list[str]) -> Table:
    """Drop rows that are wholly blank, as spreadsheets leave them, and refuse a row that only lacks its path."""
    no_path = np.flatnonzero((table.images == "").to_numpy())
    blank = np.ones(len(no_path), dtype=bool)
    for column in table.columns.values():
        if "" in column.values:
            blank &= column.codes[no_path] == column.values.index("")
        else:
            blank[:] = False
    if table.ids is not None:
        blank &= (table.ids.iloc[no_path] == "").to_numpy()
    if not blank.all():
        row = int(table.lines[no_path[~blank][0]])
        raise ManifestError(
            f"{table.path}, row {row}, column '{table.image_column}': no path. Fill it in, or delete the row"
        )
    if len(no_path) == len(table):
        raise ManifestError(f"{table.path}: a header, but no rows. Each image needs one")
    if len(no_path):
        notes.append(f"{table.path}: left out {counted(len(no_path), 'blank row')}")
        table = table.take(np.setdiff1d(np.arange(len(table)), no_path, assume_unique=True))
    return replace(table, notes=tuple(notes))
