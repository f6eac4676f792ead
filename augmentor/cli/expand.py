"""`augmentor expand`, told to the person who reads it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augmentor.cli import display, tables
from augmentor.cli.options import (
    AddressOption,
    BalanceOption,
    BalanceToOption,
    BestPer,
    ColumnOption,
    Compile,
    CountsOption,
    DeviceOption,
    EngineName,
    EngineOption,
    Format,
    GateMode,
    ImageFormat,
    JsonOption,
    LabelVectorOption,
    ManifestArgument,
    MaxFailuresOption,
    MaxPerSourceOption,
    MaxPixelsOption,
    ModelCropOption,
    ModelOption,
    ModelSizeOption,
    OutsideOption,
    Precision,
    RayWorkersOption,
    Real,
    SizeOption,
    names,
)
from augmentor.cli.session import (
    command,
    escape,
    interruptible,
    judge_failures,
    print_json,
    recorded_command,
    remark,
    results,
    this_command,
)
from augmentor.errors import AugmentorError, counted
from augmentor.storage import MAX_PIXELS, place

if TYPE_CHECKING:
    import torch

    from augmentor.expansion import ExpandResult, Expansion, Progress, Share
    from augmentor.expansion.executors import RayEngine

_WRITTEN, _GATE, _SPEED, _MACHINES = "What is written", "The gate", "Speed", "Several machines"
"""Headings of the help."""


@command
def expand(
    manifest: ManifestArgument,
    model: ModelOption,
    out: Annotated[Path, typer.Option(metavar="PATH", help="Folder, FILE.h5, or URL, to write.", parser=place)],
    domains: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help="hair=red|blond,smile=~ or each, or all.")
    ] = None,
    balance: BalanceOption = None,
    balance_to: BalanceToOption = "auto",
    counts: CountsOption = None,
    max_per_source: MaxPerSourceOption = None,
    splits: Annotated[str, typer.Option(help="Whose rows are translated.")] = "train",
    real: Annotated[
        Real, typer.Option(help="How real images are written.", rich_help_panel=_WRITTEN)
    ] = Real.processed,
    format: Annotated[
        Format | None, typer.Option(help="By default what --out looks like.", rich_help_panel=_WRITTEN)
    ] = None,
    image_format: Annotated[
        ImageFormat, typer.Option(help="Encoder of images.", rich_help_panel=_WRITTEN)
    ] = ImageFormat.png,
    size: SizeOption = "model",
    encoded: Annotated[
        bool, typer.Option("--encoded", help="Hold encoded images in HDF5.", rich_help_panel=_WRITTEN)
    ] = False,
    class_folders: Annotated[
        str | None, typer.Option(metavar="ATTR", help="Folders named by its values.", rich_help_panel=_WRITTEN)
    ] = None,
    shard_size: Annotated[
        int, typer.Option(min=1, help="Images committed together.", rich_help_panel=_WRITTEN)
    ] = 1024,
    include_identity: Annotated[bool, typer.Option("--include-identity", help="Own domains, too.")] = False,
    gate: Annotated[
        GateMode, typer.Option(help="auto: reject what the judge doubts.", rich_help_panel=_GATE)
    ] = GateMode.auto,
    no_gate: Annotated[
        bool, typer.Option("--no-gate", help="Keep all: --gate off.", rich_help_panel=_GATE)
    ] = False,
    min_agreement: Annotated[
        float | None, typer.Option(help="Least probability of the labels.", rich_help_panel=_GATE)
    ] = None,
    min_realism: Annotated[
        float | None, typer.Option(help="Least share of real images beaten.", rich_help_panel=_GATE)
    ] = None,
    min_preserved: Annotated[
        float | None, typer.Option(help="Least likeness to the source.", rich_help_panel=_GATE)
    ] = None,
    keep_best: Annotated[
        int | None, typer.Option(metavar="N", help="Keep the best N only ...", rich_help_panel=_GATE)
    ] = None,
    best_per: Annotated[
        BestPer, typer.Option(help="... of each of these.", rich_help_panel=_GATE)
    ] = BestPer.source,
    judge: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="A judge other than the model's.", rich_help_panel=_GATE)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images translated at once.", rich_help_panel=_SPEED)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that decode, encode.", rich_help_panel=_SPEED)
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="auto: bfloat16 on CUDA.", rich_help_panel=_SPEED)
    ] = Precision.auto,
    compile: Annotated[
        Compile, typer.Option(help="torch.compile; auto: if it pays.", rich_help_panel=_SPEED)
    ] = Compile.auto,
    image_column: ColumnOption = None,
    attributes: LabelVectorOption = None,
    model_size: ModelSizeOption = None,
    model_crop: ModelCropOption = None,
    device: DeviceOption = "auto",
    devices: Annotated[
        str | None, typer.Option(help="cuda:0,cuda:1: a process on each.", rich_help_panel=_SPEED)
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="3/16: this share alone; or slurm.", rich_help_panel=_MACHINES),
    ] = None,
    engine: EngineOption = EngineName.local,
    address: AddressOption = None,
    ray_workers: RayWorkersOption = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    allow_outside: OutsideOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew in the place of --out.")] = False,
    verify_sources: Annotated[bool, typer.Option("--verify-sources", help="Compare contents, not times.")] = False,
    max_failures: MaxFailuresOption = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Translate every image into every requested domain.

    Writes images and an updated label table. The same command again goes on
    after a kill and changes nothing that is there; --overwrite starts anew.
    What the model's judge does not recognise is thrown out (rejected.csv).

    A SPEC names attributes: [bold]hair=red[/], [bold]hair=*[/] (every value), [bold]smile=~[/] (every
    value but the row's own). Several --domains are joined. --balance fills up the
    rare combinations of attributes, instead or on top of them.

    With --engine ray every node needs this version of augmentor, and the images
    and --out at the same paths.
    """
    from augmentor.cli.devices import parse_devices, pick_device
    from augmentor.data import ForeignDescription
    from augmentor.expansion import ExpandSettings, estimate, parse_share, plan_expansion, run_expansion
    from augmentor.images import parse_output_size
    from augmentor.outputs import default_format
    from augmentor.report import write_report

    settings = ExpandSettings(
        domains=tuple(domains or ()),
        balance=names(balance),
        balance_to=balance_to,
        counts=counts,
        max_per_source=max_per_source,
        splits=names(splits),
        real=real.value,
        output_format=default_format(out) if format is None else format.value,
        image_format=image_format.value,
        class_folders=class_folders,
        shard_size=shard_size,
        include_identity=include_identity,
        size=parse_output_size(size),
        encoded=encoded,
        precision=precision.value,
        max_pixels=max_pixels,
        allow_outside=allow_outside,
        gate="off" if no_gate else gate.value,
        min_agreement=min_agreement,
        min_realism=min_realism,
        min_preserved=min_preserved,
        keep_best=keep_best,
        best_per=best_per.value,
    )
    share = None if shards is None else parse_share(shards)
    if share is not None and overwrite:
        raise AugmentorError("--overwrite would remove what other shares made. Delete OUT before all of them")
    if devices is not None and device != "auto":
        raise AugmentorError("--device and --devices exclude each other: give one of them")
    maker = _engine(engine, address, ray_workers, device=device, devices=devices, share=share, threads=workers)
    described = ForeignDescription(attributes=attributes, size=model_size, crop=model_crop)
    planned = plan_expansion(
        manifest,
        model=model,
        settings=settings,
        out=out,
        image_column=image_column,
        description=described,
        judge=judge,
        command=recorded_command(),
    )
    here = device if maker is None else "auto"  # With Ray, what was asked for is that of its nodes.
    chosen = (pick_device(here),) if devices is None else parse_devices(devices)
    for note in planned.notes:
        remark(note)
    if dry_run:
        expected = estimate(planned, device=chosen, batch_size=batch_size, workers=workers)
        if json:
            print_json(tables.plan_json(planned.plan, expected))
        else:
            results.print(tables.plan_tables(planned.plan, expected))
        return
    if share is not None:
        _expand_share(planned, share, chosen, batch_size, workers, compile, verify_sources, max_failures, json)
        return
    # What --overwrite removes is removed by now, or soon: the way on is without it.
    resume = this_command(without=("--overwrite",))
    with interruptible(resume=resume), display.Bar("expanding", unit="images") as bar:
        show = partial(_show, bar)
        if maker is not None:
            show = partial(show, workers="--ray-workers", before="waiting for Ray's workers to begin")
        result = run_expansion(
            planned,
            write_pages=write_report,
            device=chosen,
            batch_size=batch_size,
            workers=workers,
            compile=compile.value,
            overwrite=overwrite,
            verify_sources=verify_sources,
            engine=maker,
            on_progress=show,
        )
    _tell(planned, result, json=json)
    judge_failures(result.counts.failed, max_failures, planned.place.beside("failures.csv"))


def _engine(
    engine: EngineName,
    address: str | None,
    ray_workers: int | None,
    *,
    device: str,
    devices: str | None,
    share: Share | None,
    threads: int | None,
) -> RayEngine | None:
    """Return who makes the shards in the place of this machine's devices.

    Raises:
        AugmentorError: flags that do not go together.
        MissingExtraError: Ray is asked for and not installed.
    """
    if engine is EngineName.local:
        if address is None and ray_workers is None:
            return None
        flag = "--ray-workers" if address is None else "--address"
        raise AugmentorError(f"{flag} is about Ray: add --engine ray, or leave it out")
    if share is not None:
        raise AugmentorError("--shards is one share of a job array, and Ray deals out all shards: leave one out")
    if devices is not None:
        raise AugmentorError(
            "--devices names devices of this machine, and Ray deals out those of its nodes. Leave it out: "
            "--ray-workers says how many, and --device cpu or cuda of which kind"
        )
    from augmentor.expansion.executors import RayEngine

    return RayEngine(address=address, workers=ray_workers, device=device, threads=threads)


def _show(bar: display.Bar, progress: Progress, *, workers: str = "--devices", before: str = "") -> None:
    """Show how far an expansion, or a share of it, is.

    Args:
        bar: where.
        progress: how far.
        workers: the flag that says how many translate at once.
        before: what to say until anything is made.
    """
    bar.update(
        progress.done,
        progress.total,
        skipped=progress.resumed,
        suffix=display.losses_note(progress.failed, progress.rejected),
        note=display.loads_note(progress.loads, workers=workers, before=before),
    )


def _tell(planned: Expansion, result: ExpandResult, *, json: bool) -> None:
    """Print what was made, and where."""
    from augmentor.report import report_path

    out, made = planned.out, result.counts
    if result.was_complete:
        results.print(f"{escape(str(out))} is complete already; nothing was changed.", soft_wrap=True)
    results.print(
        f"{made.synthetic:,} synthetic and {made.real:,} real images in {escape(str(out))} "
        f"({display.duration(result.seconds)})",
        soft_wrap=True,
    )
    if result.balance:
        results.print(tables.balance_table(result.balance))
        results.print(tables.balance_verdict(result.balance), soft_wrap=True)
    if made.rejected:
        where = planned.place.beside("rejected.csv")
        results.print(f"{made.rejected:,} translations were thrown out: {escape(str(where))}", soft_wrap=True)
    results.print(f"Report: {report_path(out)}", soft_wrap=True, markup=False)
    if json:
        print_json(
            {
                "out": str(out),
                "report": str(report_path(out)),
                **made.to_json(),
                **({"balance": [state.to_json() for state in result.balance]} if result.balance else {}),
                "resumed": result.resumed,
                "seconds": round(result.seconds, 3),
                "images_per_second": round(result.images_per_second, 1),
                "slowest_stage": result.slowest,
            }
        )


def _expand_share(
    planned: Expansion,
    share: Share,
    devices: tuple[torch.device, ...],
    batch_size: int | None,
    workers: int | None,
    compile: Compile,
    verify_sources: bool,
    max_failures: int,
    json: bool,
) -> None:
    """Make one share of the shards, and say what is left for others."""
    from augmentor.expansion import run_share
    from augmentor.report import report_path, write_report

    out = planned.out
    with display.Bar(f"share {share}", unit="images") as bar:
        result = run_share(
            planned,
            share,
            write_pages=write_report,
            device=devices,
            batch_size=batch_size,
            workers=workers,
            compile=compile.value,
            verify_sources=verify_sources,
            on_progress=partial(_show, bar),
        )
    results.print(
        f"Share {share}: {counted(result.made, 'image')} made, {result.resumed:,} there already "
        f"({display.duration(result.seconds)})",
        soft_wrap=True,
    )
    if result.counts is not None:
        results.print(
            f"All shares have ended: {result.counts.synthetic:,} synthetic and {result.counts.real:,} real images "
            f"in {escape(str(out))}",
            soft_wrap=True,
        )
        results.print(f"Report: {report_path(out)}", soft_wrap=True, markup=False)
    elif result.missing:
        results.print(f"{result.missing:,} shards of other shares are missing; the last to end puts all together.")
    else:
        results.print("All shards are there, and another share puts them together.")
    if json:
        print_json(
            {
                "out": str(out),
                "share": str(share),
                "made": result.made,
                "resumed": result.resumed,
                "failed": result.failed,
                "missing_shards": result.missing,
                "finished": None if result.counts is None else result.counts.to_json(),
                "seconds": round(result.seconds, 3),
            }
        )
    judge_failures(result.failed, max_failures, planned.place.beside("failures.csv"))
