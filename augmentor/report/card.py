"""The data set card: README.md as Hugging Face shows it, with what is to be known before the images are used."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from augmentor.outputs import format_of
from augmentor.outputs.readers import FinishedOutput
from augmentor.report.counts import CountTable, attribute_counts
from augmentor.report.evaluation import EvaluationView
from augmentor.report.judge import JudgeView, judge_of
from augmentor.report.scores import thresholds_of
from augmentor.report.summary import title_of
from augmentor.report.survey import Survey
from augmentor.report.values import items, mapping, number, text
from augmentor.storage import Json, replacing_text

_TEMPLATES = Path(__file__).parent / "templates"

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGER = "1M<n<10M"

_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}

_LOADERS = {"folder": "imagefolder", "hdf5": "hdf5", "webdataset": "webdataset", "parquet": "parquet"}
"""What Hugging Face calls what reads each form."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")


def write_card(output: FinishedOutput, found: Survey, evaluation: EvaluationView | None) -> Path:
    """Write README.md, or FILE.README.md beside FILE.h5; equal inputs give equal bytes.

    Args:
        output: what is described.
        found: its tables.
        evaluation: what `evaluate` found, if it was run.
    """
    described = output.description
    splits = _splits(described)
    real, made = (sum(count[place] for _, *count in splits) for place in (0, 1))
    title = title_of(described, output.out)
    environment = Environment(  # noqa: S701 - Markdown, no HTML: every text goes through `plain`
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({"plain": plain, "count": lambda count: f"{count:,}"})
    page = environment.get_template("card.md").render(
        front=_front_matter(title, real + made, splits, output=output),
        title=title,
        is_file=output.is_file,
        loader=_LOADERS[format_of(described)],
        file_name=output.out.name,
        report=output.beside("report.html").name,
        described=described,
        model=mapping(described.get("model")),
        domains=", ".join(map(str, items(mapping(described.get("settings")).get("domains")))),
        splits=splits,
        real=real,
        made=made,
        share=made / (real + made) if real + made else 0.0,
        rejected=len(found.rejected),
        failed=int(number(mapping(described.get("counts")).get("failed")) or 0),
        tables=attribute_counts(found, output.space),
        translated=", ".join(found.splits),
        thresholds=thresholds_of(described),
        scored=found.scored,
        judge=judge_of(described),
        evaluation=None if evaluation is None or evaluation.stale else evaluation,
        limits=_limits(described, judge_of(described), evaluation, attribute_counts(found, output.space)),
        names=output.space.names,
    )
    path = output.beside("README.md")
    with replacing_text(path) as file:
        file.write(page)
    return path


def plain(words: object) -> str:
    """Return a text as Markdown and HTML show it letter by letter, on one line."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(str(words).split()), quote=False))


def _splits(described: Mapping[str, Json]) -> list[tuple[str, int, int]]:
    """Return (split, real images, synthetic images)."""
    found = mapping(mapping(described.get("counts")).get("splits"))
    return [
        (name, int(number(mapping(each).get("real")) or 0), int(number(mapping(each).get("synthetic")) or 0))
        for name, each in sorted(found.items(), key=lambda item: [*_HUB_SPLITS, item[0]].index(item[0]))
    ]


def _front_matter(
    title: str, images: int, splits: Sequence[tuple[str, int, int]], *, output: FinishedOutput
) -> str:
    """Return the YAML that the Hub reads; its texts are JSON's, which YAML understands."""
    size = next((name for most, name in _SIZES if images < most), _LARGER)
    lines = [
        f"pretty_name: {json.dumps(title, ensure_ascii=False)}",
        "task_categories:",
        "- image-classification",
        "size_categories:",
        f"- {json.dumps(size)}",
        "tags:",
        *(f"- {tag}" for tag in ("synthetic", "data-augmentation", "image-to-image", "stargan")),
    ]
    if not output.is_file:
        packs = output.pack_suffix
        lines += ["configs:", "- config_name: default"]
        lines += ["  drop_labels: true", "  data_files:"] if packs is None else ["  data_files:"]
        for name, _, _ in splits:
            path = f"{name}/**" if packs is None else f"{name}/*{packs}"
            lines += [f"  - split: {_HUB_SPLITS.get(name, name)}", f'    path: "{path}"']
    return "\n".join(lines)


def _limits(
    described: Mapping[str, Json],
    judge: JudgeView | None,
    evaluation: EvaluationView | None,
    tables: Sequence[CountTable],
) -> list[str]:
    """Return what is known to be wrong, or not known, a sentence or two each."""
    limits = [
        "The label of a translation is what the generator was asked for. "
        + (
            "Nothing checked whether the picture shows it."
            if judge is None
            else "A classifier checked it, and classifiers err."
        ),
        "Translations are made of the real images and add no subject, pose or background that is not in them. "
        "What goes along with a label in the real images (a hair style, a background) may be changed with it.",
        "Use translations to train, never to test: accuracy on them says little about real images.",
    ]
    if judge is not None:
        doubted = [each.name for each in judge.attributes if not each.trusted]
        if doubted:
            limits.append(
                f"Nothing was rejected for {', '.join(doubted)}: the classifier does not know it well enough."
            )
    asked = ", ".join(map(str, items(mapping(described.get("settings")).get("splits")))) or "train"
    if asked != "train":
        limits.append(f"Rows of {asked} were translated, so these splits hold synthetic images as well.")
    uneven = [table.name for table in tables if (table.ratio_after or 1) > 2]
    if uneven:
        limits.append(f"The values of {', '.join(uneven)} are still not equally frequent.")
    if evaluation is None or evaluation.stale:
        limits.append("Whether a classifier gets better by them has not been measured.")
    limits.append(
        "The licence and the terms of the real images hold for these, too; people in them may be recognised in "
        "their translations."
    )
    return limits


def describe_in_a_sentence(output: FinishedOutput) -> str:
    """Return what an output is, for catalogues."""
    counts = mapping(output.description.get("counts"))
    made, real = int(number(counts.get("synthetic")) or 0), int(number(counts.get("real")) or 0)
    return (
        f"{real:,} real images and {made:,} translations of them by a StarGAN, labelled by "
        f"{', '.join(output.space.names)}. Made from "
        f"{text(output.description.get('manifest')) or 'a manifest'} by augmentor expand."
    )
