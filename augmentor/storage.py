"""Places by URL (s3://, gs://, memory://, ...): paths among other paths, and what is read and written there.

A storage of objects knows no folders, no renaming and no locks. An object is there whole or not at all: an upload
that breaks off leaves nothing, or what was there before. Credentials come from the environment alone, as the
storage's own library finds them; a URL that holds some is refused. Every request is repeated as `Patience` says.
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
from functools import lru_cache
from pathlib import Path, PosixPath, WindowsPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from augmentor.errors import AugmentorError, MissingExtraError, first_line
from augmentor.retrying import Patience, lacks_credentials, may_pass
from augmentor.workers import Workers

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
Given = TypeVar("Given")

if sys.platform == "win32":
    _Path = WindowsPath
else:
    _Path = PosixPath

PATIENCE = Patience()

SIDE_BY_SIDE = 16
"""Requests that wait for the storage at the same time."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_COLLAPSED = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]")
"""What `Path` makes of a URL."""
_SECRETS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/+[^/]*:[^/]*@")

_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
}
"""What must be installed, besides fsspec, for a scheme."""

_ENVIRONMENT = {
    "s3fs": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role",
    "gcsfs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
    "adlfs": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or the machine's identity",
}

_MODIFIED = ("LastModified", "last_modified", "mtime", "updated", "created")
"""What storages call the time at which an object was written."""

_WHOLE_BYTES = 1 << 26
"""Files up to this size are sent in one request; larger ones in parts."""

_KEPT_BYTES = 1 << 26
"""Of images that were read, because one is looked at several times in a row."""


class RemotePath(_Path):
    """A URL that can be handled like any other path: `/`, `parent`, `name`, `suffix`, `read_bytes`, `exists`.

    Its text is the URL. Whatever else a `Path` can do finds no such file on the disk. Made by `place`.
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
        return _asked(self, lambda files, url: bytes(files.cat_file(url)))

    def status(self) -> Status:
        """Return what the storage says of the object; raises as `read_bytes` does."""
        return Status.of(_asked(self, lambda files, url: files.info(url)))

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
            found = _asked(self, lambda files, url: files.ls(url, detail=True))
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


def place(text: str) -> Path:
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
        return place(written)
    if not isinstance(root, RemotePath):
        return root / written
    return Path(written) if Path(written).is_absolute() else place(f"{root}/{written}")


def is_inside(path: RemotePath, folder: Path) -> bool:
    """Return whether an object lies below a folder of the same storage; names are compared, there are no links."""
    return isinstance(folder, RemotePath) and f"{path}/".startswith(f"{folder}/")


def has_secrets(text: str) -> bool:
    """Return whether a text is a URL with a password in it."""
    return bool(_SECRETS.match(text))


def refuse_unusable(path: Path) -> None:
    """Refuse, before anything is done, a URL that cannot be used, and one where a place on a disk is wanted.

    Args:
        path: what `place` returned, or, where no URL will do, what `Path` did.

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
        _files(path)
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
        _asked(to, lambda files, url: files.put_file(str(file), url))
    else:
        write_bytes(to, file.read_bytes())


def write_bytes(path: RemotePath, data: bytes) -> None:
    """Write an object whole; what was there is replaced. Raises as `upload` does."""
    _asked(path, lambda files, url: files.pipe_file(url, data))


def remove(path: RemotePath) -> None:
    """Remove an object, if there is one. Raises as `upload` does."""
    try:
        _asked(path, lambda files, url: files.rm_file(url))
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


def _asked(path: RemotePath, request: Callable[[AbstractFileSystem, str], T]) -> T:
    """Ask a storage, and tell its errors as the disk's are told, with what to do in their text."""
    files = _files(path)
    url = str(path)
    try:
        return PATIENCE.ask(lambda: request(files, url))
    except FileNotFoundError as error:
        what = "bucket" if "specified bucket" in str(error) else "object"
        raise FileNotFoundError(errno.ENOENT, f"there is no such {what}", url) from error
    except Exception as error:
        if lacks_credentials(error) or isinstance(error, PermissionError):
            raise PermissionError(errno.EACCES, _refused(path, error), url) from error
        tried = f", asked {PATIENCE.tries} times" if may_pass(error) else ""
        raise OSError(errno.EIO, f"the storage says: {first_line(error)}{tried}", url) from error


def _refused(path: RemotePath, error: Exception) -> str:
    where = _ENVIRONMENT.get(_PACKAGES.get(path.parts[0].removesuffix(":"), ""), "the storage's own variables")
    if lacks_credentials(error):
        return f"there are no credentials. They are taken from the environment: {where}"
    return (
        f"access is refused: {first_line(error)}. The credentials in the environment ({where}) must allow to "
        "read and list there, and for --out to write and delete"
    )


def _files(path: RemotePath) -> AbstractFileSystem:
    scheme, *rest = path.parts or ("",)
    if not scheme.endswith(":") or not rest:
        raise AugmentorError(f"{path}: not a URL of a bucket and what is in it, such as s3://bucket/folder")
    return _filesystem(scheme.removesuffix(":"), rest[0], os.getpid())


@lru_cache
def _filesystem(scheme: str, host: str, _process: int) -> AbstractFileSystem:
    """Return what speaks with a storage; one for all threads of a process, for each has connections of its own."""
    package = _PACKAGES.get(scheme)
    try:
        from fsspec.config import conf  # noqa: PLC0415 - an extra
        from fsspec.core import url_to_fs  # noqa: PLC0415

        files, _ = url_to_fs(f"{scheme}://{host}", **_options(scheme, conf.get(scheme, {})))
    except ImportError as error:
        needed = f"{package or first_line(error)}: pip install 'stargan-augmentor[remote]'"
        other = f" {package}" if package not in (None, "s3fs") else ""
        raise MissingExtraError(f"{scheme}://{host}: this needs fsspec and {needed}{other}") from error
    except ValueError as error:
        raise AugmentorError(f"{scheme}://{host}: {first_line(error)}. s3:// and gs:// are known") from error
    if package == "s3fs":
        files.retries = 1
    return files


def _options(scheme: str, configured: dict[str, dict[str, object]]) -> dict[str, object]:
    """Return what the storage's library is told, on top of what the user's own configuration says."""
    package = _PACKAGES.get(scheme)
    if package == "s3fs":
        # Else three layers would repeat what each of them repeats.
        requests = {**configured.get("config_kwargs", {}), "retries": {"total_max_attempts": 1}}
        # With several connections for one object each would be asked for its size before it is read.
        return {"use_listings_cache": False, "max_concurrency": 1, "config_kwargs": requests}
    # A list that is remembered would not show what others have written since.
    return {"use_listings_cache": False} if package in ("gcsfs", "adlfs") else {}


def _nanoseconds(moment: object) -> int:
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            return 0
    if isinstance(moment, datetime):
        return round(moment.timestamp() * 1_000_000) * 1000
    return int(moment * 1_000_000_000) if isinstance(moment, int | float) else 0
