"""Reading of CSV, TSV and Parquet files, with row and column of what does not parse."""

from __future__ import annotations

import codecs
import csv
import re
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from augmentor.data.manifest.reading import AS_WRITTEN, TableReading
from augmentor.data.manifest.table import Table, assemble, check_header
from augmentor.errors import ManifestError, MissingExtraError, counted, did_you_mean, listing, row_list
from augmentor.storage import RemotePath, has_credentials, refuse_unusable

DELIMITERS = {".csv": ",", ".txt": ",", "": ",", ".tsv": "\t", ".tab": "\t"}
PARQUET_SUFFIXES = (".parquet", ".pq")


def read_table(path: Path, reading: TableReading = AS_WRITTEN) -> Table:
    """Read a CSV, TSV or Parquet file or URL, by its suffix; the table has at least one row and a path in each."""
    refuse_unusable(path)
    try:
        with _on_disk(path) as file:
            table = _read(path, file, reading)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror or error})") from None
    _refuse_credentials(table)
    return table


@contextmanager
def _on_disk(path: Path) -> Iterator[Path]:
    """Yield a file with the table's content: the file itself, or a copy of what a URL holds."""
    if not isinstance(path, RemotePath):
        yield path
        return
    with TemporaryDirectory(prefix="augmentor-") as folder:
        file = Path(folder, path.name)
        file.write_bytes(path.read_bytes())
        yield file


def _refuse_credentials(table: Table) -> None:
    """Refuse paths that hold credentials: they would be copied into every written table."""
    folder = f"{table.path.parent}/" if isinstance(table.path, RemotePath) else ""
    urls = table.images[table.images.str.contains("[?]|://" if folder else "://")]
    for place, url in urls.items():
        if has_credentials(url) or has_credentials(folder + url):
            raise ManifestError(
                f"{table.path}, row {table.lines[int(str(place))]}, column '{table.image_column}': a URL with "
                "credentials (a user, a password or a signature), which would be copied into every written table. "
                "Remove them, and set the credentials in the environment"
            )


def _read(path: Path, file: Path, reading: TableReading) -> Table:
    """Read a table from `file` on the disk; messages call it `path`."""
    if file is path:
        _refuse_all_but_files(path)
    suffix = path.suffix.casefold()
    if suffix in PARQUET_SUFFIXES:
        return _from_parquet(path, file, reading)
    if suffix in DELIMITERS:
        return _from_text(path, file, DELIMITERS[suffix], reading)
    raise ManifestError(f"{path}: a manifest is a .csv, .tsv or .parquet file, not {suffix}. Export it as CSV")


def _refuse_all_but_files(path: Path) -> None:
    if path.is_dir():
        raise ManifestError(
            f"{path}: this is a folder. Name the table in it, for example {path / 'manifest.csv'}; "
            "augmentor convert dataset imagefolder writes that of class folders"
        )
    if not path.exists():
        around = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise ManifestError(f"{path}: no such file.{did_you_mean(path.name, around)}")
    if not path.is_file():
        # Opening a pipe may wait for ever, and the table is read more than once.
        raise ManifestError(f"{path}: not a regular file (a pipe, a socket or a device). Save the table as a file")


def _from_text(path: Path, file: Path, delimiter: str, reading: TableReading) -> Table:
    _check_bytes(path, file)
    header, delimiter, blank_lines = _read_header(path, file, delimiter)
    names, image = check_header(path, header, reading.image_column)
    frame = _parse(path, file, names, delimiter, blank_lines, texts=(image, "id"))
    if frame.shape[1] != len(names):
        raise ManifestError(f"{path}: the header does not parse. Check its quotes")
    # Row 0 is the header itself: the parser then counts every row's cells against it.
    frame = frame.iloc[1:]
    lines = np.arange(blank_lines + 2, blank_lines + 2 + len(frame), dtype=np.int32)
    notes = []
    if (frame.iloc[:, -1] == "").any() and (short := _short_rows(file, delimiter, blank_lines)):
        notes.append(
            f"{path}: {counted(len(short), 'row')} with fewer cells than the header ({row_list(short)}); what "
            "they lack is blank"
        )
    return assemble(path, names, image, frame, lines, reading=reading, notes=notes)


def _check_bytes(path: Path, file: Path) -> None:
    """Refuse what is not UTF-8 text, with the row, which pandas' message lacks."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    row, size = 1, 0
    with file.open("rb") as opened:
        while True:
            chunk = opened.read(1 << 20)
            if size == 0 and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ManifestError(f"{path}: the text is UTF-16. Save it as 'CSV UTF-8'")
            size += len(chunk)
            nul = chunk.find(b"\0")
            if nul >= 0:
                row += chunk.count(b"\n", 0, nul)
                raise ManifestError(f"{path}, row {row}: a NUL byte, which no text holds. Save it as 'CSV UTF-8'")
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                row += error.object.count(b"\n", 0, error.start)
                byte = error.object[error.start]
                raise ManifestError(
                    f"{path}, row {row}: byte 0x{byte:02x} is not UTF-8. Save it as 'CSV UTF-8'"
                ) from None
            if not chunk:
                break
            row += chunk.count(b"\n")


def _read_header(path: Path, file: Path, delimiter: str) -> tuple[list[str], str, int]:
    """Return the header's cells, the delimiter that it really has, and the blank lines before it."""
    with file.open(encoding="utf-8-sig", newline="") as opened:
        blank_lines = 0
        for first in opened:
            if first.strip():
                break
            blank_lines += 1
        else:
            raise ManifestError(f"{path}: the file is empty. It needs a header and a row per image")
        if delimiter not in first:
            other = "\t" if delimiter == "," else ","
            if other in first:
                delimiter = other
            elif ";" in first:
                raise ManifestError(f"{path}: the cells are separated by semicolons. Export it with commas")
        try:
            header = next(csv.reader(chain([first], opened), delimiter=delimiter, skipinitialspace=True))
        except csv.Error as error:
            raise ManifestError(f"{path}, row {blank_lines + 1}: the header does not parse: {error}") from None
    return header, delimiter, blank_lines


def _parse(
    path: Path, file: Path, names: Sequence[str], delimiter: str, blank_lines: int, *, texts: Sequence[str]
) -> pd.DataFrame:
    """Parse every row, the header too; columns of `texts` as str, the others as categoricals."""
    kinds: dict[Hashable, str] = {i: "str" if name in texts else "category" for i, name in enumerate(names)}
    frame = _read_cells(path, file, delimiter, blank_lines, kinds)
    # Where the header is a number, too, pandas makes numbers of a column, and 7 of "007".
    numbers = [
        i
        for i, cells in frame.items()
        if isinstance(cells.dtype, pd.CategoricalDtype)
        and not all(isinstance(text, str) for text in cells.cat.categories)
    ]
    if numbers:
        frame = _read_cells(path, file, delimiter, blank_lines, kinds | dict.fromkeys(numbers, "str"))
        frame = frame.astype(dict.fromkeys(numbers, "category"))
    return frame


def _read_cells(
    path: Path, file: Path, delimiter: str, blank_lines: int, kinds: Mapping[Hashable, str]
) -> pd.DataFrame:
    """Parse every row, the columns as pandas' types of the given names."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            for _ in range(blank_lines):
                next(opened)
            return pd.read_csv(
                opened,
                sep=delimiter,
                header=None,
                dtype=dict(kinds),
                na_filter=False,
                skipinitialspace=True,
                skip_blank_lines=False,
                engine="c",
            )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ManifestError(_explain(path, str(error), blank_lines)) from None


def _short_rows(file: Path, delimiter: str, blank_lines: int) -> list[int]:
    """Return the numbers of the rows with fewer cells than the header, wholly blank ones left out."""
    csv.field_size_limit(sys.maxsize)  # pandas has read longer cells, too
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = csv.reader(islice(opened, blank_lines, None), delimiter=delimiter, skipinitialspace=True)
        cells = len(next(rows))
        return [
            row
            for row, found in enumerate(rows, start=blank_lines + 2)
            if len(found) < cells and any(map(str.strip, found))
        ]


def _explain(path: Path, problem: str, blank_lines: int) -> str:
    """Return a message for an error of pandas' parser."""
    if cells := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", problem):
        expected, row, seen = map(int, cells.groups())
        return (
            f"{path}, row {row + blank_lines}: {seen} cells, but the header has {expected}. "
            "Put quotes around a cell that holds the separator, or remove the extra cells"
        )
    if quote := re.search(r"EOF inside string starting at row (\d+)", problem):
        row_number = int(quote.group(1)) + 1 + blank_lines
        return f"{path}, row {row_number}: a quote is opened and never closed"
    return f"{path}: the table does not parse: {problem.strip()}"


def _from_parquet(path: Path, file: Path, reading: TableReading) -> Table:
    try:
        frame = pd.read_parquet(file)
    except ImportError:
        raise MissingExtraError(
            f"{path}: reading Parquet needs pyarrow. Install it: pip install 'stargan-augmentor[parquet]'"
        ) from None
    except (ValueError, OSError, NotImplementedError, LookupError) as error:
        raise ManifestError(f"{path}: this Parquet file does not read: {error}") from None
    names, image = check_header(path, [str(name) for name in frame.columns], reading.image_column)
    frame.columns = pd.RangeIndex(len(names))
    unreadable: list[str] = []
    for i, name in enumerate(names):
        text = _as_text(frame[i])
        if text is None and name in (image, "id"):
            raise ManifestError(f"{path}, column '{name}': holds no text. It must hold a text in every row")
        if text is None:
            unreadable.append(name)
            text = pd.Series("", index=frame.index)
        if name == image and text.str.contains("\0", regex=False).any():
            raise ManifestError(f"{path}, column '{name}': a path holds a NUL byte. No file has such a name")
        frame[i] = text if name in (image, "id") else text.astype("category")
    notes = (
        [f"{path}: not used, the cells are no text and no numbers: {listing(unreadable)}"] if unreadable else []
    )
    kept = [i for i, name in enumerate(names) if name not in unreadable]
    lines = np.arange(2, 2 + len(frame), dtype=np.int32)
    return assemble(path, [names[i] for i in kept], image, frame[kept], lines, reading=reading, notes=notes)


def _as_text(cells: pd.Series) -> pd.Series[str] | None:
    """Return typed cells as a CSV would hold them, or None for lists, bytes and other structures."""
    if isinstance(cells.dtype, pd.CategoricalDtype):
        cells = cells.astype(cells.cat.categories.dtype)
    if pd.api.types.is_float_dtype(cells.dtype) and bool((cells.dropna() % 1 == 0).all()):
        # Whole numbers become floats as soon as one cell is blank: 3.0 was a 3.
        cells = cells.astype("Int64")
    if pd.api.types.infer_dtype(cells, skipna=True) in ("bytes", "mixed", "unknown-array"):
        return None
    return cells.astype(object).where(cells.notna(), "").astype(str)
