"""Thumbnails in the folder beside the page."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from augmentor.images import Pixels, encode, fit
from augmentor.outputs import is_report_image, report_image_name
from augmentor.storage import make_folder, sync_files, sync_folder, write_unsynced

LONGEST = 96
"""Pixels of a thumbnail's longest side."""

MOST_BYTES = 11 << 20
"""Bytes of all thumbnails: page and thumbnails stay below 15 MB for any images."""

_LOSSLESS_UP_TO = 64


class Thumbnails:
    """Writer of thumbnails into a folder; `remove_others` deletes those of an earlier page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.largest_side = 0
        self._written: dict[str, str] = {}
        self._bytes = 0
        make_folder(folder, below=folder.parent)

    def add(self, key: str, pixels: Pixels) -> str | None:
        """Write the thumbnail of a uint8 (H, W, C) image, once per key.

        Returns its address relative to the page; None if `MOST_BYTES` is reached.
        """
        self.largest_side = max(self.largest_side, *pixels.shape[:2])
        small = fit(pixels, LONGEST)
        lossless = max(small.shape[:2]) <= _LOSSLESS_UP_TO
        return self._write(key, encode(small, "png" if lossless else "webp"), ".png" if lossless else ".webp")

    def add_jpeg(self, key: str, data: bytes) -> str | None:
        """Write a JPEG thumbnail as it is; returns as `add` does."""
        return self._write(key, data, ".jpg")

    def _write(self, key: str, data: bytes, suffix: str) -> str | None:
        name = report_image_name(hashlib.sha256(key.encode()).hexdigest(), suffix)
        if name not in self._written:
            if self._bytes + len(data) > MOST_BYTES:
                return None
            self._bytes += len(data)
            write_unsynced(str(self.folder / name), data)
            self._written[name] = key
        return f"{quote(self.folder.name)}/{name}"

    def sync(self) -> None:
        """Wait until the thumbnails are on the disk."""
        sync_files([str(self.folder / name) for name in self._written])
        sync_folder(self.folder)

    def remove_others(self) -> None:
        """Delete thumbnails of an earlier page; other files stay."""
        for path in sorted(self.folder.iterdir()):
            if path.name not in self._written and is_report_image(path.name):
                path.unlink()
