"""Paths that are URLs (s3://, gs://, memory://, ...), and reading and writing what they name.

An object store has no folders, no renaming and no locks. An object is there whole or not at all: an upload that
breaks off leaves nothing, or what was there before. A URL that holds credentials is refused: they come from the
environment alone.
"""

from __future__ import annotations

import errno
import os
import posixpath
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path, PosixPath, WindowsPath
from typing import NamedTuple, TypeVar

from augmentor.errors import AugmentorError
from augmentor.storage.filesystems import ask, files_of
from augmentor.storage.workers import Workers

T = TypeVar("T")
Given = TypeVar("Given")

if sys.platform == "win32":
    _Path = WindowsPath
else:
    _Path = PosixPath

SIDE_BY_SIDE = 16
"""Requests that wait for the storage at the same time."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]")
"""What `Path` makes of a URL."""
_SECRETS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^/]*:[^/]*@")

_MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "created")
"""What storages call the time at which an object was written."""

_WHOLE_BYTES = 1 << 26
"""Files up to this size are sent in one request; larger ones in parts."""

_KEPT_BYTES = 1 << 26
"""Of images that were read, because one is looked at several times in a row."""


class RemotePath(_Path):
    """A URL that can be handled like any other path: `/`, `parent`, `name`, `suffix`, `read_bytes`, `exists`.

    Its text is the URL. Whatever else a `Path` can do finds no such file on the disk. Made by `parse_path`.
    """

    def __str__(self) -> str:
        scheme, *rest = self.parts or ("",)
        return f"{scheme}//{'/'.join(rest)}" if scheme.endswith(":") else super().__str__()

    def read_bytes(self) -> bytes:
        """Return the content of the object.

        Raises:
            FileNotFoundError: there is none, or no such bucket.
            PermissionError: without, or with these, credentials it cannot be read.
            OSError: the storage does not answer.
        """
        return ask(str(self), lambda files: bytes(files.cat_file(str(self))))

    def status(self) -> Status:
        """Return what the storage says of the object; raises as `read_bytes` does."""
        return Status.of(ask(str(self), lambda files: files.info(str(self))))

    def exists(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 - there are none
        """Return whether there is such an object, or any object below; raises if the storage does not say."""
        return self._kind() is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        """Return whether there is such an object."""
        return self._kind() == "file"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        """Return whether there is any object below."""
        return self._kind() == "directory"

    def iterdir(self) -> Iterator[RemotePath]:  # type: ignore[override]
        """Yield what lies directly below; nothing where nothing does."""
        yield from (self / name for name in self.listing())

    def listing(self) -> dict[str, Status]:
        """Return the names directly below with what the storage says of them; empty where there are none."""
        try:
            found = ask(str(self), lambda files: files.ls(str(self), detail=True))
        except FileNotFoundError:
            return {}
        names = {str(info["name"]).strip("/"): info for info in found}
        names.pop("/".join(self.parts[1:]), None)  # Some storages hold an empty object in the folder's place.
        return {posixpath.basename(name): Status.of(info) for name, info in sorted(names.items())}

    def resolve(self, strict: bool = False) -> RemotePath:  # noqa: ARG002
        """Return the same: there are no links."""
        return self

    def absolute(self) -> RemotePath:
        """Return the same."""
        return self

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: ARG002
        """Refuse: the disk would get a folder of that name.

        Raises:
            OSError: always.
        """
        raise OSError(errno.ENOTSUP, "a storage of objects has no folders", str(self))

    def _kind(self) -> str | None:
        try:
            return self.status().kind
        except FileNotFoundError:
            return None


class Status(NamedTuple):
    """What a storage says of an object.

    Args:
        kind: "file", or "directory" where there are objects below.
        size: in bytes.
        modified: nanoseconds since 1970; 0 where the storage does not say.
        etag: changes with the content, often its MD5; "" where the storage does not say.
    """

    kind: str
    size: int
    modified: int
    etag: str

    @classmethod
    def of(cls, info: dict[str, object]) -> Status:
        """Read what fsspec returned; each storage has its own words."""
        size = info.get("size")
        modified = next((info[name] for name in _MODIFIED if info.get(name)), 0)
        return cls(
            kind=str(info.get("type", "file")),
            size=size if isinstance(size, int) else 0,
            modified=_nanoseconds(modified),
            etag=str(info.get("ETag") or info.get("etag") or "").strip('"'),
        )


def parse_path(text: str) -> Path:
    """Return the path that a person means: a `RemotePath` for a URL, but for file:// the file itself."""
    if not _URL.match(text):
        return Path(text)
    scheme, _, rest = text.partition("://")
    if scheme.lower() in ("file", "local"):
        return Path(rest)
    return RemotePath(f"{scheme.lower()}:", *posixpath.normpath(rest).lstrip("/").split("/"))


def located(root: Path, written: str) -> Path:
    """Return the place of what a table in a folder names: below the folder, absolute, or a URL.

    Args:
        root: the table's folder.
        written: the cell.
    """
    if "://" in written and _URL.match(written):
        return parse_path(written)
    if not isinstance(root, RemotePath):
        return root / written
    return Path(written) if Path(written).is_absolute() else parse_path(f"{root}/{written}")


def is_inside(path: RemotePath, folder: Path) -> bool:
    """Return whether an object lies below a folder of the same storage; names are compared, there are no links."""
    return isinstance(folder, RemotePath) and f"{path}/".startswith(f"{folder}/")


def has_secrets(text: str) -> bool:
    """Return whether a text is a URL with a password in it."""
    return bool(_SECRETS.match(text))


def refuse_unusable(path: Path) -> None:
    """Refuse, before anything is done, a URL that cannot be used, and one where a place on a disk is wanted.

    Args:
        path: what `parse_path` returned, or, where no URL will do, what `Path` did.

    Raises:
        AugmentorError: it holds a password, its scheme is not known, or it is a URL where none will do.
        MissingExtraError: what reads it is not installed.
    """
    if has_secrets(str(path)):
        raise AugmentorError(
            f"a URL with a user and a password, {hide_secrets(str(path))}: these would stand in files and logs. "
            "Leave them out, and set the credentials in the environment"
        )
    if isinstance(path, RemotePath):
        files_of(str(path))
    elif _COLLAPSED.match(str(path)) and not path.exists():
        url = re.sub(r":[/\\]+", "://", str(path), count=1)
        raise AugmentorError(
            f"{hide_secrets(url)}: a place on a disk is wanted here, not a URL. Copy it to a disk first (aws s3 "
            "sync, gcloud storage rsync, ...). Manifests, their images and what expand writes may be URLs"
        )


def hide_secrets(text: str) -> str:
    """Return a URL without its user and password."""
    return re.sub(r":/+[^/]*@", "://***@", text, count=1)


def upload(file: Path, to: RemotePath) -> None:
    """Write a file of the disk to a storage, whole; what was there is replaced.

    Raises:
        OSError: as for `RemotePath.read_bytes`.
    """
    if file.stat().st_size > _WHOLE_BYTES:
        ask(str(to), lambda files: files.put_file(str(file), str(to)))
    else:
        write_bytes(to, file.read_bytes())


def write_bytes(path: RemotePath, data: bytes) -> None:
    """Write an object whole; what was there is replaced. Raises as `upload` does."""
    ask(str(path), lambda files: files.pipe_file(str(path), data))


def remove(path: RemotePath) -> None:
    """Remove an object, if there is one. Raises as `upload` does."""
    try:
        ask(str(path), lambda files: files.rm_file(str(path)))
    except FileNotFoundError:
        return


def each(what: Callable[[Given], str], request: Callable[[Given], T], given: Iterable[Given]) -> list[T]:
    """Ask for several things side by side, and return the answers in order.

    Args:
        what: says what is done, for the message if it hangs.
        request: works in a thread; its error is raised here.
        given: what it is called with.
    """
    with Workers(SIDE_BY_SIDE, name="storage") as pool:
        return list(pool.map(what, request, given, ahead=2 * SIDE_BY_SIDE))


class _Kept:
    """The content of objects that were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, path: RemotePath) -> bytes:
        url = str(path)
        with self._lock:
            data = self._contents.get(url)
        if data is None:
            data = path.read_bytes()
            with self._lock:
                if url not in self._contents:
                    self._contents[url] = data
                    self._size += len(data)
                while self._size > _KEPT_BYTES:
                    self._size -= len(self._contents.popitem(last=False)[1])
        return data


_kept = _Kept()


def _forget() -> None:
    global _kept  # noqa: PLW0603 - a lock that was held at a fork is held for ever
    _kept = _Kept()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def content(path: RemotePath) -> bytes:
    """Return the content of an image, which is asked for once though it is looked at several times in a row.

    Raises:
        OSError: as for `RemotePath.read_bytes`.
    """
    return _kept.get(path)


def _nanoseconds(moment: object) -> int:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return 0
    if isinstance(moment, datetime):
        return round(moment.timestamp() * 1_000_000) * 1000
    return int(moment * 1_000_000_000) if isinstance(moment, int | float) else 0
