"""What a judge is worth, told to the person who reads it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from augmentor.cli.session import visible

if TYPE_CHECKING:
    from augmentor.quality import KeptJudge


def judge_table(kept: KeptJudge) -> Group:
    """Return what a judge is worth: a row per attribute, its thresholds, and what is not gated on."""
    report = kept.report
    table = Table(title="The judge", title_justify="left", box=None, pad_edge=False)
    table.add_column("attribute", overflow="fold")
    for heading in ("real", "guessing", "images", "off", "calibrated"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for row in report.attributes:
        shares = ["-" if share is None else f"{share:.1%}" for share in (row.accuracy, row.chance)]
        errors = ["-" if error is None else f"{error:.1%}" for error in (row.error_before, row.error_after)]
        word = Text("trusted", "green") if row.trusted else Text("not trusted", "yellow")
        table.add_row(visible(row.name), *shares, f"{row.real_images:,}", *errors, word)
    legend = (
        f"{report.steps:,} steps on {report.images:,} real images. real: balanced accuracy on validation images "
        f"({report.validation}); off: how far its confidence lies from its accuracy, and calibrated: the same "
        "with its temperature."
    )
    thresholds = [f"{name} {least:.3g}" for name, least in asdict(kept.auto).items() if least is not None]
    gate = f"Automatic gate: {', '.join(thresholds) if thresholds else 'nothing to gate on'}."
    lines = [gate, *kept.notes, *(f"{doubt}." for doubt in report.doubts)]
    return Group(table, Text(legend, "dim"), *(Text(visible(line)) for line in lines))


def judge_json(kept: KeptJudge) -> dict[str, object]:
    """Return the same as plain JSON values."""
    return {
        "sha256": kept.sha256,
        "model_sha256": kept.model_sha256,
        "image_size": list(kept.image_size),
        "report": kept.report.to_json(),
        "trusted": list(kept.report.trusted),
        "auto": asdict(kept.auto),
        "offers": None if kept.offers is None else asdict(kept.offers),
        "notes": list(kept.notes),
    }
