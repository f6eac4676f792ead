"""Writers of JSON and CSV files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO, TypeAlias

from augmentor.storage.atomic import replacing_text

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
"""Plain values that the standard library's json writes."""


def write_json(path: Path, state: Mapping[str, object]) -> None:
    """Write JSON as people read it: sorted keys, two spaces, a line end; a file of this name is replaced."""
    with replacing_text(path) as file:
        file.write(json.dumps(state, sort_keys=True, indent=2, ensure_ascii=False) + "\n")


class CsvWriter:
    """Writes rows as CSV, a line feed behind each.

    Python's own writer leaves a cell with a carriage return bare (before 3.13), where readers see the end of a
    row: such a row is quoted.

    Args:
        file: open for text, and not translating line ends.
    """

    def __init__(self, file: TextIO) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def writerow(self, cells: Sequence[str]) -> None:
        """Write one row."""
        (self._quoting if "\r" in "".join(cells) else self._plain).writerow(cells)

    def writerows(self, rows: Iterable[Sequence[str]]) -> None:
        """Write some rows."""
        for row in rows:
            self.writerow(row)
