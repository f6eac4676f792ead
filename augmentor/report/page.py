"""One HTML page over an output, with its pictures beside it: nothing is fetched from anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from augmentor.errors import OutputError
from augmentor.outputs import paths_of
from augmentor.outputs.readers import FinishedOutput
from augmentor.report.card import write_card
from augmentor.report.counts import attribute_counts, balance_counts, combination_counts
from augmentor.report.croissant import write_croissant
from augmentor.report.evaluation import EvaluationView, view_evaluation
from augmentor.report.gallery import Gallery, make_gallery
from augmentor.report.judge import judge_of
from augmentor.report.pictures import Pictures
from augmentor.report.run import read_run
from augmentor.report.scores import attribute_histograms, score_histograms, thresholds_of
from augmentor.report.summary import lineage_of, summarise, title_of
from augmentor.report.survey import Survey, survey
from augmentor.report.values import read_json, text
from augmentor.storage import replacing_text

_TEMPLATES = Path(__file__).parent / "templates"

_BLOCKY_UP_TO = 64
"""Pixels of a side: smaller images are enlarged as they are, not smoothed."""

_SECTIONS = (
    ("summary", "Summary"),
    ("evaluation", "Does it help?"),
    ("counts", "Before and after"),
    ("grid", "Sources"),
    ("scores", "Scores"),
    ("pictures", "Pictures"),
    ("judge", "Judge"),
    ("training", "Training"),
    ("lineage", "Lineage"),
)

_VERDICTS = ("best", "borderline", "rejected", "kept")


def report_path(out: Path) -> Path:
    """Return where an output's page lies: inside the folder, below its URL, or beside the HDF5 file."""
    return paths_of(out).beside("report.html")


def write_report(out: Path, description: Mapping[str, object] | None = None, images: Path | None = None) -> Path:
    """Write report.html, its folder of pictures, and the data set card; equal inputs give equal bytes.

    Args:
        out: the folder or FILE.h5 that expand wrote.
        description: what `dataset.json` will say, where expand calls this before it is written; else it is read.
        images: the file that will take the name of FILE.h5, likewise.

    Returns:
        The page.

    Raises:
        OutputError: there is no such output, a table is damaged, or the page cannot be written.
    """
    output = FinishedOutput.open(out, description=description, images=images)
    page = output.beside("report.html")
    found = survey(output)
    evaluation = view_evaluation(
        read_json(output.beside("evaluation.json")), fingerprint=text(output.description.get("fingerprint"))
    )
    try:
        pictures = Pictures(output.beside("report"))
        with replacing_text(page) as file:
            file.write(_render(output, found, evaluation, pictures))
        pictures.remove_others()
        write_card(output, found, evaluation)
        write_croissant(output)
    except OSError as error:
        raise OutputError(f"{page}: cannot be written ({error.strerror or error})") from error
    return page


def _render(output: FinishedOutput, found: Survey, evaluation: EvaluationView | None, pictures: Pictures) -> str:
    thresholds = thresholds_of(output.description)
    judge = judge_of(output.description)
    gallery = make_gallery(output, found, pictures, thresholds=thresholds)
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title_of(output.description, output.out),
            out_name=output.out.name,
            style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),  # noqa: S704 - our own file
            sections=_SECTIONS,
            blocky=pictures.largest_side <= _BLOCKY_UP_TO,
            assets=pictures.folder.name,
            summary=summarise(output, found, thresholds=thresholds, judge=judge, evaluation=evaluation),
            evaluation=evaluation,
            splits=", ".join(found.splits),
            counts=attribute_counts(found, output.space),
            combinations=combination_counts(found, output.space),
            balance=balance_counts(output.description),
            scored=found.scored,
            thresholds=thresholds,
            histograms=score_histograms(found, thresholds),
            attribute_histograms=attribute_histograms(found, output.space),
            reasons=list(found.reasons.items()),
            gallery=gallery,
            grid=gallery.grid,
            **_filters(gallery, output),
            judge=judge,
            run=read_run(output.description),
            lineage=lineage_of(output),
        )
    )


def _filters(gallery: Gallery, output: FinishedOutput) -> dict[str, object]:
    """Return what can be chosen: only what at least one picture has."""
    targets = {target for card in gallery.cards for target in card.target}
    changed = {name for card in gallery.cards for name in card.changed}
    values = [
        (attribute.name, [(f"{attribute.name}={value}", value) for value in attribute.values])
        for attribute in output.space.attributes
    ]
    there = [(name, [pair for pair in pairs if pair[0] in targets]) for name, pairs in values]
    return {
        "verdicts": [verdict for verdict in _VERDICTS if any(card.verdict == verdict for card in gallery.cards)],
        "changed_names": [name for name in output.space.names if name in changed],
        "target_values": [(name, pairs) for name, pairs in there if pairs],
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A long name may go on in the next line where people would break it.
    environment.filters["breaks"] = lambda words: re.sub("([=_/])", "\\1\N{ZERO WIDTH SPACE}", words)
    environment.filters["count"] = lambda number: f"{number:,}"
    # Not Jinja's own `tojson`, which is made for scripts: this one is for attributes, and escaped there.
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment
