"""Command `augmentor judge`: options and the table of the judge's accuracy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from augmentor.cli import options
from augmentor.cli.display import ProgressBar
from augmentor.cli.session import command, print_json, print_line, results, visible
from augmentor.cli.tables import plain_table
from augmentor.storage import MAX_PIXELS

if TYPE_CHECKING:
    from augmentor.judge import KeptJudge


@command
def judge(
    manifest: options.ManifestArgument,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder to write. Default: the model's checkpoint.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Model whose translations it will judge.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Without --model: image size, such as 64.")
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=1, help="Without --model: side of the square crop before resizing."),
    ] = None,
    flip: Annotated[bool, typer.Option(help="Augment with mirrored images.")] = True,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Training time in minutes, in place of --steps. Default: 1.")
    ] = None,
    judge_weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Pretrained ResNet-18 weights; only a head is trained on them."),
    ] = None,
    image_column: options.ColumnOption = None,
    image_prefix: options.PrefixOption = None,
    image_suffix: options.SuffixOption = None,
    na_values: options.NaValuesOption = None,
    attributes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Columns to use; with --model, as for expand.")
    ] = None,
    model_size: options.ModelSizeOption = None,
    model_crop: options.ModelCropOption = None,
    key: options.KeyOption = None,
    unlabelled: options.UnlabelledOption = None,
    max_pixels: options.MaxPixelsOption = MAX_PIXELS,
    allow_outside: options.OutsideOption = False,
    device: options.DeviceOption = "auto",
    json: options.JsonOption = False,
) -> None:
    """Train the judge: the classifier that accepts or rejects translations.

    It is trained on the real train rows, and on tampered ones as images that
    show no value, and validated and calibrated on the val rows. It is stored in
    the model's newest checkpoint, or in --out for expand --judge. augmentor train
    ends with a short training of a judge; this command trains one for longer, on
    other images, or for a foreign model.
    """
    from augmentor.cli.devices import pick_device
    from augmentor.judge import JudgeRequest, judge_manifest
    from augmentor.outputs import refuse_file_name

    if out is not None:
        refuse_file_name(out)
    own = model is None
    request = JudgeRequest(
        manifest=manifest,
        out=out,
        model=model,
        description=options.foreign(None if own else attributes, model_size, model_crop, key, unlabelled),
        attributes=options.names(attributes) if own else (),
        reading=options.reading(image_column, image_prefix, image_suffix, na_values),
        size=size,
        crop=crop,
        flip=flip,
        steps=steps,
        minutes=minutes,
        weights=judge_weights,
        max_pixels=max_pixels,
        allow_outside=allow_outside,
    )
    with ProgressBar("judging", unit="%") as bar:
        result = judge_manifest(request, device=pick_device(device), on_progress=bar.update_share)
    results.print(judge_table(result.kept))
    print_line(f"Kept in {result.out}")
    if json:
        print_json({"out": str(result.out), **judge_json(result.kept)})


def judge_table(kept: KeptJudge) -> Group:
    """Return a judge's accuracy per attribute, its thresholds, and the attributes without a gate."""
    report = kept.report
    errors = ("calibration\nerror", "after\ncalibration")
    table = plain_table("attribute", "real\naccuracy", "chance", "images", *errors, "", title="The judge")
    for row in report.attributes:
        shares = ["-" if share is None else f"{share:.1%}" for share in row.shown]
        found = ["-" if error is None else f"{error:.1%}" for error in (row.error_before, row.error_after)]
        word = Text("trusted", "green") if row.trusted else Text("not trusted", "yellow")
        table.add_row(visible(row.name), *shares, f"{row.real_images:,}", *found, word)
    legend = (
        f"{report.steps:,} steps on {report.images:,} real images. real accuracy: balanced accuracy on validation "
        f"images ({report.validation}); calibration error: mean distance of confidence from accuracy, before and "
        "after temperature scaling."
    )
    thresholds = [f"{name} {least:.3g}" for name, least in asdict(kept.auto).items() if least is not None]
    gate = f"Automatic gate: {', '.join(thresholds) if thresholds else 'no thresholds'}."
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
