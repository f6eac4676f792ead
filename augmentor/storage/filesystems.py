"""fsspec access to object stores: retries and error messages. The only file that imports fsspec.

Credentials come from the environment alone, as the store's own library finds them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from augmentor.errors import AugmentorError, MissingExtraError, first_line
from augmentor.storage.credentials import mask_credentials
from augmentor.storage.retrying import RetryPolicy, lacks_credentials, may_pass

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")

RETRIES = RetryPolicy()


_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az"), "adlfs"),
    **dict.fromkeys(("http", "https"), "aiohttp"),
}
"""Scheme -> the package that it requires besides fsspec."""

_ENVIRONMENT = {
    "s3fs": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role",
    "gcsfs": "GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account",
    "adlfs": "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or the machine's identity",
}


def ask(url: str, request: Callable[[AbstractFileSystem], T]) -> T:
    """Return the result of a request to the storage of `url`, with its errors as those of a disk.

    Raises:
        FileNotFoundError: no such object or bucket.
        PermissionError: credentials are missing or not sufficient.
        OSError: any other error.
        AugmentorError: the URL's scheme is not known, or it names no bucket.
        MissingExtraError: the library for its scheme is not installed.
    """
    files = files_of(url)
    try:
        return RETRIES.call(lambda: request(files))
    except FileNotFoundError as error:
        what = "bucket" if "specified bucket" in str(error) else "object"
        raise FileNotFoundError(errno.ENOENT, f"there is no such {what}", url) from error
    except Exception as error:
        if lacks_credentials(error) or isinstance(error, PermissionError):
            raise PermissionError(errno.EACCES, _refused(url, error), url) from error
        tried = f", asked {RETRIES.tries} times" if may_pass(error) else ""
        raise OSError(errno.EIO, f"the storage says: {mask_credentials(first_line(error))}{tried}", url) from error


def _refused(url: str, error: Exception) -> str:
    package = _PACKAGES.get(url.partition("://")[0], "")
    where = _ENVIRONMENT.get(package, "the storage's own variables")
    if lacks_credentials(error):
        return f"there are no credentials. They are taken from the environment: {where}"
    return (
        f"access is refused: {mask_credentials(first_line(error))}. The credentials in the environment ({where}) "
        "must allow to read and list there, and for --out to write and delete"
    )


def files_of(url: str) -> AbstractFileSystem:
    """Return the file system of a URL's storage; raises as `ask` does."""
    scheme, colon, rest = url.partition("://")
    host = rest.partition("/")[0]
    if not colon or not host:
        raise AugmentorError(f"{url}: not a URL of a bucket and what is in it, such as s3://bucket/folder")
    return _filesystem(scheme, host, os.getpid())


@lru_cache
def _filesystem(scheme: str, host: str, _process: int) -> AbstractFileSystem:
    """Return a storage's file system; one for all threads of a process, since each has its own connections."""
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
    """Return the options of the storage's library that complete the user's own configuration."""
    package = _PACKAGES.get(scheme)
    if package == "s3fs":
        # Retries in several layers would multiply.
        requests = {**configured.get("config_kwargs", {}), "retries": {"total_max_attempts": 1}}
        # With several connections per object its size would be requested before it is read.
        return {"use_listings_cache": False, "max_concurrency": 1, "config_kwargs": requests}
    # A cached listing would not show what others have written since.
    return {"use_listings_cache": False} if package in ("gcsfs", "adlfs") else {}
