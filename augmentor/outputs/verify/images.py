"""Checks of images: bytes, sizes and channels."""

from __future__ import annotations

import hashlib
import math
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from augmentor.errors import ImageError
from augmentor.images import stored_shape
from augmentor.outputs.description import Shape
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.records import ShardRecord
from augmentor.outputs.verify.report import Problem
from augmentor.outputs.writers.packing import pack_name
from augmentor.outputs.writers.packs import open_pack

TASK_IMAGES = 16
"""Images of one task."""


class Expected(NamedTuple):
    """Expected properties of an image; None where unknown.

    `shape` is (H, W, C), None for any side; `encoded` says whether the bytes are an image file, or pixels.
    """

    sha256: str | None
    shape: Shape | None
    encoded: bool


class ImageFinding(NamedTuple):
    """Finding of one image: `size` in bytes, `wrong` the reason, "" for a good image; sha256 "" without bytes."""

    sha256: str
    size: int
    wrong: str


def check_file(path: Path, expected: Expected) -> ImageFinding:
    """Read an image file and compare it with what was written."""
    try:
        with _opened(path) as file:
            data = file.read()
    except ImageError as error:
        return ImageFinding("", 0, str(error))
    return check_bytes(data, expected)


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file of an output; raise ImageError, which does not name the path, where it cannot be read."""
    try:
        # A link, a pipe or a device in the place of a file is none of ours, and may wait for ever when it is read.
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ImageError("it is not a regular file any more")
        with path.open("rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("the file is missing") from None
    except OSError as error:
        raise ImageError(f"the file cannot be read: {error.strerror or error}") from error


def _difference(found: str, expected: str | None) -> str:
    """Return how a SHA-256 differs from that of what was written, "" if it does not."""
    if expected is None or found == expected:
        return ""
    return f"its bytes are not those that were written (SHA-256 {found[:12]}..., not {expected[:12]}...)"


def check_bytes(data: bytes, expected: Expected) -> ImageFinding:
    """Compare an image in memory with what was written."""
    found = hashlib.sha256(data).hexdigest()
    wrong = _difference(found, expected.sha256)
    try:
        shape = stored_shape(data) if expected.encoded else None
    except ImageError as error:
        reason = str(error).partition(": ")[2] or str(error)
        return ImageFinding(found, len(data), f"{wrong}; {reason}" if wrong else reason)
    if not wrong:
        wrong = _misshapen(len(data), shape, expected)
    return ImageFinding(found, len(data), wrong)


def _misshapen(size: int, shape: Shape | None, expected: Expected) -> str:
    """Return what is wrong with an image's size or channels, "" for nothing."""
    if expected.shape is None:
        return ""
    if shape is None:
        pixels = math.prod(side or 0 for side in expected.shape)
        return "" if size == pixels else f"it has {size:,} bytes of pixels, not {pixels:,}"
    fits = all(wanted in (None, side) for side, wanted in zip(shape, expected.shape, strict=True))
    return "" if fits else f"it is {_words(shape)}, not {_words(expected.shape)}"


def _words(shape: Shape) -> str:
    """Return "16 x 12 px of 3 channels", width first."""
    height, width, channels = ("any" if side is None else str(side) for side in shape)
    return f"{width} x {height} px of {channels} channels"


_UNSEEN = ImageFinding("", 0, "")


class Task(NamedTuple):
    """Some images of one shard."""

    record: ShardRecord
    first: int
    images: int


class TaskFindings(NamedTuple):
    """Findings of a task: one per image, and problems of packs."""

    task: Task
    seen: Sequence[ImageFinding]
    problems: Sequence[Problem] = ()


def expected_of(record: ShardRecord, row: LabelRow, linked: bool) -> Expected:
    """Return the expected properties of an image file; of a linked one only its bytes are known."""
    shape = record.shape
    if shape is not None and row.file_name.endswith(".webp"):
        shape = (*shape[:2], 3)  # WebP has no grey.
    return Expected(record.files[row.file_name], None if linked and not row.is_synthetic else shape, encoded=True)


def check_packs(out: Path, task: Task) -> TaskFindings:
    """Check the packs of a whole shard; the images of a damaged pack are skipped."""
    record = task.record
    seen: dict[str, ImageFinding] = {}
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
    return TaskFindings(task, [seen.get(row.file_name, _UNSEEN) for row in record.rows], problems)


def _damage(path: Path, sha256: str) -> str:
    """Return how a pack's bytes differ from those that were written, "" if they do not."""
    try:
        with _opened(path) as file:
            return _difference(hashlib.file_digest(file, "sha256").hexdigest(), sha256)
    except ImageError as error:
        return str(error)


def _images(path: Path, rows: Sequence[LabelRow], record: ShardRecord) -> dict[str, ImageFinding]:
    seen = {}
    with open_pack(path) as pack:
        for row in rows:
            expected = expected_of(record, row, linked=False)
            if pack.shape is not None:
                expected = expected._replace(shape=record.shape, encoded=False)
            seen[row.file_name] = check_bytes(pack.read(row.file_name), expected)
    return seen
