"""Verification of a finished HDF5 file, by the SHA-256 of each shard in it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from augmentor.data import Failure, write_failures
from augmentor.errors import OutputError, first_line
from augmentor.outputs.description import UNPARSED, Counts, Shape, parse_description
from augmentor.outputs.judge_results import (
    rejected_cells,
    rejected_columns,
    scores_cells,
    scores_columns,
    unpack_judged,
)
from augmentor.outputs.label_table import SCORE_COLUMNS, UNCHANGED, LabelRow
from augmentor.outputs.paths import described_settings
from augmentor.outputs.verify.images import TASK_IMAGES, Expected, ImageFinding, check_bytes
from augmentor.outputs.verify.report import Findings, OnProgress, Problem
from augmentor.outputs.verify.tables import RowRules, compare_file
from augmentor.outputs.writers.hdf5_layout import TEXT_COLUMNS, open_hdf5, shard_digest
from augmentor.storage import replacing_table, side_by_side, write_json
from stargan.labels import LabelSpace

Columns = dict[str, np.ndarray | list[str]]

UNREADABLE = (*UNPARSED, OSError, RuntimeError, IndexError)
"""Exceptions of reading a damaged HDF5 file."""

_READ_TOGETHER = 1 << 25
"""Bytes of pixels read at once."""


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """A shard's entry in a file's attributes: `first` is its first row in the file, `rows` their number.

    `sha256` is the shard's digest, of `shard_digest`; `judged` the text of `pack_judged`.
    """

    number: int
    first: int
    rows: int
    sha256: str
    failures: tuple[Failure, ...]
    judged: str


class Described(NamedTuple):
    """Description of a file; `own` is False where it comes from FILE.dataset.json."""

    description: Mapping[str, object]
    space: LabelSpace
    entries: Sequence[ShardEntry]
    shape: Shape | None
    encoding: str | None
    own: bool


class _Block(NamedTuple):
    """Some images of one shard: (row in the file, bytes), None for unreadable ones."""

    entry: ShardEntry
    images: list[tuple[int, bytes | None]]


def verify_finished(out: Path, *, workers: int | None, on_progress: OnProgress) -> Findings:
    """Verify FILE.h5 and its companions; see `verify_output`."""
    found = Findings(out=out, finished=True)
    try:
        file = open_hdf5(out)
    except OSError as error:
        return _unreadable(found, error)
    with file:
        try:
            described = describe_file(file)
            found.problems += _misfits(file, described, out.name)
        except UNREADABLE as error:
            return _unreadable(found, error)
        _verify(file, described, found, workers=workers, on_progress=on_progress)
    for suffix, write in companions(out, described).items():
        # What is damaged in the file is told by now; scores.csv has the keys of all its rows.
        if suffix != ".scores.csv" or not found.damaged_shards:
            found.problems += compare_file(out.with_suffix(suffix), write)
    return found


def _unreadable(found: Findings, error: BaseException) -> Findings:
    """Add the problem of an unreadable file; raise OutputError if FILE.dataset.json is missing, too."""
    out, reason = found.out, first_line(error)
    if not out.with_suffix(".dataset.json").is_file():
        raise OutputError(f"{out}: is not what expand wrote ({reason}). Give its --out") from error
    reason = f"it cannot be read as an HDF5 file of expand: {reason}"
    found.problems = [Problem(file=out.name, reason=reason, mend="all")]
    return found


def describe_file(file: h5py.File) -> Described:
    """Return a file's description, or FILE.dataset.json's where that is damaged; errors are `UNREADABLE`."""
    own = True
    try:
        description = parse_description(file.attrs["dataset_json"])
    except UNREADABLE:
        own = False
        description = parse_description(Path(file.filename).with_suffix(".dataset.json").read_bytes())
    entries, first = [], 0
    for number, entry in enumerate(json.loads(file.attrs["shards"])):
        failures = tuple(Failure(**failure) for failure in entry["failures"])
        rows = int(entry["rows"])
        judged = str(entry.get("judged", ""))
        sha256 = entry["sha256"]
        entries.append(
            ShardEntry(number=number, first=first, rows=rows, sha256=sha256, failures=failures, judged=judged)
        )
        first += rows
    sides, encoding = description["image_shape"], file.attrs.get("image_encoding")
    return Described(
        description=description,
        space=LabelSpace.from_json(description["label_space"]),  # type: ignore[arg-type]
        entries=entries,
        shape=tuple(sides) if isinstance(sides, list) else None,
        encoding=None if encoding is None else str(encoding),
        own=own,
    )


def companions(out: Path, described: Described) -> dict[str, Callable[[Path], object]]:
    """Return functions that write the files beside FILE.h5, by suffix; that of the scores reads FILE.h5 again."""

    def write_rejected(path: Path) -> None:
        with replacing_table(path, rejected_columns(space)) as table:
            for entry in described.entries:
                table.writerows(rejected_cells(unpack_judged(entry.judged).rejected, space))

    def write_scores(path: Path) -> None:
        with h5py.File(out, "r") as file, replacing_table(path, scores_columns(space)) as table:
            for entry in described.entries:
                scores = unpack_judged(entry.judged).scores
                if scores:
                    table.writerows(scores_cells(label_rows(read_columns(file, entry)), scores, space))

    space = described.space
    failures = [failure for entry in described.entries for failure in entry.failures]
    return {
        ".dataset.json": lambda path: write_json(path, described.description),
        ".failures.csv": lambda path: write_failures(path, failures),
        ".rejected.csv": write_rejected,
        ".scores.csv": write_scores,
    }


def read_columns(file: h5py.File, entry: ShardEntry) -> Columns:
    """Return a shard's columns except the images, as `table_columns` makes them; errors are `UNREADABLE`."""
    place = slice(entry.first, entry.first + entry.rows)
    columns: Columns = {name: file[name].asstr()[place].tolist() for name in TEXT_COLUMNS}
    for name in ("is_synthetic", "labels", *SCORE_COLUMNS):
        columns[name] = file[name][place]
    return columns


def label_rows(columns: Columns) -> list[LabelRow]:
    """Return the label rows of columns, the inverse of `table_columns`."""
    rows = []
    texts = (columns[name] for name in TEXT_COLUMNS)
    numbers = (np.asarray(columns[name]).tolist() for name in ("is_synthetic", "labels", *SCORE_COLUMNS))
    for file_name, key, split, group, source_id, source_path, changed, synthetic, codes, *scores in zip(
        *texts, *numbers, strict=True
    ):
        names = () if changed == UNCHANGED else tuple(changed.split(";"))
        agreement, realism = (None if math.isnan(score) else round(score, 4) for score in scores)
        lineage = source_id, source_path, tuple(codes), names
        rows.append(LabelRow(file_name, key, split, group, bool(synthetic), *lineage, agreement, realism))
    return rows


def read_images(file: h5py.File, entry: ShardEntry) -> Iterator[list[tuple[int, bytes | None]]]:
    """Yield a shard's images in order, in lists of (row in the file, bytes), None for unreadable ones."""
    images = file["image"]
    size = math.prod(images.shape[1:])
    step = max(1, min(TASK_IMAGES, _READ_TOGETHER // max(1, size)))
    for first in range(entry.first, entry.first + entry.rows, step):
        end = min(first + step, entry.first + entry.rows)
        try:
            yield [(first + place, image.tobytes()) for place, image in enumerate(images[first:end])]
        except UNREADABLE:  # One damaged image spoils the block: say which one it is.
            yield [(row, _read_one(images, row)) for row in range(first, end)]


def _read_one(images: h5py.Dataset, row: int) -> bytes | None:
    try:
        data: bytes = images[row].tobytes()
    except UNREADABLE:
        return None
    return data


def _verify(
    file: h5py.File, described: Described, found: Findings, *, workers: int | None, on_progress: OnProgress
) -> None:
    rules = RowRules(space=described.space, settings=described_settings(described.description))
    found.shards = len(described.entries)
    counts = Counts.from_json(described.description["counts"])
    found.counts.failed = counts.failed
    shape, encoded = described.shape, described.encoding is not None
    if shape is not None and described.encoding == "webp":
        shape = (*shape[:2], 3)  # WebP has no grey.
    unread = ImageFinding("", 0, "the image cannot be read: its bytes are damaged")

    def look(block: _Block) -> tuple[_Block, list[ImageFinding]]:
        expected = Expected(None, shape, encoded)
        return block, [unread if data is None else check_bytes(data, expected) for _, data in block.images]

    columns: dict[int, Columns | None] = {}
    digests: dict[int, list[str]] = {}
    total, done = sum(entry.rows for entry in described.entries), 0
    on_progress(0, total)
    for block, seen in side_by_side(look, _blocks(file, described, found, rules, columns), workers):
        entry = block.entry
        for (row, _), image in zip(block.images, seen, strict=True):
            digests.setdefault(entry.number, []).append(image.sha256)
            found.size += image.size
            if image.wrong:
                place = _row(row, entry, columns[entry.number])
                found.problems.append(_problem(found, place, image.wrong, entry.number))
        done += len(block.images)
        on_progress(done, total)
        if len(digests.get(entry.number, ())) == entry.rows:
            _check_entry(entry, columns.pop(entry.number), digests.pop(entry.number, []), found)


def _blocks(
    file: h5py.File, described: Described, found: Findings, rules: RowRules, columns: dict[int, Columns | None]
) -> Iterator[_Block]:
    """Yield the images of every shard, at least one block, after checking its rows and keeping its columns."""
    for entry in described.entries:
        columns[entry.number] = _judged(file, entry, found, rules)
        if not entry.rows:
            yield _Block(entry, [])
        for images in read_images(file, entry):
            yield _Block(entry, images)


def _judged(file: h5py.File, entry: ShardEntry, found: Findings, rules: RowRules) -> Columns | None:
    """Check the rows of a shard and return its columns, None where they cannot be read."""
    try:
        columns = read_columns(file, entry)
        rows, rejected = label_rows(columns), unpack_judged(entry.judged).rejected
    except UNREADABLE as error:
        reason = f"their labels cannot be read: {first_line(error)}"
        found.problems.append(_problem(found, _rows(entry), reason, entry.number))
        return None
    for place, row in enumerate(rows, start=entry.first):
        found.counts.add(row)
        for reason, blamed in rules.broken(row, entry.number):
            found.problems.append(_problem(found, _row(place, entry, columns), reason, blamed))
    for each in rejected:
        found.counts.rejected += 1
        for reason, blamed in rules.broken_rejected(each, entry.number):
            found.problems.append(_problem(found, f"rejected {each.row.key}", reason, blamed))
    return columns


def _check_entry(entry: ShardEntry, columns: Columns | None, digests: list[str], found: Findings) -> None:
    """Add a problem if a shard's digest differs, unless the shard has problems already."""
    if columns is None or entry.number in found.damaged_shards:
        return
    if shard_digest(columns, digests, entry.failures, entry.judged) != entry.sha256:
        reason = (
            f"their labels, pixels, scores or failures are not what was written (SHA-256 of shard {entry.number})"
        )
        found.problems.append(_problem(found, _rows(entry), reason, entry.number))


def _problem(found: Findings, row: str, reason: str, shard: int) -> Problem:
    return Problem(file=found.out.name, row=row, reason=reason, shard=shard)


def _rows(entry: ShardEntry) -> str:
    return f"rows {entry.first} to {entry.first + entry.rows - 1}"


def _row(place: int, entry: ShardEntry, columns: Columns | None) -> str:
    return f"row {place}" if columns is None else f"row {place} ({columns['key'][place - entry.first]})"


def _misfits(file: h5py.File, described: Described, name: str) -> Iterator[Problem]:
    """Yield the differences between the file's description and the rest of it."""
    if not described.own:
        yield Problem(file=name, reason="its description (dataset_json) is damaged", mend="tables")
    rows = sum(entry.rows for entry in described.entries)
    for column in ("image", "labels", "is_synthetic", *TEXT_COLUMNS, *SCORE_COLUMNS):
        if len(file[column]) != rows:
            raise ValueError(f"{column} has {len(file[column])} rows, not {rows}")
    counts = Counts.from_json(described.description["counts"])
    rejected = sum(len(unpack_judged(entry.judged).rejected) for entry in described.entries)
    if counts.rejected != rejected:
        reason = f"it counts {counts.rejected:,} rejected translations, and has {rejected:,}"
        yield Problem(file=name, reason=reason, mend="tables")
    if counts.real + counts.synthetic != rows:
        said = f"{counts.real:,} real and {counts.synthetic:,} synthetic images"
        yield Problem(file=name, reason=f"it counts {said}, and has {rows:,} rows", mend="tables")
    space = described.space
    names = list(map(str, file.attrs["attribute_names"]))
    values = json.loads(file.attrs["attribute_values"])
    kinds = list(map(str, file.attrs["attribute_kinds"]))
    wanted = [(a.name, a.kind, list(a.values)) for a in space.attributes]
    if list(zip(names, kinds, values, strict=True)) != wanted:
        yield Problem(file=name, reason="its attributes are not those of its description", mend="tables")
    if file.attrs["fingerprint"] != described.description["fingerprint"]:
        yield Problem(file=name, reason="its fingerprint is not that of its description", mend="tables")
