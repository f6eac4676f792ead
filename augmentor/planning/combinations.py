"""Combinations of some attributes' values, and their actual and wanted numbers of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from augmentor.planning.targets import Codes
from stargan.labels import UNKNOWN, LabelSpace

Numbers = npt.NDArray[np.int64]

LEFT_ALONE = -1
"""The wanted count of a combination that is not topped up."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The combinations of some attributes' values, numbered from 0; the last attribute's values follow each other.

    Args:
        attributes: their positions in the label space, ascending.
        sizes: how many values each has.
    """

    attributes: tuple[int, ...]
    sizes: tuple[int, ...]

    def __len__(self) -> int:
        return prod(self.sizes)

    @cached_property
    def values(self) -> Codes:
        """The codes of every combination, (C, K) int16."""
        grid = np.indices(self.sizes, dtype=np.int16)
        values: Codes = grid.reshape(len(self.sizes), -1).T.copy()
        return values

    def number(self, values: Codes) -> Numbers:
        """Return the combinations' numbers, (N,) int64, of their codes, (N, K); -1 where one is unknown."""
        numbers = np.zeros(len(values), dtype=np.int64)
        for place, size in enumerate(self.sizes):
            numbers = numbers * size + values[:, place]
        numbers[(values == UNKNOWN).any(axis=1)] = -1
        return numbers

    def of(self, codes: Codes) -> Numbers:
        """Return the combination of every domain, (N,) int64, of all attributes' codes, (N, A); -1 unknown."""
        return self.number(codes[:, self.attributes])

    def count(self, numbers: Numbers) -> Numbers:
        """Return how often each combination is there, (C,) int64; -1 counts for none."""
        counts: Numbers = np.bincount(numbers[numbers >= 0], minlength=len(self))
        return counts

    def domain(self, number: int, space: LabelSpace) -> dict[str, str]:
        """Return a combination in words."""
        codes = zip(self.attributes, self.values[number].tolist(), strict=True)
        return {space.names[a]: space.attributes[a].values[code] for a, code in codes}


class CellState(NamedTuple):
    """Image counts of a combination.

    Args:
        domain: its names and values.
        before: real images of the rows that are translated.
        wanted: images that it is to have; None where it is not topped up.
        after: with the translations.
        given_up: whether the first few hundred translations were all rejected, so that no more were made.
        why: why translations were rejected, in words; "" where no image is missing, or none was rejected.
    """

    domain: dict[str, str]
    before: int
    wanted: int | None
    after: int
    given_up: bool = False
    why: str = ""

    @property
    def sources_used_up(self) -> bool:
        """Whether it has fewer than are wanted."""
        return self.wanted is not None and self.after < self.wanted

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {**self._asdict(), "sources_used_up": self.sources_used_up}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> CellState:
        """Return what `to_json` described."""
        return cls(**{name: state[name] for name in cls._fields if name in state})


@dataclass(frozen=True, kw_only=True, eq=False)
class Balance:
    """The counts that a plan is to reach.

    Args:
        before: (C,) int64, real images of the rows that may be translated.
        domains: (C,) int64, translations of `--domains`.
        wanted: (C,) int64, images that each is to have, or `LEFT_ALONE`.
        max_per_source: translations of one row at most, those of `--domains` among them; None for no limit.
    """

    cells: Cells
    before: Numbers
    domains: Numbers
    wanted: Numbers
    max_per_source: int | None = None

    def missing(self, there: Numbers) -> Numbers:
        """Return how many images each combination lacks, (C,) int64; `there` (C,) are those it has."""
        lacking: Numbers = np.maximum(self.wanted - there, 0)
        return lacking

    def states(self, after: Numbers, space: LabelSpace, before: Numbers | None = None) -> list[CellState]:
        """Return the image counts of every combination.

        `after` counts the translations too, `before` the readable real images; both (C,) int64.
        """
        real = self.before if before is None else before
        return [
            CellState(
                domain=self.cells.domain(number, space),
                before=int(real[number]),
                wanted=None if wanted == LEFT_ALONE else wanted,
                after=int(after[number]),
            )
            for number, wanted in enumerate(self.wanted.tolist())
        ]

    def to_json(self) -> dict[str, object]:
        """Return what is wanted as plain JSON values."""
        return {
            "attributes": list(self.cells.attributes),
            "wanted": self.wanted.tolist(),
            "max_per_source": self.max_per_source,
        }
