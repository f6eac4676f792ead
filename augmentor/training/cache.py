"""Cache of decoded training images in memory, as uint8."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from augmentor.errors import RecipeError
from augmentor.images import Pixels
from augmentor.training.launch import local_world_size
from augmentor.training.settings import Cache

_SHARE = 4
"""With "auto" the images may fill the free memory divided by this."""


class ImageCache:
    """Images of one shape (height, width, channels) by row, each cached from its first decoding on.

    The system provides the memory as it is filled. Several threads may use the cache at once: two that miss the
    same image both decode and keep it, with the same pixels.

    Raises:
        RecipeError: the machine has too little memory.
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
        """Return the number of cached images."""
        return int(self._kept.sum())

    def get(self, row: int) -> Pixels | None:
        """Return a row's image, which must not be changed; None if it is not cached yet."""
        return self._pixels[row] if self._kept[row] else None

    def keep(self, row: int, pixels: Pixels) -> None:
        """Copy a row's image, of the cache's shape."""
        self._pixels[row] = pixels
        self._kept[row] = True  # last: other threads may read it


def make_cache(choice: Cache, *, rows: int, shape: tuple[int, int, int]) -> ImageCache | None:
    """Return the cache for `training.cache`: None for "off", and for "auto" where the images do not fit.

    It changes the speed of training, not the results. Each rank on this machine has its own. `shape` is (height,
    width, channels).
    """
    fits = rows * _bytes(shape) * _SHARE * local_world_size() <= available_memory()
    return ImageCache(rows, shape) if choice == "on" or (choice == "auto" and fits) else None


def available_memory() -> int:
    """Return the bytes that this process can fill without taking memory from others.

    On Linux MemAvailable, within the control group's (a container's) limit; elsewhere all of the machine's memory.
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
