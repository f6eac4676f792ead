"""What torchvision can fetch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.client import HTTPException
from pathlib import Path

from torchvision.datasets import MNIST, USPS, CelebA

from augmentor.sources.base import SourceError


def download_mnist(folder: Path) -> None:
    """Fetch MNIST into `folder`/MNIST/raw, unless it is there.

    Raises:
        SourceError: it cannot be fetched.
    """
    with _failing("MNIST", folder):
        MNIST(folder, download=True)


def download_usps(folder: Path) -> None:
    """Fetch USPS into `folder`, unless it is there.

    Raises:
        SourceError: it cannot be fetched.
    """
    with _failing("USPS", folder):
        for train in (True, False):
            USPS(folder, train=train, download=True)


def download_celeba(folder: Path) -> None:
    """Fetch CelebA into `folder`/celeba, unless it is there; the package gdown must be installed.

    Raises:
        SourceError: it cannot be fetched.
    """
    with _failing("CelebA", folder):
        CelebA(folder, split="test", download=True)


@contextmanager
def _failing(title: str, folder: Path) -> Iterator[None]:
    """Turn what a download raises into one message, and keep stdout for results."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(sys.stderr):
            yield
    # Without a connection, with a broken file, without gdown; and damaged files that are there already.
    except (RuntimeError, OSError, HTTPException, ValueError, EOFError) as error:
        raise SourceError(
            f"{title} could not be downloaded into {folder}: {' '.join(str(error).split())}. "
            "Try again, or put its files there yourself and leave out --download"
        ) from error
