"""Command `augmentor demo`: the guided run on drawn portraits."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from augmentor.cli.display import ProgressBar, TrainingDisplay
from augmentor.cli.options import DeviceOption, JsonOption
from augmentor.cli.session import command, messages, print_json, print_line, program, results
from augmentor.cli.tables import plain_table

if TYPE_CHECKING:
    from augmentor.demo import DemoResult


@command
def demo(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write.")] = Path("demo"),
    train_: Annotated[
        bool, typer.Option("--train", help="Train a model first, in place of the shipped one.")
    ] = False,
    minutes: Annotated[float, typer.Option(help="Minutes of --train.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of the portraits.")] = 0,
    device: DeviceOption = "auto",
    json: JsonOption = False,
) -> None:
    """Run check, expand and a classifier on drawn portraits, in a few minutes."""
    from augmentor.cli.devices import pick_device
    from augmentor.demo import run_demo

    stages = 0

    def stage(text: str) -> None:
        nonlocal stages
        stages += 1
        training.close()
        bar.close()
        messages.print(f"[bold cyan]{stages}[/]  {text}")

    with TrainingDisplay() as training, ProgressBar("expanding", unit="images") as bar:
        result = run_demo(
            out,
            train_minutes=minutes if train_ else None,
            seed=seed,
            device=pick_device(device),
            on_stage=stage,
            on_train=training.show,
            on_progress=lambda p: bar.update(p.done, p.total, skipped=p.resumed),
        )
    results.print(_summary(result))
    source = ("expand", str(result.manifest), "--model", str(result.model))
    next_command = shlex.join([*program(), *source, "--domains", "hair=~", "--out", f"{result.folder}-hair"])
    print_line(next_command)
    if json:
        print_json(_plain(result))


def _summary(result: DemoResult) -> Group:
    counts = result.expanded.counts
    made = (
        f"\n{counts.synthetic:,} synthetic portraits beside {counts.real:,} real ones. Red hair and a smile: "
        f"{result.rare_before} training portraits before, {result.rare_after:,} now."
    )
    places = Table.grid(padding=(0, 2))
    for what, where in (
        ("portraits", result.manifest),
        ("folder", result.folder),
        ("HDF5", result.hdf5),
        ("preview", result.preview),
        ("model", result.model),
    ):
        places.add_row(what, Text(str(where), overflow="fold"))
    return Group(
        Text(made),
        Text("\nTarget accuracy: do translations show the requested values?", style="bold"),
        _target_accuracy(result),
        Text(
            f"{result.verdict.translations:,} translated test portraits, judged by the first classifier below.",
            "dim",
        ),
        Text("\nDoes it help a classifier?", style="bold"),
        _helps(result),
        Text(
            "Balanced accuracy on real test portraits, at equal training steps. One seed of one data set is an "
            "illustration: augmentor evaluate measures, with intervals.\n",
            "dim",
        ),
        places,
        Text("\nTry next:", style="bold"),
    )


def _target_accuracy(result: DemoResult) -> Table:
    table = plain_table("", *result.verdict.right, "all of them")
    table.add_row("all translations", *_percent(result.verdict.right), f"{result.verdict.all_right:.1%}")
    table.add_row("where the value changed", *_percent(result.verdict.changed), "")
    return table


def _helps(result: DemoResult) -> Table:
    table = plain_table("trained on", "images", *result.without.balanced, "red-haired smiles")
    for name, row in (("real", result.without), ("real + synthetic", result.with_synthetic)):
        table.add_row(name, f"{row.images:,}", *_percent(row.balanced), f"{row.rare:.1%}")
    return table


def _percent(shares: dict[str, float]) -> list[str]:
    return [f"{share:.1%}" for share in shares.values()]


def _plain(result: DemoResult) -> dict[str, object]:
    return {
        "manifest": str(result.manifest),
        "model": str(result.model),
        "folder": str(result.folder),
        "hdf5": str(result.hdf5),
        "preview": str(result.preview),
        "counts": result.expanded.counts.to_json(),
        "rare": {"before": result.rare_before, "after": result.rare_after},
        "translations": {
            "judged": result.verdict.translations,
            "right": result.verdict.right,
            "changed": result.verdict.changed,
            "all_right": result.verdict.all_right,
        },
        "classifier": {
            name: {"images": row.images, "balanced_accuracy": row.balanced, "red_haired_smiles": row.rare}
            for name, row in (("real", result.without), ("real_and_synthetic", result.with_synthetic))
        },
    }
