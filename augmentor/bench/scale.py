"""Does the cost stay flat as the work grows: memory, and seconds for twice the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

from augmentor.bench.conditions import Conditions
from augmentor.bench.figures import Figure, Series
from augmentor.bench.material import Subject
from augmentor.bench.peak import WATCHED_COMMAND
from augmentor.errors import StalledError
from augmentor.expansion import RunSettings, run_expansion
from augmentor.report import write_report

_LONGEST_SECONDS = 4 * 3600.0
"""Seconds that a measured command may take; the longest one of the suites takes minutes."""


def measure_memory(subject: Subject, conditions: Conditions, outputs: tuple[int, int]) -> Figure:
    """Compare the peak memory of a small and a large expansion, each the command in a process of its own.

    Args:
        subject: what is expanded.
        conditions: where.
        outputs: images that the small and the large one make.
    """
    small, large = (_peak(subject, conditions, count) for count in outputs)
    return Figure(
        stage="memory",
        setting=f"{subject.title}, {outputs[0]:,} and {outputs[1]:,} images",
        unit="MB",
        ours=Series((large / 1e6,)),
        plain=Series((small / 1e6,)),
        against=f"{outputs[0]:,} images",
        notes=(f"peak of {outputs[1]:,} images; plain: of {outputs[0]:,}",),
    )


def measure_doublings(subject: Subject, conditions: Conditions, outputs: tuple[int, ...]) -> list[Figure]:
    """Time expansions of more and more images, in turn; each is compared with the one before.

    Args:
        subject: what is expanded.
        conditions: how.
        outputs: images to make, each twice as many as before.
    """
    seconds: dict[int, list[float]] = {count: [] for count in outputs}
    _seconds(subject, conditions, outputs[0])
    for number in range(conditions.rounds):
        for count in outputs[:: -1 if number % 2 else 1]:
            seconds[count].append(_seconds(subject, conditions, count))
    return [
        Figure(
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
    """Run the command in a process of its own; return its peak memory in bytes."""
    rows = _rows(subject, outputs)
    folder = conditions.folder()
    table = _first_rows(subject, rows, folder / "manifest.csv")
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
            "itself to see what holds it up"
        ) from error
    if done.returncode:
        raise RuntimeError(f"augmentor {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    made = json.loads(done.stdout.splitlines()[-1])["synthetic"]
    if made != outputs:
        raise RuntimeError(f"{made:,} images were made where {outputs:,} were expected")
    return float(report.read_text())


def _first_rows(subject: Subject, rows: int, path: Path) -> Path:
    """Write a manifest of the subject's first rows, with absolute paths, and return it."""
    lines = (subject.manifest.path).read_text(encoding="utf-8").splitlines()
    root = subject.manifest.root.resolve()
    path.write_text("\n".join([lines[0], *(f"{root}/{line}" for line in lines[1 : rows + 1])]) + "\n", "utf-8")
    return path
