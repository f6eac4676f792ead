"""Ranges of grey values of files with more than 8 bits: found for a manifest, stored in a model, described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from augmentor.data.manifest import Manifest
from augmentor.errors import ImageError, counted
from augmentor.images import GreyValues, grey_values
from augmentor.storage import GreyRange, RemotePath, side_by_side

_SAMPLE = 200
"""Files that are looked at; those of an object store are downloaded whole, and these are a tenth."""

_FULL: GreyRange = (0, 65535)

_USUAL = (1, 255, 1023, 4095, 16383, 65535)
"""Highest values of scales from 0 on: shares, and 8, 10, 12, 14 and 16 bits."""

_DARK = 64
"""Grey levels of 256 that images have at most for the range to be surely wrong: those of 14 bits."""


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The grey values of files with more than 8 bits, `deep` of `looked` files, as `GreyValues` of all of them."""

    looked: int
    deep: int
    low: float
    high: float
    clipped: float


def resolve_range(chosen: Literal["full", "auto"] | GreyRange, rows: Manifest) -> GreyRange | None:
    """Return the range of `images.range`; None for "full", and for "auto" where all files have 8 bits.

    "auto" reads every image of the rows once: its range is that of all their values, but for 0.01 % of the pixels
    of each image at both ends.
    """
    if chosen != "auto":
        return None if chosen == "full" else chosen
    found = _look(rows, range(len(rows)))
    if found.deep == 0:
        return None
    return found.low, found.high if found.high > found.low else found.low + 1


def grey_range_notes(manifest: Manifest, *, usual: bool = True) -> list[str]:
    """Return a note on the grey values of files with more than 8 bits; looks at a part of the files.

    Without `usual` there is none where they fill the range that they are read with.
    """
    most = _SAMPLE // 10 if isinstance(manifest.root, RemotePath) else _SAMPLE
    rows = np.linspace(0, len(manifest) - 1, min(len(manifest), most)).astype(int).tolist()
    found = _look(manifest, rows)
    if found.deep == 0:
        return []
    low, high = manifest.grey_range or _FULL
    levels = 255 * (min(found.high, high) - max(found.low, low)) / (high - low) + 1
    unreadable = manifest.grey_range is None and (found.low < 0 or found.high > high)
    advice = ""
    if unreadable or levels <= _DARK:
        top = next((top for top in _USUAL if found.high <= top), None)
        wanted = [_plain(found.low), _plain(found.high)] if found.low < 0 or top is None else [0, top]
        so = "cannot be read so" if unreadable else f"come out in {max(1, round(levels))} grey levels of 256"
        advice = (
            f"; they {so}. Train with --set 'images.range={wanted}', or with images.range=auto for the range of "
            "the training images"
        )
    elif found.clipped:
        advice = f"; {found.clipped:.2%} of the pixels are outside and clipped"
    elif not usual:
        return []
    sample = " (a sample)" if len(rows) < len(manifest) else ""
    return [
        f"{manifest.title}: {counted(found.deep, 'file')} of {found.looked:,} looked at{sample} with more than 8 "
        f"bits: grey values from {_plain(found.low):,} to {_plain(found.high):,}, read as {_plain(low):,} to "
        f"{_plain(high):,} (images.range){advice}"
    ]


def _look(manifest: Manifest, rows: range | list[int]) -> _Found:
    def look(row: int) -> GreyValues | None:
        try:
            return grey_values(manifest.image_path(row), access=manifest.access)
        except (ImageError, OSError):
            return None  # Whoever uses the row reports it.

    deep = [values for values in side_by_side(look, rows) if values is not None]
    return _Found(
        looked=len(rows),
        deep=len(deep),
        low=min((values.low for values in deep), default=0),
        high=max((values.high for values in deep), default=0),
        clipped=sum(values.clipped for values in deep) / max(1, len(deep)),
    )


def _plain(value: float) -> float:
    return int(value) if float(value).is_integer() else value
