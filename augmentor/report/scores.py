"""How the judge's scores are spread, beside what had to be reached."""

from __future__ import annotations

from collections.abc import Mapping

from augmentor.report.charts import Histogram, histogram_of
from augmentor.report.survey import SCORES, Survey, histogram
from augmentor.report.values import mapping, number
from augmentor.storage import Json
from stargan.labels import LabelSpace

_MOST_ATTRIBUTES = 24

_SAYS = {
    "agreement": "The judge's probability of everything that was asked for, of the attributes that it can be "
    "trusted with.",
    "realism": "The share of real validation images that the discriminator finds no more real than this.",
    "preserved": "How much of the source is left, apart from what had to change: the likeness of the judge's "
    "features.",
}


def thresholds_of(description: Mapping[str, Json]) -> dict[str, float]:
    """Return what each score had to reach, by `dataset.json`; empty where nothing was gated."""
    gate = mapping(description.get("gate"))
    given = mapping(gate.get("thresholds")) or gate
    return {name: least for name in SCORES if (least := number(given.get(name))) is not None}


def score_histograms(found: Survey, thresholds: Mapping[str, float]) -> list[Histogram]:
    """Draw every score that something is known of."""
    drawn = []
    for name in SCORES:
        kept, rejected = found.kept.scores[name], found.rejected.scores[name]
        low = -1.0 if name == "preserved" and ((kept < 0).any() or (rejected < 0).any()) else 0.0
        counts = [histogram(values, low=low).tolist() for values in (kept, rejected)]
        if any(map(sum, counts)):
            drawn.append(histogram_of(name, _SAYS[name], *counts, low=low, threshold=thresholds.get(name)))
    return drawn


def attribute_histograms(found: Survey, space: LabelSpace) -> list[Histogram]:
    """Draw the judge's probability of the target's value for every attribute."""
    drawn = []
    for column, name in enumerate(space.names[:_MOST_ATTRIBUTES]):
        kept, rejected = found.kept.each[column].tolist(), found.rejected.each[column].tolist()
        if sum(kept) + sum(rejected):
            says = f"The judge's probability of the value of {name} that was asked for."
            drawn.append(histogram_of(name, says, kept, rejected))
    return drawn
