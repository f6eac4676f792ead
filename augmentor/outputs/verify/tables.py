"""Compares a folder's tables with the shard records: they are written once more, elsewhere, and must agree."""

from __future__ import annotations

import csv
import filecmp
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from augmentor.data.manifest import SPLITS
from augmentor.errors import OutputError
from augmentor.outputs.paths import encoding_of, format_of
from augmentor.outputs.records import RecordFolder
from augmentor.outputs.verify.report import Problem
from augmentor.outputs.writers.metadata import FolderTables
from augmentor.outputs.writers.packs import PackTables, packing_of
from augmentor.storage import Json
from stargan.labels import LabelSpace

_MOST_CELLS = 20
"""Cells of one table that are told; the rest is counted."""

DERIVED = frozenset({"schema_version", "label_space", "image_shape", "counts", "sha256"})
"""What the writer adds to the description of `dataset.json`."""


def compare_tables(
    out: Path, space: LabelSpace, description: Mapping[str, object], *, records: RecordFolder, shards: int
) -> Iterator[Problem]:
    """Yield what differs between the tables and the records.

    Args:
        out: the output folder.
        space: its attributes.
        description: what `dataset.json` says.
        records: all of them whole.
        shards: how many there are.
    """
    given = cast(dict[str, Json], {key: value for key, value in description.items() if key not in DERIVED})
    with TemporaryDirectory(prefix="augmentor-verify-") as name:
        fresh = Path(name)
        for split in SPLITS:
            (fresh / split).mkdir()
        try:
            with _tables(fresh, space, given, records, shards) as tables:
                tables.finish()
        except (OutputError, OSError, ValueError, IndexError) as error:
            yield Problem(
                file="labels.csv", reason=f"it cannot be compared with the records: {error}", mend="tables"
            )
            return
        for path in sorted(path for path in fresh.rglob("*") if path.is_file()):
            relative = path.relative_to(fresh).as_posix()
            for row, reason in _differences(path, out / relative):
                yield Problem(file=relative, row=row, reason=reason, mend="tables")


def _tables(
    fresh: Path, space: LabelSpace, given: Mapping[str, Json], records: RecordFolder, shards: int
) -> FolderTables:
    """Return what writes the tables of this form of output elsewhere."""
    form = format_of(given)
    if form == "folder":
        return FolderTables(fresh, space=space, description=given, records=records, shards=shards)
    packing = packing_of(form, space=space, encoding=encoding_of(given))
    return PackTables(fresh, space=space, description=given, records=records, shards=shards, packing=packing)


def compare_file(path: Path, write: Callable[[Path], object]) -> Iterator[Problem]:
    """Yield what differs between a file and what it must hold.

    Args:
        path: the file.
        write: writes it once more, elsewhere.
    """
    with TemporaryDirectory(prefix="augmentor-verify-") as folder:
        fresh = Path(folder) / path.name
        write(fresh)
        for row, reason in _differences(fresh, path):
            yield Problem(file=path.name, row=row, reason=reason, mend="tables")


def _differences(expected: Path, path: Path) -> Iterator[tuple[str, str]]:
    """Yield (row, what is wrong) of a file that must be equal to another."""
    if not path.is_file():
        yield "", "the file is missing"
        return
    try:
        if filecmp.cmp(expected, path, shallow=False):
            return
        tell = {".csv": _cells, ".json": _keys}.get(path.suffix)
        told = [] if tell is None else list(tell(expected, path))
    except (OSError, ValueError, csv.Error) as error:
        told = [("", f"it cannot be read: {error}")]
    yield from told[:_MOST_CELLS]
    if len(told) > _MOST_CELLS:
        yield "", f"{len(told) - _MOST_CELLS:,} more differences"
    if not told:
        same = ", though they say the same (line ends or quotes)" if path.suffix in (".csv", ".json") else ""
        yield "", f"its bytes are not those that were written{same}"


def _cells(expected: Path, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the cells in which a table differs; the header is row 1, as spreadsheets count."""
    with expected.open(encoding="utf-8", newline="") as first, path.open(encoding="utf-8", newline="") as second:
        wanted, found = csv.reader(first), csv.reader(second)
        names: list[str] = []
        for number, (right, cells) in enumerate(zip_longest(wanted, found), start=1):
            names = names or right or []
            if right == cells:
                continue
            if cells is None:
                yield f"row {number}", f"the table ends here; {(right or [''])[0]!r} is missing"
                return
            if right is None:
                yield f"row {number}", "there are more rows than images"
                return
            if len(cells) != len(right):
                yield f"row {number}", f"it has {len(cells)} cells, not {len(right)}"
                continue
            for name, is_, should in zip(names, cells, right, strict=False):
                if is_ != should:
                    yield f"row {number}, column {name}", f"it is {is_!r}, and was written as {should!r}"


def _keys(expected: Path, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the entries in which a JSON object differs."""
    wanted, found = json.loads(expected.read_bytes()), json.loads(path.read_bytes())
    for key in sorted({*wanted, *found}):
        if wanted.get(key) != found.get(key):
            yield f"entry {key}", f"it is {_short(found.get(key))}, and the rows say {_short(wanted.get(key))}"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
