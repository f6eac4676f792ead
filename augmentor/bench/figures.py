"""What a measurement is: rates of rounds that take turns, their medians and spread, and how far outputs differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from stargan.checkpoints import Json

FEWEST_ROUNDS = 3
"""Fewer have no median worth its name."""

_SMALLEST_LOSS = 1e-3
"""Losses below it, like the penalty of a fresh D, are mostly rounding; they are compared as if they were this."""


class Sample(NamedTuple):
    """One round of one side.

    Args:
        work: how much was done, in the figure's unit (images, pairs, steps, FLOPs).
        seconds: how long it took.
    """

    work: float
    seconds: float

    @property
    def rate(self) -> float:
        """Work a second."""
        return self.work / max(self.seconds, 1e-12)


Side = Callable[[], Sample]
"""Does one round of a side's work, and waits for the device before it stops the clock."""


@dataclass(frozen=True)
class Series:
    """The rounds of one side, in their order.

    Args:
        values: one a round: work a second, or a ratio of two sides.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a series of nothing, which has no median."""
        if not self.values:
            raise ValueError("a series needs at least one round")

    @property
    def median(self) -> float:
        """The middle round."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """Half the way from the smallest to the largest round, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0

    def over(self, other: Series) -> Series:
        """Return the ratios to another side, round by round: what slows a round down slows both sides."""
        return Series(tuple(ours / theirs for ours, theirs in zip(self.values, other.values, strict=True)))

    def to_json(self) -> dict[str, Json]:
        """Return median, spread and all rounds as plain JSON values."""
        return {
            "median": _rounded(self.median),
            "spread": _rounded(self.spread),
            "rounds": [_rounded(value) for value in self.values],
        }


class Hot(NamedTuple):
    """One line of a profile.

    Args:
        name: the operation, as torch calls it.
        share: of all time that was profiled on the device, in [0, 1].
        calls: how often it ran.
    """

    name: str
    share: float
    calls: int


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure.

    Args:
        stage: what was measured, for example "translate".
        setting: on what, for example "128 px, planes".
        unit: of both sides' rates.
        ours: what this program does.
        plain: what it is compared with; None if with nothing.
        against: what `plain` is, in words.
        quantities: what else was measured, by name ("largest_difference", "share_of_matrix_rate", ...).
        notes: remarks for the table, in plain words.
        profile: where the device's time went, most first.
    """

    stage: str
    setting: str
    unit: str
    ours: Series
    plain: Series | None = None
    against: str = ""
    quantities: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    profile: tuple[Hot, ...] = ()

    @property
    def ratio(self) -> Series | None:
        """Ours over plain, round by round; None where there is nothing to compare with."""
        return None if self.plain is None else self.ours.over(self.plain)

    def quantity(self, name: str) -> float | None:
        """Return a measured quantity, "ratio" and "rate" among them; None where it was not measured."""
        if name == "ratio":
            return None if self.ratio is None else self.ratio.median
        return self.ours.median if name == "rate" else self.quantities.get(name)

    def to_json(self) -> dict[str, Json]:
        """Return the figure as plain JSON values."""
        return {
            "stage": self.stage,
            "setting": self.setting,
            "unit": self.unit,
            "ours": self.ours.to_json(),
            "plain": None if self.plain is None else self.plain.to_json(),
            "against": self.against or None,
            "ratio": None if self.ratio is None else self.ratio.to_json(),
            "quantities": {name: _rounded(value) for name, value in self.quantities.items()},
            "notes": list(self.notes),
            "profile": [[hot.name, _rounded(hot.share), hot.calls] for hot in self.profile],
        }


class Difference(NamedTuple):
    """How far two sides' pictures are apart.

    Args:
        largest: of any value, in grey levels of 255.
        mean: over all values, in grey levels.
        share: of the values that differ at all, in [0, 1].
    """

    largest: int
    mean: float
    share: float


def compare_pictures(ours: Tensor, plain: Tensor) -> Difference:
    """Return how far two batches of pictures are apart.

    Args:
        ours: (N, C, H, W) uint8.
        plain: the same pictures by other means, same shape.

    Raises:
        ValueError: the shapes differ, or there is nothing to compare.
    """
    if ours.shape != plain.shape or not ours.numel():
        raise ValueError(f"pictures of shape {tuple(ours.shape)} and {tuple(plain.shape)} cannot be compared")
    largest, total, differing = 0, 0, 0
    for start in range(0, len(ours), 256):  # because int16 takes twice the memory
        mine, theirs = ours[start : start + 256], plain[start : start + 256]
        apart = (mine.short() - theirs.short()).abs()
        largest = max(largest, int(apart.max()))
        total += int(apart.sum(dtype=torch.int64))
        differing += int(apart.count_nonzero())
    return Difference(largest, total / ours.numel(), differing / ours.numel())


def largest_relative(ours: Mapping[str, float], plain: Mapping[str, float]) -> float:
    """Return the largest relative difference between losses of the same names, small ones compared absolutely.

    Raises:
        ValueError: the names differ.
    """
    if set(ours) != set(plain):
        raise ValueError(f"losses {sorted(ours)} cannot be compared with {sorted(plain)}")
    return max(abs(ours[name] - plain[name]) / max(abs(plain[name]), _SMALLEST_LOSS) for name in plain)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done all that it was told; on a CPU nothing is outstanding."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return how long some work takes, the device's part included."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def take_turns(sides: Mapping[str, Side], *, rounds: int) -> dict[str, Series]:
    """Run all sides in turn, round after round, so that what changes meanwhile (heat, neighbours) meets all.

    Every other round runs them in the reverse order, so that none always comes first.

    Args:
        sides: by name; warmed up before.
        rounds: how often each has its turn.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            rates[name].append(sides[name]().rate)
    return {name: Series(tuple(values)) for name, values in rates.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
