"""Verifies packs: is each file what was written, and does it hold the images that its shard's record names?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from augmentor.errors import ImageError
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.records import ShardRecord
from augmentor.outputs.verify.looking import Expected, Seen, look_at_bytes
from augmentor.outputs.verify.report import Problem
from augmentor.outputs.writers.packs import open_pack, pack_name

_UNSEEN = Seen("", 0, "")


class Task(NamedTuple):
    """Some images of one shard."""

    record: ShardRecord
    first: int
    images: int


class Looked(NamedTuple):
    """How the images of a task were found.

    Args:
        task: which.
        seen: of each image.
        problems: of the files that hold several of them.
    """

    task: Task
    seen: Sequence[Seen]
    problems: Sequence[Problem] = ()


def expected_of(record: ShardRecord, row: LabelRow, linked: bool) -> Expected:
    """Return what an image file must be; of a linked one nothing but its bytes is known."""
    shape = record.shape
    if shape is not None and row.file_name.endswith(".webp"):
        shape = (*shape[:2], 3)  # WebP has no grey.
    return Expected(record.files[row.file_name], None if linked and not row.is_synthetic else shape, encoded=True)


def look_into_packs(out: Path, task: Task) -> Looked:
    """Read the packs of a whole shard; of one that is not what was written, no image is looked at."""
    record = task.record
    seen: dict[str, Seen] = {}
    problems = []
    for name, sha256 in record.packs.items():
        path = out / name
        try:
            problem = _damage(path, sha256)
            if not problem:
                rows = [row for row in record.rows if pack_name(row.file_name, path.suffix) == name]
                seen |= _images(path, rows, record)
        except ImageError as error:
            problem = str(error).partition(": ")[2]
        if problem:
            problems.append(Problem(file=name, reason=problem, shard=record.index))
    return Looked(task, [seen.get(row.file_name, _UNSEEN) for row in record.rows], problems)


def _damage(path: Path, sha256: str) -> str:
    """Return how the bytes of a pack differ from those that were written, "" if they do not."""
    # A link, a pipe or a device in the place of a file is none of ours, and may wait for ever when it is read.
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return "it is not a regular file any more"
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return "the file is missing"
    except OSError as error:
        return f"the file cannot be read: {error.strerror or error}"
    if found != sha256:
        return f"its bytes are not those that were written (SHA-256 {found[:12]}..., not {sha256[:12]}...)"
    return ""


def _images(path: Path, rows: Sequence[LabelRow], record: ShardRecord) -> dict[str, Seen]:
    seen = {}
    with open_pack(path) as pack:
        for row in rows:
            expected = expected_of(record, row, linked=False)
            if pack.shape is not None:
                expected = expected._replace(shape=record.shape, encoded=False)
            seen[row.file_name] = look_at_bytes(pack.read(row.file_name), expected)
    return seen
