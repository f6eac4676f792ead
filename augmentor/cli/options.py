"""Options and arguments shared by several commands, and the values that they accept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from augmentor.cli.session import remark
from augmentor.storage import parse_path

if TYPE_CHECKING:
    from augmentor.data import ForeignDescription
    from augmentor.data.manifest import TableReading

Precision = Literal["auto", "float32", "bfloat16"]
Switch = Literal["auto", "on", "off"]

_RARE = "Rare combinations"
_READING = "Reading the manifest"

ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="CSV or TSV table with one image per row.", parser=parse_path)
]
ManifestsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="MANIFEST...", help="CSV or TSV; several for joint training.", parser=parse_path),
]
OutputArgument = Annotated[
    Path, typer.Argument(metavar="OUT", help="Output folder or FILE.h5 written by augmentor expand.")
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="Run folder, checkpoint folder, or foreign checkpoint FILE.")
]
AttributesOption = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="Attribute columns to use. Default: all that qualify.")
]
BalanceOption = Annotated[
    str | None,
    typer.Option(metavar="ATTR,...", help="Fill up rare combinations of these attributes.", rich_help_panel=_RARE),
]
BalanceToOption = Annotated[
    str,
    typer.Option(metavar="WORD|N", help="Images per combination: minority, all, 500, ...", rich_help_panel=_RARE),
]
CountsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Table of wanted images: ATTR,...,count.", rich_help_panel=_RARE),
]
ModelOption = Annotated[
    Path, typer.Option("--model", metavar="RUN", help="Run folder, checkpoint folder, or foreign checkpoint FILE.")
]
LabelVectorOption = Annotated[
    str | None, typer.Option("--attributes", metavar="LABELS", help="Foreign FILE: its label vector, in order.")
]
ModelSizeOption = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Foreign FILE: its image size, such as 128 or 256x192.")
]
ModelCropOption = Annotated[
    int | None,
    typer.Option(metavar="PIXELS", min=1, help="Foreign FILE: side of its square crop before resizing."),
]
KeyOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Foreign FILE: where its generator is, such as G_ema.")
]
UnlabelledOption = Annotated[
    str | None,
    typer.Option(metavar="ATTR=VALUE,...", help="Foreign FILE: values in the place of unknown labels."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of the recipe.")
]
DeviceOption = Annotated[str, typer.Option(help="Compute device: auto, cpu, cuda, cuda:1, ...")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of stdout.")]
ColumnOption = Annotated[
    str | None,
    typer.Option("--image-column", metavar="NAME", help="Column with the image paths.", rich_help_panel=_READING),
]
PrefixOption = Annotated[
    list[str] | None,
    typer.Option("--image-prefix", metavar="OLD=NEW", help="Beginning of image paths.", rich_help_panel=_READING),
]
SuffixOption = Annotated[
    str | None,
    typer.Option("--image-suffix", metavar="[OLD=]NEW", help="End of image paths.", rich_help_panel=_READING),
]
NaValuesOption = Annotated[
    str | None,
    typer.Option("--na-values", metavar="WORD,...", help="Cells that mean unknown.", rich_help_panel=_READING),
]
LooksOption = Annotated[
    int, typer.Option(min=1, metavar="N", help="Translations per target, which differ (model with noise).")
]
SizeOption = Annotated[str, typer.Option(metavar="SIZE", help="Output size: model, original, or WIDTHxHEIGHT.")]
MaxPixelsOption = Annotated[int, typer.Option(min=1, help="Larger images count as failed rows.")]
OutsideOption = Annotated[
    bool, typer.Option("--allow-outside", help="Also read images outside of the manifest's folder.")
]
MaxFailuresOption = Annotated[int, typer.Option(min=0, help="Failed rows that still exit with code 0.")]


def reading(
    image_column: str | None, image_prefix: list[str] | None, image_suffix: str | None, na_values: str | None
) -> TableReading:
    """Return how the command line says that a manifest's cells are read."""
    from augmentor.data.manifest import TableReading

    return TableReading(
        image_column=image_column,
        image_prefix=tuple(image_prefix or ()),
        image_suffix=image_suffix or "",
        na_values=names(na_values),
    )


def foreign(
    attributes: str | None,
    model_size: str | None,
    model_crop: int | None,
    key: str | None,
    unlabelled: str | None,
) -> ForeignDescription:
    """Return what the command line says of a foreign file, after a remark on what looks wrong in it."""
    from augmentor.data import ForeignDescription

    described = ForeignDescription(
        attributes=attributes, size=model_size, crop=model_crop, key=key, unlabelled=unlabelled
    )
    if described.note is not None:
        remark(described.note)
    return described


def names(text: str | None) -> tuple[str, ...]:
    """Return the names in a comma-separated list; none for None."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
