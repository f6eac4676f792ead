"""Measurements of the stages decode, translate, encode and write, and of whole expansions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from statistics import median
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from augmentor.bench.machine import profiled
from augmentor.bench.measure import (
    FEWEST_ROUNDS,
    Conditions,
    HotOperation,
    Measurement,
    PixelDifference,
    Round,
    Side,
    compare_pictures,
    seconds_of,
    take_turns,
)
from augmentor.bench.reference import plain_translate
from augmentor.bench.subject import Subject, pairs_of
from augmentor.expansion import Progress, RunSettings, run_expansion
from augmentor.images import ImageFormat, encode
from augmentor.outputs import Lineage
from augmentor.report import write_report
from augmentor.storage import Workers
from stargan.inference import Job, Translator, generator_flops

Given = TypeVar("Given")

_CPU = torch.device("cpu")
_MOST_IN_MEMORY = 1 << 31
"""Bytes of images that a round of the plain loop may hold."""

_SHARD = 1024
"""Items of a shard, `expand`'s default."""

_TOGETHER = 8
"""Images that a worker writes at a time, as in the pipeline."""

_MOST_WRITTEN = 16_384
"""Images that a round writes at most: they have to fit on a disk."""


class OutputForm(NamedTuple):
    """An output format to measure: its title in the table; a `name` that ends in ".h5" is an HDF5 file."""

    title: str
    name: str
    image_format: ImageFormat = "png"


PNG = OutputForm("folder of png", "out")
JPG = OutputForm("folder of jpg", "out", "jpg")
HDF5 = OutputForm("HDF5", "out.h5")


def measure_translate(subject: Subject, conditions: Conditions) -> Measurement:
    """Measure the Translator as `expand` uses it against a plain eager float32 loop, on the same pairs.

    Both have the same batch size. The plain loop passes every pair through the whole generator.
    """
    device = conditions.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    translator = conditions.translator(subject.model)
    batch = translator.batch_size
    jobs = subject.jobs(2 * batch)
    made: list[Tensor] = []
    warm_up = seconds_of(lambda: made.extend(block.clone() for block in translator.stream(jobs)), device)
    quantities = {"warm_up_seconds": warm_up, "batch_size": float(batch)}
    if device.type == "cuda":
        quantities["peak_device_memory_bytes"] = float(torch.cuda.max_memory_allocated(device))

    plain = subject.plain_model(device)
    images, targets = pairs_of(jobs)

    def plainly() -> Tensor:
        return plain_translate(plain, images, targets, batch_size=batch)

    difference = compare_pictures(torch.cat(made), plainly())
    quantities |= {f"{name}_difference": float(value) for name, value in difference._asdict().items()}
    pace = seconds_of(plainly, device)
    most = max(1, _MOST_IN_MEMORY // (images[0].numel() * 2 * batch))
    jobs = subject.jobs(2 * batch * min(most, conditions.times(pace, sides=2)))
    images, targets = pairs_of(jobs)
    # Ours is faster: its rounds repeat the pairs to take as long.
    repeats = max(
        1, round(len(images) / 2 / batch * pace / seconds_of(lambda: run_stream(translator, jobs, 1), device))
    )
    sides: dict[str, Side] = {
        "plain": lambda: Round(len(images), seconds_of(plainly, device)),
        "ours": lambda: Round(
            repeats * len(images), seconds_of(lambda: run_stream(translator, jobs, repeats), device)
        ),
    }
    rates = take_turns(sides, rounds=conditions.rounds)
    hot: list[HotOperation] = []
    if conditions.profile:
        with profiled(device) as hot:
            run_stream(translator, jobs, 1)
    notes = [_describe(difference)]
    matrix_rate = conditions.matrix_rates.get(conditions.computes_in)
    if matrix_rate:
        share = rates["ours"].median * generator_flops(subject.model) / matrix_rate
        quantities["share_of_matrix_rate"] = share
        # Counted in whole passes, although the Translator shares a part between targets.
        notes.append(f"{share:.0%} of the matrix rate in {conditions.computes_in}")
    notes.append(f"batches of {batch}, {'compiled, ' if conditions.compiles else ''}warm-up {warm_up:.0f} s")
    return Measurement(
        stage="translate",
        setting=f"{subject.title}, {subject.targets_per_image:.3g} targets",
        unit="images/s",
        ours=rates["ours"],
        plain=rates["plain"],
        against="plain loop",
        quantities=quantities,
        notes=tuple(notes),
        profile=tuple(hot),
    )


def measure_decode(subject: Subject, conditions: Conditions) -> Measurement:
    """Measure decoding image files at the model's size, in all workers."""
    with Workers(conditions.workers, name="bench") as pool:

        def decode(count: int) -> float:
            paths = subject.paths(count)
            return seconds_of(lambda: _map_all(pool, subject.decode, paths), _CPU)

        return _rate_alone("decode", subject.title, conditions, decode)


def measure_encode(subject: Subject, conditions: Conditions, image_format: ImageFormat) -> Measurement:
    """Measure encoding the subject's images, in all workers."""
    pictures = subject.pictures
    with Workers(conditions.workers, name="bench") as pool:

        def encode_some(count: int) -> float:
            some = [pictures[number % len(pictures)] for number in range(count)]
            return seconds_of(lambda: _map_all(pool, partial(encode, image_format=image_format), some), _CPU)

        return _rate_alone("encode", f"{subject.title}, {image_format}", conditions, encode_some)


def measure_write(subject: Subject, conditions: Conditions, name: str) -> Measurement:
    """Measure writing and committing one shard, from pixels in memory to synchronised files.

    With the name "out.h5" the output is an HDF5 file, with any other a folder of PNG files.
    """
    pictures = subject.pictures
    with Workers(conditions.workers, name="bench") as pool:

        def write(count: int) -> float:
            folder = conditions.folder()
            expansion = subject.expansion(folder / name, rows=count)
            lineage = Lineage(expansion.manifest, expansion.sources.stems)
            rows = [lineage.label_rows(item.row, [item])[0] for item in islice(expansion.plan.items(), count)]
            images = [(place, row, pictures[place % len(pictures)]) for place, row in enumerate(rows)]
            writer = expansion.writer()
            writer.open()

            def fill() -> None:
                with writer.shard(0) as shard:
                    some = [images[first : first + _TOGETHER] for first in range(0, len(images), _TOGETHER)]
                    _map_all(pool, shard.add_all, some)
                    shard.commit([])

            return seconds_of(fill, _CPU) * count / len(rows)

        form = (HDF5 if name.endswith(".h5") else PNG).title
        return _rate_alone("write", f"{subject.title}, {form}", conditions, write, most=_SHARD)


def measure_expand(subject: Subject, conditions: Conditions, forms: Sequence[OutputForm]) -> list[Measurement]:
    """Measure whole expansions from JPEG files, in several formats, against the Translator alone, in turn.

    The clock starts after the first images, so that compiling does not count, and stops when the last shard is
    committed. The preview, whose time does not depend on the size, and the end of the output are reported apart.
    Each side has `conditions.seconds`, in few rounds, because only long ones are precise.
    """
    conditions = replace(conditions, rounds=FEWEST_ROUNDS)
    translator = conditions.translator(subject.model)
    few = subject.jobs(2 * translator.batch_size)
    run_stream(translator, few, 1)
    pace = seconds_of(lambda: run_stream(translator, few, 1), conditions.device)
    pairs = 2 * translator.batch_size * (2 + conditions.times(pace, sides=1))
    rows = max(1, round(pairs / subject.targets_per_image))
    closing: dict[str, list[float]] = {form.title: [] for form in forms}
    for form in forms:
        _expand(subject, conditions, max(1, rows // 4), form)
    sides: dict[str, Side] = {
        form.title: partial(_expand, subject, conditions, rows, form, closing[form.title]) for form in forms
    }
    sides["alone"] = partial(_translate, subject, conditions, translator, pairs)
    rates = take_turns(sides, rounds=conditions.rounds)
    return [
        Measurement(
            stage="expand",
            setting=f"{subject.title}, {form.title}",
            unit="images/s",
            ours=rates[form.title],
            plain=rates["alone"],
            against="the Translator alone",
            quantities={
                "images": float(rows * subject.targets_per_image),
                "workers": float(conditions.workers),
                "closing_seconds": median(closing[form.title]),
            },
            notes=(
                f"jpg in, {conditions.workers} workers; plain: the Translator alone",
                f"then {median(closing[form.title]):.1f} s for the preview and the end of the output",
            ),
        )
        for form in forms
    ]


def _translate(subject: Subject, conditions: Conditions, translator: Translator, pairs: int) -> Round:
    jobs = subject.jobs(pairs)
    return Round(pairs, seconds_of(lambda: run_stream(translator, jobs, 1), conditions.device))


def _expand(
    subject: Subject, conditions: Conditions, rows: int, form: OutputForm, closing: list[float] | None = None
) -> Round:
    """Expand the first `rows` images; return the images made after the first ones, and their time.

    `closing` receives the seconds of the preview and the end of the output.
    """
    folder = conditions.folder()
    expansion = subject.expansion(
        folder / form.name, rows=rows, image_format=form.image_format, precision=conditions.precision
    )
    began = started = committed = time.perf_counter()
    first = 0

    def watch(progress: Progress) -> None:  # the last call comes when the last shard is committed
        nonlocal started, committed, first
        committed = time.perf_counter()
        if not first and progress.done:
            started, first = committed, progress.done

    run_expansion(
        expansion,
        RunSettings(
            devices=(conditions.device,),
            workers=conditions.workers,
            compile="on" if conditions.compiles else "off",
        ),
        write_pages=write_report,
        on_progress=watch,
    )
    if closing is not None:
        closing.append(time.perf_counter() - committed)
    if first == len(expansion.plan):
        # Too few: all were done at once, so the start counts as well.
        return Round(first, committed - began)
    return Round(len(expansion.plan) - first, committed - started)


def run_stream(translator: Translator, jobs: Iterable[Job], repeats: int) -> None:
    """Translate all jobs `repeats` times and discard the results."""
    many = (job for _ in range(repeats) for job in jobs)
    for _block in translator.stream(many):
        pass


def _rate_alone(
    stage: str, setting: str, conditions: Conditions, work: Callable[[int], float], *, most: int = _MOST_WRITTEN
) -> Measurement:
    """Measure a stage without a comparison.

    `work` processes that many images, at most `most` in a round, and returns the seconds.
    """
    few = 8 * conditions.workers
    work(few)
    count = min(most, few * conditions.times(work(few), sides=1))
    rates = take_turns({"ours": lambda: Round(count, work(count))}, rounds=conditions.rounds)
    return Measurement(
        stage=stage,
        setting=setting,
        unit="images/s",
        ours=rates["ours"],
        quantities={"workers": float(conditions.workers)},
        notes=(f"{conditions.workers} workers",),
    )


def _map_all(pool: Workers, function: Callable[[Given], object], given: Sequence[Given]) -> None:
    for _ in pool.map(lambda _: "reading or writing the benchmark's images", function, given, ahead=len(given)):
        pass


def _describe(difference: PixelDifference) -> str:
    if not difference.largest:
        return "the same pixels"
    return (
        f"at most {difference.largest} of 255 apart, {difference.mean:.2g} on average, "
        f"in {difference.share:.0%} of values"
    )
