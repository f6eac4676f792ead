"""Partners: the rows that are the same picture as another one, under other labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stargan.labels import UNKNOWN


@dataclass(frozen=True, kw_only=True, eq=False)
class Partners:
    """The rows of each pair, of N rows. A row's partners are those of its pair with a known label that differs.

    Args:
        codes: (N, A) labels, -1 unknown.
        pairs: (N,) the number of each row's pair, -1 for none.
        order: (M,) the rows that have a pair, those of one pair one after another.
        first: the place in `order` of the first row of each pair, and M.
        wanted: (N,) the rows that may be a partner; None for all.
    """

    codes: NDArray[np.integer]
    pairs: NDArray[np.int64]
    order: NDArray[np.intp]
    first: NDArray[np.intp]
    wanted: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls, pairs: NDArray[np.integer], codes: NDArray[np.integer], *, wanted: NDArray[np.bool_] | None = None
    ) -> Partners:
        """Sort rows by the number of their pair, (N,), -1 for none."""
        numbers = np.full(len(pairs), -1, dtype=np.int64)
        named = pairs >= 0
        numbers[named] = np.unique(pairs[named], return_inverse=True)[1]
        order = np.argsort(numbers, kind="stable")[np.count_nonzero(~named) :]
        first = np.concatenate([[0], np.cumsum(np.bincount(numbers[named]))]).astype(np.intp)
        return cls(codes=codes, pairs=numbers, order=order, first=first, wanted=wanted)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.first) - 1

    def rows_of(self, pair: int) -> NDArray[np.intp]:
        """Return the rows of a pair, in order."""
        return self.order[self.first[pair] : self.first[pair + 1]]

    def of_row(self, row: int) -> NDArray[np.intp]:
        """Return the partners of a row, in order."""
        if self.pairs[row] < 0:
            return np.empty(0, dtype=np.intp)
        rows = self.rows_of(int(self.pairs[row]))
        rows = rows if self.wanted is None else rows[self.wanted[rows]]
        codes = self.codes[rows]
        differs: NDArray[np.bool_] = ((codes != self.codes[row]) & (codes != UNKNOWN)).any(axis=1)
        return rows[differs]

    def mask(self) -> NDArray[np.bool_]:
        """Return (N,) bool: the rows that have a partner."""
        found = np.zeros(len(self.pairs), dtype=np.bool_)
        if len(self.order):
            codes = self.codes[self.order].astype(np.int64)
            known = codes != UNKNOWN
            if self.wanted is not None:
                known &= self.wanted[self.order][:, None]
            highest = np.maximum.reduceat(np.where(known, codes, UNKNOWN), self.first[:-1])
            lowest = np.minimum.reduceat(np.where(known, codes, np.iinfo(np.int64).max), self.first[:-1])
            of = self.pairs[self.order]
            # Of the known labels of a pair one is not the row's, if the highest or the lowest is not.
            differs = (highest[of] != codes) | (lowest[of] != codes)
            found[self.order] = (differs & (highest[of] != UNKNOWN)).any(axis=1)
        return found
