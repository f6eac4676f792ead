"""Command `augmentor bench`: options and the table of figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from augmentor.cli.options import DeviceOption, JsonOption, OutsideOption, Precision, SetOption, Switch, names
from augmentor.cli.session import command, escape, messages, print_json, results, this_command
from augmentor.errors import OutputError

if TYPE_CHECKING:
    from augmentor.bench import BenchReport, Measurement, Series

_UNITS = {"images/s": "", "GFLOP/s": " GFLOP/s", "MB": " MB", "s": " s"}
"""Suffix of a number by its unit; the default unit, in the table's title, has none."""


@command
def bench(
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="Images to measure with. Default: drawn ones.")
    ] = None,
    model: Annotated[Path | None, typer.Option(metavar="RUN", help="Run folder or checkpoint folder.")] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="NAME|FILE", help="Without --model: recipe of an untrained model.")
    ] = None,
    set_: SetOption = None,
    size: Annotated[int | None, typer.Option(help="Side of the images. Default: the recipe's.")] = None,
    targets: Annotated[int, typer.Option(help="Translations per drawn image.")] = 8,
    images: Annotated[int | None, typer.Option(help="Number of images.")] = None,
    stages: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Any of decode, translate, encode, write, expand, train."),
    ] = None,
    suite: Annotated[
        Literal["cpu", "gpu", "scale"] | None, typer.Option(help="A fixed list of figures with targets.")
    ] = None,
    device: DeviceOption = "auto",
    compile: Annotated[Switch, typer.Option(help="torch.compile for the networks.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="Precision of the convolutions.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads for decoding and encoding.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Seconds per figure.")] = None,
    allow_outside: OutsideOption = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="JSON file to write.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure every stage against a plain loop and against the device's peak.

    Warm-up is not counted, both sides alternate, and their outputs are compared.

    --suite measures fixed figures on drawn images and compares them with targets.
    """
    from augmentor.bench import BENCH_STAGES, BenchSettings, run_bench
    from augmentor.cli.devices import pick_device

    settings = BenchSettings(
        manifest=manifest,
        model=model,
        recipe=recipe,
        overrides=tuple(set_ or ()),
        size=size,
        targets=targets,
        images=images,
        stages=names(stages) if stages is not None else BENCH_STAGES,
        suite=suite,
        compile=compile,
        precision=precision,
        workers=workers,
        seconds=seconds,
        allow_outside=allow_outside,
    )
    report = run_bench(
        settings,
        device=pick_device(device),
        on_stage=lambda words: messages.print(f"[dim]measuring {escape(words)} ...[/]"),
    )
    results.print(bench_table(report))
    values = {"command": this_command(), **report.to_json()}
    if out is not None:
        write_report(out, values)
    if json:
        print_json(values)


def bench_table(report: BenchReport) -> Group:
    """Return the table of a report's figures, their targets, and a profile of what missed one."""
    machine = report.machine
    head = (
        f"{machine['device']}; {machine['cpu']}, {machine['cores']} cores; torch {machine['torch']}, "
        f"Python {machine['python']}"
    )
    table = Table(box=None, pad_edge=False, title="images per second, unless noted", title_justify="left")
    table.add_column("stage", min_width=9)
    for heading in ("plain", "ours", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note")
    for measurement in report.measurements:
        table.add_row(*_row(measurement))
    profiles = [_profile(each) for each in report.measurements if each.missed and each.profile]
    counted = sum(len(each.targets) for each in report.measurements)
    missed = sum(len(each.missed) for each in report.measurements)
    verdict = [Text(f"\n{counted - missed} of {counted} targets met.")] if counted else []
    legend = Text("Medians; ± is half the range from the slowest to the fastest round.", "dim")
    return Group(Text(head), Text(""), table, legend, *verdict, *profiles)


def write_report(path: Path, values: Mapping[str, object]) -> None:
    """Write the figures as JSON; raises OutputError if the file cannot be written."""
    try:
        path.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--out {path}: cannot be written ({error.strerror or error})") from None


def _row(measurement: Measurement) -> tuple[RenderableType, ...]:
    ratio, unit = measurement.ratio, measurement.unit
    plain = "" if measurement.plain is None else _number(measurement.plain, unit)
    ratios = "" if ratio is None else f"{ratio.median:.2f}"
    notes = [Text(measurement.setting, "bold"), *(Text(note) for note in measurement.notes)]
    for target in measurement.targets:
        met = target not in measurement.missed
        notes.append(Text(f"{'met' if met else 'MISSED'}: {target}", "green" if met else "bold red"))
    return measurement.stage, plain, _number(measurement.ours, unit), ratios, Group(*notes)


def _number(series: Series, unit: str) -> str:
    value = series.median
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    spread = f"\n±{series.spread:.0%}" if len(series.values) > 1 else ""
    return f"{value:,.{digits}f}{_UNITS.get(unit, f' {unit}')}{spread}"


def _profile(measurement: Measurement) -> Group:
    table = Table(box=None, pad_edge=False)
    for heading in ("time", "calls"):
        table.add_column(heading, justify="right")
    table.add_column("operation", overflow="fold")
    for hot in measurement.profile:
        table.add_row(f"{hot.share:.1%}", f"{hot.calls:,}", Text(hot.name))
    return Group(Text(f"\nDevice time by operation: {measurement.stage}, {measurement.setting}", "bold"), table)
