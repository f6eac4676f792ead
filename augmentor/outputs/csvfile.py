"""CSV as every reader understands it, whatever stands in the cells."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import TextIO


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
