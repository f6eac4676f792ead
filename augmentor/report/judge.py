"""The sections on scores and on the judge: histograms, thresholds, accuracy and confusion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from augmentor.judge import AttributeAccuracy, JudgeReport, Offers
from augmentor.report.charts import Histogram, histogram_of
from augmentor.report.description import DescribedOutput
from augmentor.report.survey import SCORES, Survey, histogram
from stargan.labels import LabelSpace

_MOST_ATTRIBUTES = 24
_MOST_VALUES = 16

_MEANINGS = {
    "agreement": "The judge's probability of the whole target, over the attributes that it can be trusted with.",
    "realism": "The share of real validation images with a discriminator score no higher than this one's.",
    "preserved": "Similarity of the judge's features to the source's, apart from the requested change.",
}


@dataclass(frozen=True, kw_only=True)
class ConfusionRow:
    """The judge's answers for the real validation images of one value.

    `share` of them are recognised; `predicted` are the shares taken for each value of the attribute, if known.
    """

    value: str
    share: float
    predicted: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConfusionTable:
    """The confusion of one attribute; `hidden` values are left out."""

    name: str
    rows: tuple[ConfusionRow, ...]
    hidden: int

    @property
    def complete(self) -> bool:
        """Whether the predicted values are known."""
        return any(row.predicted for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class JudgeSection:
    """The judge of an expansion; `offers` is a sentence on the threshold of agreement, or ""."""

    report: JudgeReport
    confusions: tuple[ConfusionTable, ...]
    offers: str


def judge_section(description: DescribedOutput) -> JudgeSection | None:
    """Return the section on the judge; None for an expansion without one."""
    report = description.judge.report
    if not report.attributes:
        return None
    confusions = (_confusion(attribute) for attribute in report.attributes)
    return JudgeSection(
        report=report,
        confusions=tuple(table for table in confusions if table.rows),
        offers=_offers(description.gate.offers),
    )


def _confusion(attribute: AttributeAccuracy) -> ConfusionTable:
    known = [(value, share) for value, share in attribute.values.items() if math.isfinite(share)]
    counts = attribute.confusion
    shown = (
        len(known) <= _MOST_VALUES and len(counts) == len(known) and all(len(row) == len(known) for row in counts)
    )
    rows = [
        ConfusionRow(
            value=value,
            share=share,
            predicted=tuple(count / max(1.0, sum(counts[index])) for count in counts[index]) if shown else (),
        )
        for index, (value, share) in enumerate(known[:_MOST_VALUES])
    ]
    return ConfusionTable(name=attribute.name, rows=tuple(rows), hidden=max(0, len(known) - _MOST_VALUES))


def _offers(offers: Offers | None) -> str:
    if offers is None or not (math.isfinite(offers.true_kept) and math.isfinite(offers.false_rejected)):
        return ""
    return (
        f"On real validation images, the gate's agreement rejects {offers.false_rejected:.1%} with wrong labels "
        f"and keeps {offers.true_kept:.1%} with their own labels."
    )


def score_histograms(found: Survey, thresholds: Mapping[str, float]) -> list[Histogram]:
    """Draw every score with known values."""
    drawn = []
    for name in SCORES:
        kept, rejected = found.kept.scores[name], found.rejected.scores[name]
        low = -1.0 if name == "preserved" and ((kept < 0).any() or (rejected < 0).any()) else 0.0
        counts = [histogram(values, low=low).tolist() for values in (kept, rejected)]
        if any(map(sum, counts)):
            drawn.append(histogram_of(name, _MEANINGS[name], *counts, low=low, threshold=thresholds.get(name)))
    return drawn


def attribute_histograms(found: Survey, space: LabelSpace) -> list[Histogram]:
    """Draw the judge's probability of the target's value for every attribute."""
    drawn = []
    for column, name in enumerate(space.names[:_MOST_ATTRIBUTES]):
        kept, rejected = found.kept.each[column].tolist(), found.rejected.each[column].tolist()
        if sum(kept) + sum(rejected):
            meaning = f"The judge's probability of the requested value of {name}."
            drawn.append(histogram_of(name, meaning, kept, rejected))
    return drawn
