"""Command `augmentor expand`: options, progress, result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer

from augmentor.cli import display, options, session, tables
from augmentor.errors import AugmentorError, counted
from augmentor.storage import MAX_PIXELS, parse_path

if TYPE_CHECKING:
    from augmentor.expansion import ExpandResult, Expansion, RunSettings, Share
    from augmentor.expansion.executors import RayExecutor

_FORMATS = "folder, hdf5, webdataset or parquet. Default: hdf5 for FILE.h5, else folder."


class _Panel(TypedDict):
    rich_help_panel: str


_WRITTEN, _GATE, _SPEED, _MACHINES = (
    _Panel(rich_help_panel=heading) for heading in ("Output", "Gate", "Speed", "Several machines")
)
"""Headings of the help."""


@session.command
def expand(
    context: typer.Context,
    manifest: options.ManifestArgument,
    model: options.ModelOption,
    out: Annotated[Path, typer.Option(metavar="PATH", help="Output folder, FILE.h5, or URL.", parser=parse_path)],
    domains: Annotated[
        list[str] | None, typer.Option(metavar="SPEC", help="Target domains; repeatable. See above.")
    ] = None,
    balance: options.BalanceOption = None,
    balance_to: options.BalanceToOption = "auto",
    counts: options.CountsOption = None,
    max_per_source: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum of such translations per image.", rich_help_panel="Rare combinations"),
    ] = None,
    splits: Annotated[str, typer.Option(metavar="NAME,...", help="Splits to translate.")] = "train",
    real: Annotated[
        Literal["processed", "original", "none"],
        typer.Option(help="Real images: re-encoded like the synthetic ones, unchanged, or none.", **_WRITTEN),
    ] = "processed",
    format: Annotated[
        Literal["folder", "hdf5", "webdataset", "parquet"] | None,
        typer.Option(metavar="FORMAT", help=_FORMATS, **_WRITTEN),
    ] = None,
    image_format: Annotated[
        Literal["png", "jpg", "webp"], typer.Option(help="Encoding of the images.", **_WRITTEN)
    ] = "png",
    size: options.SizeOption = "model",
    encoded: Annotated[
        bool, typer.Option("--encoded", help="HDF5: store encoded images, not pixels.", **_WRITTEN)
    ] = False,
    class_folders: Annotated[
        str | None, typer.Option(metavar="ATTR", help="Folder per value of this attribute.", **_WRITTEN)
    ] = None,
    shard_size: Annotated[int, typer.Option(min=1, help="Images per shard (unit of commit).", **_WRITTEN)] = 1024,
    looks: options.LooksOption = 1,
    include_identity: Annotated[
        bool, typer.Option("--include-identity", help="Also translate images into their own domain.")
    ] = False,
    gate: Annotated[
        Literal["auto", "on", "off"],
        typer.Option(
            help="auto: reject translations below the judge's thresholds; on: refuse what it cannot check.",
            **_GATE,
        ),
    ] = "auto",
    no_gate: Annotated[bool, typer.Option("--no-gate", help="Same as --gate off.", **_GATE)] = False,
    min_agreement: Annotated[
        float | None, typer.Option(help="Minimum probability of the target's labels, 0 to 1.", **_GATE)
    ] = None,
    min_realism: Annotated[
        float | None,
        typer.Option(help="Minimum realism percentile against real validation images, 0 to 1.", **_GATE),
    ] = None,
    min_preserved: Annotated[
        float | None, typer.Option(help="Minimum feature similarity to the source, -1 to 1.", **_GATE)
    ] = None,
    keep_best: Annotated[
        int | None, typer.Option(metavar="N", help="Keep only the N best of each group.", **_GATE)
    ] = None,
    best_per: Annotated[
        Literal["source", "domain"], typer.Option(help="Groups of --keep-best.", **_GATE)
    ] = "source",
    judge: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Judge to use in place of the model's.", **_GATE)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per forward pass.", **_SPEED)] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads for decoding and encoding.", **_SPEED)
    ] = None,
    precision: Annotated[options.Precision, typer.Option(help="auto: bfloat16 on CUDA.", **_SPEED)] = "auto",
    compile: Annotated[
        options.Switch, typer.Option(help="torch.compile; auto: if it saves time.", **_SPEED)
    ] = "auto",
    image_column: options.ColumnOption = None,
    image_prefix: options.PrefixOption = None,
    image_suffix: options.SuffixOption = None,
    na_values: options.NaValuesOption = None,
    attributes: options.LabelVectorOption = None,
    model_size: options.ModelSizeOption = None,
    model_crop: options.ModelCropOption = None,
    key: options.KeyOption = None,
    unlabelled: options.UnlabelledOption = None,
    device: options.DeviceOption = "auto",
    devices: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Several devices, one process each: cuda:0,cuda:1.", **_SPEED),
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Make only share I of N, such as 3/16; or slurm.", **_MACHINES),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Executor; ray needs the extra 'ray'.", **_MACHINES)
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ray cluster, or auto. Default: a local one.", **_MACHINES),
    ] = None,
    ray_workers: Annotated[
        int | None, typer.Option(min=1, help="Ray workers. Default: one per GPU.", **_MACHINES)
    ] = None,
    max_pixels: options.MaxPixelsOption = MAX_PIXELS,
    allow_outside: options.OutsideOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    verify_sources: Annotated[
        bool, typer.Option("--verify-sources", help="Detect changed images by hash, not by time.")
    ] = False,
    max_failures: options.MaxFailuresOption = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    json: options.JsonOption = False,
) -> None:
    """Translate every image into every requested domain.

    Writes images and a label table. Running the same command again resumes an
    interrupted run and changes nothing in a finished output. Translations that
    the model's judge does not recognise are rejected (rejected.csv).

    A SPEC lists attributes: [bold]hair=red|blond,smile=~[/]. [bold]hair=*[/] is every value,
    [bold]smile=~[/] every value but the row's own, [bold]each[/] every change of one attribute,
    and [bold]all[/] the full product. Several --domains are combined. --balance adds
    translations into rare combinations, alone or together with --domains.

    With --engine ray every node needs the same version of augmentor, and the
    images and --out under the same paths.
    """
    from augmentor.cli.devices import chosen_devices
    from augmentor.expansion import (
        ExpandSettings,
        RunSettings,
        estimate,
        parse_share,
        plan_expansion,
        run_expansion,
    )
    from augmentor.images import parse_output_size
    from augmentor.outputs import default_format
    from augmentor.report import write_report

    settings = ExpandSettings(
        domains=tuple(domains or ()),
        balance=options.names(balance),
        balance_to=balance_to,
        counts=counts,
        max_per_source=max_per_source,
        looks=looks,
        splits=options.names(splits),
        real=real,
        output_format=default_format(out) if format is None else format,
        image_format=image_format,
        class_folders=class_folders,
        shard_size=shard_size,
        include_identity=include_identity,
        size=parse_output_size(size),
        encoded=encoded,
        precision=precision,
        max_pixels=max_pixels,
        allow_outside=allow_outside,
        gate="off" if no_gate else gate,
        min_agreement=min_agreement,
        min_realism=min_realism,
        min_preserved=min_preserved,
        keep_best=keep_best,
        best_per=best_per,
    )
    share = None if shards is None else parse_share(shards)
    if share is not None and overwrite:
        raise AugmentorError(
            "--overwrite would delete the work of other shares. Delete --out before the first one"
        )
    executor = _executor(
        engine, address, ray_workers, device=device, devices=devices, share=share, threads=workers
    )
    # With Ray, --device is that of its nodes.
    chosen = chosen_devices(device if executor is None else "auto", devices)
    described = options.foreign(attributes, model_size, model_crop, key, unlabelled)
    planned = plan_expansion(
        manifest,
        model=model,
        settings=settings,
        out=out,
        reading=options.reading(image_column, image_prefix, image_suffix, na_values),
        description=described,
        judge=judge,
        command=session.recorded_command(),
    )
    run = RunSettings(
        devices=chosen, batch_size=batch_size, workers=workers, compile=compile, verify_sources=verify_sources
    )
    for note in planned.notes:
        session.remark(note)
    if dry_run:
        expected = estimate(planned, run)
        if json:
            unchecked = {"unchecked": planned.description()["unchecked"]}
            session.print_json({**tables.plan_json(planned.plan, expected), **unchecked})
        else:
            session.results.print(tables.plan_tables(planned.plan, expected))
        _warn_of_unchecked(planned)
        return
    if share is not None:
        _expand_share(planned, share, run, max_failures=max_failures, json=json)
        return
    # --overwrite has deleted the old output by then, so the command that resumes is without it.
    resume = session.this_command(without=("--overwrite",))
    with session.interruptible(resume=resume), display.ProgressBar("expanding", unit="images") as bar:
        show = bar.show_expansion
        if executor is not None:
            show = partial(show, workers="--ray-workers", before="waiting for Ray workers")
        result = run_expansion(
            planned, run, write_pages=write_report, overwrite=overwrite, executor=executor, on_progress=show
        )
    following = partial(session.print_next, context, "evaluate", manifest, out)
    _print_result(planned, result, following=following, json=json)
    _remark_on_classes(planned)
    _warn_of_unchecked(planned)
    session.exit_for_failures(result.counts.failed, max_failures, planned.paths.beside("failures.csv"))


def _remark_on_classes(planned: Expansion) -> None:
    from augmentor.outputs.readers import FinishedOutput

    if planned.settings.class_folders and (note := FinishedOutput.open(planned.out).class_note):
        session.remark(note)


def _warn_of_unchecked(planned: Expansion) -> None:
    from augmentor.judge import Unchecked

    if planned.unchecked:
        session.warn(Unchecked.warning(planned.unchecked))


def _executor(
    engine: Literal["local", "ray"],
    address: str | None,
    ray_workers: int | None,
    *,
    device: str,
    devices: str | None,
    share: Share | None,
    threads: int | None,
) -> RayExecutor | None:
    """Return the executor that replaces this machine's devices; None for --engine local."""
    if engine == "local":
        if address is None and ray_workers is None:
            return None
        flag = "--ray-workers" if address is None else "--address"
        raise AugmentorError(f"{flag} is an option of Ray: add --engine ray, or leave it out")
    if share is not None:
        raise AugmentorError("--shards and --engine ray exclude each other: Ray distributes all shards itself")
    if devices is not None:
        raise AugmentorError(
            "--devices and --engine ray exclude each other: Ray assigns the devices of its nodes. Use "
            "--ray-workers for their number and --device cpu or cuda for their kind"
        )
    from augmentor.expansion.executors import RayExecutor

    return RayExecutor(address=address, workers=ray_workers, device=device, threads=threads)


def _print_result(planned: Expansion, result: ExpandResult, *, following: Callable[[], None], json: bool) -> None:
    """Print the counts and paths of a finished output."""
    from augmentor.report import report_path

    out, made = planned.out, result.counts
    if result.was_complete:
        session.print_line(f"{out} is complete already; nothing was changed.")
    session.print_line(
        f"{made.synthetic:,} synthetic and {made.real:,} real images in {out} ({display.duration(result.seconds)})"
    )
    if result.balance:
        session.results.print(tables.balance_table(result.balance))
        session.results.print(tables.balance_verdict(result.balance), soft_wrap=True)
    if made.rejected:
        where = planned.paths.beside("rejected.csv")
        session.print_line(f"{made.rejected:,} translations were rejected: {where}")
    session.print_line(f"Report: {report_path(out)}")
    counts = made.splits
    if counts.get("test", {}).get("real") and counts.get("train", {}).get("synthetic") and isinstance(out, Path):
        following()
    if json:
        session.print_json(
            {
                "out": str(out),
                "report": str(report_path(out)),
                **made.to_json(),
                **({"balance": [state.to_json() for state in result.balance]} if result.balance else {}),
                "resumed": result.resumed,
                "seconds": round(result.seconds, 3),
                "images_per_second": round(result.images_per_second, 1),
                "slowest_stage": result.slowest,
                "unchecked": planned.description()["unchecked"],
            }
        )


def _expand_share(planned: Expansion, share: Share, run: RunSettings, *, max_failures: int, json: bool) -> None:
    """Make one share of the shards, and print what other shares have left to do."""
    from augmentor.expansion import run_share
    from augmentor.report import report_path, write_report

    out = planned.out
    with display.ProgressBar(f"share {share}", unit="images") as bar:
        result = run_share(planned, share, run, write_pages=write_report, on_progress=bar.show_expansion)
    session.print_line(
        f"Share {share}: {counted(result.made, 'image')} made, {result.resumed:,} there already "
        f"({display.duration(result.seconds)})"
    )
    if result.counts is not None:
        session.print_line(
            f"All shares have ended: {result.counts.synthetic:,} synthetic and {result.counts.real:,} real images "
            f"in {out}"
        )
        session.print_line(f"Report: {report_path(out)}")
        _remark_on_classes(planned)
    elif result.missing:
        session.print_line(
            f"{result.missing:,} shards of other shares are missing; the last share to end merges them."
        )
    else:
        session.print_line("All shards are complete; another share is merging them.")
    if json:
        session.print_json(
            {
                "out": str(out),
                "share": str(share),
                "made": result.made,
                "resumed": result.resumed,
                "failed": result.failed,
                "missing_shards": result.missing,
                "finished": None if result.counts is None else result.counts.to_json(),
                "seconds": round(result.seconds, 3),
                "unchecked": planned.description()["unchecked"],
            }
        )
    _warn_of_unchecked(planned)
    session.exit_for_failures(result.failed, max_failures, planned.paths.beside("failures.csv"))
