"""The sections on the model's training and on the output's origin."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from augmentor.outputs.readers import FinishedOutput, read_chunks
from augmentor.report.charts import LineChart, line_of
from augmentor.report.description import DescribedOutput
from augmentor.storage import Json, read_declared

_MOST_CURVES = 12
_MOST_RECIPE = 20_000
"""Characters of run.toml that are shown."""

_MOST_FAILURES = 20

_NETWORKS = {"d/": "Discriminator: ", "g/": "Generator: "}


@dataclass(frozen=True, kw_only=True)
class AccuracyRow:
    """Target accuracy of one attribute, as obedience.json holds it; shares in [0, 1], None for unknown."""

    name: str
    level: str
    obeys: float | None
    untouched: float | None
    real: float | None

    @property
    def shown(self) -> tuple[float | None, ...]:
        """The shares of translations, sources and real images; see `AttributeTargetAccuracy.shown`."""
        judged = self.level != "not judged"
        return self.obeys if judged else None, self.untouched if judged else None, self.real


@dataclass(frozen=True, kw_only=True)
class _StoredAccuracy:
    model_sha256: str
    step: int | None
    attributes: tuple[AccuracyRow, ...]
    verdict: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _LogLine:
    step: float
    losses: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class TrainingSection:
    """The training of the model, as far as it is known.

    `path` is the model's, as expand recorded it; `found` is whether there is a run folder. `accuracy` and
    `verdict` are empty where target accuracy was not measured for this checkpoint; `recipe` is run.toml's text.
    """

    path: str
    found: bool
    curves: tuple[LineChart, ...] = ()
    accuracy: tuple[AccuracyRow, ...] = ()
    verdict: tuple[str, ...] = ()
    recipe: str = ""


@dataclass(frozen=True, kw_only=True)
class OriginSection:
    """The origin of the output, with its settings as JSON.

    `failures` are (id, reason) of the first rows that could not be used; `more_failures` counts the others.
    """

    command: str
    facts: tuple[tuple[str, str], ...]
    settings: str
    failures: tuple[tuple[str, str], ...]
    more_failures: int
    version: str


def training_section(description: DescribedOutput) -> TrainingSection:
    """Read the run folder of the model, as far as it is still there."""
    model = description.model
    if not model.path:
        return TrainingSection(path="", found=False)
    for folder in (Path(model.path), Path(model.path).absolute().parent.parent):
        log, recipe = _read_text(folder / "log.jsonl"), _read_text(folder / "run.toml")
        if log or recipe:
            break
    else:
        return TrainingSection(path=model.path, found=False)
    stored = read_declared(_StoredAccuracy, read_json(folder / "obedience.json"), lenient=True)
    of_this_checkpoint = (stored.model_sha256, stored.step) == (model.sha256, model.step)
    return TrainingSection(
        path=model.path,
        found=True,
        curves=_curves(log),
        accuracy=stored.attributes if of_this_checkpoint else (),
        verdict=stored.verdict if of_this_checkpoint else (),
        recipe=recipe[:_MOST_RECIPE],
    )


def _curves(log: str) -> tuple[LineChart, ...]:
    series: dict[str, list[tuple[float, float]]] = {}
    for text in log.splitlines():
        try:
            state: Json = json.loads(text)
        except ValueError:
            continue  # A kill cut it short.
        line = read_declared(_LogLine, state, lenient=True)
        for name, loss in line.losses.items():
            if math.isfinite(line.step) and math.isfinite(loss):
                series.setdefault(name, []).append((line.step, loss))
    drawn = [
        line_of(_loss_name(name), [x for x, _ in points], [y for _, y in points], unit="steps")
        for name, points in sorted(series.items())
    ]
    return tuple(line for line in drawn if line is not None)[:_MOST_CURVES]


def _loss_name(key: str) -> str:
    return _NETWORKS.get(key[:2], key[:2]) + key[2:].replace("_", " ")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_json(path: Path) -> Json:
    """Return the JSON value in a file; None where there is none, or it is damaged."""
    try:
        value: Json = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value


def origin_section(output: FinishedOutput, description: DescribedOutput) -> OriginSection:
    """Return where an output comes from, by its dataset.json and failures.csv."""
    model = description.model
    facts = [
        ("manifest", description.manifest),
        ("domains", ", ".join(description.requested.domains)),
        ("model", model.path),
        ("model, steps", "" if model.step is None else f"{model.step:,}"),
        ("model, choice", model.choice or ""),
        ("model, sha256", model.sha256),
        ("judge, sha256", description.judge.sha256),
        ("fingerprint", description.fingerprint),
    ]
    failures, more = _failures(output)
    return OriginSection(
        command=description.command,
        facts=tuple((name, value) for name, value in facts if value),
        settings=json.dumps(description.settings, indent=2, sort_keys=True, ensure_ascii=False),
        failures=failures,
        more_failures=more,
        version=description.augmentor,
    )


def _failures(output: FinishedOutput) -> tuple[tuple[tuple[str, str], ...], int]:
    path = output.beside("failures.csv")
    if not path.is_file():
        return (), 0
    shown: list[tuple[str, str]] = []
    rows = 0
    for chunk in read_chunks(path, expected=["id", "path", "reason"]):
        head = chunk.head(_MOST_FAILURES - len(shown))
        shown += list(zip(head["id"], head["reason"], strict=True))
        rows += len(chunk)
    return tuple(shown), rows - len(shown)
