"""The head of the page: figures and notes."""

from __future__ import annotations

from dataclasses import dataclass

from augmentor.errors import counted
from augmentor.report.description import DescribedOutput
from augmentor.report.evaluation import EvaluationSection, Tone
from augmentor.report.judge import JudgeSection
from augmentor.report.survey import Survey
from stargan.labels import LabelSpace


@dataclass(frozen=True, kw_only=True)
class SummaryTile:
    """A large figure."""

    words: str
    value: str
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class SummaryNote:
    """A remark: its first words, and the rest."""

    head: str
    words: str
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class SummarySection:
    """The head of the page: a sentence on the output, figures, remarks, the number of rejected translations."""

    lead: str
    tiles: tuple[SummaryTile, ...]
    notes: tuple[SummaryNote, ...]
    rejected: int


def summary_section(
    found: Survey,
    description: DescribedOutput,
    space: LabelSpace,
    *,
    judge: JudgeSection | None,
    evaluation: EvaluationSection | None,
) -> SummarySection:
    """Return the head of the page."""
    real, kept, rejected = len(found.real), len(found.kept), len(found.rejected)
    failed = description.counts.failed
    share = kept / (real + kept) if real + kept else 0.0
    tiles = [
        SummaryTile(words="real images", value=f"{real:,}"),
        SummaryTile(words="translations kept", value=f"{kept:,}", tone="made"),
        SummaryTile(words="of all images are synthetic", value=f"{100 * share:.0f} %"),
    ]
    if rejected or description.thresholds:
        tone = "bad" if rejected else ""
        tiles.append(SummaryTile(words="translations rejected", value=f"{rejected:,}", tone=tone))
    if failed:
        tiles.append(SummaryTile(words="rows could not be used", value=f"{failed:,}", tone="bad"))
    return SummarySection(
        lead=(
            f"{kept:,} translations of {real:,} real images of {description.manifest or 'a manifest'}, labelled "
            f"by {', '.join(space.names)}."
        ),
        tiles=tuple(tiles),
        notes=(*_unchecked(description), _verdict(evaluation), *_gate(found, description, judge)),
        rejected=rejected,
    )


def _unchecked(description: DescribedOutput) -> list[SummaryNote]:
    found = description.unchecked
    if not found:
        return []
    changes = "; ".join(f"{each.attribute} ({', '.join(each.values)}): {each.reason}" for each in found)
    words = f"Translations that change this were kept without a check that they show the new value. {changes}."
    names = ", ".join(dict.fromkeys(each.attribute for each in found))
    return [SummaryNote(head=f"Unchecked: {names}.", words=words, tone="bad")]


def _verdict(evaluation: EvaluationSection | None) -> SummaryNote:
    if evaluation is None:
        return SummaryNote(
            head="Not evaluated.",
            words="augmentor evaluate measures the gain of a classifier on real test images.",
        )
    if evaluation.stale:
        return SummaryNote(
            head="The evaluation is out of date.", words="Run augmentor evaluate again.", tone="mid"
        )
    verdict = evaluation.found.verdict
    return SummaryNote(head=f"{verdict.word.capitalize()}.", words=verdict.sentence, tone=evaluation.tone)


def _gate(found: Survey, description: DescribedOutput, judge: JudgeSection | None) -> list[SummaryNote]:
    if judge is None and not found.scored:
        return [SummaryNote(head="Not judged.", words="Every translation was kept, unchecked.", tone="mid")]
    if not description.thresholds:
        return [
            SummaryNote(
                head="Scored, without a gate.", words="No score was required, and none is a reason to reject."
            )
        ]
    required = ", ".join(f"{name} of at least {least:.2f}" for name, least in description.thresholds.items())
    pairs = (
        f"{counted(len(description.gate.lowered), 'pair')} of values that the judge knows less well on real images"
    )
    rare = f" Less agreement was required of {pairs}." if description.gate.lowered else ""
    notes = [SummaryNote(head="Gated.", words=f"Translations were kept with {required}.{rare}", tone="good")]
    doubted = [] if judge is None else [each for each in judge.report.attributes if not each.trusted]
    if doubted:
        why = "; ".join(f"{each.name} ({each.doubt})" if each.doubt else each.name for each in doubted)
        notes.append(
            SummaryNote(head="Not gated on", words=f"{why}: the judge cannot be trusted there.", tone="mid")
        )
    return notes
