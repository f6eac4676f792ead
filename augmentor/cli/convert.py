"""Command `augmentor convert`: manifests of known data sets, and small checkpoints."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augmentor.cli import display, options
from augmentor.cli.session import command, print_json, print_line, program, remark
from augmentor.errors import AugmentorError, counted

if TYPE_CHECKING:
    from augmentor.data.importers import Conversion

convert = typer.Typer(no_args_is_help=True, help="Convert data sets to manifests, and checkpoints to small ones.")


@convert.command("checkpoint")
@command
def convert_checkpoint(
    run: options.RunArgument,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Checkpoint folder to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits.")] = False,
    attributes: options.LabelVectorOption = None,
    model_size: options.ModelSizeOption = None,
    model_crop: options.ModelCropOption = None,
    key: options.KeyOption = None,
    unlabelled: options.UnlabelledOption = None,
) -> None:
    """Write a checkpoint with the generator alone, without training state.

    A foreign FILE is the original StarGAN's ITER-G.ckpt, or the latest_net_G.pth
    of CycleGAN or pix2pix. No code in it is executed. --attributes describes its
    label vector, in order: [bold]--attributes "hair=black|blond|brown,male,young"[/].
    """
    from augmentor.data import open_model
    from augmentor.outputs import refuse_file_name
    from stargan.checkpoints import save_model

    if out.exists():
        raise AugmentorError(f"{out} exists already. Give another --out, or remove it")
    refuse_file_name(out)
    model = open_model(run, options.foreign(attributes, model_size, model_crop, key, unlabelled))
    save_model(out, model=model, half=half)
    size = sum(file.stat().st_size for file in out.iterdir())
    print_line(f"{out} ({display.data_size(size)})")


@convert.command("dataset")
@command
def convert_dataset(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="celeba, rafd, mnist, usps, ade20k, imagefolder, pix2pix or cyclegan."
        ),
    ],
    src: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with the data set's files.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Manifest to write, .csv or .tsv.")],
    attributes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Attributes to write, or all.")
    ] = None,
    values: Annotated[
        list[str] | None, typer.Option(metavar="ATTR=A,B", help="Keep only rows with these values.")
    ] = None,
    label: Annotated[str | None, typer.Option("--name", help="Rename the data set's one attribute.")] = None,
    sides: Annotated[
        str | None, typer.Option(metavar="A,B", help="pix2pix, CycleGAN: what A and B show, as photo,map.")
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--as", metavar="ATTR=VALUE", help="Add a column with this value.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="auto, none, or percentages of train/val/test such as 80/10/10, by subject.")
    ] = "auto",
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="MNIST, USPS, pix2pix: folder of the PNG files. Default: beside FILE."),
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Append the rows to FILE.")] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Download celeba, mnist or usps to SRC first.")
    ] = False,
    json: options.JsonOption = False,
) -> None:
    """Write the manifest of a data set from its original files.

    The images are not copied; the manifest holds their relative paths. MNIST and
    USPS have no image files, so theirs are written as PNG; so are the halves of
    pix2pix' images of two sides.

    To train one model on two data sets, use [bold]--as domain=...[/] for each and [bold]--append[/]
    for the second.
    """
    from augmentor.data import importers

    selection = importers.Selection(
        attributes=options.names(attributes),
        values=importers.parse_values(values or ()),
        label=label,
        sides=options.names(sides) or (),
        constants=importers.parse_constants(constants or ()),
        split=split,
    )
    with display.ProgressBar("writing", unit="images") as bar:
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
    _print(done)
    if json:
        print_json(_plain(done))


def _splits(done: Conversion) -> dict[str, int]:
    counts = done.manifest.rows["split"].value_counts(sort=False)
    return {str(split): int(count) for split, count in counts.items() if count}


def _print(done: Conversion) -> None:
    total = len(done.manifest)
    splits = ", ".join(f"{split} {count:,}" for split, count in _splits(done).items())
    more = f", {done.added:,} of them new" if done.added < total else ""
    print_line(f"{done.path}: {counted(total, 'image')}{more} ({splits})")
    for attribute in done.manifest.space.attributes:
        print_line(f"  {attribute.name}: {' | '.join(attribute.values)}")
    flags = ["--allow-outside"] if done.outside else []
    following = shlex.join([*program(), "check", str(done.path), *flags])
    print_line(f"Next:  {following}")


def _plain(done: Conversion) -> dict[str, object]:
    return {
        "manifest": str(done.path),
        "images": None if done.images is None else str(done.images),
        "rows": len(done.manifest),
        "added": done.added,
        "outside": done.outside,
        "splits": _splits(done),
        "attributes": {each.name: list(each.values) for each in done.manifest.space.attributes},
        "notes": list(done.notes),
    }
