"""The head of the page: the figures that matter, and what is to be known before the images are used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from augmentor.errors import counted
from augmentor.outputs.readers import FinishedOutput, read_chunks
from augmentor.report.evaluation import EvaluationView, Tone
from augmentor.report.judge import JudgeView
from augmentor.report.survey import Survey
from augmentor.report.values import items, mapping, number, text
from augmentor.storage import Json

_MOST_FAILURES = 20


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One large figure."""

    words: str
    value: str
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Note:
    """One remark: its first words, and the rest."""

    head: str
    words: str
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the page begins with.

    Args:
        lead: the output in a sentence.
        tiles: the figures.
        notes: the remarks.
        rejected: translations that were thrown out.
    """

    lead: str
    tiles: tuple[Tile, ...]
    notes: tuple[Note, ...]
    rejected: int


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where the output comes from.

    Args:
        command: the command line, or "".
        facts: names and values.
        settings: as JSON.
        failures: (id, reason) of some rows that could not be used.
        more_failures: how many others there are.
        version: of augmentor.
    """

    command: str
    facts: tuple[tuple[str, str], ...]
    settings: str
    failures: tuple[tuple[str, str], ...]
    more_failures: int
    version: str


def summarise(
    output: FinishedOutput,
    found: Survey,
    *,
    thresholds: Mapping[str, float],
    judge: JudgeView | None,
    evaluation: EvaluationView | None,
) -> Summary:
    """Return the head of the page.

    Args:
        output: what is reported.
        found: its tables.
        thresholds: what each score had to reach.
        judge: what judged, if anything did.
        evaluation: what `evaluate` found, if it was run.
    """
    counts, gate = mapping(output.description.get("counts")), mapping(output.description.get("gate"))
    real, kept, rejected = len(found.real.places), len(found.kept), len(found.rejected)
    failed = int(number(counts.get("failed")) or 0)
    share = kept / (real + kept) if real + kept else 0.0
    tiles = [
        Tile(words="real images", value=f"{real:,}"),
        Tile(words="translations kept", value=f"{kept:,}", tone="made"),
        Tile(words="of all images are synthetic", value=f"{100 * share:.0f} %"),
    ]
    if rejected or thresholds:
        tiles.append(Tile(words="translations rejected", value=f"{rejected:,}", tone="bad" if rejected else ""))
    if failed:
        tiles.append(Tile(words="rows could not be used", value=f"{failed:,}", tone="bad"))
    words = text(output.description.get("manifest")) or "a manifest"
    names = ", ".join(output.space.names)
    return Summary(
        lead=f"{kept:,} translations of {real:,} real images of {words}, labelled by {names}.",
        tiles=tuple(tiles),
        notes=(*_verdict(evaluation), *_gate(found, thresholds, judge, less=len(items(gate.get("lowered"))))),
        rejected=rejected,
    )


def _verdict(evaluation: EvaluationView | None) -> list[Note]:
    if evaluation is None:
        return [
            Note(
                head="Whether they help is not measured.", words="augmentor evaluate says it on real test images."
            )
        ]
    if evaluation.stale:
        return [Note(head="The evaluation is out of date.", words="Run augmentor evaluate again.", tone="mid")]
    return [Note(head=f"{evaluation.word.capitalize()}.", words=evaluation.sentence, tone=evaluation.tone)]


def _gate(found: Survey, thresholds: Mapping[str, float], judge: JudgeView | None, *, less: int) -> list[Note]:
    if judge is None and not found.scored:
        return [Note(head="Not judged.", words="Every translation was kept as the generator made it.", tone="mid")]
    if not thresholds:
        return [
            Note(head="Scored, but not gated.", words="No score was required, so none was a reason to reject.")
        ]
    asked = ", ".join(f"{name} of at least {least:.2f}" for name, least in thresholds.items())
    pairs = f"{counted(less, 'pair')} of values that the judge knows less well on real images"
    rare = f" Less agreement was asked of {pairs}." if less else ""
    words = f"Kept were translations with {asked}.{rare}"
    notes = [Note(head="Gated.", words=words, tone="good")]
    doubted = [each for each in judge.attributes if not each.trusted] if judge is not None else []
    if doubted:
        why = "; ".join(f"{each.name} ({each.doubt})" if each.doubt else each.name for each in doubted)
        notes.append(Note(head="Not gated on", words=f"{why}: the judge cannot be trusted there.", tone="mid"))
    return notes


def lineage_of(output: FinishedOutput) -> Lineage:
    """Return where an output comes from, by its `dataset.json` and `failures.csv`."""
    described = output.description
    model, settings = mapping(described.get("model")), mapping(described.get("settings"))
    step = number(model.get("step"))
    facts = [
        ("manifest", text(described.get("manifest"))),
        ("domains", ", ".join(map(str, items(settings.get("domains"))))),
        ("model", text(model.get("path"))),
        ("model, steps", "" if step is None else f"{step:,.0f}"),
        ("model, sha256", text(model.get("sha256"))),
        ("judge, sha256", text(mapping(described.get("judge")).get("sha256"))),
        ("fingerprint", text(described.get("fingerprint"))),
    ]
    failures, more = _failures(output)
    return Lineage(
        command=text(described.get("command")),
        facts=tuple((name, value) for name, value in facts if value),
        settings=json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False),
        failures=failures,
        more_failures=more,
        version=text(described.get("augmentor")),
    )


def _failures(output: FinishedOutput) -> tuple[tuple[tuple[str, str], ...], int]:
    path: Path = output.beside("failures.csv")
    if not path.is_file():
        return (), 0
    shown: list[tuple[str, str]] = []
    rows = 0
    for chunk in read_chunks(path, expected=["id", "path", "reason"]):
        head = chunk.head(_MOST_FAILURES - len(shown))
        shown += list(zip(head["id"], head["reason"], strict=True))
        rows += len(chunk)
    return tuple(shown), rows - len(shown)


def title_of(described: Mapping[str, Json], out: Path) -> str:
    """Return what the page and the card are called."""
    return out.name or text(described.get("manifest")) or "data set"
