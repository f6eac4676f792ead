"""Real images for a judge, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from augmentor.data.manifest import Manifest
from augmentor.errors import ImageError
from augmentor.images import decode
from augmentor.judge.classifier import LabelledImages
from augmentor.judge.limits import TimeBudget

FEWEST_IMAGES = 32
"""Are read even if there is no time for it."""


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """What images a judge looks at.

    Args:
        size: (height, width) in pixels.
        channels: 1 or 3.
        crop: side of the centred square that is cut out of each image first, or None.
        flip: whether mirrored images keep their labels.
    """

    size: tuple[int, int]
    channels: int = 3
    crop: int | None = None
    flip: bool = True


class RealImages(NamedTuple):
    """Images and their subjects, "" where a row has none."""

    data: LabelledImages
    groups: tuple[str, ...]


class ImageReader:
    """Reads rows as a judge wants them, into memory; counts those that cannot be read."""

    def __init__(self, *, manifest: Manifest, looks: InputSettings, clock: TimeBudget) -> None:
        self.unreadable = 0
        self._manifest, self._looks, self._clock = manifest, looks, clock

    def read(self, rows: Sequence[int] | NDArray[np.intp], *, most: int) -> RealImages:
        """Read the first `most` of `rows`, or as many as there is time for."""
        size, channels = self._looks.size, self._looks.channels
        images, kept = list[NDArray[np.uint8]](), list[int]()
        wanted = min(most, len(rows))
        for row in rows:
            if len(kept) == wanted or (self._clock.over() and len(kept) >= FEWEST_IMAGES):
                break
            self._clock.tell(len(kept) / wanted)
            try:
                pixels = decode(
                    self._manifest.image_path(int(row)),
                    size=size,
                    channels=channels,
                    crop=self._looks.crop,
                    access=self._manifest.access,
                )
            except ImageError:
                self.unreadable += 1
                continue
            images.append(pixels)
            kept.append(int(row))
        stacked = np.stack(images) if images else np.zeros((0, *size, channels), dtype=np.uint8)
        data = LabelledImages(
            images=torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
            codes=torch.from_numpy(self._manifest.codes[kept].astype(np.int64)),
        )
        return RealImages(data=data, groups=tuple(self._manifest.rows["group"].astype(str).iloc[kept]))
