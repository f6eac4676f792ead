"""Benchmark suites: subjects, measurements and targets; memory and time of growing expansions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Literal, NamedTuple

from augmentor.bench.machine import WATCHED_COMMAND
from augmentor.bench.measure import Conditions, Measurement, Series, Target
from augmentor.bench.stages import HDF5, JPG, PNG, OutputForm, measure_expand, measure_translate
from augmentor.bench.subject import Subject, synthetic_subject
from augmentor.bench.training import measure_training
from augmentor.errors import StalledError
from augmentor.expansion import RunSettings, run_expansion
from augmentor.report import write_report
from augmentor.training import read_recipe

Suite = Literal["cpu", "gpu", "scale"]

PAPER = (
    "generator.conditioning=concat",
    "generator.output=direct",
    "generator.upsampling=transposed",
    "generator.skips=false",
    "discriminator.matches=false",
    "loss.real_domain_weight=1.0",
    "loss.normalise_domain=false",
    "loss.cycle_every=1",
    "training.objective=wgan-gp",
    "training.critic_steps=5",
    "training.learning_rate=1e-4",
)
"""recipes/paper.toml as overrides of the default; the conditions set the precision."""

SMALL = (
    "images.size=32",
    "generator.width=24",
    "generator.blocks=4",
    "discriminator.width=48",
    "discriminator.depth=4",
)
"""recipes/cpu-quick.toml's networks."""

TINY = (
    *("images.size=32", "generator.width=4", "generator.blocks=1", "generator.downsamplings=1"),
    *("discriminator.width=4", "discriminator.depth=2"),
)
"""So small that the networks take next to no time."""

EMOJI = ("images.size=64", "generator.width=32", "discriminator.width=48", "discriminator.depth=5")
"""Small colourful images, as in recipes/small-data.toml."""

_TARGETS = 8
"""Translations of each drawn image."""

_LONGEST_SECONDS = 4 * 3600.0
"""Time limit of a measured command, in seconds; the longest one takes minutes."""

Measure = Callable[[Subject, Conditions], Iterable[Measurement]]


class Part(NamedTuple):
    """A subject, of drawn images and a recipe's overrides, and its measurements; `seconds` scales their time."""

    recipe: tuple[str, ...]
    measure: Measure
    seconds: float = 1.0
    images: int = 64


def translating(*targets: Target) -> Measure:
    """Measure the Translator, with these targets."""
    return lambda subject, conditions: [replace(measure_translate(subject, conditions), targets=targets)]


def expanding(*forms: tuple[OutputForm, float]) -> Measure:
    """Measure expansions into forms, each with the least ratio to the Translator alone."""

    def measure(subject: Subject, conditions: Conditions) -> Iterable[Measurement]:
        measured = measure_expand(subject, conditions, [form for form, _ in forms])
        for measurement, (_, least) in zip(measured, forms, strict=True):
            yield replace(measurement, targets=(Target("ratio", least),))

    return measure


def training(least: float) -> Measure:
    """Measure training steps, with the least ratio to the plain loop and equal losses."""
    targets = (Target("ratio", least), Target("largest_relative_loss_difference", 1e-4, at_most=True))
    return lambda subject, conditions: [replace(measure_training(subject, conditions), targets=targets)]


def both(*measures: Measure) -> Measure:
    """Make several measurements on one subject, in order."""

    def measure(subject: Subject, conditions: Conditions) -> Iterator[Measurement]:
        for each in measures:
            if not conditions.time_is_up:
                yield from each(subject, conditions)

    return measure


def in_precision(precision: Literal["float32", "bfloat16"], measure: Measure) -> Measure:
    """Measure in a given precision, not the device's default."""
    return lambda subject, conditions: measure(subject, replace(conditions, precision=precision))


def scaling(subject: Subject, conditions: Conditions) -> Iterator[Measurement]:
    """Measure the memory of ten times, and the time of twice as many outputs."""
    memory = measure_memory(subject, conditions, (2_000, 20_000))
    yield replace(memory, targets=(Target("ratio", 1.1, at_most=True),))
    for measurement in measure_doublings(subject, conditions, (1_000, 2_000, 4_000, 8_000, 16_000)):
        yield replace(measurement, targets=(Target("ratio", 2.1, at_most=True),))


ONE_LEVEL = Target("largest_difference", 1, at_most=True)

SUITES: dict[Suite, tuple[Part, ...]] = {
    "cpu": (
        Part(
            PAPER,
            both(translating(Target("ratio", 1.3), ONE_LEVEL), expanding((PNG, 0.95), (HDF5, 0.95))),
            seconds=4.0,
        ),
        Part((), translating(Target("ratio", 1.5), ONE_LEVEL), seconds=4.0),
        Part((*SMALL,), expanding((PNG, 0.8), (HDF5, 0.8)), images=4096),
        Part(("images.size=64",), training(1.25), seconds=4.0),
        Part((*PAPER, "images.size=64"), training(1.25), seconds=4.0),
        Part(("images.size=64",), in_precision("float32", training(1.25)), seconds=4.0),
        Part((*PAPER, "images.size=64"), in_precision("float32", training(1.25)), seconds=4.0),
    ),
    # In order of importance: measurements that have not started when the time is up are left out.
    "gpu": (
        Part(
            PAPER,
            both(
                translating(Target("ratio", 3.0), Target("share_of_matrix_rate", 0.3)),
                expanding((HDF5, 0.8), (JPG, 0.6)),
            ),
            images=8192,
        ),
        Part(PAPER, training(2.0)),
        Part((), training(2.0)),
        Part((), translating(Target("ratio", 3.0))),
        Part(EMOJI, both(translating(), expanding((HDF5, 0.8), (JPG, 0.6))), images=16_384),
        Part(EMOJI, training(2.0)),
    ),
    "scale": (Part(TINY, scaling, images=2_500),),
}

SUITE_SECONDS: dict[Suite, float] = {"cpu": 10.0, "gpu": 8.0, "scale": 10.0}
"""Default seconds of a measurement."""

GPU_LIMIT = 400.0
"""Seconds after which the suite for GPUs starts no further measurement, so that it ends within 9 minutes."""


def run_suite(
    name: Suite, conditions: Conditions, *, overrides: Sequence[str], on_part: Callable[[str], None]
) -> Iterator[Measurement]:
    """Yield a suite's measurements; `on_part` is called with a description of each part before it starts.

    `overrides` are `section.key=value` lines on top of every recipe.
    """
    for number, part in enumerate(SUITES[name]):
        if conditions.time_is_up:
            on_part("the time is up: the remaining figures are not measured")
            return
        recipe = read_recipe(None, [*part.recipe, *overrides])
        folder = conditions.folder()
        subject = synthetic_subject(recipe, targets=_TARGETS, images=part.images, work=folder)
        on_part(f"part {number + 1} of {len(SUITES[name])}: {subject.title}")
        yield from part.measure(subject, replace(conditions, seconds=conditions.seconds * part.seconds))


def measure_memory(subject: Subject, conditions: Conditions, outputs: tuple[int, int]) -> Measurement:
    """Compare the peak memory of a small and a large expansion, each in a process of its own, by images made."""
    small, large = (_peak(subject, conditions, count) for count in outputs)
    return Measurement(
        stage="memory",
        setting=f"{subject.title}, {outputs[0]:,} and {outputs[1]:,} images",
        unit="MB",
        ours=Series((large / 1e6,)),
        plain=Series((small / 1e6,)),
        against=f"{outputs[0]:,} images",
        notes=(f"peak of {outputs[1]:,} images; plain: of {outputs[0]:,}",),
    )


def measure_doublings(subject: Subject, conditions: Conditions, outputs: tuple[int, ...]) -> list[Measurement]:
    """Measure the time of expansions, in turn; each of `outputs` is twice the one that it is compared with."""
    seconds: dict[int, list[float]] = {count: [] for count in outputs}
    _seconds(subject, conditions, outputs[0])
    for number in range(conditions.rounds):
        for count in outputs[:: -1 if number % 2 else 1]:
            seconds[count].append(_seconds(subject, conditions, count))
    return [
        Measurement(
            stage="scale",
            setting=f"{subject.title}, {count:,} images",
            unit="s",
            ours=Series(tuple(seconds[count])),
            plain=Series(tuple(seconds[before])),
            against=f"{before:,} images",
            quantities={"images_per_second": count / median(seconds[count])},
            notes=(f"seconds for {count:,} images; plain: for {before:,}",),
        )
        for before, count in pairwise(outputs)
    ]


def _rows(subject: Subject, outputs: int) -> int:
    return max(1, round(outputs / subject.targets_per_image))


def _seconds(subject: Subject, conditions: Conditions, outputs: int) -> float:
    folder = conditions.folder()
    result = run_expansion(
        subject.expansion(folder / "out", rows=_rows(subject, outputs), precision=conditions.precision),
        RunSettings(devices=(conditions.device,), workers=conditions.workers, compile="off"),
        write_pages=write_report,
    )
    return result.seconds


def _peak(subject: Subject, conditions: Conditions, outputs: int) -> float:
    """Run `augmentor expand` in a process of its own and return its peak memory in bytes."""
    rows = _rows(subject, outputs)
    folder = conditions.folder()
    # A manifest of the first rows, with absolute paths.
    lines = subject.manifest.path.read_text(encoding="utf-8").splitlines()
    root = subject.manifest.root.resolve()
    table = folder / "manifest.csv"
    table.write_text("\n".join([lines[0], *(f"{root}/{line}" for line in lines[1 : rows + 1])]) + "\n", "utf-8")
    words = ["expand", str(table), "--model", str(subject.folder), "--out", str(folder / "out")]
    words += [word for spec in subject.domains for word in ("--domains", spec)]
    words += ["--real", "none", "--device", str(conditions.device), "--workers", str(conditions.workers)]
    words += ["--compile", "off", "--json"]
    report = folder / "peak"
    try:
        done = subprocess.run(
            [sys.executable, "-c", WATCHED_COMMAND, str(report), *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise StalledError(
            f"augmentor {' '.join(words)}: it has not ended in {_LONGEST_SECONDS / 3600:g} hours. Run it by "
            "itself to find the cause"
        ) from error
    if done.returncode:
        raise RuntimeError(f"augmentor {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    made = json.loads(done.stdout.splitlines()[-1])["synthetic"]
    if made != outputs:
        raise RuntimeError(f"{made:,} images were made where {outputs:,} were expected")
    return float(report.read_text())
