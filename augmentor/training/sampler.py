"""Batch sampler: the order of training rows, the same on every run and from any step on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from augmentor.training.settings import Joint

_ROUNDS, _SOURCES, _TARGETS = range(3)
"""Spawn keys of the random streams."""


class Draw(NamedTuple):
    """An image of a batch; its `position` in the run seeds the crop and the mirroring.

    The image's target is the domain of the row `target`; None leaves it to the loop.
    """

    row: int
    position: int
    target: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepSampler(Sampler[list[Draw]]):
    """Endless batches of draws, each epoch in another order; any step can be the first.

    With several label sets each has epochs of its own. "mixed" batches take one row of each set in turn;
    "alternating" ones take all their rows from one set, and each set once in a round of batches. Where a batch
    does not hold all sets, the order within a round is random: in a fixed one, a G step or a penalty that is due
    every other step would never see the other set.

    Args:
        rows: number of images, N.
        batch_size: draws in a batch, of all ranks together; divisible by `world_size`.
        seed: seeds the orders and the draws.
        first_step: the step whose batch comes first, counted from 0.
        rank: the rank whose share of each batch is yielded.
        drawn: (N,) the rows that are drawn; None draws all.
        label_sets: (N,) the label set of each row; None means that there is one.
        source_weights: (N,) rows are drawn with replacement and these weights (within their set), not in epochs.
        target_weights: (N,) weights for drawing a target row per draw, or None: in mixed batches of any set, all
            equally often; in alternating ones of the batch's own set.

    Source: alternating between the data sets: StarGAN, section 3.3 (arXiv 1711.09020).
    """

    rows: int
    batch_size: int
    seed: int
    first_step: int = 0
    rank: int = 0
    world_size: int = 1
    drawn: NDArray[np.bool_] | None = None
    label_sets: NDArray[np.integer] | None = None
    joint: Joint = "mixed"
    source_weights: NDArray[np.float64] | None = None
    target_weights: NDArray[np.float64] | None = None

    def __iter__(self) -> Iterator[list[Draw]]:
        members = self._members()
        epochs = [_Epochs(rows, (self.seed, number)) for number, rows in enumerate(members)]
        sources, targets = _urns(members, self.source_weights), _urns(members, self.target_weights)
        for step in itertools.count(self.first_step):
            turns = self._turns(step, len(members))
            if sources is None:
                rows = [epochs[turn.label_set].row(turn.position) for turn in turns]
            else:
                chances = self._random(_SOURCES, step).random(self.batch_size)
                rows = [sources[turn.label_set].row(x) for turn, x in zip(turns, chances, strict=True)]
            target_rows: list[int | None] = [None] * self.batch_size
            if targets is not None:
                random = self._random(_TARGETS, step)
                label_sets = random.integers(len(members), size=self.batch_size).tolist()
                if self.joint == "alternating":
                    label_sets = [turn.label_set for turn in turns]
                chances = random.random(self.batch_size)
                target_rows = [targets[label_set].row(x) for label_set, x in zip(label_sets, chances, strict=True)]
            first = step * self.batch_size
            draws = [
                Draw(row, first + i, target) for i, (row, target) in enumerate(zip(rows, target_rows, strict=True))
            ]
            share = self.batch_size // self.world_size
            yield draws[self.rank * share : (self.rank + 1) * share]

    def _members(self) -> list[NDArray[np.int64]]:
        """Return the rows of each label set that has any."""
        rows = np.arange(self.rows) if self.drawn is None else np.flatnonzero(self.drawn)
        if self.label_sets is None:
            return [rows]
        sets = self.label_sets[rows]
        return [rows[sets == label_set] for label_set in np.unique(sets)]

    def _turns(self, step: int, sets: int) -> list[_Turn]:
        first = step * self.batch_size
        if self.joint == "alternating":
            done, turn = divmod(step, sets)
            label_set = self._round(done, sets)[turn]
            return [_Turn(label_set, done * self.batch_size + i) for i in range(self.batch_size)]
        rounds = [divmod(position, sets) for position in range(first, first + self.batch_size)]
        if self.batch_size >= sets:
            return [_Turn(turn, done) for done, turn in rounds]
        return [_Turn(self._round(done, sets)[turn], done) for done, turn in rounds]

    def _round(self, number: int, sets: int) -> list[int]:
        """Return the order of the label sets in a round."""
        order: list[int] = self._random(_ROUNDS, number).permutation(sets).tolist()
        return order

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence((self.seed, number), spawn_key=(purpose,)))


class _Turn(NamedTuple):
    """A label set, and the number of its rows that were drawn before."""

    label_set: int
    position: int


@dataclass
class _Epochs:
    """A label set's rows, each once an epoch, each epoch in another order."""

    rows: NDArray[np.int64]
    seeds: tuple[int, int]
    _epoch: int = -1
    _order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def row(self, position: int) -> int:
        """Return the row at a position of the endless order."""
        epoch, index = divmod(position, len(self.rows))
        if epoch != self._epoch:
            seed, number = self.seeds
            self._epoch = epoch
            self._order = np.random.default_rng((seed, epoch, number)).permutation(self.rows)
        return int(self._order[index])


@dataclass(frozen=True)
class _Urn:
    """A label set's rows, drawn with replacement."""

    rows: NDArray[np.int64]
    edges: NDArray[np.float64]

    def row(self, chance: float) -> int:
        """Return the row at a quantile in [0, 1)."""
        return int(self.rows[np.searchsorted(self.edges, chance, side="right")])


def _urns(members: list[NDArray[np.int64]], weights: NDArray[np.float64] | None) -> list[_Urn] | None:
    if weights is None:
        return None
    sums = [np.cumsum(weights[rows]) for rows in members]
    return [_Urn(rows, edges / edges[-1]) for rows, edges in zip(members, sums, strict=True)]
