"""End to end: a real expansion from JPEG files into a folder or an HDF5 file, against the translator alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

from augmentor.bench.conditions import Conditions
from augmentor.bench.figures import FEWEST_ROUNDS, Figure, Sample, Side, seconds_of, take_turns
from augmentor.bench.material import Subject
from augmentor.bench.stages import run_stream
from augmentor.expansion import Progress, RunSettings, run_expansion
from augmentor.images import ImageFormat
from augmentor.report import write_report
from stargan.inference import Translator


class Form(NamedTuple):
    """A form of output that is measured.

    Args:
        title: in the table's words.
        name: of the output in its folder; with ".h5" it is an HDF5 file.
        image_format: of a folder's images.
    """

    title: str
    name: str
    image_format: ImageFormat = "png"


PNG = Form("folder of png", "out")
JPG = Form("folder of jpg", "out", "jpg")
HDF5 = Form("HDF5", "out.h5")


def measure_expand(subject: Subject, conditions: Conditions, forms: Sequence[Form]) -> list[Figure]:
    """Measure whole expansions in several forms against the translator alone, all of them in turn.

    What counts begins when the first images are through, so that compiling stays outside, and ends when the last
    shard is on the disk and part of the output. The preview, which takes the same time however much is made, and
    the closing of the output are reported on their own.

    Args:
        subject: what is expanded.
        conditions: how; each side has `seconds`, in few rounds, because only long ones say much.
        forms: of the output.
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
    workers = f"{conditions.workers} workers"
    return [
        Figure(
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
                f"jpg in, {workers}; plain: the Translator alone",
                f"then {median(closing[form.title]):.1f} s for the preview and the end",
            ),
        )
        for form in forms
    ]


def _translate(subject: Subject, conditions: Conditions, translator: Translator, pairs: int) -> Sample:
    jobs = subject.jobs(pairs)
    return Sample(pairs, seconds_of(lambda: run_stream(translator, jobs, 1), conditions.device))


def _expand(
    subject: Subject, conditions: Conditions, rows: int, form: Form, closing: list[float] | None = None
) -> Sample:
    """Expand the first rows; return what was made after the first images, and in what time.

    Args:
        subject: what is expanded.
        conditions: how.
        rows: how many images are translated.
        form: of the output.
        closing: filled with the seconds that the preview and the closing of the output took.
    """
    folder = conditions.folder()
    expansion = subject.expansion(
        folder / form.name, rows=rows, image_format=form.image_format, precision=conditions.precision
    )
    watch = _Watch()
    run_expansion(
        expansion,
        RunSettings(
            devices=(conditions.device,),
            workers=conditions.workers,
            compile="on" if conditions.compiles else "off",
        ),
        write_pages=write_report,
        on_progress=watch.see,
    )
    ended = time.perf_counter()
    if closing is not None:
        closing.append(ended - watch.committed)
    if watch.first == len(expansion.plan):
        # So few that all were through at once: then starting up counts as well.
        return Sample(watch.first, watch.committed - watch.began)
    return Sample(len(expansion.plan) - watch.first, watch.committed - watch.started)


class _Watch:
    """Remembers when the first images were through, how many they were, and when all was committed."""

    def __init__(self) -> None:
        self.began = self.started = self.committed = time.perf_counter()
        self.first = 0

    def see(self, progress: Progress) -> None:
        """Take note: the last progress comes when the last shard is committed."""
        self.committed = time.perf_counter()
        if not self.first and progress.done:
            self.started, self.first = self.committed, progress.done
