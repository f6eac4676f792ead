"""What `augmentor evaluate` found, as the page shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from augmentor.report.charts import HEIGHT, WIDTH
from augmentor.report.values import items, mapping, number, text
from augmentor.storage import Json

_MOST_GROUPS = 24

Tone = Literal["good", "bad", "mid", ""]

_TONES: Mapping[str, Tone] = {"helps": "good", "hurts": "bad", "mixed": "mid"}
_MEASURES = {"worst_group": "Worst-group accuracy", "balanced": "Balanced accuracy"}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A share in [0, 1], or a difference of two, and its 95 % interval; None for ends that are not known."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train a classifier."""

    name: str
    title: str
    main: bool
    ratio: float | None
    images: int
    balanced: Figure | None
    worst: Figure | None
    worst_name: str
    attributes: tuple[Figure | None, ...]


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """One line of a plot of intervals, in the chart's units.

    Args:
        title: what it is.
        figure: the share or difference.
        x: of the value.
        left: of the lower end.
        right: of the upper end.
        tone: how it is to be read.
    """

    title: str
    figure: Figure
    x: float
    left: float
    right: float
    tone: Tone


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Figures beside one another.

    Args:
        name: what is drawn.
        whiskers: from top to bottom.
        zero: x of 0, None where it is not in the picture.
        low: the value at the left edge.
        high: at the right edge.
    """

    name: str
    whiskers: tuple[Whisker, ...]
    zero: float | None
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One ratio of the sweep, in the chart's units from the top left; None for what was not measured."""

    ratio: float
    x: float
    balanced: Figure
    y: float
    top: float
    bottom: float
    worst: Figure | None


@dataclass(frozen=True, kw_only=True)
class Group:
    """One combination of labels: its images, and its accuracy in the arms of the table."""

    name: str
    test_images: int
    train_real: int
    train_synthetic: int
    accuracy: tuple[Figure | None, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluationView:
    """All of it.

    Args:
        stale: it is of another output than this one.
        word: the verdict in a word.
        tone: how it is to be read.
        sentence: the verdict with its intervals.
        following: what to do next.
        arms: the table.
        attributes: whose accuracies the arms have.
        skipped: (arm, reason).
        differences: a plot per measure.
        sweep: by rising ratio.
        sweep_range: the values at the bottom and the top of its chart.
        groups: combinations, the rarest among the real training images first.
        hidden: groups that there was no room for.
        distances: (what, of translations, of real images).
        shares: (what, share of the translations).
        counts: kind of image -> how many.
        settings: as they were asked for.
    """

    stale: bool
    word: str
    tone: Tone
    sentence: str
    following: tuple[str, ...]
    arms: tuple[Arm, ...]
    attributes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    differences: tuple[Plot, ...]
    sweep: tuple[SweepPoint, ...]
    sweep_range: tuple[float, float]
    groups: tuple[Group, ...]
    hidden: int
    distances: tuple[tuple[str, float | None, float | None], ...]
    shares: tuple[tuple[str, float], ...]
    counts: Mapping[str, int]
    settings: Mapping[str, Json]


def view_evaluation(state: Mapping[str, Json], *, fingerprint: str) -> EvaluationView | None:
    """Return what evaluation.json says; None where it says nothing.

    Args:
        state: its content.
        fingerprint: of the output that is reported.
    """
    verdict, main = mapping(state.get("verdict")), text(mapping(state.get("verdict")).get("arm"))
    arms = [mapping(each) for each in items(state.get("arms"))]
    if not arms:
        return None
    attributes = tuple(dict.fromkeys(name for arm in arms for name in mapping(arm.get("attributes"))))
    groups = sorted(map(mapping, items(state.get("groups"))), key=lambda each: number(each.get("train_real")) or 0)
    sweep, sweep_range = _sweep([mapping(each) for each in items(state.get("sweep"))])
    word = text(verdict.get("word"))
    return EvaluationView(
        stale=text(state.get("fingerprint")) != fingerprint,
        word=word,
        tone=_TONES.get(word, ""),
        sentence=text(verdict.get("sentence")),
        following=tuple(map(str, items(verdict.get("following")))),
        arms=tuple(_arm(arm, attributes, main=main) for arm in arms),
        attributes=attributes,
        skipped=tuple((name, str(reason)) for name, reason in mapping(state.get("skipped")).items()),
        differences=tuple(_differences(verdict, {text(arm.get("name")): text(arm.get("title")) for arm in arms})),
        sweep=sweep,
        sweep_range=sweep_range,
        groups=tuple(_group(each, [text(arm.get("name")) for arm in arms]) for each in groups[:_MOST_GROUPS]),
        hidden=max(0, len(groups) - _MOST_GROUPS),
        distances=tuple(_distances(mapping(state.get("distances")))),
        shares=tuple(_shares(mapping(state.get("distances")))),
        counts={
            name: int(count)
            for name, each in mapping(state.get("counts")).items()
            if (count := number(each)) is not None
        },
        settings=mapping(state.get("settings")),
    )


def figure(value: Json) -> Figure | None:
    """Return an interval as evaluation.json holds it; None where nothing was measured."""
    state = mapping(value)
    middle = number(state.get("value"))
    if middle is None:
        return None
    return Figure(value=middle, low=number(state.get("low")), high=number(state.get("high")))


def _arm(state: Mapping[str, Json], attributes: Sequence[str], *, main: str) -> Arm:
    worst = mapping(state.get("worst_group"))
    return Arm(
        name=text(state.get("name")),
        title=text(state.get("title")),
        main=text(state.get("name")) == main,
        ratio=number(state.get("ratio")),
        images=int(number(state.get("images")) or 0),
        balanced=figure(state.get("balanced")),
        worst=figure(worst.get("accuracy")),
        worst_name=text(worst.get("group")),
        attributes=tuple(figure(mapping(state.get("attributes")).get(name)) for name in attributes),
    )


def _group(state: Mapping[str, Json], arms: Sequence[str]) -> Group:
    counts = {name: int(number(state.get(name)) or 0) for name in ("test_images", "train_real", "train_synthetic")}
    accuracy = mapping(state.get("accuracy"))
    return Group(name=text(state.get("name")), accuracy=tuple(figure(accuracy.get(arm)) for arm in arms), **counts)


def _differences(verdict: Mapping[str, Json], titles: Mapping[str, str]) -> list[Plot]:
    plots = []
    for measure, name in _MEASURES.items():
        rows: list[tuple[str, Figure, Tone]] = []
        for each in map(mapping, items(verdict.get("differences"))):
            found = figure(each.get("difference"))
            if each.get("measure") == measure and found is not None:
                against = text(each.get("against"))
                rows.append((titles.get(against, against), found, _TONES.get(text(each.get("word")), "")))
        if rows:
            plots.append(_plot(name, rows))
    return plots


def _plot(name: str, rows: Sequence[tuple[str, Figure, Tone]]) -> Plot:
    ends = [end for _, each, _ in rows for end in (each.low, each.value, each.high) if end is not None]
    low, high = min([*ends, -0.01]), max([*ends, 0.01])
    low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)

    def place(value: float) -> float:
        return round(WIDTH * (value - low) / (high - low), 1)

    return Plot(
        name=name,
        whiskers=tuple(
            Whisker(
                title=title,
                figure=each,
                x=place(each.value),
                left=place(each.value if each.low is None else each.low),
                right=place(each.value if each.high is None else each.high),
                tone=tone,
            )
            for title, each, tone in rows
        ),
        zero=place(0.0),
        low=low,
        high=high,
    )


def _sweep(states: Sequence[Mapping[str, Json]]) -> tuple[tuple[SweepPoint, ...], tuple[float, float]]:
    known = []
    for state in states:
        ratio, balanced = number(state.get("ratio")), figure(state.get("balanced"))
        if ratio is not None and balanced is not None:
            known.append((ratio, balanced, figure(mapping(state.get("worst_group")).get("accuracy"))))
    known.sort(key=lambda each: each[0])
    ends = [end for _, each, _ in known for end in (each.low, each.value, each.high) if end is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    span = (high - low) or 1.0

    def height(value: float | None, instead: float) -> float:
        return round(HEIGHT * (1 - ((instead if value is None else value) - low) / span), 1)

    points = tuple(
        SweepPoint(
            ratio=ratio,
            x=round(WIDTH * (0.5 + index) / len(known), 1),
            balanced=balanced,
            y=height(balanced.value, balanced.value),
            top=height(balanced.high, balanced.value),
            bottom=height(balanced.low, balanced.value),
            worst=worst,
        )
        for index, (ratio, balanced, worst) in enumerate(known)
    )
    return points, (low, high)


def _distances(state: Mapping[str, Json]) -> list[tuple[str, float | None, float | None]]:
    rows = []
    for name, words in (
        ("frechet", "Frechet distance to the real test images"),
        ("kernel", "Kernel distance to them"),
    ):
        pair = mapping(state.get(name))
        rows.append((words, number(pair.get("kept")), number(pair.get("real"))))
        if number(pair.get("ungated")) is not None:
            rows.append((f"{words}, before the gate", number(pair.get("ungated")), None))
    for name, words in (
        ("within_domain", "Mean distance between images of one domain"),
        ("within_source", "Mean distance between translations of one source (real: between any two images)"),
        ("nearest", "Median distance to the nearest other training image (real: of test images)"),
    ):
        pair = mapping(state.get(name))
        rows.append((words, number(pair.get("synthetic")), number(pair.get("real"))))
    return [row for row in rows if row[1] is not None or row[2] is not None]


def _shares(state: Mapping[str, Json]) -> list[tuple[str, float]]:
    named = (
        ("copies", "Nearer to a training image than 99 % of test images are"),
        ("unchanged", "Not different from their source"),
    )
    return [(words, share) for name, words in named if (share := number(state.get(name))) is not None]
