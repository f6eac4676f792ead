"""Tables of a folder: one of all images, and one per split, of which Hugging Face reads every text as written."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data import write_failures
from augmentor.data.manifest import SPLITS
from augmentor.errors import OutputError
from augmentor.outputs.description import describe
from augmentor.outputs.judge_results import rejected_cells, rejected_columns, scores_cells, scores_columns
from augmentor.outputs.label_table import SCORE_COLUMNS, UNCHECKED, LabelRow, cells, columns
from augmentor.outputs.paths import described_settings
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.writers.assembly import Assembly, Ending, discard
from augmentor.outputs.writers.packing import Packed, Packing, pack_name
from augmentor.outputs.writers.parquet import ColumnType, TypedWriter, replacing_typed_table
from augmentor.storage import (
    CsvWriter,
    Json,
    make_folder,
    remove_file,
    replacing_table,
    replacing_text,
    write_json,
)
from stargan.labels import UNKNOWN, Attribute, LabelSpace

CLASS_LIST = "classes.txt"
"""Names of the class folders of all splits, one a line, in torchvision's order."""

CSV_SPLIT_TABLE = "metadata.csv"
PARQUET_SPLIT_TABLE = "metadata.parquet"
SPLIT_TABLES = (CSV_SPLIT_TABLE, PARQUET_SPLIT_TABLE)
"""Names of the table of a split: Hugging Face's loader refuses a folder that has both."""

_NOT_TEXT = frozenset(
    word.casefold()
    for word in (
        *("", "nan", "-nan", "NA", "N/A", "<NA>", "#NA", "#N/A", "#N/A N/A", "null", "None"),
        *("-1.#IND", "1.#IND", "-1.#QNAN", "1.#QNAN", "true", "false"),
    )
)
"""Words that pandas reads as a blank cell or a boolean, some of them in one case only."""

_WHOLE = re.compile("0|-?[1-9][0-9]{0,17}")

_SAMPLED_ROWS = 10_000
"""Rows of a split from which Hugging Face's loader guesses the columns' types."""

_UNKNOWN_WORD = "unknown"


class FolderTables(Assembly):
    """Writes `labels.csv`, a table per split, `scores.csv`, `rejected.csv`, `failures.csv`, `dataset.json`.

    `description` is as for `LocalWriter`; `packing` is that of a folder of packs, which has no table per split.
    `earlier` leaves out what earlier versions did not write: the digest of the content and the list of classes.
    """

    def __init__(
        self,
        out: Path,
        *,
        space: LabelSpace,
        description: Mapping[str, Json],
        records: RecordFolder,
        shards: int,
        packing: Packing | None = None,
        earlier: bool = False,
    ) -> None:
        super().__init__(records, shards)
        self._earlier = earlier
        self._folders: dict[str, set[str]] = {}
        self._out = out
        self._space = space
        self._description = description
        self._packing = packing
        self._unchecked = bool(description.get("unchecked"))
        self._agreement = columns(space).index("agreement")
        self._packs: list[Packed] = []
        self._files = ExitStack()
        name = str(description.get("split_table", CSV_SPLIT_TABLE))  # Earlier versions wrote no other.
        self._splits = SplitTables(out, space, self._files, name=name) if packing is None else None
        self._labels = self._files.enter_context(replacing_table(out / "labels.csv", columns(space)))
        self._scores = self._files.enter_context(replacing_table(out / "scores.csv", scores_columns(space)))
        self._rejected = self._files.enter_context(replacing_table(out / "rejected.csv", rejected_columns(space)))

    def _add(self, record: ShardRecord) -> None:
        if self._packing is not None:
            self._add_packs(record, self._packing)
        for row in record.rows:
            written = cells(row, self._space)
            self._labels.writerow(self._marked(written, row))
            if self._splits is not None:
                self._folders.setdefault(row.split, set()).add(row.file_name.split("/")[1])
                self._splits.add(row.split, written)
        self._scores.writerows(scores_cells(record.rows, record.scores, self._space))
        self._rejected.writerows(rejected_cells(record.rejected, self._space))

    def _marked(self, written: list[str], row: LabelRow) -> list[str]:
        """Return a row's cells with `UNCHECKED` where a change was not checked; earlier versions left it blank.

        Tables per split do not have the word: Hugging Face's loader would take the column for text in one split.
        """
        if not self._unchecked or row.agreement is not None or not row.changed:
            return written
        return [*written[: self._agreement], UNCHECKED, *written[self._agreement + 1 :]]

    def _finish(self, ending: Ending) -> None:
        self._files.close()
        if self._splits is not None:
            self._splits.remove_other()
            self._splits.respell(self._rows)
        self.counts.failed = write_failures(self._out / "failures.csv", self.failures)
        added: dict[str, Json] = {}
        if not self._earlier:
            added["content_sha256"] = self.content
            if described_settings(self._description).get("class_folders"):
                added["missing_classes"] = self._list_classes()
        described = describe(self._description, self._space, counts=self.counts, shape=self.shape, added=added)
        if self._packing is not None:
            self._packing.write_index(self._out, self._packs, shape=self.shape, description=described)
        ending(described, self._out)
        write_json(self._out / "dataset.json", described)

    def _list_classes(self) -> dict[str, Json]:
        """Write the list of class folders; return those that a split lacks, by split."""
        classes = sorted(set().union(*self._folders.values()))
        with replacing_text(self._out / CLASS_LIST) as file:
            file.writelines(f"{name}\n" for name in classes)
        missing = {
            split: [name for name in classes if name not in folders] for split, folders in self._folders.items()
        }
        return {split: names for split, names in missing.items() if names}

    def _add_packs(self, record: ShardRecord, packing: Packing) -> None:
        if packing.encoding is None and None not in (self.shape, record.shape) and self.shape != record.shape:
            raise OutputError(f"{self._out}: shard {record.index} has images of {record.shape}, not {self.shape}.")
        names = [pack_name(row.file_name, packing.suffix) for row in record.rows]
        self._packs += [Packed(name, names.count(name)) for name in record.packs]

    def _discard(self) -> None:
        discard(self._files)

    def _rows(self) -> Iterator[LabelRow]:
        for record in self._records.read_all(self._shards):
            yield from record.rows


def split_table(space: LabelSpace, codes: NDArray[np.integer], texts: Iterable[Sequence[str]]) -> str:
    """Return the name of the tables of the splits: CSV where its reader gives back what was written, else Parquet.

    Args:
        space: the attributes.
        codes: (N, A) labels of the rows, -1 unknown.
        texts: the rows' cells in the other columns that hold the user's words.
    """
    # Beside a blank cell, a whole number becomes a float, and a split of blanks alone has no words.
    unknown = (codes == UNKNOWN).any(axis=0)
    plain = all(
        not blank and (_is_whole(attribute) or _stays_text(attribute.values))
        for attribute, blank in zip(space.attributes, unknown, strict=True)
        if attribute.kind == "categorical"
    )
    # The column `changed` holds names of attributes.
    return CSV_SPLIT_TABLE if plain and all(map(_stays_text, (space.names, *texts))) else PARQUET_SPLIT_TABLE


def _is_whole(attribute: Attribute) -> bool:
    """Return whether all values are whole numbers, each in its only spelling: 7, not 07 or +7."""
    return all(_WHOLE.fullmatch(value) for value in attribute.values)


def _stays_text(cells: Sequence[str]) -> bool:
    """Return whether pandas reads these texts from a CSV file as they are, whichever of them are in it."""
    texts = pd.Series(cells, dtype=object).drop_duplicates()
    if (texts == "").all():
        return True
    numbers = pd.to_numeric(texts, errors="coerce").notna()
    return not (numbers | texts.str.casefold().isin(_NOT_TEXT) | texts.str.contains(r"[\x00-\x1f]")).any()


def column_types(space: LabelSpace) -> dict[str, ColumnType]:
    """Return the types of the label table's columns: they follow from the label space, not from the rows."""
    types: dict[str, ColumnType] = dict.fromkeys(columns(space), "string")
    types |= dict.fromkeys(SCORE_COLUMNS, "float64")
    numbers = [each.name for each in space.attributes if each.kind == "binary" or _is_whole(each)]
    return types | dict.fromkeys(("is_synthetic", *numbers), "int64")


class SplitTables:
    """The label table cut into splits, in CSV or Parquet.

    The loader guesses the type of a CSV file's column from one split's first rows and refuses to join splits that
    differ. A 0/1 attribute with blanks in `train` (read as floats) and none in `test` (read as integers) would
    make the whole output unreadable. Only then a split's file spells the cells "1.0"; `labels.csv` never does.
    Earlier versions, which had no Parquet, also wrote "unknown" in a split of blanks beside others with words.

    `name` is one of `SPLIT_TABLES`. Closing `files` gives the files their names, or discards them on an error.
    """

    def __init__(self, out: Path, space: LabelSpace, files: ExitStack, *, name: str) -> None:
        self.out = out
        self.name = name
        self.columns = columns(space)
        self._space = space
        self._files = files
        self._writers: dict[str, CsvWriter | TypedWriter] = {}
        self._guessed = [self.columns.index(name) for name in ("group", *space.names)]
        self._seen: dict[str, list[set[str]]] = {}
        self._sampled: dict[str, int] = {}

    def add(self, split: str, written: list[str]) -> None:
        """Write a row of `labels.csv` into its split's file; changes its first cell in place."""
        if split not in self._writers:
            self._writers[split] = self._open(split, self._files)
            self._seen[split] = [set() for _ in self._guessed]
            self._sampled[split] = 0
        if self._sampled[split] < _SAMPLED_ROWS:
            self._sampled[split] += 1
            for cell_set, column in zip(self._seen[split], self._guessed, strict=True):
                cell_set.add(written[column])
        written[0] = written[0].removeprefix(f"{split}/")
        self._writers[split].writerow(written)

    def respell(self, rows: Callable[[], Iterable[LabelRow]]) -> None:
        """Write the splits again that need another spelling, after `files` was closed; `rows` returns all rows."""
        respelled = self._respelled() if self.name == CSV_SPLIT_TABLE else {}
        if not respelled:
            return
        with ExitStack() as files:
            writers = {split: self._open(split, files) for split in respelled}
            for row in rows():
                if row.split in writers:
                    written = cells(row, self._space)
                    written[0] = row.file_name.removeprefix(f"{row.split}/")
                    for column, spelling in respelled[row.split].items():
                        written[column] = spelling.get(written[column], written[column])
                    writers[row.split].writerow(written)

    def remove_other(self) -> None:
        """Remove tables of the other name, which an earlier version may have written."""
        for split in SPLITS:
            for name in SPLIT_TABLES:
                if name != self.name:
                    remove_file(self.out / split / name, below=self.out)

    def _open(self, split: str, files: ExitStack) -> CsvWriter | TypedWriter:
        # Where the output is a URL, none of the images stays on this disk.
        make_folder(self.out / split, below=self.out)
        path = self.out / split / self.name
        if self.name == PARQUET_SPLIT_TABLE:
            typed = replacing_typed_table(path, column_types(self._space), below=self.out)
            return files.enter_context(typed)
        return files.enter_context(replacing_table(path, self.columns, below=self.out))

    def _respelled(self) -> dict[str, dict[int, dict[str, str]]]:
        """Return, per split and column, the cells' other spelling; empty for nearly all outputs."""
        respelled: dict[str, dict[int, dict[str, str]]] = {}
        for number, column in enumerate(self._guessed):
            kinds = {split: _guessed_kind(seen[number]) for split, seen in self._seen.items()}
            for split, seen in self._seen.items():
                if kinds[split] == "integer" and {"float", "blank"} & set(kinds.values()):
                    spelling = {cell: f"{cell}.0" for cell in seen[number] if cell}
                elif kinds[split] == "blank" and "text" in kinds.values():
                    spelling = {"": _UNKNOWN_WORD}
                else:
                    continue
                respelled.setdefault(split, {})[column] = spelling
        return respelled


def _guessed_kind(cells_seen: set[str]) -> str:
    """Return the type that pandas guesses for a column of these cells: integer, float, blank or text."""
    file = io.StringIO()
    csv.writer(file).writerows([["cell"], *([cell] for cell in sorted(cells_seen))])
    file.seek(0)
    column = pd.read_csv(file, skip_blank_lines=False)["cell"]
    if column.isna().all():
        return "blank"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    return "float" if pd.api.types.is_float_dtype(column) else "text"
