"""Items of a plan, one image each, and segments: lists of further items after those of `--domains`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from augmentor.planning.targets import Codes

_TOGETHER = 4096
"""Items whose targets are computed at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image of the output.

    Args:
        position: its place in the plan, from 0.
        row: the manifest row that it is made from.
        target: the codes of its domain, one per attribute, -1 unknown; a real image's are its row's own.
        look: which of the translations into that target it is, from 1.
    """

    position: int
    row: int
    target: tuple[int, ...]
    is_synthetic: bool
    look: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """Translations that are listed one by one; all attributes but `columns` keep their row's value.

    Args:
        rows: (M,) int32, the manifest row of each.
        columns: positions of the K attributes that change.
        values: (M, K) int16, their codes.
        looks: (M,) int16, which of the translations of its row into its target each is, from 1.
    """

    rows: npt.NDArray[np.int32]
    columns: tuple[int, ...]
    values: Codes
    looks: npt.NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.rows)

    def targets(self, codes: Codes, start: int = 0, stop: int | None = None) -> Codes:
        """Return the domains of the translations `start` to `stop`, (n, A) int16; `codes` are the manifest's."""
        targets: Codes = codes[self.rows[start:stop]]
        targets[:, self.columns] = self.values[start:stop]
        return targets

    def items(self, codes: Codes, start: int, stop: int, *, position: int) -> Iterator[Item]:
        """Yield the translations `start` to `stop` as items, the first one at `position` in the plan."""
        for first in range(start, stop, _TOGETHER):
            end = min(stop, first + _TOGETHER)
            targets, looks = self.targets(codes, first, end).tolist(), self.looks[first:end].tolist()
            for row, target, look in zip(self.rows[first:end].tolist(), targets, looks, strict=True):
                yield Item(position=position, row=row, target=tuple(target), is_synthetic=True, look=look)
                position += 1
