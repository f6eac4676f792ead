"""Changes inside an output: files and folders below its root are reached by handles, and never through a link."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from augmentor.errors import OutputError

_BINARY = getattr(os, "O_BINARY", 0)  # Windows alone has it.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)

_HANDLES = os.open in os.supports_dir_fd
"""Whether folders can be opened; Windows cannot, and there links are looked for before each change."""


_HELD = re.compile(r"\.nfs|\.DS_Store$")
"""Names of files that cannot be removed for good while somebody holds or shows them."""

_ATTEMPTS = 3


class LinkError(OutputError):
    """A link is in the place of a file or folder of an output."""


class Folder:
    """An open folder, whose files are created, renamed and removed by their names."""

    def __init__(self, path: Path, handle: int | None) -> None:
        self._path = path
        self._handle = handle

    def create(self, name: str) -> int:
        """Return the descriptor of a new, empty file for writing; what has its name, also a link, is removed."""
        return _create(self._name(name), self._handle)

    def receive(self, file: str, name: str) -> None:
        """Move a file, given by its path, into the folder, and replace what has its name."""
        os.replace(file, self._name(name), dst_dir_fd=self._handle)

    def rename(self, name: str, to: str) -> None:
        """Give a file another name, and replace what has it."""
        os.replace(self._name(name), self._name(to), src_dir_fd=self._handle, dst_dir_fd=self._handle)

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself; nothing where there is none."""
        _remove(self._name(name), self._handle)

    def sync(self) -> None:
        """Wait until the names in the folder are on the disk; NTFS journals them by itself."""
        if self._handle is not None:
            os.fsync(self._handle)

    def _name(self, name: str) -> str:
        return name if self._handle is not None else str(self._path / name)


@contextmanager
def open_folder(path: Path, *, below: Path | None = None, make: bool = False) -> Iterator[Folder]:
    """Open a folder, following no link from `below` on.

    Args:
        path: the folder.
        below: `path` or a folder around it, such as an output, that may be reached through links; None for `path`.
        make: create what is missing below `below`.

    Raises:
        LinkError: a folder on the way is a link.
        OSError: a folder is missing, or cannot be opened.
    """
    root = path if below is None else below
    place, names = root, path.relative_to(root).parts
    if not _HANDLES:
        for name in names:
            place /= name
            _refuse_link(place)
            if make:
                place.mkdir(exist_ok=True)
        yield Folder(path, None)
        return
    with ExitStack() as opened:
        handle = _opened(str(root), None, opened)
        for name in names:
            place /= name
            if make:
                _make(name, handle)
            try:
                handle = _opened(name, handle, opened)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    _refuse_link(place)
                raise
        yield Folder(path, handle)


def make_folder(path: Path, *, below: Path) -> None:
    """Create a folder and those around it, from `below` on; raises as `open_folder` does."""
    with open_folder(path, below=below, make=True):
        return


def refuse_links(path: Path, *, below: Path) -> None:
    """Raise LinkError where a folder, or one on the way to it from `below`, is a link; it may be missing."""
    try:
        with open_folder(path, below=below):
            return
    except (FileNotFoundError, NotADirectoryError):
        return


def create_file(path: Path | str) -> int:
    """Return the descriptor of a new, empty file, as `Folder.create` does in the path's folder.

    `path` may be text: a million `Path`s take longer than the writing.
    """
    return _create(path, None)


def opener(path: str, _flags: int) -> int:
    """Open a new file to be written and read; for `open`'s argument of this name."""
    return _create(path, None, os.O_RDWR)


def remove_file(path: Path, *, below: Path) -> None:
    """Remove a file of an output, or a link itself, if it is there; raises as `open_folder` does."""
    remove_files(below, [path.relative_to(below).as_posix()])


def remove_files(root: Path, names: Iterable[str]) -> set[Path]:
    """Remove files of an output by their paths inside it; return those of their folders that exist.

    Raises:
        LinkError: a folder on the way is a link.
    """
    by_folder: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        by_folder.setdefault(folder, []).append(file)
    there = set()
    for folder, files in by_folder.items():
        try:
            with open_folder(root / folder, below=root) as opened:
                for file in files:
                    opened.remove(file)
        except FileNotFoundError:
            continue
        there.add(root / folder)
    return there


def remove_tree(folder: Path) -> None:
    """Remove a folder with everything in it, except files that others hold or put there meanwhile.

    These may stay, with their folders: `.nfs...`, files that are still open somewhere on a network disk, and
    `.DS_Store`, which macOS writes into any folder that it shows.

    Raises:
        OSError: another file cannot be removed, or the folder is a link.
    """
    for _attempt in range(_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
    left = [name for _, _, names in os.walk(folder) for name in names]
    if not left or not all(_HELD.match(name) for name in left):
        shutil.rmtree(folder)  # Raises the reason.


def _create(path: Path | str, folder: int | None, access: int = os.O_WRONLY) -> int:
    flags = access | os.O_CREAT | os.O_EXCL | _NO_LINK | _BINARY
    try:
        return os.open(path, flags, 0o666, dir_fd=folder)
    except FileExistsError:
        _remove(path, folder)
        return os.open(path, flags, 0o666, dir_fd=folder)


def _remove(path: Path | str, folder: int | None) -> None:
    try:
        os.unlink(path, dir_fd=folder)
    except FileNotFoundError:
        return


def _make(name: str, folder: int) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return


def _opened(path: str, folder: int | None, held: ExitStack) -> int:
    handle = os.open(path, _FOLDER if folder is None else _FOLDER | _NO_LINK, dir_fd=folder)
    held.callback(os.close, handle)
    return handle


def _refuse_link(path: Path) -> None:
    """Raise LinkError where a path is a link, or one of Windows' junctions."""
    is_junction = getattr(os.path, "isjunction", os.path.islink)  # from Python 3.12 on
    if path.is_symlink() or is_junction(path):
        raise LinkError(
            f"{path}: is a link, and what is written and removed in an output must stay in it. Delete the link, "
            "or give another --out"
        )
