"""The section on evaluation.json: arms, groups, distances, and the coordinates of its plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from augmentor.evaluation import ArmResult, Distances, Evaluation, GroupResult, Interval
from augmentor.report.charts import HEIGHT, WIDTH

_MOST_GROUPS = 24

Tone = Literal["good", "bad", "mid", ""]
"""A colour class of the page."""

_TONES: Mapping[str, Tone] = {"helps": "good", "hurts": "bad", "mixed": "mid"}
_MEASURES = {
    "filled": "Accuracy of the filled combinations",
    "worst_group": "Worst-group accuracy",
    "balanced": "Balanced accuracy",
}


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """A line in a plot of intervals; `x`, `left` and `right` are in the chart's units."""

    title: str
    interval: Interval
    x: float
    left: float
    right: float
    tone: Tone


@dataclass(frozen=True, kw_only=True)
class DifferencePlot:
    """Differences of one measure to other arms, from top to bottom; `zero` is the x of 0."""

    name: str
    whiskers: tuple[Whisker, ...]
    zero: float


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """A ratio of the sweep; coordinates are in the chart's units from the top left."""

    ratio: float
    balanced: Interval
    x: float
    y: float
    top: float
    bottom: float


@dataclass(frozen=True, kw_only=True)
class EvaluationSection:
    """An evaluation and what is drawn of it.

    Args:
        found: the content of evaluation.json.
        stale: whether it belongs to another version of the output.
        attributes: names of the attributes that the arms have accuracies of.
        sweep: by rising ratio.
        sweep_range: the values at the bottom and the top of its chart.
        groups: combinations, the rarest among the real training images first; `hidden` more are left out.
        distances: (name, of translations, of real images); NaN for unknown.
        shares: (name, share of the translations).
    """

    found: Evaluation
    stale: bool
    tone: Tone
    attributes: tuple[str, ...]
    differences: tuple[DifferencePlot, ...]
    sweep: tuple[SweepPoint, ...]
    sweep_range: tuple[float, float]
    groups: tuple[GroupResult, ...]
    hidden: int
    distances: tuple[tuple[str, float, float], ...]
    shares: tuple[tuple[str, float], ...]


def evaluation_section(state: object, *, fingerprint: str) -> EvaluationSection | None:
    """Return the section on the content of evaluation.json, stale for another fingerprint; None without arms."""
    found = Evaluation.from_json(state)
    if not found.arms:
        return None
    groups = sorted(found.groups, key=lambda group: group.train_real)
    sweep, sweep_range = _sweep(found.sweep)
    return EvaluationSection(
        found=found,
        stale=found.fingerprint != fingerprint,
        tone=_TONES.get(found.verdict.word, ""),
        attributes=tuple(dict.fromkeys(name for arm in found.arms for name in arm.attributes)),
        differences=tuple(_differences(found)),
        sweep=sweep,
        sweep_range=sweep_range,
        groups=tuple(groups[:_MOST_GROUPS]),
        hidden=max(0, len(groups) - _MOST_GROUPS),
        distances=tuple(_distances(found.distances)),
        shares=tuple(_shares(found.distances)),
    )


def _differences(found: Evaluation) -> list[DifferencePlot]:
    titles = {arm.name: arm.title for arm in found.arms}
    plots = []
    for measure, name in _MEASURES.items():
        rows = [
            (titles.get(each.against, each.against), each.difference, _TONES.get(each.word, ""))
            for each in found.verdict.differences
            if each.measure == measure and math.isfinite(each.difference.value)
        ]
        if rows:
            plots.append(_plot(name, rows))
    return plots


def _plot(name: str, rows: Sequence[tuple[str, Interval, Tone]]) -> DifferencePlot:
    ends = _ends([interval for _, interval, _ in rows])
    low, high = min([*ends, -0.01]), max([*ends, 0.01])
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)

    def place(value: float, instead: float = 0.0) -> float:
        return round(WIDTH * ((value if math.isfinite(value) else instead) - low) / (high - low), 1)

    return DifferencePlot(
        name=name,
        whiskers=tuple(
            Whisker(
                title=title,
                interval=each,
                x=place(each.value),
                left=place(each.low, each.value),
                right=place(each.high, each.value),
                tone=tone,
            )
            for title, each, tone in rows
        ),
        zero=place(0.0),
    )


def _sweep(arms: Sequence[ArmResult]) -> tuple[tuple[SweepPoint, ...], tuple[float, float]]:
    known = [
        (arm.ratio, arm.balanced) for arm in arms if arm.ratio is not None and math.isfinite(arm.balanced.value)
    ]
    known.sort(key=lambda each: each[0])
    ends = _ends([balanced for _, balanced in known])
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    span = (high - low) or 1.0

    def height(value: float, instead: float) -> float:
        return round(HEIGHT * (1 - ((value if math.isfinite(value) else instead) - low) / span), 1)

    points = tuple(
        SweepPoint(
            ratio=ratio,
            balanced=balanced,
            x=round(WIDTH * (0.5 + index) / len(known), 1),
            y=height(balanced.value, balanced.value),
            top=height(balanced.high, balanced.value),
            bottom=height(balanced.low, balanced.value),
        )
        for index, (ratio, balanced) in enumerate(known)
    )
    return points, (low, high)


def _ends(intervals: Sequence[Interval]) -> list[float]:
    """Return the known values and ends of intervals."""
    return [end for each in intervals for end in (each.low, each.value, each.high) if math.isfinite(end)]


def _distances(found: Distances) -> list[tuple[str, float, float]]:
    rows = []
    for words, distance in (
        ("Frechet distance to the real test images", found.frechet or {}),
        ("Kernel distance to the real test images", found.kernel or {}),
    ):
        rows.append((words, distance.get("kept", math.nan), distance.get("real", math.nan)))
        rows.append((f"{words}, before the gate", distance.get("ungated", math.nan), math.nan))
    rows += [
        (words, pair.synthetic, pair.real)
        for words, pair in (
            ("Mean distance between images of one domain", found.within_domain),
            (
                "Mean distance between translations of one source (real: between any two images)",
                found.within_source,
            ),
            ("Median distance to the nearest other training image (real: of test images)", found.nearest),
        )
    ]
    return [row for row in rows if math.isfinite(row[1]) or math.isfinite(row[2])]


def _shares(found: Distances) -> list[tuple[str, float]]:
    named = (
        ("Nearer to a training image than 99 % of test images are", found.copies),
        ("Equal to their source", found.unchanged),
    )
    return [(words, share) for words, share in named if math.isfinite(share)]
