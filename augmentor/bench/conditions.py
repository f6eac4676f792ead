"""How a figure is measured: device, precision, workers and time."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from augmentor.bench.figures import FEWEST_ROUNDS
from stargan.checkpoints import Model
from stargan.config import Compile, Precision, translates_in_bfloat16
from stargan.inference import Translator, compiling_works


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How figures are measured.

    Args:
        device: where to compute.
        work: a temporary folder.
        workers: threads that decode and encode.
        compile: "auto" is what a long run decides: wherever compiling works.
        precision: what the generator computes in.
        seconds: of measuring a figure, both sides together, warm-up not counted.
        rounds: turns of each side.
        profile: whether to say where the device's time goes.
        ends: the `time.monotonic()` after which no further figure is begun.
        matrix_rates: FLOP/s of a large matrix product on the device, by what it computes in.
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

    def __post_init__(self) -> None:
        """Refuse what has no median."""
        if self.rounds < FEWEST_ROUNDS:
            raise ValueError(f"rounds must be at least {FEWEST_ROUNDS}, not {self.rounds}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be above 0, not {self.seconds}")

    @property
    def compiles(self) -> bool:
        """Whether the translator is compiled."""
        return self.compile == "on" or (self.compile == "auto" and compiling_works(self.device))

    @property
    def computes_in(self) -> str:
        """What the translator computes in: "bfloat16" or "float32"."""
        return "bfloat16" if translates_in_bfloat16(self.precision, self.device) else "float32"

    @property
    def time_is_up(self) -> bool:
        """Whether no further figure may be begun."""
        return time.monotonic() >= self.ends

    def translator(self, model: Model) -> Translator:
        """Return the translator that a long expansion would use."""
        return Translator(
            model, device=self.device, batch_size=None, precision=self.precision, compile=self.compiles
        )

    def times(self, seconds: float, *, sides: int) -> int:
        """Return how often a round does what takes `seconds`, so that the figure keeps its time."""
        return max(1, round(self.seconds / self.rounds / sides / max(seconds, 1e-9)))

    def folder(self) -> Path:
        """Return an empty folder, which stays until all is measured.

        A disk that has just deleted thousands of files is slow to make new ones: the next round would pay for it.
        """
        return Path(tempfile.mkdtemp(dir=self.work))
