"""The small pictures beside the page: few, small, and named alike every time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from augmentor.images import Pixels, encode, fit
from augmentor.outputs import is_report_image, report_image_name

LONGEST = 96
"""Pixels of a thumbnail's longest side."""

MOST_BYTES = 11 << 20
"""Of all thumbnails together: the page stays below 15 MB whatever the images are."""

_LOSSLESS_UP_TO = 64


class Pictures:
    """Writes thumbnails into a folder.

    Args:
        folder: made if it is not there; what an earlier page left in it and this one does not name is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.largest_side = 0
        self._written: dict[str, str] = {}
        self._bytes = 0
        folder.mkdir(exist_ok=True)

    def add(self, key: str, pixels: Pixels) -> str | None:
        """Write the thumbnail of an image, once.

        Args:
            key: the image's unique name.
            pixels: uint8 (H, W, C).

        Returns:
            Its address as the page names it; None where there is no more room.
        """
        self.largest_side = max(self.largest_side, *pixels.shape[:2])
        small = fit(pixels, LONGEST)
        lossless = max(small.shape[:2]) <= _LOSSLESS_UP_TO
        return self._write(key, encode(small, "png" if lossless else "webp"), ".png" if lossless else ".webp")

    def add_jpeg(self, key: str, data: bytes) -> str | None:
        """Write a thumbnail that was encoded when its translation was thrown out; returns as `add` does."""
        return self._write(key, data, ".jpg")

    def _write(self, key: str, data: bytes, suffix: str) -> str | None:
        name = report_image_name(hashlib.sha256(key.encode()).hexdigest(), suffix)
        if name not in self._written:
            if self._bytes + len(data) > MOST_BYTES:
                return None
            self._bytes += len(data)
            (self.folder / name).write_bytes(data)
            self._written[name] = key
        return f"{quote(self.folder.name)}/{name}"

    def remove_others(self) -> None:
        """Remove what an earlier page had; files of other people stay."""
        for path in sorted(self.folder.iterdir()):
            if path.name not in self._written and is_report_image(path.name):
                path.unlink()
