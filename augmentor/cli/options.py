"""Options that several commands share, and words that they take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from augmentor.storage import place


class Format(StrEnum):
    """Forms of an output."""

    folder = "folder"
    hdf5 = "hdf5"
    webdataset = "webdataset"
    parquet = "parquet"


class ImageFormat(StrEnum):
    """Image files of a folder."""

    png = "png"
    jpg = "jpg"
    webp = "webp"


class Cache(StrEnum):
    """Whether decoded images stay in memory."""

    auto = "auto"
    on = "on"
    off = "off"


class Precision(StrEnum):
    """What convolutions compute in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"


class Compile(StrEnum):
    """Whether torch.compile fuses networks."""

    auto = "auto"
    on = "on"
    off = "off"


class Real(StrEnum):
    """What becomes of real images."""

    processed = "processed"
    original = "original"
    none = "none"


class GateMode(StrEnum):
    """Whether translations must reach the judge's thresholds."""

    auto = "auto"
    off = "off"


class BestPer(StrEnum):
    """Among which translations the best are kept."""

    source = "source"
    domain = "domain"


class EngineName(StrEnum):
    """Who makes the shards."""

    local = "local"
    ray = "ray"


class BenchSuite(StrEnum):
    """Fixed lists of figures."""

    cpu = "cpu"
    gpu = "gpu"
    scale = "scale"


ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="CSV or TSV: an image a row.", parser=place)
]
ManifestsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="MANIFEST...", help="CSV or TSV; several are trained on jointly.", parser=place),
]
BalanceOption = Annotated[
    str | None,
    typer.Option(metavar="ATTR,...", help="Fill up rare combinations ...", rich_help_panel="Rare combinations"),
]
BalanceToOption = Annotated[
    str,
    typer.Option(metavar="WORD|N", help="... up to: minority, all, 500 ...", rich_help_panel="Rare combinations"),
]
CountsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="... or as a table wants: ATTR,count.", rich_help_panel="Rare combinations"),
]
MaxPerSourceOption = Annotated[
    int | None, typer.Option(min=1, help="Uses of an image for that.", rich_help_panel="Rare combinations")
]
ModelOption = Annotated[
    Path, typer.Option("--model", metavar="RUN", help="A run folder, one checkpoint, or a foreign FILE.")
]
LabelVectorOption = Annotated[
    str | None, typer.Option("--attributes", metavar="WORDS", help="A foreign FILE's label vector in words.")
]
ModelSizeOption = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Its images' size: 128, or 256x192; else the usual.")
]
ModelCropOption = Annotated[
    int | None, typer.Option(metavar="PIXELS", min=1, help="Square its images were cut to first.")
]
EngineOption = Annotated[
    EngineName, typer.Option(help="ray: on a cluster (needs the extra ray).", rich_help_panel="Several machines")
]
AddressOption = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Ray's; auto. By default here.", rich_help_panel="Several machines"),
]
RayWorkersOption = Annotated[
    int | None, typer.Option(min=1, help="By default one per GPU.", rich_help_panel="Several machines")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
ColumnOption = Annotated[str | None, typer.Option("--image-column", help="Column of the images' paths.")]
SizeOption = Annotated[str, typer.Option(metavar="SIZE", help="model, original, or 256x192: of the images.")]
MaxPixelsOption = Annotated[int, typer.Option(min=1, help="Larger images are failed rows.")]
OutsideOption = Annotated[bool, typer.Option("--allow-outside", help="Images may lie elsewhere.")]
MaxFailuresOption = Annotated[int, typer.Option(min=0, help="Failed rows that still count as success.")]


def names(text: str | None) -> tuple[str, ...]:
    """Return the names of a comma-separated list; none of None."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()
