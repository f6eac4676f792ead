"""Work of an executor, and the base class of executors: in-process, one process per device, Ray."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
import torch

from augmentor.data.manifest import Manifest
from augmentor.errors import ManifestError
from augmentor.expansion.job import Expansion
from augmentor.expansion.pipeline import Sources
from augmentor.expansion.progress import Progress
from augmentor.expansion.settings import RunSettings
from augmentor.expansion.stages import default_workers
from augmentor.judge import DeviceJudge, TranslationJudge
from augmentor.outputs.writers import Writer
from augmentor.planning import Plan
from augmentor.storage import is_there
from stargan.checkpoints import Model
from stargan.config import Compile, Precision
from stargan.inference import Translator, generator_flops

Networks: TypeAlias = "tuple[Translator, DeviceJudge | None]"
"""The translator and the judge on a device; without a judge nothing is judged."""

_COMPILED_FROM = {"cuda": 2e16, "cpu": 2e13}
"""FLOPs of translating from which torch.compile, which takes about a minute, saves more than that: some minutes of
work at the 100 TFLOP/s of a good GPU, or the 100 GFLOP/s of a few CPU cores."""

_CHECKED_ROWS = 32
"""Rows spread over the manifest of which at least one file must exist, or the folder is not there."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """All that a process needs to make any shard; can be pickled.

    Args:
        shard_size: items per shard.
        writer: of the output, opened.
        batch_size: pairs that are translated at once; None picks from the device.
        precision: of the convolutions.
        compile: whether torch.compile fuses the generator.
        workers: threads that decode and encode, all processes together.
        verify_sources: whether the sources of committed shards are compared by content, not size and time.
        judging: the judge and its thresholds; None accepts all translations.
        first_shard: index of the first shard to be made.
        step: of the shards from there on, every so many-th is made; 1 makes all.
    """

    plan: Plan
    shard_size: int
    sources: Sources
    writer: Writer
    model: Model
    batch_size: int | None
    precision: Precision
    compile: bool
    workers: int
    verify_sources: bool = False
    judging: TranslationJudge | None = None
    first_shard: int = 0
    step: int = 1

    @property
    def shards(self) -> int:
        """Number of shards in the plan."""
        return self.plan.shards(self.shard_size)

    def index(self, number: int) -> int:
        """Return the index in the plan of the shard that is the number-th to be made here, both from 0."""
        return self.first_shard + number * self.step

    @property
    def items(self) -> int:
        """Number of items of the plan, or of the share of it that is made."""
        if self.step == 1:
            return len(self.plan)
        shards = range(self.first_shard, self.shards, self.step)
        ranges = [self.plan.shard_range(shard, self.shard_size) for shard in shards]
        return sum(stop - start for start, stop in ranges)

    def networks(self, device: torch.device) -> Networks:
        """Return the translator and the judge on a device."""
        translator = Translator(
            self.model,
            device=device,
            batch_size=self.batch_size,
            precision=self.precision,
            compile=self.compile,
        )
        return translator, None if self.judging is None else self.judging.on(device)


class Executor(ABC):
    """Makes shards; used in a `with` block, in which it may run several times.

    Whoever makes a shard also commits it: what was made before an error, an interrupt or a kill is kept, and any
    other executor continues with the rest.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """A device of the kind on which shards are made; in the `with` block."""

    @abstractmethod
    def compiling_works(self) -> bool:
        """Return whether torch.compile finds what it needs where shards are made; in the `with` block."""

    @abstractmethod
    def run(
        self, work: Work, *, on_progress: Callable[[Progress], None], on_committed: Callable[[int], None]
    ) -> None:
        """Make the shards that are missing, with the model of the first run.

        `on_progress` is called several times a second; `on_committed` with the index of each committed shard, in
        any order, perhaps in another thread.

        Raises:
            AugmentorError: what stops the run.
        """

    @abstractmethod
    def close(self) -> None:
        """End the workers at once; no run may follow. A second call does nothing."""


def plan_work(expansion: Expansion, writer: Writer, executor: Executor, settings: RunSettings) -> Work:
    """Return the work of all shards of an expansion, for an opened writer and an executor in its `with` block."""
    return Work(
        plan=expansion.plan,
        shard_size=expansion.settings.shard_size,
        sources=expansion.sources,
        writer=writer,
        model=expansion.model,
        batch_size=settings.batch_size,
        precision=expansion.settings.precision,
        compile=_compiles(expansion, settings.compile, executor),
        workers=settings.workers or default_workers(),
        verify_sources=settings.verify_sources,
        judging=expansion.judging,
    )


def compile_pays(flops: float, device: torch.device) -> bool:
    """Return whether torch.compile saves more time than it takes, for the FLOPs of all translations.

    It depends on the plan and the kind of device alone, so that a resumed run decides as the first one did.
    """
    return flops >= _COMPILED_FROM.get(device.type, float("inf"))


def _compiles(expansion: Expansion, wanted: Compile, executor: Executor) -> bool:
    if wanted != "auto":
        return wanted == "on"
    model, count = expansion.model, expansion.plan.n_synthetic
    weights = sum(weight.numel() for weight in model.generator.parameters())
    # Counting FLOPs is slow. No weight is multiplied more than once a pixel, so this bound decides most cases.
    return (
        compile_pays(2.0 * count * weights * math.prod(model.image_size), executor.device)
        and compile_pays(count * generator_flops(model), executor.device)
        and executor.compiling_works()
    )


def refuse_absent_sources(manifest: Manifest) -> None:
    """Check that the disk of the sources is mounted, instead of making a failed row of every row."""
    rows = np.unique(np.linspace(0, len(manifest) - 1, _CHECKED_ROWS).astype(int))
    paths = [manifest.image_path(int(row)) for row in rows]
    try:
        there = any(is_there(path) for path in paths)
    except OSError as error:
        raise ManifestError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not there:
        raise ManifestError(
            f"{manifest.path}: of {len(paths)} images looked for not one is there, for example {paths[0]}. Is the "
            "disk that holds them mounted? augmentor check lists all that are missing"
        )
