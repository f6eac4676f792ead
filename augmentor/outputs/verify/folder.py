"""Verification of folders and their tables, and of the parts of an unfinished HDF5 file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from augmentor.data.manifest import SPLITS
from augmentor.errors import OutputError
from augmentor.images import IMAGE_SUFFIXES
from augmentor.outputs.description import (
    UNPARSED,
    Counts,
    checked_object,
    described_space,
    parse_description,
)
from augmentor.outputs.fingerprints import Identity
from augmentor.outputs.paths import WORK_FOLDER, described_settings, format_of, parts_folder
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.verify.images import (
    TASK_IMAGES,
    Expected,
    ImageFinding,
    Task,
    TaskFindings,
    check_bytes,
    check_file,
    check_packs,
    expected_of,
)
from augmentor.outputs.verify.report import Findings, Mend, OnProgress, Problem
from augmentor.outputs.verify.tables import RowRules, compare_tables
from augmentor.outputs.writers.packing import pack_name
from augmentor.outputs.writers.packs import PACK_SUFFIXES
from augmentor.outputs.writers.parts import Parts
from augmentor.storage import side_by_side
from stargan.labels import LabelSpace

_MOST_MISSING = 100_000
"""Missing records between two that are there; a number beyond was not given by expand."""

_UNNAMED = "no row of the label table names it; move it away"


def verify_folder(out: Path, *, workers: int | None, on_progress: OnProgress) -> Findings:
    """Verify DIR; see `verify_output`."""
    records = RecordFolder(out / WORK_FOLDER)
    description, problem = read_description(out / "dataset.json")
    found = Findings(out=out, finished=problem is not None or description is not None)
    if problem is not None:
        found.problems.append(problem)
    run = _read_run(records, description)
    numbers = _check_records(found, records, run)
    linked, space = run.settings.get("real") == "original", run.space

    def look(task: Task) -> TaskFindings:
        if task.record.packs:
            return check_packs(out, task)
        record, rows = task.record, task.record.rows[task.first : task.first + task.images]
        return TaskFindings(
            task, [check_file(out / row.file_name, expected_of(record, row, linked)) for row in rows]
        )

    _look_at_images(found, side_by_side(look, _tasks(records, numbers), workers), on_progress)
    if description is not None and space is not None and _counted(found, description):
        found.problems += compare_tables(out, space, description, records=records, shards=len(numbers))
        found.problems += _strays(out, records, numbers, PACK_SUFFIXES.get(format_of(description)))
    return found


def verify_parts(out: Path, *, workers: int | None, on_progress: OnProgress) -> Findings:
    """Verify the committed shards of an unfinished FILE.h5; see `verify_output`."""
    parts = Parts(out, folder=parts_folder(out), encoding=None)
    found = Findings(out=out, finished=False)
    run = _read_run(parts.records, None)
    numbers = _check_records(found, parts.records, run)

    def look(task: Task) -> TaskFindings:
        return TaskFindings(task, list(_look_into_part(parts.path(task.record.index), task)))

    _look_at_images(found, side_by_side(look, _tasks(parts.records, numbers), workers), on_progress)
    return found


def read_description(path: Path) -> tuple[dict[str, object] | None, Problem | None]:
    """Return the content of `dataset.json`, None where it is missing, and what is wrong with it."""
    try:
        return parse_description(path.read_bytes()), None
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, Problem(file=path.name, reason=f"it cannot be read: {error.strerror}", mend="tables")
    except UNPARSED as error:
        return None, Problem(file=path.name, reason=f"it is damaged, or was edited ({error})", mend="tables")


def part_is_encoded(record: ShardRecord) -> bool:
    """Return whether a shard's part holds image files: pixels have exactly the bytes of their shape."""
    sides = record.shape or ()
    pixels = None if None in sides else math.prod(side for side in sides if side is not None)
    return any(size != pixels for _, size in record.extents)


class _Run(NamedTuple):
    """The run that wrote an output (settings empty, space None where unknown), and problems of `run.json`."""

    settings: Mapping[str, object]
    space: LabelSpace | None
    problems: list[Problem]


def _read_run(records: RecordFolder, description: Mapping[str, object] | None) -> _Run:
    """Return the run that wrote an output, by its description if it is finished."""
    run = records.work / "run.json"
    name = run.relative_to(records.work.parent).as_posix()
    settings = {} if description is None else described_settings(description)
    space = None if description is None else described_space(description)
    try:
        state = checked_object(run.read_bytes())
        identity, reason = Identity.of(state), ""
        if space is None and "label_space" in state:  # The first outputs did not say it.
            space = described_space(state)
    except FileNotFoundError:
        identity, reason = None, "the file is missing"
    except (*UNPARSED, OSError) as error:
        identity, reason = None, f"it is damaged, or was edited ({error})"
    if identity is None:
        mend: Mend = "nothing" if description is None else "tables"
        hint = "; start anew: the same expand with --overwrite" if description is None else ""
        return _Run(settings, space, [Problem(file=name, reason=f"{reason}{hint}", mend=mend)])
    if description is None:
        return _Run(described_settings(identity.made_of), space, [])
    if identity != Identity.of(description):
        reason = "it is not of the run that dataset.json describes: one of them was changed"
        return _Run(settings, space, [Problem(file=name, reason=reason, mend="nothing")])
    return _Run(settings, space, [])


def _check_records(found: Findings, records: RecordFolder, run: _Run) -> list[int]:
    """Read every record of a run and check its rows; return the numbers of the readable ones."""
    found.problems += run.problems
    rules = RowRules(space=run.space, settings=run.settings)
    there = [int(path.stem) for path in records.committed()]
    for last, number in pairwise([-1, *there]):
        if number - last > _MOST_MISSING:
            there = there[: there.index(number)]
            name = records.path(number).relative_to(records.work.parent).as_posix()
            reason = f"it follows the record of shard {last:,}: no shard of this output; move it away"
            found.problems.append(Problem(file=name, reason=reason, mend="nothing"))
            break
    whole: list[int] = []
    for number in range(there[-1] + 1) if there and found.finished else there:
        path = records.path(number)
        name = path.relative_to(records.work.parent).as_posix()
        if not path.exists():
            found.problems.append(Problem(file=name, reason="the shard's record is missing", shard=number))
            continue
        try:
            record = ShardRecord.read(path)
        except OutputError as error:
            reason = str(error.__cause__ or error)
            reason = f"the shard's record is damaged: {reason}"
            found.problems.append(Problem(file=name, reason=reason, shard=number))
            continue
        reason = _inconsistent(record, number)
        if reason:
            found.problems.append(Problem(file=name, reason=reason, shard=number))
            continue
        whole.append(number)
        for row in record.rows:
            found.counts.add(row)
            for reason, blamed in rules.broken(row, number):
                found.problems.append(Problem(file=name, row=row.key, reason=reason, shard=blamed))
        for each in record.rejected:
            for reason, blamed in rules.broken_rejected(each, number):
                found.problems.append(Problem(file=name, row=each.row.key, reason=reason, shard=blamed))
        found.counts.rejected += len(record.rejected)
        found.counts.failed += len({failure.id for failure in record.failures})
    found.shards = len(whole)
    return whole


def _inconsistent(record: ShardRecord, number: int) -> str:
    """Return why a readable record cannot be this shard's, "" if it can."""
    if record.index != number:
        return f"the record is of shard {record.index}"
    rows = len(record.rows)
    if [row.file_name for row in record.rows] != list(record.files) or rows != len(record.positions):
        return "the record's rows and files differ"
    suffix = PurePosixPath(next(iter(record.packs), "")).suffix
    if record.packs and {pack_name(name, suffix) for name in record.files} != set(record.packs):
        return "the record's rows and packs differ"
    for name, each in (("places", record.extents), ("scores", record.scores)):
        if each and len(each) != rows:
            return f"the record's rows and {name} differ"
    if not {each.position for each in record.rejected}.isdisjoint(record.positions):
        return "the record has a place both as an image and as rejected"
    return ""


def _tasks(records: RecordFolder, numbers: Sequence[int]) -> Iterator[Task]:
    for number in numbers:
        record = ShardRecord.read(records.path(number))
        together = len(record.rows) if record.packs else TASK_IMAGES  # A pack is read once.
        for first in range(0, len(record.rows), together):
            yield Task(record, first, min(together, len(record.rows) - first))


def _look_into_part(path: Path, task: Task) -> Iterator[ImageFinding]:
    """Yield the findings of a part's images, one image in memory at a time."""
    record, end = task.record, task.first + task.images
    encoded = part_is_encoded(record)
    try:
        with path.open("rb") as file:
            for row, (first, size) in zip(
                record.rows[task.first : end], record.extents[task.first : end], strict=True
            ):
                file.seek(first)
                data = file.read(size)
                shape = expected_of(record, row, linked=False).shape if encoded else record.shape
                seen = check_bytes(data, Expected(record.files[row.file_name], shape, encoded))
                short = f"the part ends after {len(data):,} of its {size:,} bytes"
                yield seen._replace(wrong=short) if len(data) < size else seen
    except FileNotFoundError:
        yield from [ImageFinding("", 0, f"the part {path.name} is missing")] * task.images
    except OSError as error:
        yield from [ImageFinding("", 0, f"the part {path.name} cannot be read: {error.strerror}")] * task.images


def _look_at_images(found: Findings, looks: Iterator[TaskFindings], on_progress: OnProgress) -> None:
    total, done = found.counts.real + found.counts.synthetic, 0
    on_progress(0, total)
    for task, seen, problems in looks:
        found.problems += problems
        # A part that cannot be read to its end says so of each of its images, and of none twice.
        for row, image in zip(task.record.rows[task.first :], islice(seen, task.images), strict=False):
            found.size += image.size
            if image.wrong:
                shard = task.record.index
                found.problems.append(Problem(file=row.file_name, reason=image.wrong, row=row.key, shard=shard))
        done += task.images
        on_progress(done, total)


def _counted(found: Findings, description: Mapping[str, object]) -> bool:
    """Return whether the tables can be compared: every record exists and is whole."""
    if any(problem.file.startswith(WORK_FOLDER) for problem in found.problems if problem.mend == "shard"):
        return False
    counts = Counts.from_json(description["counts"])
    ours = found.counts
    if (counts.real, counts.synthetic, counts.rejected) == (ours.real, ours.synthetic, ours.rejected):
        found.counts.failed = counts.failed
        return True
    said, rows = _count_words(counts), _count_words(ours)
    reason = f"it counts {said}, and the shard records {rows}: it was changed, or the last records are missing"
    found.problems.append(Problem(file="dataset.json", reason=reason, mend="tables"))
    return False


def _count_words(counts: Counts) -> str:
    return f"{counts.real:,} real, {counts.synthetic:,} synthetic and {counts.rejected:,} rejected images"


def _strays(out: Path, records: RecordFolder, numbers: Sequence[int], packs: str | None) -> Iterator[Problem]:
    """Yield images, or packs, that are not the data set's, but that loaders would take for its own."""
    suffixes = IMAGE_SUFFIXES if packs is None else {packs}
    named: set[str] = set()
    for number in numbers:
        named.update(ShardRecord.read(records.path(number)).placed)
    for split in SPLITS:
        for folder, _, files in os.walk(out / split):
            for file in sorted(files):
                path = Path(folder, file)
                name = path.relative_to(out).as_posix()
                if name not in named and path.suffix.lower() in suffixes and not file.startswith("."):
                    reason = "nothing of the label table is in it; move it away" if packs else _UNNAMED
                    yield Problem(file=name, reason=reason, mend="nothing")
