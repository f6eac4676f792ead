"""The HTML report: one page over an output, with a folder of thumbnails beside it and no other files."""

from __future__ import annotations

import json
import math
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
from augmentor.report.description import DescribedOutput
from augmentor.report.evaluation import evaluation_section
from augmentor.report.gallery import Gallery, make_gallery
from augmentor.report.judge import attribute_histograms, judge_section, score_histograms
from augmentor.report.provenance import origin_section, read_json, training_section
from augmentor.report.summary import summary_section
from augmentor.report.survey import survey
from augmentor.report.thumbnails import Thumbnails
from augmentor.storage import replacing_text
from stargan.labels import LabelSpace

_TEMPLATES = Path(__file__).parent / "templates"

_BLOCKY_UP_TO = 64
"""Pixels of a side: images up to this size are enlarged without smoothing."""

_SECTIONS = (
    ("summary", "Summary"),
    ("evaluation", "Evaluation"),
    ("counts", "Label counts"),
    ("grid", "Grid"),
    ("scores", "Scores"),
    ("pictures", "Images"),
    ("judge", "Judge"),
    ("training", "Training"),
    ("lineage", "Origin"),
)

_VERDICTS = ("best", "borderline", "rejected", "kept")


def report_path(out: Path) -> Path:
    """Return the path of an output's page: inside the folder, below its URL, or beside the HDF5 file."""
    return paths_of(out).beside("report.html")


def write_report(out: Path, description: Mapping[str, object] | None = None, images: Path | None = None) -> Path:
    """Write report.html, its thumbnails, the data set card and croissant.json; return the page's path.

    Equal inputs give equal bytes.

    Args:
        out: the folder or FILE.h5 that expand wrote.
        description: the future content of `dataset.json`, before expand writes it; else it is read.
        images: the file that will be renamed to FILE.h5, likewise.

    Raises:
        OutputError: there is no such output, a table is damaged, or the page cannot be written.
    """
    output = FinishedOutput.open(out, description=description, images=images)
    page, space = output.beside("report.html"), output.space
    found, described = survey(output), DescribedOutput.from_json(output.description)
    title = out.name or described.manifest or "data set"
    judge = judge_section(described)
    evaluation = evaluation_section(read_json(output.beside("evaluation.json")), fingerprint=described.fingerprint)
    try:
        thumbnails = Thumbnails(output.beside("report"))
        gallery = make_gallery(output, found, thumbnails, thresholds=described.thresholds)
        text = (
            _environment()
            .get_template("page.html")
            .render(
                title=title,
                out_name=out.name,
                style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
                script=Markup((_TEMPLATES / "page.js").read_text(encoding="utf-8")),  # noqa: S704 - our own file
                sections=_SECTIONS,
                blocky=thumbnails.largest_side <= _BLOCKY_UP_TO,
                assets=thumbnails.folder.name,
                summary=summary_section(found, described, space, judge=judge, evaluation=evaluation),
                evaluation=evaluation,
                splits=", ".join(found.splits),
                counts=attribute_counts(found, space),
                combinations=combination_counts(found, space),
                balance=balance_counts(described),
                scored=found.scored,
                thresholds=described.thresholds,
                histograms=score_histograms(found, described.thresholds),
                attribute_histograms=attribute_histograms(found, space),
                reasons=list(found.reasons.items()),
                gallery=gallery,
                grid=gallery.grid,
                **_filters(gallery, space),
                judge=judge,
                training=training_section(described),
                origin=origin_section(output, described),
            )
        )
        thumbnails.sync()
        with replacing_text(page) as file:
            file.write(text)
        thumbnails.remove_others()
        write_card(output, found, described, title=title, judge=judge, evaluation=evaluation)
        write_croissant(output, described, title=title)
    except OSError as error:
        raise OutputError(f"{page}: cannot be written ({error.strerror or error})") from error
    return page


def _filters(gallery: Gallery, space: LabelSpace) -> dict[str, object]:
    """Return the choices of the filters: those that at least one image has."""
    targets = {target for card in gallery.cards for target in card.target}
    changed = {name for card in gallery.cards for name in card.changed}
    values = [
        (each.name, [(target, value) for value in each.values if (target := f"{each.name}={value}") in targets])
        for each in space.attributes
    ]
    return {
        "verdicts": [verdict for verdict in _VERDICTS if any(card.verdict == verdict for card in gallery.cards)],
        "changed_names": [name for name in space.names if name in changed],
        "target_values": [(name, pairs) for name, pairs in values if pairs],
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
    # Long names may break after these characters.
    environment.filters["breaks"] = lambda words: re.sub("([=_/])", "\\1\N{ZERO WIDTH SPACE}", words)
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.tests["known"] = lambda number: number is not None and math.isfinite(number)
    # Unlike Jinja's `tojson`, for attributes, where it is escaped.
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment
