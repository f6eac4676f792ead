"""Verification and repair of an output of any format."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import h5py

from augmentor.data.manifest import SPLITS
from augmentor.errors import OutputError
from augmentor.outputs.description import DERIVED, described_space
from augmentor.outputs.fingerprints import read_identity
from augmentor.outputs.judge_results import unpack_judged
from augmentor.outputs.paths import WORK_FOLDER, parts_folder, paths_of
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.report_files import empty_report_files
from augmentor.outputs.verify.folder import read_description, verify_folder, verify_parts
from augmentor.outputs.verify.hdf5_file import (
    Described,
    ShardEntry,
    companions,
    describe_file,
    label_rows,
    read_columns,
    read_images,
    verify_finished,
)
from augmentor.outputs.verify.report import Findings, OnProgress, Problem
from augmentor.outputs.writers.hdf5_layout import shard_digest
from augmentor.outputs.writers.parts import Parts
from augmentor.storage import create_file, locked, refuse_links, remove_files, remove_tree, sync_file, sync_folder


def verify_output(
    out: Path, *, workers: int | None = None, on_progress: OnProgress = lambda _done, _total: None
) -> Findings:
    """Read every image and every row of an output again; changes nothing.

    Images are decoded and compared with the SHA-256 in the shard records (or in a finished HDF5 file). Sizes,
    channels, counts, keys, labels, tables, and the splits of translations are checked as well.

    Args:
        out: a folder or FILE.h5 that expand wrote, finished or not.
        workers: threads that read and decode; None for one per usable core.
        on_progress: called with (images done, images in all).

    Raises:
        OutputError: there is nothing that expand wrote.
    """
    place = paths_of(out)
    if out.is_file() or (out.is_dir() and (place.work.is_dir() or place.beside("dataset.json").is_file())):
        verify = verify_finished if out.is_file() else verify_folder
        found = verify(out, workers=workers, on_progress=on_progress)
        found.problems += [
            Problem(
                file=path.relative_to(place.root).as_posix(),
                reason=f"it is empty; augmentor report {out} writes it again",
                mend="nothing",
            )
            for path in empty_report_files(place)
        ]
        return found
    if not out.exists() and place.work.is_dir():
        return verify_parts(out, workers=workers, on_progress=on_progress)
    kind = "is a folder that expand did not write" if out.is_dir() else "there is nothing"
    raise OutputError(f"{out}: {kind}. Give the folder, or FILE.h5, that was its --out")


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """Result of a repair.

    Args:
        dropped: numbers of the shards that the same expand will make again.
        rewritten: names of the files that were written again.
        unfinished: whether the same expand must be run again.
        left: problems that only a person can fix.
    """

    dropped: list[int]
    rewritten: list[str]
    unfinished: bool
    left: list[Problem]

    def to_json(self) -> dict[str, object]:
        """Return plain JSON values."""
        return asdict(self)


def repair_output(found: Findings) -> Repaired:
    """Drop the damaged shards and what was assembled from them, durably and safely against kills.

    A folder loses the damaged shards' records, and their images or packs. A finished HDF5 file is taken apart:
    its whole shards become parts again; an unreadable file is renamed, and all of it is made again. The companion
    files of an HDF5 file are written again at once.

    Args:
        found: the result of `verify_output`.

    Raises:
        OutputError: a process writes to the output, or it cannot be repaired; nothing was changed.
    """
    out = found.out
    folder = out.is_dir()
    if found.ok or all(problem.mend == "nothing" for problem in found.problems):
        return Repaired(dropped=[], rewritten=[], unfinished=not found.finished, left=found.problems)
    try:
        with locked(paths_of(out).lock, output=out):
            RecordFolder(paths_of(out).work).refuse_links()
            rewritten: list[str] = []
            unfinished = True
            if folder:
                rewritten = _repair_folder(found)
            elif not found.finished:
                _drop_parts(out, found.damaged_shards)
            elif found.mended_by("all"):
                _set_aside(out)
            elif found.damaged_shards or any(problem.file == out.name for problem in found.mended_by("tables")):
                _take_apart(out, found.damaged_shards)
            else:
                rewritten, unfinished = _rewrite_companions(out, found), False
    except OSError as error:
        raise OutputError(f"{out}: cannot be repaired ({error.strerror or error})") from error
    return Repaired(
        dropped=found.damaged_shards,
        rewritten=rewritten,
        unfinished=unfinished,
        left=found.mended_by("nothing"),
    )


# ---- folders ----


def _repair_folder(found: Findings) -> list[str]:
    out, records = found.out, RecordFolder(found.out / WORK_FOLDER)
    run, description = records.work / "run.json", out / "dataset.json"
    rewritten = []
    for folder in out.glob("*/*"):
        if folder.parent.name in SPLITS and not folder.is_file():
            refuse_links(folder, below=out)
    if any(out / problem.file == run for problem in found.mended_by("tables")):
        described, _ = read_description(description)
        if described is None:
            raise OutputError(f"{run} and {description} are damaged both. Start anew: expand with --overwrite")
        records.make_folders()
        given = {name: value for name, value in described.items() if name not in DERIVED}
        records.begin(given, described_space(described))
        rewritten.append(run.relative_to(out).as_posix())
    # First of all: from here on the output is not finished, and a kill does no harm.
    description.unlink(missing_ok=True)
    sync_folder(out)
    for number in found.damaged_shards:
        _drop_shard(out, records, number)
    return rewritten


def _drop_shard(out: Path, records: RecordFolder, number: int) -> None:
    """Remove a shard's record, then its images; those of an unreadable record stay, and are replaced later."""
    path = records.path(number)
    try:
        names = list(ShardRecord.read(path).placed)
    except OutputError:
        names = []
    path.unlink(missing_ok=True)
    sync_folder(records.shards)
    for folder in remove_files(out, names):
        sync_folder(folder)


# ---- HDF5 files ----


def _drop_parts(out: Path, numbers: list[int]) -> None:
    parts = Parts(out, folder=parts_folder(out), encoding=None)
    for number in numbers:
        parts.records.path(number).unlink(missing_ok=True)
    sync_folder(parts.records.shards)
    for number in numbers:
        parts.path(number).unlink(missing_ok=True)


def _set_aside(out: Path) -> None:
    """Rename an unreadable file."""
    if read_identity(out.with_suffix(".dataset.json")) is None:
        raise OutputError(f"{out}: nothing beside it says that expand wrote it. Delete it yourself")
    out.replace(out.with_name(f"{out.name}.damaged"))
    sync_folder(out.parent)


def _rewrite_companions(out: Path, found: Findings) -> list[str]:
    damaged = {problem.file for problem in found.mended_by("tables")}
    with h5py.File(out, "r") as file:
        described = describe_file(file)
    written = companions(out, described)
    names = []
    for suffix, write in written.items():
        path = out.with_suffix(suffix)
        if path.name in damaged:
            write(path)
            names.append(path.name)
    return names


def _take_apart(out: Path, damaged: list[int]) -> None:
    """Make parts of a finished file's whole shards, then remove it: until then a kill changes nothing."""
    parts = Parts(out, folder=parts_folder(out), encoding=None)
    remove_tree(parts.folder)
    try:
        with h5py.File(out, "r") as file:
            described = describe_file(file)
            parts.records.open(out, described.description, described.space)
            for entry in described.entries:
                if entry.number not in damaged:
                    _make_part(file, described, entry, parts)
    except BaseException:
        shutil.rmtree(parts.folder, ignore_errors=True)
        raise
    out.unlink()
    sync_folder(out.parent)


def _make_part(file: h5py.File, described: Described, entry: ShardEntry, parts: Parts) -> None:
    """Write a shard's part and record again, with the same bytes as before the file was finished."""
    path = parts.path(entry.number)
    columns = read_columns(file, entry)
    rows = label_rows(columns)
    extents: list[tuple[int, int]] = []
    digests: list[str] = []
    if rows:
        with os.fdopen(create_file(path), "wb") as part:
            for _, data in chain.from_iterable(read_images(file, entry)):
                extents.append((part.tell(), len(data or b"")))
                digests.append(hashlib.sha256(data or b"").hexdigest())
                part.write(data or b"")
        sync_file(path)
        sync_folder(parts.folder)
    if shard_digest(columns, digests, entry.failures, entry.judged) != entry.sha256:
        raise OutputError(f"{file.filename}: shard {entry.number} was whole a moment ago. Verify it again")
    judged = unpack_judged(entry.judged)
    record = parts.records.temporary / f"{entry.number:05d}.json"
    ShardRecord(
        index=entry.number,
        shape=described.shape if rows else None,
        rows=rows,
        positions=judged.positions or range(len(rows)),
        failures=entry.failures,
        files={row.file_name: digest for row, digest in zip(rows, digests, strict=True)},
        extents=extents,
        scores=judged.scores,
        rejected=judged.rejected,
    ).write(record, below=parts.records.root)
    parts.records.commit(record, entry.number)
