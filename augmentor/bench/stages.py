"""One function a stage: decode, translate, encode, write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from augmentor.bench.conditions import Conditions
from augmentor.bench.figures import (
    Difference,
    Figure,
    Hot,
    Sample,
    compare_pictures,
    seconds_of,
    take_turns,
)
from augmentor.bench.machine import profiled
from augmentor.bench.material import Subject, pairs_of
from augmentor.bench.reference import plain_translate
from augmentor.images import ImageFormat, Pixels, encode
from augmentor.outputs import Lineage
from augmentor.storage import Workers
from stargan.inference import Job, Translator, generator_flops

Given = TypeVar("Given")

_CPU = torch.device("cpu")
_MOST_IN_MEMORY = 1 << 31
"""Bytes of pictures that a round of the plain loop may hold."""

_SHARD = 1024
"""Items of a shard, `expand`'s default."""

_TOGETHER = 8
"""Images that a worker writes at a time, as the pipeline has it."""

_MOST_WRITTEN = 16_384
"""Images that are written in a round, whatever the time: they have to lie on a disk."""


def measure_translate(subject: Subject, conditions: Conditions) -> Figure:
    """Measure the translator as `expand` uses it against a plain eager float32 loop, on the same pairs.

    Both are told the same batch size. The plain loop passes every pair through the whole generator.

    Args:
        subject: what is translated by what.
        conditions: how.
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
    difference = compare_pictures(torch.cat(made), plain_translate(plain, images, targets, batch_size=batch))
    quantities |= {f"{name}_difference": float(value) for name, value in difference._asdict().items()}

    pace = seconds_of(lambda: plain_translate(plain, images, targets, batch_size=batch), device)
    most = max(1, _MOST_IN_MEMORY // (images[0].numel() * 2 * batch))
    jobs = subject.jobs(2 * batch * min(most, conditions.times(pace, sides=2)))
    images, targets = pairs_of(jobs)
    # Ours is faster: its rounds repeat the pairs until they take as long.
    repeats = max(1, round(len(images) / 2 / batch * pace / _pace(translator, jobs, device)))

    def translate_plainly() -> Sample:
        return Sample(
            len(images),
            seconds_of(lambda: plain_translate(plain, images, targets, batch_size=batch), device),
        )

    def translate() -> Sample:
        return Sample(repeats * len(images), seconds_of(lambda: run_stream(translator, jobs, repeats), device))

    rates = take_turns({"plain": translate_plainly, "ours": translate}, rounds=conditions.rounds)
    hot: list[Hot] = []
    if conditions.profile:
        with profiled(device) as hot:
            run_stream(translator, jobs, 1)
    notes = [_apart(difference)]
    matrix_rate = conditions.matrix_rates.get(conditions.computes_in)
    if matrix_rate:
        share = rates["ours"].median * generator_flops(subject.model) / matrix_rate
        quantities["share_of_matrix_rate"] = share
        # The FLOPs of whole passes: what the translator shares between targets counts as if it were done.
        notes.append(f"worth {share:.0%} of the matrix rate in {conditions.computes_in}")
    notes.append(f"batches of {batch}, {'compiled, ' if conditions.compiles else ''}warm-up {warm_up:.0f} s")
    return Figure(
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


def measure_decode(subject: Subject, conditions: Conditions) -> Figure:
    """Measure reading image files at the model's size, in all workers."""
    with Workers(conditions.workers, name="bench") as pool:

        def decode(count: int) -> float:
            paths = subject.paths(count)
            return seconds_of(lambda: _map_all(pool, subject.decode, paths), _CPU)

        return _rate_alone("decode", subject.title, conditions, decode)


def measure_encode(subject: Subject, conditions: Conditions, image_format: ImageFormat) -> Figure:
    """Measure turning the subject's images into the bytes of files, in all workers."""
    pictures: list[Pixels] = [image.permute(1, 2, 0).contiguous().numpy() for image in subject.images]
    with Workers(conditions.workers, name="bench") as pool:

        def encode_some(count: int) -> float:
            some = [pictures[number % len(pictures)] for number in range(count)]
            return seconds_of(lambda: _map_all(pool, partial(encode, image_format=image_format), some), _CPU)

        return _rate_alone("encode", f"{subject.title}, {image_format}", conditions, encode_some)


def measure_write(subject: Subject, conditions: Conditions, name: str) -> Figure:
    """Measure writing one shard and committing it, from pixels in memory to bytes that a power cut spares.

    Args:
        subject: whose images are written.
        conditions: how.
        name: of the output: "out.h5" for an HDF5 file, anything else for a folder of PNG files.
    """
    pictures: list[Pixels] = [image.permute(1, 2, 0).contiguous().numpy() for image in subject.images]
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

        form = "HDF5" if name.endswith(".h5") else "folder of png"
        return _rate_alone("write", f"{subject.title}, {form}", conditions, write, most=_SHARD)


def run_stream(translator: Translator, jobs: Iterable[Job], repeats: int) -> None:
    """Translate all jobs and forget the result, `repeats` times over."""
    many = (job for _ in range(repeats) for job in jobs)
    for _block in translator.stream(many):
        pass


def _pace(translator: Translator, jobs: list[Job], device: torch.device) -> float:
    return seconds_of(lambda: run_stream(translator, jobs, 1), device)


def _rate_alone(
    stage: str, setting: str, conditions: Conditions, work: Callable[[int], float], *, most: int = _MOST_WRITTEN
) -> Figure:
    """Measure a stage that is compared with nothing.

    Args:
        stage: its name.
        setting: on what.
        conditions: how long and how often.
        work: does so many images and returns the seconds.
        most: images in a round.
    """
    few = 8 * conditions.workers
    work(few)
    count = min(most, few * conditions.times(work(few), sides=1))
    rates = take_turns({"ours": lambda: Sample(count, work(count))}, rounds=conditions.rounds)
    return Figure(
        stage=stage,
        setting=setting,
        unit="images/s",
        ours=rates["ours"],
        quantities={"workers": float(conditions.workers)},
        notes=(f"{conditions.workers} workers",),
    )


def _map_all(pool: Workers, function: Callable[[Given], object], given: Sequence[Given]) -> None:
    for _ in pool.map(lambda _: "reading or writing images of the bench", function, given, ahead=len(given)):
        pass


def _apart(difference: Difference) -> str:
    if not difference.largest:
        return "the same pixels"
    return (
        f"at most {difference.largest} of 255 apart, {difference.mean:.2g} on average, "
        f"in {difference.share:.0%} of values"
    )
