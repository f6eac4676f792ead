"""The data set card: README.md in Hugging Face's format."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from augmentor.outputs import format_of
from augmentor.outputs.readers import FinishedOutput
from augmentor.report.counts import CountTable, attribute_counts
from augmentor.report.description import DescribedOutput
from augmentor.report.evaluation import EvaluationSection
from augmentor.report.judge import JudgeSection
from augmentor.report.survey import Survey
from augmentor.storage import replacing_text

_TEMPLATES = Path(__file__).parent / "templates"

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGER = "1M<n<10M"

_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}

_LOADERS = {"folder": "imagefolder", "hdf5": "hdf5", "webdataset": "webdataset", "parquet": "parquet"}
"""Hugging Face's loader of each format."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")


def write_card(
    output: FinishedOutput,
    found: Survey,
    description: DescribedOutput,
    *,
    title: str,
    judge: JudgeSection | None,
    evaluation: EvaluationSection | None,
) -> Path:
    """Write README.md, or FILE.README.md beside FILE.h5; equal inputs give equal bytes."""
    splits = [
        (name, images.real, images.synthetic)
        for name in sorted(description.counts.splits, key=[*_HUB_SPLITS, *sorted(description.counts.splits)].index)
        for images in [description.counts.splits[name]]
    ]
    real, made = sum(each[1] for each in splits), sum(each[2] for each in splits)
    current = None if evaluation is None or evaluation.stale else evaluation
    tables = attribute_counts(found, output.space)
    environment = Environment(  # noqa: S701 - Markdown, no HTML: every text goes through `plain`
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({"plain": plain, "count": lambda count: f"{count:,}"})
    page = environment.get_template("card.md").render(
        front=_front_matter(title, real + made, [name for name, _, _ in splits], output, description.revision),
        title=title,
        is_file=output.is_file,
        loader=_LOADERS[format_of(output.description)],
        file_name=output.out.name,
        class_folders=bool(description.settings.get("class_folders")),
        report=output.beside("report.html").name,
        described=description,
        domains=", ".join(description.requested.domains),
        splits=splits,
        real=real,
        made=made,
        share=made / (real + made) if real + made else 0.0,
        rejected=len(found.rejected),
        tables=tables,
        translated=", ".join(found.splits),
        scored=found.scored,
        judge=judge,
        evaluation=current,
        limits=_limits(description, judge, tables, evaluated=current is not None),
        names=output.space.names,
    )
    path = output.beside("README.md")
    with replacing_text(path) as file:
        file.write(page)
    return path


def plain(words: object) -> str:
    """Return a text on one line, escaped so that Markdown and HTML show every character."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(str(words).split()), quote=False))


def _front_matter(title: str, images: int, splits: Sequence[str], output: FinishedOutput, revision: int) -> str:
    """Return the YAML that the Hub reads; its texts are JSON's, which are valid YAML."""
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
        # Hugging Face keeps what it has loaded by the folder's name and by this block, never by the files.
        lines += ["configs:", "- config_name: default", f"  version: 0.0.{revision}"]
        lines += ["  drop_labels: true", "  data_files:"] if packs is None else ["  data_files:"]
        for name in splits:
            path = f"{name}/**" if packs is None else f"{name}/*{packs}"
            lines += [f"  - split: {_HUB_SPLITS.get(name, name)}", f'    path: "{path}"']
    return "\n".join(lines)


def _limits(
    description: DescribedOutput, judge: JudgeSection | None, tables: Sequence[CountTable], *, evaluated: bool
) -> list[str]:
    """Return the known limits, a sentence or two each."""
    limits = [
        "The labels of a translation are those that were requested from the generator. "
        + (
            "No classifier checked them."
            if judge is None
            else "A classifier checked them, with errors of its own."
        ),
        "Translations are made from the real images and add no subject, pose or background that is not in them. "
        "What is correlated with a label in the real images (a hair style, a background) may be changed with it.",
        "Use translations for training only, never for testing: accuracy on them says little about real images.",
    ]
    doubted = [] if judge is None else [each.name for each in judge.report.attributes if not each.trusted]
    if doubted:
        limits.append(
            f"Nothing was rejected for {', '.join(doubted)}: the classifier is not accurate enough on real images."
        )
    if description.unchecked and judge is not None:
        names = ", ".join(dict.fromkeys(each.attribute for each in description.unchecked))
        limits.append(f"Changes of {names} were not checked at all (`unchecked` in the column `agreement`).")
    translated = ", ".join(description.requested.splits) or "train"
    if translated != "train":
        limits.append(f"Rows of {translated} were translated, so these splits hold synthetic images as well.")
    uneven = [table.name for table in tables if (table.ratio_after or 1) > 2]
    if uneven:
        limits.append(f"The values of {', '.join(uneven)} are still imbalanced.")
    if not evaluated:
        limits.append("The gain of a classifier trained on them has not been measured.")
    limits.append(
        "The licence and the terms of the real images apply to the translations, too; people in them may be "
        "recognisable."
    )
    return limits
