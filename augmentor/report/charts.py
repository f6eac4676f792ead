"""Coordinates of histograms and line charts, which the template draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 140
"""Size of a chart's field, in its own units."""


@dataclass(frozen=True, kw_only=True)
class HistogramBar:
    """A bar of a histogram: heights of `kept` and, on top of it, `rejected`, in the chart's units."""

    x: float
    width: float
    kept: float
    rejected: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """The distribution of a score.

    Args:
        meaning: of the score, in a sentence.
        low: the score at the left edge.
        high: the score at the right edge.
        threshold: the minimum of the gate, and `at` its x; None without one.
        kept: number of kept translations with this score; `rejected` likewise.
    """

    name: str
    meaning: str
    bars: tuple[HistogramBar, ...]
    low: float
    high: float
    threshold: float | None
    at: float | None
    kept: int
    rejected: int


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """A line chart: `points` as "x,y x,y ..." in its units, labels of the left (first) and right edge (last).

    `low` and `high` are the values at its bottom and top, `end` is the last value.
    """

    name: str
    points: str
    first: str
    last: str
    low: float
    high: float
    end: float


def histogram_of(
    name: str,
    meaning: str,
    kept: Sequence[int],
    rejected: Sequence[int],
    *,
    low: float = 0.0,
    high: float = 1.0,
    threshold: float | None = None,
) -> Histogram:
    """Draw the counts of equal bins between `low` and `high`, with the gate's threshold if there is one."""
    top = max((a + b for a, b in zip(kept, rejected, strict=True)), default=0) or 1
    width = WIDTH / max(1, len(kept))
    step = (high - low) / max(1, len(kept))
    bars = tuple(
        HistogramBar(
            x=round(index * width, 2),
            width=round(width - 1.5, 2),
            kept=round(HEIGHT * a / top, 2),
            rejected=round(HEIGHT * b / top, 2),
            words=f"{low + index * step:.2f} to {low + (index + 1) * step:.2f}: {a:,} kept, {b:,} rejected",
        )
        for index, (a, b) in enumerate(zip(kept, rejected, strict=True))
    )
    at = None
    if threshold is not None:
        at = round(WIDTH * min(1.0, max(0.0, (threshold - low) / (high - low))), 2)
    return Histogram(
        name=name,
        meaning=meaning,
        bars=bars,
        low=low,
        high=high,
        threshold=threshold,
        at=at,
        kept=sum(kept),
        rejected=sum(rejected),
    )


def line_of(
    name: str, xs: Sequence[float], ys: Sequence[float], *, unit: str, most: int = 200
) -> LineChart | None:
    """Draw a line of at most `most` evenly spaced points; None for less than two.

    `xs` ascend; `unit` is that of x, in the plural.
    """
    pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
    if len(pairs) < 2 or pairs[0][0] >= pairs[-1][0]:
        return None
    chosen = sorted({round(index * (len(pairs) - 1) / (most - 1)) for index in range(most)})
    pairs = [pairs[index] for index in chosen]
    low, high = min(y for _, y in pairs), max(y for _, y in pairs)
    left, right, span = pairs[0][0], pairs[-1][0], (high - low) or 1.0
    points = " ".join(
        f"{WIDTH * (x - left) / (right - left):.1f},{HEIGHT * (1 - (y - low) / span):.1f}" for x, y in pairs
    )
    return LineChart(
        name=name,
        points=points,
        first=f"{left:,.0f}",
        last=f"{right:,.0f} {unit}",
        low=low,
        high=high,
        end=pairs[-1][1],
    )
