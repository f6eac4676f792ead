"""Samples of a manifest's images, for previews, sample grids and time estimates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augmentor.data.manifest import Manifest
from augmentor.data.models import model_crop
from augmentor.errors import ImageError
from augmentor.images import Original, OutputSize, decode
from stargan.checkpoints import Model

GREY_SAMPLE = 1000
"""Images that are looked at for colour."""

_GREY_SIDE = 32
"""Side in pixels at which they are looked at."""

_GREY_SPREAD = 8
"""Grey levels between the channels of a pixel that count as grey: compression leaves some in a grey scan."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """A few source images of a manifest.

    Args:
        images: uint8 (H, W, C), one per row.
        rows: their rows of the manifest.
        codes: (N, A) their labels, -1 unknown.
        names: their ids.
    """

    images: list[NDArray[np.uint8]]
    rows: list[int]
    codes: NDArray[np.int16]
    names: list[str]


def read_samples(
    manifest: Manifest,
    *,
    splits: Sequence[str],
    size: tuple[int, int],
    channels: int,
    crop: int | None,
    most: int,
) -> Samples:
    """Read at most `most` images spread over the manifest, the same on every call; unreadable ones are skipped.

    `size` is (height, width) in pixels, `crop` the side of the centred square that is cut out first.
    """
    rows = np.flatnonzero(manifest.split_mask(splits))
    images, kept = [], []
    for row in np.random.default_rng(0).permutation(_spread(rows, 4 * most)):
        try:
            path = manifest.image_path(int(row))
            images.append(decode(path, size=size, channels=channels, crop=crop, access=manifest.access))
        except ImageError:
            continue
        kept.append(int(row))
        if len(kept) == most:
            break
    names = [str(manifest.rows["id"].iat[row]) for row in kept]
    return Samples(images=images, rows=kept, codes=manifest.codes[kept], names=names)


def all_grey(manifest: Manifest, *, most: int = GREY_SAMPLE) -> bool:
    """Return whether at most `most` images, spread over the manifest, are all grey.

    The first one with a colour ends the search. Unreadable ones are skipped; False where none can be read.
    """
    found = False
    for row in _spread(np.arange(len(manifest.rows)), most):
        try:
            pixels = decode(
                manifest.image_path(int(row)), size=(_GREY_SIDE, _GREY_SIDE), channels=3, access=manifest.access
            )
        except ImageError:
            continue
        if int(np.ptp(pixels, axis=2).max()) > _GREY_SPREAD:
            return False
        found = True
    return found


def read_model_samples(manifest: Manifest, model: Model, *, splits: Sequence[str], most: int) -> Samples:
    """Read a few images in a model's size, channels and crop; see `read_samples`."""
    return read_samples(
        manifest,
        splits=splits,
        size=model.image_size,
        channels=model.image_channels,
        crop=model_crop(model),
        most=most,
    )


def sample_originals(
    manifest: Manifest,
    model: Model,
    samples: Samples,
    *,
    size: OutputSize,
    uses: int,
    longest: int | None = None,
) -> list[Original] | None:
    """Return the samples at the output size, for their changes to be blended in; None for the model's size.

    `uses` and `longest` are those of `Original`.
    """
    if size == "model":
        return None
    return [
        Original(
            manifest.image_path(row),
            size=size,
            model=model,
            crop=model_crop(model),
            uses=uses,
            longest=longest,
            access=manifest.access,
        )
        for row in samples.rows
    ]


def _spread(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return at most `most` of the rows, at equal distances."""
    chosen: NDArray[np.intp] = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]
    return chosen
