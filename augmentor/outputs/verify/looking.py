"""Looks at images: are their bytes those that were written, and do they unpack to what they were?"""

from __future__ import annotations

import hashlib
import math
import stat
from pathlib import Path
from typing import NamedTuple

from augmentor.errors import ImageError
from augmentor.images import stored_shape
from augmentor.outputs.records import Shape

TOGETHER = 16
"""Images of one task."""


class Expected(NamedTuple):
    """What an image must be.

    Args:
        sha256: of its bytes; None where nobody noted it.
        shape: (H, W, C), None for a side that may be any; None where nothing is known of it.
        encoded: whether the bytes are an image file, or bare pixels.
    """

    sha256: str | None
    shape: Shape | None
    encoded: bool


class Seen(NamedTuple):
    """How an image was found.

    Args:
        sha256: of its bytes; "" where there are none.
        size: bytes.
        wrong: what is wrong with it, "" for nothing.
    """

    sha256: str
    size: int
    wrong: str


def look_at_file(path: Path, expected: Expected) -> Seen:
    """Read one image file whole and compare it with what was written."""
    try:
        # A link, a pipe or a device in the place of a file is none of ours, and may wait for ever when it is read.
        if not stat.S_ISREG(path.lstat().st_mode):
            return Seen("", 0, "it is not a regular file any more")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Seen("", 0, "the file is missing")
    except OSError as error:
        return Seen("", 0, f"the file cannot be read: {error.strerror or error}")
    return look_at_bytes(data, expected)


def look_at_bytes(data: bytes, expected: Expected) -> Seen:
    """Compare an image in memory with what was written."""
    found = hashlib.sha256(data).hexdigest()
    wrong = ""
    if expected.sha256 is not None and expected.sha256 != found:
        wrong = (
            f"its bytes are not those that were written (SHA-256 {found[:12]}..., not {expected.sha256[:12]}...)"
        )
    try:
        shape = stored_shape(data) if expected.encoded else None
    except ImageError as error:
        reason = str(error).partition(": ")[2] or str(error)
        return Seen(found, len(data), f"{wrong}; {reason}" if wrong else reason)
    if not wrong:
        wrong = _misshapen(len(data), shape, expected)
    return Seen(found, len(data), wrong)


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
