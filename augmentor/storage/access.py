"""Rules for reading images: regular files, inside the manifest's folder or below its URL, size, grey values."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

from augmentor.storage.urls import RemotePath, content, is_inside

MAX_PIXELS = 178_956_970
"""Pillow's limit: a small file can unpack to more than the memory."""

_KEPT_FOLDERS = 4096

GreyRange: TypeAlias = tuple[float, float]
"""Lowest and highest grey value, the lowest first."""


class OutsideError(OSError):
    """A path leads out of the folders that it must stay in."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """The rules of reading. By default every regular file of a usual size may be read.

    Args:
        max_pixels: images of more pixels (width x height) are refused before they are decoded.
        folders: folders or URLs that the files must be in once ".." and links are resolved; None for no limit.
        grey_range: the grey values that become black and white, of files with more than 8 bits; None for 0 and
            65535.
    """

    max_pixels: int = MAX_PIXELS
    folders: tuple[Path, ...] | None = None
    grey_range: GreyRange | None = None

    def open(self, path: Path) -> BufferedReader | BytesIO:
        """Open a regular file, or an object of a storage (read whole), that is not empty.

        Nothing else is opened: a pipe would block, and a device may do anything.

        Raises:
            OutsideError: it is outside of `folders`.
            IsADirectoryError: it is a folder.
            OSError: it is missing, empty, no regular file, or cannot be opened.
        """
        real = self.check(path)
        if isinstance(path, RemotePath):
            data = content(path)
            if not data:
                raise OSError("the object is empty (0 bytes)")
            return BytesIO(data)
        status = os.stat(real)  # noqa: PTH116 - text, see `check`
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file (a pipe, a socket or a device)")
        if status.st_size == 0:
            raise OSError("the file is empty (0 bytes)")
        return open(real, "rb")  # noqa: PTH123 - the caller's to close

    def check(self, path: Path) -> str:
        """Return a path with its folder's links resolved, as text, which is several times faster.

        Raises OutsideError outside of `folders`; a URL is never in a folder of this disk, nor the reverse.
        """
        if self.folders is None:
            return os.fspath(path)
        if isinstance(path, RemotePath):
            real = str(path)
            inside = any(is_inside(path, folder) for folder in self.folders)
        else:
            real = _followed(path)
            local = (folder for folder in self.folders if not isinstance(folder, RemotePath))
            inside = any(_lies_in(real, _real(_absolute(os.fspath(folder)))) for folder in local)
        if not inside:
            raise OutsideError(
                f"it leads out of the manifest's folder, to {real}. Where you trust the manifest, add "
                "--allow-outside"
            )
        return real

    def is_outside(self, path: Path) -> bool:
        """Return whether a path leads out of `folders`; the file need not exist."""
        try:
            self.check(path)
        except OutsideError:
            return True
        return False

    def led(self, path: Path) -> str:
        """Return a path with every link resolved."""
        return str(path) if isinstance(path, RemotePath) else _followed(path)


ANYWHERE = Access()


def as_grey_range(stored: object) -> GreyRange | None:
    """Return the range in a file's JSON; None where it has none."""
    match stored:
        case [int() | float() as low, int() | float() as high] if low < high:
            return low, high
        case _:
            return None


def is_there(path: Path) -> bool:
    """Return whether there is a file, or an object of a storage; OSError if a storage does not answer."""
    if isinstance(path, RemotePath):
        return path.exists()
    return os.path.exists(path)  # noqa: PTH110 - not `Path.exists`, which raises for a name that is too long


def _followed(path: Path) -> str:
    """Return a path with every link resolved; those of its folder are cached."""
    folder, name = os.path.split(_absolute(os.fspath(path)))
    joined = os.path.join(_real(folder), name)  # noqa: PTH118
    special = name in ("", os.curdir, os.pardir)
    return os.path.realpath(joined) if special or os.path.islink(joined) else joined  # noqa: PTH114


def _absolute(path: str) -> str:
    # Not `abspath`, which would remove "link/..".
    return os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118


@lru_cache(_KEPT_FOLDERS)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _lies_in(real: str, folder: str) -> bool:
    return real == folder or real.startswith(folder if folder.endswith(os.sep) else folder + os.sep)
