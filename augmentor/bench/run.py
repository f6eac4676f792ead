"""`augmentor bench`: the measurements of some stages, or of a suite, as one report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch

from augmentor.bench.machine import describe_machine, measure_matrices, peak_memory
from augmentor.bench.measure import Conditions, Measurement, Series
from augmentor.bench.stages import (
    HDF5,
    PNG,
    measure_decode,
    measure_encode,
    measure_expand,
    measure_translate,
    measure_write,
)
from augmentor.bench.subject import Subject, given_subject, synthetic_subject
from augmentor.bench.suites import GPU_LIMIT, SUITE_SECONDS, Suite, run_suite
from augmentor.bench.training import measure_training
from augmentor.errors import AugmentorError
from augmentor.expansion import default_workers
from augmentor.training import read_recipe
from stargan.checkpoints import Json
from stargan.config import Compile, Precision, computes_in_bfloat16
from stargan.inference import CompilationError

BenchStage = Literal["decode", "translate", "encode", "write", "expand", "train"]
BENCH_STAGES: tuple[BenchStage, ...] = get_args(BenchStage)

_MATRIX_SECONDS = 1.0
_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Settings of a benchmark.

    Args:
        manifest: the user's images; None draws some.
        model: a run folder or a checkpoint; None creates an untrained model of the recipe.
        recipe: TOML settings; None for the model's own, or the default.
        overrides: `section.key=value` lines.
        size: side of the images in pixels, of an untrained model; None for the recipe's.
        targets: translations of each drawn image.
        images: most images of a manifest, or images to draw; None for all, or 512.
        suite: a suite to run, in place of all the above; None for none.
        seconds: of each measurement, without warm-up; None for the default.
    """

    manifest: Path | None = None
    model: Path | None = None
    recipe: Path | None = None
    overrides: tuple[str, ...] = ()
    size: int | None = None
    targets: int = 8
    images: int | None = None
    stages: tuple[str, ...] = BENCH_STAGES
    suite: Suite | None = None
    compile: Compile = "auto"
    precision: Precision = "auto"
    workers: int | None = None
    seconds: float | None = None
    allow_outside: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that do not go together, with an AugmentorError that names the flags."""
        if self.suite is not None and (self.manifest or self.model or self.recipe or self.size):
            raise AugmentorError(
                f"--suite {self.suite} measures its own images and models. Leave out MANIFEST, --model, --recipe "
                "and --size, or leave out --suite"
            )
        if self.model is not None and (self.recipe is not None or self.size is not None):
            flag = "--recipe" if self.recipe is not None else "--size"
            raise AugmentorError(f"--model knows its own settings and size. Leave out {flag}, or --model")
        unknown = [stage for stage in self.stages if stage not in BENCH_STAGES]
        if unknown or not self.stages:
            raise AugmentorError(
                f"--stages: {', '.join(unknown) or 'nothing'} is none of {', '.join(BENCH_STAGES)}"
            )
        for flag, value, least in (("--targets", self.targets, 1), ("--images", self.images, 2)):
            if value is not None and value < least:
                raise AugmentorError(f"{flag} must be at least {least}, not {value}")
        if self.seconds is not None and not self.seconds > 0:
            raise AugmentorError(f"--seconds must be above 0, not {self.seconds:g}")


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """The result of a benchmark: the machine as plain JSON values, the duration, and the measurements in order."""

    machine: dict[str, Json]
    seconds: float
    measurements: tuple[Measurement, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return everything as plain JSON values."""
        return {
            "machine": self.machine,
            "seconds": round(self.seconds, 1),
            "figures": [measurement.to_json() for measurement in self.measurements],
        }


def run_bench(
    settings: BenchSettings, *, device: torch.device, on_stage: Callable[[str], None] = lambda _words: None
) -> BenchReport:
    """Run a benchmark; it writes to a temporary folder only.

    `on_stage` is called with a description of each measurement before it starts.

    Raises:
        AugmentorError: the manifest, the model or the recipe cannot be used.
    """
    started, machine = time.monotonic(), describe_machine(device)
    with tempfile.TemporaryDirectory(prefix="augmentor-bench-") as work:
        conditions = Conditions(
            device=device,
            work=Path(work),
            workers=settings.workers or default_workers(),
            compile=settings.compile,
            precision=settings.precision,
            seconds=settings.seconds or (SUITE_SECONDS[settings.suite] if settings.suite else _SECONDS),
            profile=settings.suite == "gpu",
            ends=started + GPU_LIMIT if settings.suite == "gpu" else float("inf"),
        )
        on_stage("the device's matrix rate")
        matrices = _matrices(conditions)
        rates = {each.setting: each.ours.median * 1e9 for each in matrices}
        conditions = replace(conditions, matrix_rates=rates)
        try:
            if settings.suite is not None:
                measured = run_suite(settings.suite, conditions, overrides=settings.overrides, on_part=on_stage)
            else:
                measured = _stages(settings, conditions, on_stage)
            measurements = (*matrices, *measured, *_memory(device))
        except CompilationError as error:
            raise CompilationError(f"{error}; measure without it: --compile off") from error
    return BenchReport(machine=machine, seconds=time.monotonic() - started, measurements=measurements)


def _matrices(conditions: Conditions) -> list[Measurement]:
    """Measure the matrix rate in float32, and in bfloat16 where the device has instructions for it."""
    device = conditions.device
    kinds = [torch.float32, *([torch.bfloat16] if computes_in_bfloat16("auto", device) else [])]
    seconds = min(_MATRIX_SECONDS, conditions.seconds)
    return [measure_matrices(device, kind, seconds=seconds, rounds=conditions.rounds) for kind in kinds]


def _subject(settings: BenchSettings, work: Path) -> Subject:
    kept = settings.model / "run.toml" if settings.model is not None else None
    base = kept if kept is not None and kept.exists() else settings.recipe
    size = [f"images.size={settings.size}"] if settings.size is not None else []
    recipe = read_recipe(base, [*settings.overrides, *size])
    if settings.manifest is not None:
        return given_subject(
            settings.manifest,
            model=settings.model,
            recipe=recipe,
            images=settings.images,
            work=work,
            allow_outside=settings.allow_outside,
        )
    return synthetic_subject(
        recipe, targets=settings.targets, images=settings.images or 512, work=work, model=settings.model
    )


def _stages(
    settings: BenchSettings, conditions: Conditions, on_stage: Callable[[str], None]
) -> Iterator[Measurement]:
    """Measure the requested stages, in the order in which an image passes them."""
    on_stage("the images and the model")
    subject = _subject(settings, conditions.work)

    def measure(stage: BenchStage) -> Sequence[Measurement]:
        match stage:
            case "decode":
                return [measure_decode(subject, conditions)]
            case "translate":
                return [measure_translate(subject, conditions)]
            case "encode":
                return [measure_encode(subject, conditions, "png"), measure_encode(subject, conditions, "jpg")]
            case "write":
                return [measure_write(subject, conditions, name) for name in ("out", "out.h5")]
            case "expand":
                return measure_expand(subject, conditions, [PNG, HDF5])
            case "train":
                return [measure_training(subject, conditions)]

    for stage in BENCH_STAGES:
        if stage in settings.stages:
            on_stage(stage)
            yield from measure(stage)


def _memory(device: torch.device) -> Iterator[Measurement]:
    peaks = [("this process", peak_memory(), "its peak")]
    if device.type == "cuda":
        peaks.append(("the device", torch.cuda.max_memory_allocated(device), "the peak of the last measurement"))
    for setting, peak, note in peaks:
        yield Measurement(stage="memory", setting=setting, unit="MB", ours=Series((peak / 1e6,)), notes=(note,))
