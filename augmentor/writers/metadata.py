"""One `metadata.csv` per split, such that Hugging Face's imagefolder finds the same types in all of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from augmentor.durable import replacing_text
from augmentor.labeltable import LabelRow, cells, columns
from stargan.labels import LabelSpace

_SAMPLED_ROWS = 10_000
"""The loader looks at this many rows of a split to find the columns' types."""

_UNKNOWN_WORD = "unknown"


class SplitTables:
    """The label table cut into splits.

    The loader guesses every column's type from one split's first rows and refuses to join splits that differ.
    So a 0/1 attribute with blanks in `train` (read as floats) and none in `test` (read as integers), or words
    in `train` and blanks alone in `test`, would make the whole output unreadable. Where, and only where, that
    is so, a split's file spells these cells "1.0" and "unknown"; `labels.csv` never does.

    Args:
        out: the output folder.
        space: its attributes.
    """

    def __init__(self, out: Path, space: LabelSpace) -> None:
        self.out = out
        self.space = space
        self.columns = columns(space)
        self._guessed = [self.columns.index(name) for name in ("group", *space.names)]
        self._seen: dict[str, list[set[str]]] = {}
        self._sampled: dict[str, int] = {}

    def observe(self, row: LabelRow) -> None:
        """Note which cells a split has; to be called for every row before `write`."""
        sampled = self._sampled.get(row.split, 0)
        if sampled < _SAMPLED_ROWS:
            self._sampled[row.split] = sampled + 1
            seen = self._seen.setdefault(row.split, [set() for _ in self._guessed])
            written = cells(row, self.space)
            for cell_set, column in zip(seen, self._guessed, strict=True):
                cell_set.add(written[column])

    def write(self, rows: Iterable[LabelRow]) -> None:
        """Write `SPLIT/metadata.csv` for every split that was observed; rows are read once."""
        respelled = self._respelled()
        with ExitStack() as stack:
            writers = {}
            for split in self._seen:
                file = stack.enter_context(replacing_text(self.out / split / "metadata.csv"))
                writers[split] = csv.writer(file, lineterminator="\n")
                writers[split].writerow(self.columns)
            for row in rows:
                written = cells(row, self.space)
                written[0] = row.file_name.removeprefix(f"{row.split}/")
                for column, spelling in respelled.get(row.split, {}).items():
                    written[column] = spelling.get(written[column], written[column])
                writers[row.split].writerow(written)

    def _respelled(self) -> dict[str, dict[int, dict[str, str]]]:
        """Return per split and column which cells must be spelled otherwise; empty in nearly all outputs."""
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
    """Return what pandas takes a column of these cells for: integer, float, blank or text."""
    file = io.StringIO()
    csv.writer(file).writerows([["cell"], *([cell] for cell in sorted(cells_seen))])
    file.seek(0)
    column = pd.read_csv(file, skip_blank_lines=False)["cell"]
    if column.isna().all():
        return "blank"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    return "float" if pd.api.types.is_float_dtype(column) else "text"
