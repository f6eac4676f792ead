"""Command `augmentor preview`: a grid of inputs against targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from augmentor.cli import options
from augmentor.cli.session import command, print_line, print_next
from augmentor.storage import MAX_PIXELS


@command
def preview(
    context: typer.Context,
    manifest: options.ManifestArgument,
    model: options.ModelOption,
    out: Annotated[Path, typer.Option(metavar="FILE.png", help="Image to write.")],
    domains: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help="Target domains, as for expand. Default: each.")
    ] = None,
    splits: Annotated[
        str, typer.Option(metavar="NAME,...", help="Splits to choose rows from.")
    ] = "train,val,test",
    rows: Annotated[int, typer.Option(min=1, max=64, help="Number of input images.")] = 8,
    looks: options.LooksOption = 1,
    size: options.SizeOption = "model",
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
) -> None:
    """Draw a grid of inputs against targets, as one PNG."""
    from augmentor.cli.devices import pick_device
    from augmentor.expansion import write_preview
    from augmentor.images import parse_output_size

    path = write_preview(
        manifest,
        model=model,
        domains=tuple(domains or ["each"]),
        splits=options.names(splits),
        rows=rows,
        out=out,
        reading=options.reading(image_column, image_prefix, image_suffix, na_values),
        device=pick_device(device),
        size=parse_output_size(size),
        description=options.foreign(attributes, model_size, model_crop, key, unlabelled),
        max_pixels=max_pixels,
        allow_outside=allow_outside,
        looks=looks,
    )
    print_line(str(path))
    requested = [word for spec in domains or ["each"] for word in ("--domains", spec)]
    foreign = ("attributes", "model_size", "model_crop", "key", "unlabelled")
    carried = ("looks", "size", *foreign)
    print_next(context, "expand", manifest, "--model", model, *requested, "--out", "expanded", carried=carried)
