"""Command `augmentor info`: a model's labels, judge and target accuracy."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from augmentor.cli.display import ProgressBar
from augmentor.cli.judge import judge_json, judge_table
from augmentor.cli.options import (
    ColumnOption,
    DeviceOption,
    JsonOption,
    LabelVectorOption,
    MaxPixelsOption,
    ModelCropOption,
    ModelSizeOption,
    OutsideOption,
    RunArgument,
)
from augmentor.cli.session import command, escape, print_json, program, results
from augmentor.cli.tables import target_accuracy_table
from augmentor.storage import MAX_PIXELS


@command
def info(
    run: RunArgument,
    manifest: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="Measure target accuracy on this manifest.")
    ] = None,
    image_column: ColumnOption = None,
    attributes: LabelVectorOption = None,
    model_size: ModelSizeOption = None,
    model_crop: ModelCropOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    allow_outside: OutsideOption = False,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Show a model's labels and size, its judge, and its target accuracy."""
    from augmentor.data import ForeignDescription, open_model
    from augmentor.data.manifest import describe_sets
    from augmentor.judge import open_judge, read_target_accuracy

    described = ForeignDescription(attributes=attributes, size=model_size, crop=model_crop)
    model, judge = open_model(run, described), open_judge(run)
    if manifest is None:
        obedience = read_target_accuracy(run, model)
    else:
        from augmentor.cli.devices import pick_device
        from augmentor.judge import judge_model

        with ProgressBar("judging", unit="%") as bar:
            obedience = judge_model(
                run,
                manifest,
                image_column=image_column,
                device=pick_device(device),
                description=described,
                max_pixels=max_pixels,
                allow_outside=allow_outside,
                on_progress=lambda done: bar.update(int(100 * done), 100),
            )
    height, width = model.image_size
    weights = sum(weight.numel() for weight in model.generator.parameters())
    if json:
        print_json(
            {
                "label_space": model.space.to_json(),
                "image_size": [height, width],
                "image_channels": model.image_channels,
                "step": model.step,
                "generator": dict(model.generator.arguments),
                "weights": weights,
                "sha256": model.sha256,
                "judge": judge_json(judge) if judge is not None else None,
                "obedience": obedience.to_json() if obedience is not None else None,
            }
        )
        return
    colours = "colour" if model.image_channels == 3 else f"{model.image_channels}-channel"
    results.print(f"{height} x {width} px {colours} images, {model.step:,} steps, {weights:,} weights")
    for attribute in model.space.attributes:
        results.print(f"  {escape(attribute.name)}: {escape(' | '.join(attribute.values))}", soft_wrap=True)
    if model.space.label_sets:
        results.print(f"Trained jointly on {escape(describe_sets(model.space))}", soft_wrap=True)
    foreign = model.settings.get("foreign")
    if isinstance(foreign, dict):
        results.print(f"Foreign checkpoint: {foreign['layout']}, {escape(str(foreign['file']))}", soft_wrap=True)
    if model.only_target is not None:
        only = model.space.attributes[0]
        results.print(f"One direction only: into {escape(f'{only.name}={only.values[-1]}')}", soft_wrap=True)
    results.print(f"sha256 {model.sha256}", soft_wrap=True)
    if judge is not None:
        results.print(judge_table(judge))
    else:
        making = shlex.join(["judge", "MANIFEST", "--model", str(run), *described.flags()])
        results.print(f"No judge yet:  {shlex.join(program())} {making}", soft_wrap=True, markup=False)
    if obedience is not None:
        results.print(target_accuracy_table(obedience))
    else:
        asking = shlex.join([*program(), "info", str(run), *described.flags(), "--manifest"])
        results.print(f"Target accuracy is not measured yet:  {asking} MANIFEST", soft_wrap=True, markup=False)
