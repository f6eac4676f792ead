"""Below what a translation is thrown out, and how that follows from real validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stargan.labels import LabelSpace


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a translation's scores must reach; None does not ask.

    Args:
        agreement: 0 to 1.
        realism: 0 to 1.
        preserved: -1 to 1.
    """

    agreement: float | None = None
    realism: float | None = None
    preserved: float | None = None


def preserved_pairs(codes: Tensor, groups: Sequence[str], space: LabelSpace) -> tuple[Tensor, Tensor, Tensor]:
    """Return pairs of real images of different subjects, each with one attribute that is taken for changed.

    Args:
        codes: (N, A) int64, the images' labels.
        groups: the subject of each; "" is one of its own.
        space: names the attributes.

    Returns:
        Two (P,) int64 of rows, and (P, A) bool.
    """
    n = len(codes)
    first, second = [], []
    for apart in sorted({max(1, n // 7), max(1, n // 3), max(1, n // 2)}):
        for row in range(n):
            other = (row + apart) % n
            if other != row and (not groups[row] or groups[row] != groups[other]):
                first.append(row)
                second.append(other)
    changed = torch.zeros(len(first), len(space), dtype=torch.bool)
    changed[torch.arange(len(first)), torch.arange(len(first)) % len(space)] = True
    return torch.tensor(first, dtype=torch.int64), torch.tensor(second, dtype=torch.int64), changed
