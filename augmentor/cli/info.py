"""Command `augmentor info`: a model's labels, judge and target accuracy."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from augmentor.cli import options
from augmentor.cli.display import ProgressBar
from augmentor.cli.judge import judge_json, judge_table
from augmentor.cli.session import command, print_json, print_line, program, results
from augmentor.cli.tables import target_accuracy_table
from augmentor.storage import MAX_PIXELS


@command
def info(
    run: options.RunArgument,
    manifest: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="Measure target accuracy on this manifest.")
    ] = None,
    image_column: options.ColumnOption = None,
    image_prefix: options.PrefixOption = None,
    image_suffix: options.SuffixOption = None,
    na_values: options.NaValuesOption = None,
    attributes: options.LabelVectorOption = None,
    model_size: options.ModelSizeOption = None,
    model_crop: options.ModelCropOption = None,
    key: options.KeyOption = None,
    unlabelled: options.UnlabelledOption = None,
    max_pixels: options.MaxPixelsOption = MAX_PIXELS,
    allow_outside: options.OutsideOption = False,
    device: options.DeviceOption = "auto",
    json: options.JsonOption = False,
) -> None:
    """Show a model's labels and size, its judge, and its target accuracy."""
    from augmentor.data import describe_choice, open_model
    from augmentor.data.manifest import describe_sets
    from augmentor.judge import open_judge, read_target_accuracy
    from augmentor.training import method_title

    described = options.foreign(attributes, model_size, model_crop, key, unlabelled)
    model, judge = open_model(run, described), open_judge(run)
    choice = describe_choice(run, model.step)
    if manifest is None:
        accuracy = read_target_accuracy(run, model)
    else:
        from augmentor.cli.devices import pick_device
        from augmentor.judge import judge_model

        with ProgressBar("judging", unit="%") as bar:
            accuracy = judge_model(
                run,
                manifest,
                reading=options.reading(image_column, image_prefix, image_suffix, na_values),
                device=pick_device(device),
                description=described,
                max_pixels=max_pixels,
                allow_outside=allow_outside,
                on_progress=bar.update_share,
            )
    height, width = model.image_size
    method = method_title(model.settings)
    trained = "" if method is None else f" of {method}"
    weights = sum(weight.numel() for weight in model.generator.parameters())
    if json:
        print_json(
            {
                "label_space": model.space.to_json(),
                "image_size": [height, width],
                "image_channels": model.image_channels,
                "step": model.step,
                "method": method,
                "choice": choice,
                "generator": dict(model.generator.arguments),
                "weights": weights,
                "sha256": model.sha256,
                "judge": judge_json(judge) if judge is not None else None,
                "obedience": None if accuracy is None else accuracy.to_json(),
            }
        )
        return
    colours = "colour" if model.image_channels == 3 else f"{model.image_channels}-channel"
    print_line(f"{height} x {width} px {colours} images, {model.step:,} steps, {weights:,} weights{trained}")
    if choice is not None:
        print_line(f"Used: {choice}")
    for attribute in model.space.attributes:
        print_line(f"  {attribute.name}: {' | '.join(attribute.values)}")
    if model.space.label_sets:
        print_line(f"Trained jointly on {describe_sets(model.space)}")
    foreign = model.settings.get("foreign")
    if isinstance(foreign, dict):
        place = f", under the key {foreign['key']}" if "key" in foreign else ""
        values = ", ".join(f"{name}={value}" for name, value in model.unlabelled.items())
        told = f"; unknown labels count as {values}" if values else ""
        print_line(f"Foreign checkpoint: {foreign['layout']}, {foreign['file']}{place}{told}")
    if model.only_target is not None:
        only = model.space.attributes[0]
        print_line(f"One direction only: into {only.name}={only.values[-1]}")
    print_line(f"sha256 {model.sha256}")
    if judge is not None:
        results.print(judge_table(judge))
    else:
        making = shlex.join(["judge", "MANIFEST", "--model", str(run), *described.flags()])
        print_line(f"No judge yet:  {shlex.join(program())} {making}")
    if accuracy is not None:
        results.print(target_accuracy_table(accuracy))
    else:
        asking = shlex.join([*program(), "info", str(run), *described.flags(), "--manifest"])
        print_line(f"Target accuracy is not measured yet:  {asking} MANIFEST")
