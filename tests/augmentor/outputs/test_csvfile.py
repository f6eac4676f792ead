"""CSV: whatever stands in a cell comes back, and plain rows have plain bytes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.storage.atomic import CsvWriter


def written(folder: Path, rows: list[list[str]]) -> Path:
    path = folder / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        CsvWriter(file).writerows(rows)
    return path


def test_plain_rows_have_plain_bytes(tmp_path: Path) -> None:
    path = written(tmp_path, [["a", "b"], ["1", 'x "y", z'], ["", "line\nend"]])
    assert path.read_bytes() == b'a,b\n1,"x ""y"", z"\n,"line\nend"\n'


def test_a_carriage_return_ends_no_row(tmp_path: Path) -> None:
    rows = [["a", "b"], ["one\rtwo", "=1+1"], ["\r", "plain"], ["crlf\r\n", "x"]]
    path = written(tmp_path, rows)
    assert path.read_bytes().count(b'"one\rtwo","=1+1"\n') == 1
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == rows
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert [list(table.columns), *table.to_numpy().tolist()] == rows


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=5))
def test_any_cells_are_read_back(rows: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    CsvWriter(file).writerows(rows)
    file.seek(0)
    assert list(csv.reader(file)) == rows
