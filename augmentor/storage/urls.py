"""URL paths (s3://, gs://, memory://, ...), and reading and writing of their objects.

An object store has no folders, renames or locks. An upload is complete, or changes nothing. A URL with credentials
is refused: they come from the environment alone.
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
from urllib.parse import unquote

from augmentor.errors import AugmentorError
from augmentor.storage.credentials import has_credentials, mask_credentials
from augmentor.storage.filesystems import ask, files_of
from augmentor.storage.workers import Workers

T = TypeVar("T")
Given = TypeVar("Given")

if sys.platform == "win32":
    _Path = WindowsPath
else:
    _Path = PosixPath

SIDE_BY_SIDE = 16
"""Concurrent requests."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]")
"""A URL after `Path` has collapsed its slashes."""

_MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "created")
"""Keys of the modification time in the answers of storages."""

_WHOLE_BYTES = 1 << 26
"""Files up to this size are sent in one request; larger ones in parts."""

_KEPT_BYTES = 1 << 26
"""Size of the cache of image contents: an image is read several times in a row."""


class RemotePath(_Path):
    """A URL as a path: `/`, `parent`, `name`, `suffix`, `read_bytes`, `exists`; made by `parse_path`.

    Its text is the URL. Methods that are not overridden here find no such file on the disk.
    """

    def __str__(self) -> str:
        scheme, *rest = self.parts or ("",)
        return f"{scheme}//{'/'.join(rest)}" if scheme.endswith(":") else super().__str__()

    def read_bytes(self) -> bytes:
        """Return the content of the object.

        Raises:
            FileNotFoundError: no such object or bucket.
            PermissionError: credentials are missing or not sufficient.
            OSError: the storage does not answer.
        """
        return ask(str(self), lambda files: bytes(files.cat_file(str(self))))

    def status(self) -> Status:
        """Return the object's metadata; raises as `read_bytes` does."""
        return Status.of(ask(str(self), lambda files: files.info(str(self))))

    def exists(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002 - there are none
        """Return whether there is such an object, or any object below; OSError if the storage does not answer."""
        return self._kind() is not None

    def is_file(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        """Return whether there is such an object."""
        return self._kind() == "file"

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:  # noqa: ARG002
        """Return whether there is any object below."""
        return self._kind() == "directory"

    def iterdir(self) -> Iterator[RemotePath]:  # type: ignore[override]
        """Yield the paths directly below, if any."""
        yield from (self / name for name in self.listing())

    def listing(self) -> dict[str, Status]:
        """Return the names directly below with their metadata; empty where there are none."""
        try:
            found = ask(str(self), lambda files: files.ls(str(self), detail=True))
        except FileNotFoundError:
            return {}
        names = {str(info["name"]).strip("/"): info for info in found}
        names.pop("/".join(self.parts[1:]), None)  # Some storages hold an empty object in the folder's place.
        return {posixpath.basename(name): Status.of(info) for name, info in sorted(names.items())}

    def resolve(self, strict: bool = False) -> RemotePath:  # noqa: ARG002
        """Return the path itself: there are no links."""
        return self

    def absolute(self) -> RemotePath:
        """Return the path itself."""
        return self

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: ARG002
        """Raise OSError: `Path.mkdir` would make a folder of that name on the disk."""
        raise OSError(errno.ENOTSUP, "a storage of objects has no folders", str(self))

    def _kind(self) -> str | None:
        try:
            return self.status().kind
        except FileNotFoundError:
            return None


class Status(NamedTuple):
    """The metadata of an object.

    Args:
        kind: "file", or "directory" where there are objects below.
        size: in bytes.
        modified: nanoseconds since 1970; 0 if unknown.
        etag: changes with the content, often its MD5; "" if unknown.
    """

    kind: str
    size: int
    modified: int
    etag: str

    @classmethod
    def of(cls, info: dict[str, object]) -> Status:
        """Convert fsspec's metadata, whose keys depend on the storage."""
        size = info.get("size")
        modified = next((info[name] for name in _MODIFIED if info.get(name)), 0)
        return cls(
            kind=str(info.get("type", "file")),
            size=size if isinstance(size, int) else 0,
            modified=_nanoseconds(modified),
            etag=str(info.get("ETag") or info.get("etag") or "").strip('"'),
        )


def parse_path(text: str) -> Path:
    """Return the path of a user's text: a `RemotePath` for a URL, but for file:// the file itself."""
    if not _URL.match(text):
        return Path(text)
    scheme, _, rest = text.partition("://")
    if scheme.lower() in ("file", "local"):
        return Path(rest)
    return RemotePath(f"{scheme.lower()}:", *posixpath.normpath(rest).lstrip("/").split("/"))


def located(root: Path, written: str) -> Path:
    """Return the path of a table's cell: a URL, an absolute path, or relative to `root`, the table's folder."""
    if "://" in written and _URL.match(written):
        return parse_path(written)
    if not isinstance(root, RemotePath):
        return root / written
    return Path(written) if Path(written).is_absolute() else parse_path(f"{root}/{written}")


def is_inside(path: RemotePath, folder: Path) -> bool:
    """Return whether an object's name is below a folder of the same storage."""
    return isinstance(folder, RemotePath) and f"{_plain(path)}/".startswith(f"{_plain(folder)}/")


def _plain(path: RemotePath) -> str:
    """Return a URL without "..", also where a web server would read escapes as such."""
    scheme, _, rest = str(path).partition("://")
    while scheme in ("http", "https") and (unquoted := unquote(rest).replace("\\", "/")) != rest:
        rest = unquoted
    return f"{scheme}://{posixpath.normpath(rest)}"


def refuse_unusable(path: Path) -> None:
    """Refuse a URL that cannot be used, and one where a path on the disk is required (made by `Path`).

    Raises:
        AugmentorError: it holds credentials, its scheme is not known, or it is a URL where none is allowed.
        MissingExtraError: the library for its scheme is not installed.
    """
    url = re.sub(r":[/\\]+", "://", str(path), count=1)
    if has_credentials(url):
        raise AugmentorError(
            f"a URL with credentials, {mask_credentials(url)}: they would be in files and logs. Leave them "
            "out, and set the credentials in the environment"
        )
    if isinstance(path, RemotePath):
        files_of(str(path))
    elif _COLLAPSED.match(str(path)) and not path.exists():
        raise AugmentorError(
            f"{url}: a place on a disk is wanted here, not a URL. Copy it to a disk first (aws s3 "
            "sync, gcloud storage rsync, ...). Manifests, their images and what expand writes may be URLs"
        )


def upload(file: Path, to: RemotePath) -> None:
    """Write a file of the disk to a storage, replacing the object; raises as `RemotePath.read_bytes` does."""
    if file.stat().st_size > _WHOLE_BYTES:
        ask(str(to), lambda files: files.put_file(str(file), str(to)))
    else:
        write_bytes(to, file.read_bytes())


def write_bytes(path: RemotePath, data: bytes) -> None:
    """Write an object, replacing it; raises as `upload` does."""
    ask(str(path), lambda files: files.pipe_file(str(path), data))


def remove(path: RemotePath) -> None:
    """Remove an object, if there is one; raises as `upload` does."""
    try:
        ask(str(path), lambda files: files.rm_file(str(path)))
    except FileNotFoundError:
        return


def each(what: Callable[[Given], str], request: Callable[[Given], T], given: Iterable[Given]) -> list[T]:
    """Run concurrent requests and return their results in order; an error of one is raised.

    `what` describes a request, for the message if it hangs.
    """
    with Workers(SIDE_BY_SIDE, name="storage") as pool:
        return list(pool.map(what, request, given, ahead=2 * SIDE_BY_SIDE))


class _Kept:
    """A cache of the objects that were read last."""

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
    """Return the content of an image from the cache, or the storage; raises as `RemotePath.read_bytes` does."""
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
