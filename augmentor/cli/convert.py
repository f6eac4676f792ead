"""`augmentor convert`: what people have, to what augmentor reads."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augmentor.cli import display
from augmentor.cli.options import LabelVectorOption, ModelCropOption, ModelSizeOption
from augmentor.cli.session import (
    command,
    escape,
    print_json,
    program,
    remark,
    results,
)
from augmentor.errors import AugmentorError, counted

if TYPE_CHECKING:
    from augmentor.data.importers import Conversion

convert = typer.Typer(no_args_is_help=True, help="Turn what you have into what augmentor reads.")


@convert.command("checkpoint")
@command
def convert_checkpoint(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, one checkpoint, or a foreign FILE.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store 16-bit weights.")] = False,
    attributes: LabelVectorOption = None,
    model_size: ModelSizeOption = None,
    model_crop: ModelCropOption = None,
) -> None:
    """Keep only what translates: a small model to ship, without training state.

    A FILE may be the original StarGAN's ITER-G.ckpt, or the latest_net_G.pth
    of CycleGAN or pix2pix; nothing in it is run. Say what its label vector
    means, in its order: [bold]--attributes "hair=black|blond|brown,male,young"[/].
    """
    from augmentor.data import ForeignDescription, open_model
    from stargan.checkpoints import save_model

    if out.exists():
        raise AugmentorError(f"{out} exists already. Give another --out, or remove it")
    model = open_model(run, ForeignDescription(attributes=attributes, size=model_size, crop=model_crop))
    save_model(out, model=model, half=half)
    size = sum(file.stat().st_size for file in out.iterdir())
    results.print(f"{out} ({display.data_size(size)})", soft_wrap=True, markup=False)


@convert.command("dataset")
@command
def convert_dataset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="celeba, rafd, mnist, usps, ade20k or imagefolder.")],
    src: Annotated[Path, typer.Argument(metavar="SRC", help="The folder with its files.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The manifest to write, .csv or .tsv.")],
    attributes: Annotated[
        str | None, typer.Option(help="Names, comma-separated, or all; else the usual ones.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option(metavar="ATTR=A,B", help="Keep only rows with these values.")
    ] = None,
    label: Annotated[str | None, typer.Option("--name", help="Another name for its one attribute.")] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--as", metavar="ATTR=VALUE", help="Add a column that says this.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="auto, none, or parts of train/val/test like 80/10/10, by subject.")
    ] = "auto",
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where digits are written; else beside FILE.")
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add the rows to FILE.")] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch celeba, mnist or usps into SRC first.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Write the manifest of a data set, from the files as their owners ship them.

    The images stay where they are; the manifest names them relative to itself.
    MNIST and USPS have no image files: theirs are written as PNG.

    For one model of two data sets, give each [bold]--as domain=...[/], and the second
    [bold]--append[/].
    """
    from augmentor.data import importers

    selection = importers.Selection(
        attributes=tuple(word.strip() for word in (attributes or "").split(",") if word.strip()),
        values=importers.parse_values(values or ()),
        label=label,
        constants=importers.parse_constants(constants or ()),
        split=split,
    )
    with display.Bar("writing", unit="images") as bar:
        done = importers.convert_dataset(
            name,
            src,
            out=out,
            selection=selection,
            images=images,
            append=append,
            download=download,
            on_progress=bar.update,
        )
    for note in done.notes:
        remark(note)
    _tell(done)
    if json:
        print_json(_plain(done))


def _splits(done: Conversion) -> dict[str, int]:
    counts = done.understood.rows["split"].value_counts(sort=False)
    return {str(split): int(count) for split, count in counts.items() if count}


def _tell(done: Conversion) -> None:
    total = len(done.understood)
    splits = ", ".join(f"{split} {count:,}" for split, count in _splits(done).items())
    more = f", {done.added:,} of them new" if done.added < total else ""
    results.print(f"{escape(str(done.manifest))}: {counted(total, 'image')}{more} ({splits})", soft_wrap=True)
    for attribute in done.understood.space.attributes:
        results.print(f"  {escape(attribute.name)}: {escape(' | '.join(attribute.values))}", soft_wrap=True)
    flags = ["--allow-outside"] if done.outside else []
    following = shlex.join([*program(), "check", str(done.manifest), *flags])
    results.print(f"Next:  {following}", soft_wrap=True, markup=False)


def _plain(done: Conversion) -> dict[str, object]:
    return {
        "manifest": str(done.manifest),
        "images": None if done.images is None else str(done.images),
        "rows": len(done.understood),
        "added": done.added,
        "outside": done.outside,
        "splits": _splits(done),
        "attributes": {each.name: list(each.values) for each in done.understood.space.attributes},
        "notes": list(done.notes),
    }
