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
    """Write JSON with sorted keys, two spaces and a final line end; a file of this name is replaced."""
    with replacing_text(path) as file:
        file.write(json.dumps(state, sort_keys=True, indent=2, ensure_ascii=False) + "\n")


class CsvWriter:
    """A CSV writer with line feeds, for a text file that does not translate line ends.

    It quotes cells with a carriage return, which Python's own writer does not (before 3.13).
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
