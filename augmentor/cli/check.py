"""Command `augmentor check`: options and the tables of attributes and problems."""

from __future__ import annotations

import shlex
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from augmentor.cli import options
from augmentor.cli.display import ProgressBar
from augmentor.cli.session import (
    FAILED,
    command,
    escape,
    print_json,
    print_line,
    print_next,
    program,
    remark,
    results,
    visible,
)
from augmentor.cli.tables import balance_table, balance_verdict, listed
from augmentor.errors import AugmentorError, counted, listing

if TYPE_CHECKING:
    from augmentor.data import CheckReport, Folds, SplitLabels

_MOST_LACKING = 5
_MOST_CHANGES = 20


@command
def check(
    context: typer.Context,
    manifest: options.ManifestArgument,
    attributes: options.AttributesOption = None,
    image_column: options.ColumnOption = None,
    image_prefix: options.PrefixOption = None,
    image_suffix: options.SuffixOption = None,
    na_values: options.NaValuesOption = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="NAME|FILE", help="Recipe, for its one-hot attributes.")
    ] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Larger images count as unreadable.")] = None,
    allow_outside: options.OutsideOption = False,
    balance: options.BalanceOption = None,
    balance_to: options.BalanceToOption = "auto",
    counts: options.CountsOption = None,
    split_labels: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Only write a table with a 0/1 column per label of COLUMN's cells."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(metavar="K", help="Only write K tables (3 to 20) of which each tests other subjects."),
    ] = None,
    json: options.JsonOption = False,
) -> None:
    """Check a manifest: attributes, splits, unreadable images, leaks.

    With --balance, also the number of training images of each combination of
    attributes, before and after expand --balance.
    """
    from augmentor.cli.devices import pick_device
    from augmentor.data import check_manifest, resolve_range, write_folds
    from augmentor.data import split_labels as write_split
    from augmentor.data.manifest import read_manifest
    from augmentor.images import verify
    from augmentor.planning import preview_balance
    from augmentor.training import read_recipe

    settings = read_recipe(recipe)
    reading = options.reading(image_column, image_prefix, image_suffix, na_values)
    reading = reading.or_else(settings.manifest.reading)
    chosen = options.names(attributes) or settings.manifest.attributes
    if split_labels is not None and folds is not None:
        raise AugmentorError("--split-labels and --folds write different tables: give one, then the other")
    if split_labels is not None:
        _print_split(write_split(manifest, split_labels, reading=reading), json)
        return
    if folds is not None:
        _print_folds(
            write_folds(manifest, folds, attributes=chosen, one_hot=settings.one_hot, reading=reading), json
        )
        return
    table = read_manifest(manifest, attributes=chosen, one_hot=settings.one_hot, reading=reading).allowing(
        outside=allow_outside, max_pixels=max_pixels or settings.images.max_pixels
    )
    training_rows = table.select(table.split_mask(["train"]))
    table = replace(table, grey_range=resolve_range(settings.images.range, training_rows))
    fills = balance is not None or counts is not None
    named = options.names(balance)
    states = preview_balance(table, attributes=named, to=balance_to, counts=counts) if fills else []
    with ProgressBar("checking", unit="images") as bar:
        report = check_manifest(table, decode=partial(verify, access=table.access), progress=bar.update)
    for note in report.notes:
        remark(note)
    if json:
        balance_json = {"balance": [state.to_json() for state in states]} if states else {}
        print_json({**report.to_json(), **balance_json})
    else:
        if states:
            results.print(balance_table(states), balance_verdict(states), "")
        results.print(check_tables(report))
    if not report.ok:
        raise typer.Exit(FAILED)
    if not json:
        small = [] if recipe or pick_device("auto").type == "cuda" else ["--recipe", "cpu-quick"]
        print_next(context, "train", manifest, "--out", "run", *small, carried=("attributes", "recipe"))


def _print_split(written: SplitLabels, json: bool) -> None:
    listed_counts = ", ".join(f"{name} ({count:,})" for name, count in written.counts.items())
    print_line(f"{written.path}: {counted(len(written.counts), 'column')} of 0 and 1: {listed_counts}")
    print_line(f"Next:  {shlex.join([*program(), 'check', str(written.path)])}")
    if json:
        print_json({"manifest": str(written.path), "labels": written.counts})


def _print_folds(folds: Folds, json: bool) -> None:
    for note in folds.notes:
        remark(note)
    for fold in folds.written:
        print_line(f"{fold.path}: {fold.train:,} images train, {fold.val:,} val, {fold.test:,} test")
    for name, numbers in list(folds.lacking.items())[:_MOST_LACKING]:
        print_line(f"Not in test of {'folds' if len(numbers) > 1 else 'fold'} {listing(numbers, 20)}: {name}")
    if len(folds.lacking) > _MOST_LACKING:
        print_line(
            f"and {counted(len(folds.lacking) - _MOST_LACKING, 'combination')} more (--json lists them all)"
        )
    first, outs = str(folds.written[0].path), [f"OUT{number}" for number in range(1, len(folds.written) + 1)]
    print_line("Next:  train and expand each of them, then")
    print_line(f"  {shlex.join([*program(), 'evaluate', first, outs[0], '--folds', ','.join(outs[1:])])}")
    if json:
        print_json(
            {
                "folds": [{**asdict(fold), "path": str(fold.path)} for fold in folds.written],
                "subjects": folds.subjects,
                "lacking": folds.lacking,
            }
        )


def check_tables(report: CheckReport) -> Group:
    """Return what `augmentor check` found, as tables and short lists."""
    splits = list(report.splits)
    title = Text(f"{report.manifest}: {counted(report.rows, 'image')}", style="table.title")
    table = Table(box=None, pad_edge=False)
    for heading in ("attribute", "kind", "value"):
        table.add_column(heading, overflow="fold")
    for split in splits:
        table.add_column(split, justify="right")
    for attribute in report.attributes:
        rows = [[value, *(attribute.counts[s].get(value, 0) for s in splits)] for value in attribute.values]
        for place, (value, *numbers) in enumerate(rows):
            first = (escape(attribute.name), attribute.kind) if place == 0 else ("", "")
            table.add_row(*first, escape(str(value)), *(f"{number:,}" for number in numbers))
        if attribute.unknown:
            table.add_row("", "", Text("unknown", style="dim"), Text(f"{attribute.unknown:,} in all", style="dim"))
    totals = [f"{count:,}" for count in report.splits.values()]
    table.add_section()
    table.add_row("all", "", "", *totals, style="bold")
    problems = [
        *listed("missing", report.elsewhere),
        *listed("missing", [f"row {p.row}: {p.path}" for p in report.missing if not p.found]),
        *listed("unreadable", [f"row {p.row}: {p.path}: {p.reason}" for p in report.unreadable]),
        *listed("leak", report.leaks),
        *listed("pair", report.unequal_pairs),
        *listed("duplicate", [f"same content: {', '.join(ids)}" for ids in report.duplicates], style="yellow"),
    ]
    datasets = [
        Text(f"data set {visible(name)}: {counted(count, 'image')}") for name, count in report.datasets.items()
    ]
    return Group(title, table, *datasets, *_pair_lines(report), Text(""), *problems, _verdict(report))


def _pair_lines(report: CheckReport) -> list[Text]:
    """Return lines on the pairs: how many rows have a partner, and the changes and domains that no pair shows."""
    if report.pairs is None:
        return []
    pairs = report.pairs
    splits = ", ".join(f"{split} {count:,}" for split, count in pairs.rows.items()) or "none"
    lines = [f"images with a partner (column pair): {splits}"]
    for name, counts in pairs.changes.items():
        shown = [f"{' - '.join(values)} {count:,}" for values, count in counts.items() if count]
        lacking = [" - ".join(values) for values, count in counts.items() if not count]
        if shown:
            lines.append(f"pairs for {name}: {listing(shown, _MOST_CHANGES)}")
        if lacking:
            lines.append(f"no pair for {name}: {listing(lacking, _MOST_CHANGES)}")
    if pairs.domains:
        domains = [f"{domain} ({counted(count, 'image')})" for domain, count in pairs.domains.items()]
        lines.append(f"no training image with a partner has: {listing(domains, _MOST_LACKING)}")
    return [Text(visible(line)) for line in lines]


def _verdict(report: CheckReport) -> Text:
    if report.ok:
        return Text("Every image can be read, and no split leaks into another.", style="green")
    bad = len(report.missing) + len(report.unreadable)
    leaks = len(report.leaks)
    parts = [f"{counted(bad, 'image')} cannot be used"] if bad else []
    parts += [f"{counted(leaks, 'leak')} between splits"] if leaks else []
    unequal = len(report.unequal_pairs)
    parts += [f"{counted(unequal, 'pair')} of unequal size: a pair is aligned pixel for pixel"] if unequal else []
    return Text("; ".join(parts) + ".", style="bold red")
