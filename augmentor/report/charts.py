"""Coordinates of the page's charts; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 140
"""Of a chart's field, in its own units."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a histogram: `made` at the bottom, `thrown_out` on top of it; heights in the chart's units."""

    x: float
    width: float
    made: float
    thrown_out: float
    words: str


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How scores are spread.

    Args:
        name: of the score.
        says: what it means, in a sentence.
        bars: from left to right.
        low: the score at the left edge.
        high: at the right edge.
        threshold: what had to be reached; None where nothing had to.
        at: the threshold's x; None likewise.
        kept: translations that are kept and have this score.
        rejected: those that were rejected.
    """

    name: str
    says: str
    bars: tuple[Bar, ...]
    low: float
    high: float
    threshold: float | None
    at: float | None
    kept: int
    rejected: int


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line chart.

    Args:
        name: what is drawn.
        points: "x,y x,y ..." in the chart's units.
        first: x of the left edge, in words.
        last: x of the right edge, in words.
        low: the value at the bottom.
        high: the value at the top.
        end: the last value.
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
    says: str,
    kept: Sequence[int],
    rejected: Sequence[int],
    *,
    low: float = 0.0,
    high: float = 1.0,
    threshold: float | None = None,
) -> Histogram:
    """Draw the counts of equal bins.

    Args:
        name: of the score.
        says: what it means, in a sentence.
        kept: counts of what is kept.
        rejected: counts of what is not, as many.
        low: the left edge of the first bin.
        high: the right edge of the last one.
        threshold: what had to be reached, or None.
    """
    top = max((a + b for a, b in zip(kept, rejected, strict=True)), default=0) or 1
    width = WIDTH / max(1, len(kept))
    step = (high - low) / max(1, len(kept))
    bars = tuple(
        Bar(
            x=round(index * width, 2),
            width=round(width - 1.5, 2),
            made=round(HEIGHT * a / top, 2),
            thrown_out=round(HEIGHT * b / top, 2),
            words=f"{low + index * step:.2f} to {low + (index + 1) * step:.2f}: {a:,} kept, {b:,} rejected",
        )
        for index, (a, b) in enumerate(zip(kept, rejected, strict=True))
    )
    at = None
    if threshold is not None:
        at = round(WIDTH * min(1.0, max(0.0, (threshold - low) / (high - low))), 2)
    return Histogram(
        name=name,
        says=says,
        bars=bars,
        low=low,
        high=high,
        threshold=threshold,
        at=at,
        kept=sum(kept),
        rejected=sum(rejected),
    )


def line_of(name: str, xs: Sequence[float], ys: Sequence[float], *, unit: str, most: int = 200) -> Line | None:
    """Draw a line; None for less than two points.

    Args:
        name: what is drawn.
        xs: ascending.
        ys: as many.
        unit: of x, in the plural.
        most: points that are drawn, evenly spread.
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
    return Line(
        name=name,
        points=points,
        first=f"{left:,.0f}",
        last=f"{right:,.0f} {unit}",
        low=low,
        high=high,
        end=pairs[-1][1],
    )
