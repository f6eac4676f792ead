"""Measurements: rounds of both sides in turn, medians and spread, targets, and differences of outputs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from stargan.checkpoints import Json, Model
from stargan.config import Compile, Precision, translates_in_bfloat16
from stargan.inference import Translator, compiling_works

FEWEST_ROUNDS = 3
"""Rounds of a measurement, at least, for its median."""

_SMALLEST_LOSS = 1e-3
"""Smaller losses, like the penalty of an untrained D, are mostly rounding; they are compared absolutely."""


class Round(NamedTuple):
    """One round of one side: work in the measurement's unit (images, pairs, steps, FLOPs), and its duration."""

    work: float
    seconds: float

    @property
    def rate(self) -> float:
        """Work per second."""
        return self.work / max(self.seconds, 1e-12)


Side = Callable[[], Round]
"""Does one round of a side's work, and waits for the device before it stops the clock."""


@dataclass(frozen=True)
class Series:
    """The rounds of one side, in order: `values` are work per second, or ratios of two sides."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse a series without rounds."""
        if not self.values:
            raise ValueError("a series needs at least one round")

    @property
    def median(self) -> float:
        """The middle round."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """Half the range of the rounds, as a share of the median."""
        return (max(self.values) - min(self.values)) / 2 / self.median if self.median else 0.0

    def over(self, other: Series) -> Series:
        """Return the ratios to another side, round by round, so that what slows a round down cancels."""
        return Series(tuple(ours / theirs for ours, theirs in zip(self.values, other.values, strict=True)))

    def to_json(self) -> dict[str, Json]:
        """Return median, spread and all rounds as plain JSON values."""
        return {
            "median": _rounded(self.median),
            "spread": _rounded(self.spread),
            "rounds": [_rounded(value) for value in self.values],
        }


class HotOperation(NamedTuple):
    """One operation of a profile, by torch's name; `share` of all profiled time on the device, in [0, 1]."""

    name: str
    share: float
    calls: int


class Target(NamedTuple):
    """A bound on a quantity ("ratio", "share_of_matrix_rate", ...): the least, or with `at_most` the most."""

    quantity: str
    bound: float
    at_most: bool = False

    def met(self, measurement: Measurement) -> bool:
        """Return whether a measurement meets the target; without the quantity it does not."""
        value = measurement.quantity(self.quantity)
        return value is not None and (value <= self.bound if self.at_most else value >= self.bound)

    def __str__(self) -> str:
        """Return the target in words, for example "ratio at least 1.3"."""
        words = self.quantity.replace("_", " ").replace("largest relative loss", "loss")
        return f"{words} {'at most' if self.at_most else 'at least'} {self.bound:g}"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of the report.

    Args:
        stage: for example "translate".
        setting: what it was measured on, for example "128 px, planes".
        unit: of both sides' rates.
        plain: the rates that ours are compared with, described by `against`; None without a comparison.
        quantities: other measured values, by name ("largest_difference", "share_of_matrix_rate", ...).
        profile: the operations that took most of the device's time, longest first.
    """

    stage: str
    setting: str
    unit: str
    ours: Series
    plain: Series | None = None
    against: str = ""
    quantities: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    profile: tuple[HotOperation, ...] = ()
    targets: tuple[Target, ...] = ()

    @property
    def missed(self) -> tuple[Target, ...]:
        """The targets that the measurement misses."""
        return tuple(target for target in self.targets if not target.met(self))

    @property
    def ratio(self) -> Series | None:
        """Ours over plain, round by round; None without a comparison."""
        return None if self.plain is None else self.ours.over(self.plain)

    def quantity(self, name: str) -> float | None:
        """Return a measured quantity, also "ratio" and "rate"; None if it was not measured."""
        if name == "ratio":
            return None if self.ratio is None else self.ratio.median
        return self.ours.median if name == "rate" else self.quantities.get(name)

    def to_json(self) -> dict[str, Json]:
        """Return the measurement and its targets as plain JSON values."""
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
            "targets": [
                {"target": str(target), "value": self.quantity(target.quantity), "met": target.met(self)}
                for target in self.targets
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The device, precision, threads and time of measurements.

    Args:
        compile: "auto" compiles wherever that works, as a long run does.
        seconds: of each measurement, both sides together, without warm-up.
        ends: the `time.monotonic()` after which no further measurement starts.
        matrix_rates: FLOP/s of a large matrix product on the device, by precision.
    """

    device: torch.device
    work: Path
    workers: int
    compile: Compile = "auto"
    precision: Precision = "auto"
    seconds: float = 10.0
    rounds: int = 5
    profile: bool = False
    ends: float = float("inf")
    matrix_rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def compiles(self) -> bool:
        """Whether the translator is compiled."""
        return self.compile == "on" or (self.compile == "auto" and compiling_works(self.device))

    @property
    def computes_in(self) -> str:
        """The translator's precision: "bfloat16" or "float32"."""
        return "bfloat16" if translates_in_bfloat16(self.precision, self.device) else "float32"

    @property
    def time_is_up(self) -> bool:
        """Whether no further measurement may start."""
        return time.monotonic() >= self.ends

    def translator(self, model: Model) -> Translator:
        """Return the translator that a long expansion would use."""
        return Translator(
            model, device=self.device, batch_size=None, precision=self.precision, compile=self.compiles
        )

    def times(self, seconds: float, *, sides: int) -> int:
        """Return how often a round repeats work of `seconds`, so that the measurement keeps its time."""
        return max(1, round(self.seconds / self.rounds / sides / max(seconds, 1e-9)))

    def folder(self) -> Path:
        """Return an empty folder. It is deleted after the last measurement: deleting slows the disk down."""
        return Path(tempfile.mkdtemp(dir=self.work))


class PixelDifference(NamedTuple):
    """Largest and mean difference of two sides' values, in grey levels of 255, and the share that differ."""

    largest: int
    mean: float
    share: float


def compare_pictures(ours: Tensor, plain: Tensor) -> PixelDifference:
    """Return the difference of two batches, (N, C, H, W) uint8; ValueError for other shapes, or none at all."""
    if ours.shape != plain.shape or not ours.numel():
        raise ValueError(f"pictures of shape {tuple(ours.shape)} and {tuple(plain.shape)} cannot be compared")
    largest, total, differing = 0, 0, 0
    for start in range(0, len(ours), 256):  # because int16 takes twice the memory
        mine, theirs = ours[start : start + 256], plain[start : start + 256]
        apart = (mine.short() - theirs.short()).abs()
        largest = max(largest, int(apart.max()))
        total += int(apart.sum(dtype=torch.int64))
        differing += int(apart.count_nonzero())
    return PixelDifference(largest, total / ours.numel(), differing / ours.numel())


def largest_relative(ours: Mapping[str, float], plain: Mapping[str, float]) -> float:
    """Return the largest relative difference of losses, absolute for small ones; ValueError for other names."""
    if set(ours) != set(plain):
        raise ValueError(f"losses {sorted(ours)} cannot be compared with {sorted(plain)}")
    return max(abs(ours[name] - plain[name]) / max(abs(plain[name]), _SMALLEST_LOSS) for name in plain)


def synchronise(device: torch.device) -> None:
    """Wait for a GPU's outstanding work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the duration of some work, including the device's part."""
    synchronise(device)
    started = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - started


def take_turns(sides: Mapping[str, Side], *, rounds: int) -> dict[str, Series]:
    """Measure all warmed-up sides in turn, round after round, and return the work per second of each.

    In turn, so that changes in between (heat, other load) affect all; every other round in reverse order.
    """
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            rates[name].append(sides[name]().rate)
    return {name: Series(tuple(values)) for name, values in rates.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
