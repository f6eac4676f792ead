"""What torchvision can fetch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from http.client import HTTPException
from pathlib import Path

from torchvision.datasets import MNIST, USPS, CelebA

from augmentor.data.importers.base import DatasetError
from augmentor.errors import StalledError
from augmentor.storage import Workers

SILENT_SECONDS = 300.0
"""Seconds without a byte that is written after which a download is given up; the checksum of the largest archive,
during which none is, takes some ten seconds."""


def download_mnist(folder: Path) -> None:
    """Fetch MNIST into `folder`/MNIST/raw, unless it is there.

    Raises:
        DatasetError: it cannot be fetched.
    """
    _fetch("MNIST", folder, lambda: MNIST(folder, download=True))


def download_usps(folder: Path) -> None:
    """Fetch USPS into `folder`, unless it is there.

    Raises:
        DatasetError: it cannot be fetched.
    """
    _fetch("USPS", folder, lambda: [USPS(folder, train=train, download=True) for train in (True, False)])


def download_celeba(folder: Path) -> None:
    """Fetch CelebA into `folder`/celeba, unless it is there; the package gdown must be installed.

    Raises:
        DatasetError: it cannot be fetched.
    """
    _fetch("CelebA", folder, lambda: CelebA(folder, split="test", download=True))


def _fetch(title: str, folder: Path, fetch: Callable[[], object]) -> None:
    """Download, with an end of waiting, which torchvision has not, and one message for whatever goes wrong.

    Stdout is kept for results.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(sys.stderr), Workers(1, name="download", limit=SILENT_SECONDS) as workers:
            workers.result(workers.submit(f"downloading {title}", fetch), sign=lambda: _bytes_in(folder))
    except StalledError as error:
        raise _failed(title, folder, f"no byte has come for {SILENT_SECONDS:g} seconds") from error
    # Without a connection, with a broken file, without gdown; and damaged files that are there already.
    except (RuntimeError, OSError, HTTPException, ValueError, EOFError) as error:
        raise _failed(title, folder, " ".join(str(error).split())) from error


def _failed(title: str, folder: Path, reason: str) -> DatasetError:
    return DatasetError(
        f"{title} could not be downloaded into {folder}: {reason}. "
        "Try again, or put its files there yourself and leave out --download"
    )


def _bytes_in(folder: Path) -> int:
    """Return the bytes of all files below a folder; those that come and go meanwhile do not matter."""
    found = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found += os.stat(os.path.join(path, name)).st_size  # noqa: PTH116, PTH118 - a hundred thousand
    return found
