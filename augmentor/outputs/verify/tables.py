"""Checks of rows (names, labels, lineage, leaks between splits) and of tables against the shard records."""

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
from augmentor.errors import OutputError, short
from augmentor.outputs.description import DERIVED
from augmentor.outputs.judge_results import Rejected
from augmentor.outputs.label_table import Keys, LabelRow, real_key
from augmentor.outputs.paths import encoding_of, format_of
from augmentor.outputs.records import RecordFolder
from augmentor.outputs.verify.report import Problem
from augmentor.outputs.writers.metadata import FolderTables
from augmentor.outputs.writers.packs import packing_of
from augmentor.outputs.writers.parquet import read_typed_table
from augmentor.storage import Json
from stargan.labels import UNKNOWN, LabelSpace

_MOST_CELLS = 20
"""Cells of one table that are reported; the rest is counted."""


def compare_tables(
    out: Path, space: LabelSpace, description: Mapping[str, object], *, records: RecordFolder, shards: int
) -> Iterator[Problem]:
    """Yield the differences between an output folder's tables and its records, all of which are whole."""
    given = cast(dict[str, Json], {key: value for key, value in description.items() if key not in DERIVED})
    with TemporaryDirectory(prefix="augmentor-verify-") as name:
        fresh = Path(name)
        for split in SPLITS:
            (fresh / split).mkdir()
        form = format_of(given)
        try:
            packing = None if form == "folder" else packing_of(form, space=space, encoding=encoding_of(given))
            with FolderTables(
                fresh,
                space=space,
                description=given,
                records=records,
                shards=shards,
                packing=packing,
                earlier="content_sha256" not in description,
            ) as tables:
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


def compare_file(path: Path, write: Callable[[Path], object]) -> Iterator[Problem]:
    """Yield the differences between a file and what `write` writes."""
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
        compare = {".csv": _cells, ".json": _keys, ".parquet": _cells}.get(path.suffix)
        found = [] if compare is None else list(compare(expected, path))
    except (OSError, ValueError, csv.Error) as error:
        found = [("", f"it cannot be read: {error}")]
    yield from found[:_MOST_CELLS]
    if len(found) > _MOST_CELLS:
        yield "", f"{len(found) - _MOST_CELLS:,} more differences"
    if not found and path.suffix != ".parquet":  # Its bytes differ with the version of pyarrow.
        same = ", though they say the same (line ends or quotes)" if path.suffix in (".csv", ".json") else ""
        yield "", f"its bytes are not those that were written{same}"


def _cells(expected: Path, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the cells in which a table differs; the header is row 1, as in spreadsheets."""
    names: list[str] = []
    for number, (right, cells) in enumerate(zip_longest(_table(expected), _table(path)), start=1):
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


def _table(path: Path) -> Iterator[list[str]]:
    """Yield the header and the rows of a table."""
    if path.suffix == ".parquet":
        yield from read_typed_table(path)
        return
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.reader(file)


def _keys(expected: Path, path: Path) -> Iterator[tuple[str, str]]:
    """Yield the entries in which a JSON object differs."""
    wanted, found = json.loads(expected.read_bytes()), json.loads(path.read_bytes())
    for key in sorted({*wanted, *found}):
        if wanted.get(key) != found.get(key):
            is_, should = (short(json.dumps(state.get(key), ensure_ascii=False)) for state in (found, wanted))
            yield f"entry {key}", f"it is {is_}, and the rows say {should}"


class RowRules:
    """Checks every row once, in any order; remembers keys, sources and groups to compare them.

    Codes are not checked where `space` is None; `settings` are those of the expansion, as far as they are known.
    """

    def __init__(self, *, space: LabelSpace | None, settings: Mapping[str, object]) -> None:
        splits, looks = settings.get("splits"), settings.get("looks")
        self._space = space
        self._splits = tuple(map(str, splits)) if isinstance(splits, list) else None
        self._looks = looks if isinstance(looks, int) else 1
        self._keys = None if space is None else Keys(space)
        self._seen: set[str] = set()
        self._real_splits: dict[str, str] = {}
        self._made_splits: dict[str, str] = {}
        self._groups: dict[str, tuple[str, str, int]] = {}
        self._reported_groups: set[str] = set()

    def broken(self, row: LabelRow, shard: int) -> Iterator[tuple[str, int]]:
        """Yield (what is wrong with a row, number of the shard to blame: `shard`, or an earlier one as well)."""
        for reason in (*self._names(row), *self._labels(row), *self._lineage(row)):
            yield reason, shard
        yield from self._group(row, shard)

    def broken_rejected(self, each: Rejected, shard: int) -> Iterator[tuple[str, int]]:
        """Yield what is wrong with a rejected translation, as `broken` does."""
        row = each.row
        if row.file_name or not row.is_synthetic:
            yield "it was rejected, and yet is an image of the output", shard
        if not each.reason:
            yield "it was rejected without a reason", shard
        if row.key in self._seen:
            yield f"its key {row.key!r} is there twice", shard
        self._seen.add(row.key)
        for reason in (*self._labels(row), *self._lineage(row)):
            yield reason, shard

    def _names(self, row: LabelRow) -> Iterator[str]:
        if row.split not in SPLITS:
            yield f"its split is {row.split!r}, not one of {', '.join(SPLITS)}"
        folder, _, name = row.file_name.rpartition("/")
        if folder.count("/") != 1 or folder.partition("/")[0] != row.split:
            yield f"its file {row.file_name!r} does not lie in a folder of {row.split}"
        if name != row.key and name.rpartition(".")[0] != row.key:
            yield f"its file {name!r} is not called as its key {row.key!r}"
        if row.key in self._seen:
            yield f"its key {row.key!r} is there twice"
        self._seen.add(row.key)

    def _labels(self, row: LabelRow) -> Iterator[str]:
        if self._space is None or self._keys is None:
            return
        if len(row.codes) != len(self._space):
            yield f"it has {len(row.codes)} labels, and the label space {len(self._space)} attributes"
            return
        for attribute, code in zip(self._space.attributes, row.codes, strict=True):
            if code != UNKNOWN and not 0 <= code < len(attribute.values):
                yield f"its {attribute.name} has the code {code}, and there are {len(attribute.values)} values"
                return
        strange = [name for name in row.changed if name not in self._space.names]
        if strange:
            yield f"changed names {', '.join(map(repr, strange))}, which is no attribute"
        stem = row.key.partition("__")[0]
        expected = self._keys.key(stem, row.codes) if row.is_synthetic else real_key(stem)
        further = range(2, self._looks + 1) if row.is_synthetic else ()
        if row.key != expected and all(row.key != self._keys.key(stem, row.codes, look) for look in further):
            yield f"its labels belong to the key {expected!r}, not {row.key!r}"

    def _lineage(self, row: LabelRow) -> Iterator[str]:
        source = row.source_id
        if row.agreement is not None and not 0 <= row.agreement <= 1:
            yield f"its agreement is {row.agreement}, not a probability"
        if not row.is_synthetic:
            if row.changed:
                yield f"it is real, and yet {', '.join(row.changed)} changed"
            self._real_splits[source] = row.split
            other = self._made_splits.get(source, row.split)
        else:
            if self._splits is not None and row.split not in self._splits:
                yield f"it descends from a {row.split} row, and only {', '.join(self._splits)} was to be used"
            self._made_splits[source] = row.split
            other = self._real_splits.get(source, row.split)
        if other != row.split:
            kinds = ("a translation", "real image") if row.is_synthetic else ("the real image", "translation")
            yield f"{kinds[0]} in {row.split}, whose {kinds[1]} {source!r} stands in {other}: the splits leak"

    def _group(self, row: LabelRow, shard: int) -> Iterator[tuple[str, int]]:
        if not row.group:
            return
        split, key, first = self._groups.setdefault(row.group, (row.split, row.key, shard))
        if split != row.split and row.group not in self._reported_groups:
            self._reported_groups.add(row.group)
            reason = f"group {row.group!r} stands in {split} ({key}) and {row.split} ({row.key}): the splits leak"
            for blamed in sorted({first, shard}):
                yield reason, blamed
