"""What the model's own run folder says, where it still is: losses, obedience, settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from augmentor.report.charts import Line, line_of
from augmentor.report.values import items, mapping, number, read_json, text
from augmentor.storage import Json

_MOST_CURVES = 12
_MOST_RECIPE = 20_000
"""Characters of run.toml that are shown."""

_NAMES = {"d/": "Discriminator: ", "g/": "Generator: "}


@dataclass(frozen=True, kw_only=True)
class Obeyed:
    """How well the generator changes one attribute; shares in [0, 1], None for unknown."""

    name: str
    level: str
    obeys: float | None
    untouched: float | None
    real: float | None
    chance: float | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is known of the training.

    Args:
        path: as expand was told it; "" if it was not kept.
        there: whether a run folder is still there.
        curves: the losses.
        obeyed: per attribute; empty where it was not measured of this very model.
        verdict: of obedience, in sentences.
        recipe: run.toml as it is written, or "".
    """

    path: str
    there: bool
    curves: tuple[Line, ...] = ()
    obeyed: tuple[Obeyed, ...] = ()
    verdict: tuple[str, ...] = ()
    recipe: str = ""


def read_run(description: Mapping[str, Json]) -> Run:
    """Read what is left of the model's run.

    Args:
        description: `dataset.json`, whose `model.path` says where it was.
    """
    model = mapping(description.get("model"))
    path = text(model.get("path"))
    if not path:
        return Run(path="", there=False)
    for folder in (Path(path), Path(path).absolute().parent.parent):
        log, recipe = _read_text(folder / "log.jsonl"), _read_text(folder / "run.toml")
        if log or recipe:
            break
    else:
        return Run(path=path, there=False)
    obedience = read_json(folder / "obedience.json")
    if (obedience.get("model_sha256"), obedience.get("step")) != (model.get("sha256"), model.get("step")):
        obedience = {}  # It was measured of another checkpoint.
    return Run(
        path=path,
        there=True,
        curves=_curves(log),
        obeyed=tuple(_obeyed(mapping(each)) for each in items(obedience.get("attributes"))),
        verdict=tuple(map(str, items(obedience.get("verdict")))),
        recipe=recipe[:_MOST_RECIPE],
    )


def _curves(log: str) -> tuple[Line, ...]:
    series: dict[str, list[tuple[float, float]]] = {}
    for line in log.splitlines():
        try:
            event: Json = json.loads(line)
        except ValueError:
            continue  # A kill cut it short.
        step = number(mapping(event).get("step"))
        for name, value in mapping(mapping(event).get("losses")).items():
            loss = number(value)
            if step is not None and loss is not None:
                series.setdefault(name, []).append((step, loss))
    drawn = [
        line_of(_readable(name), [x for x, _ in points], [y for _, y in points], unit="steps")
        for name, points in sorted(series.items())
    ]
    return tuple(line for line in drawn if line is not None)[:_MOST_CURVES]


def _readable(name: str) -> str:
    return _NAMES.get(name[:2], name[:2]) + name[2:].replace("_", " ")


def _obeyed(state: Mapping[str, Json]) -> Obeyed:
    shares = {name: number(state.get(name)) for name in ("obeys", "untouched", "real", "chance")}
    return Obeyed(name=text(state.get("name")), level=text(state.get("level")), **shares)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
