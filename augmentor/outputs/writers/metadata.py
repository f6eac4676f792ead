"""Tables of a folder: one of all images, and one per split, whose types Hugging Face reads alike in all splits."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from augmentor.data import write_failures
from augmentor.errors import OutputError
from augmentor.outputs.description import describe
from augmentor.outputs.judge_results import rejected_cells, rejected_columns, scores_cells, scores_columns
from augmentor.outputs.label_table import UNCHECKED, LabelRow, cells, columns
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.writers.assembly import Assembly, Ending, discard
from augmentor.outputs.writers.packing import Packed, Packing, pack_name
from augmentor.storage import CsvWriter, Json, make_folder, replacing_table, write_json
from stargan.labels import LabelSpace

_SAMPLED_ROWS = 10_000
"""Rows of a split from which Hugging Face's loader guesses the columns' types."""

_UNKNOWN_WORD = "unknown"


class FolderTables(Assembly):
    """Writes `labels.csv`, `metadata.csv` per split, `scores.csv`, `rejected.csv`, `failures.csv`, `dataset.json`.

    `description` is as for `LocalWriter`; `packing` is that of a folder of packs, which has no table per split.
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
    ) -> None:
        super().__init__(records, shards)
        self._out = out
        self._space = space
        self._description = description
        self._packing = packing
        self._unchecked = bool(description.get("unchecked"))
        self._agreement = columns(space).index("agreement")
        self._packs: list[Packed] = []
        self._files = ExitStack()
        self._splits = SplitTables(out, space, self._files) if packing is None else None
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
            self._splits.respell(self._rows)
        self.counts.failed = write_failures(self._out / "failures.csv", self.failures)
        described = describe(self._description, self._space, counts=self.counts, shape=self.shape)
        if self._packing is not None:
            self._packing.write_index(self._out, self._packs, shape=self.shape, description=described)
        ending(described, self._out)
        write_json(self._out / "dataset.json", described)

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


class SplitTables:
    """The label table cut into splits.

    The loader guesses every column's type from one split's first rows and refuses to join splits that differ.
    A 0/1 attribute with blanks in `train` (read as floats) and none in `test` (read as integers), or words in
    `train` and only blanks in `test`, would make the whole output unreadable. Only in these cases a split's file
    spells the cells "1.0" and "unknown"; `labels.csv` never does.

    Closing `files` gives the files their names, or discards them on an error.
    """

    def __init__(self, out: Path, space: LabelSpace, files: ExitStack) -> None:
        self.out = out
        self.columns = columns(space)
        self._space = space
        self._files = files
        self._writers: dict[str, CsvWriter] = {}
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
        respelled = self._respelled()
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

    def _open(self, split: str, files: ExitStack) -> CsvWriter:
        # Where the output is a URL, none of the images stays on this disk.
        make_folder(self.out / split, below=self.out)
        table = replacing_table(self.out / split / "metadata.csv", self.columns, below=self.out)
        return files.enter_context(table)

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
