"""Decoded training images, kept in memory as uint8, where they fit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from augmentor.errors import RecipeError
from augmentor.images import Pixels
from augmentor.training.launched import on_this_machine
from augmentor.training.recipe import Cache

_SHARE = 4
"""One part in so many of the memory that is free may be filled unasked."""


class ImageCache:
    """Rows' images, each kept from the first time that it is decoded on.

    Memory is taken from the system as it is filled. Several threads may use it at once: two that miss the same
    image both decode and keep it, with the same pixels.

    Args:
        rows: how many images there are.
        shape: (height, width, channels) that they all have.

    Raises:
        RecipeError: the machine cannot hold so many.
    """

    def __init__(self, rows: int, shape: tuple[int, int, int]) -> None:
        try:
            self._pixels = np.empty((rows, *shape), dtype=np.uint8)
        except MemoryError:
            raise RecipeError(
                f"{rows:,} images of {shape[1]}x{shape[0]} px need {rows * _bytes(shape) / 1e9:,.1f} GB of "
                "memory, more than there is. Set training.cache to 'auto' or 'off'"
            ) from None
        self._kept = np.zeros(rows, dtype=np.bool_)

    def __len__(self) -> int:
        """Count the images that are kept."""
        return int(self._kept.sum())

    def get(self, row: int) -> Pixels | None:
        """Return a row's image, not to be changed; None if it is not kept yet."""
        return self._pixels[row] if self._kept[row] else None

    def keep(self, row: int, pixels: Pixels) -> None:
        """Copy a row's image, of the cache's shape."""
        self._pixels[row] = pixels
        self._kept[row] = True  # last: other threads may look


def make_cache(choice: Cache, *, rows: int, shape: tuple[int, int, int]) -> ImageCache | None:
    """Return the cache that a setting means: None for "off", and for "auto" where the images would not fit.

    What is trained on does not depend on it, only how fast. Of several processes that train here each has its own.

    Args:
        choice: `training.cache`.
        rows: how many images there are.
        shape: (height, width, channels) that they all have.
    """
    fits = rows * _bytes(shape) * _SHARE * on_this_machine() <= available_memory()
    return ImageCache(rows, shape) if choice == "on" or (choice == "auto" and fits) else None


def available_memory() -> int:
    """Return the bytes that this process could fill without driving others out of memory.

    On Linux what the kernel says, and no more than the control group (a container's limit) allows; elsewhere all
    of the machine's memory.
    """
    pages = os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    found = [pages * os.sysconf("SC_PAGE_SIZE") if pages else 0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
        found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    group = Path("/sys/fs/cgroup")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        if (group / limit).exists() and (allowed := (group / limit).read_text(encoding="ascii").strip()) != "max":
            found.append(int(allowed) - int((group / used).read_text(encoding="ascii")))
    return max(0, min(found))


def _bytes(shape: tuple[int, int, int]) -> int:
    height, width, channels = shape
    return height * width * channels
