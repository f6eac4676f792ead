"""Command `augmentor verify`: options and the list of damaged files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from augmentor.cli.display import ProgressBar, data_size
from augmentor.cli.options import JsonOption, OutputArgument
from augmentor.cli.session import FAILED, command, print_json, results
from augmentor.cli.tables import listed
from augmentor.errors import counted

if TYPE_CHECKING:
    from augmentor.outputs.verify import Findings, Repaired


@command
def verify(
    out: OutputArgument,
    repair: Annotated[
        bool, typer.Option("--repair", help="Delete damaged shards, for expand to make again.")
    ] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads for reading and decoding.")] = None,
    json: JsonOption = False,
) -> None:
    """Verify an output: read everything again and list what is damaged.

    Checks hashes, images, labels, counts and tables; that no translation has a
    val or test row as its source; and that no group is in two splits. Exits
    with 1 if it finds a problem. --repair deletes damaged shards, and the same
    expand command makes them again; it exits with 0 if no other problem is left.
    """
    from augmentor.outputs.verify import repair_output, verify_output

    with ProgressBar("verifying", unit="images") as bar:
        found = verify_output(out, workers=workers, on_progress=bar.update)
    repaired = repair_output(found) if repair else None
    if json:
        print_json({**found.to_json(), "repaired": None if repaired is None else repaired.to_json()})
    else:
        results.print(verify_tables(found, repaired), soft_wrap=True)
    if repaired.left if repaired is not None else found.problems:
        raise typer.Exit(FAILED)


def verify_tables(found: Findings, repaired: Repaired | None) -> Group:
    """Return what `augmentor verify` found, and what its --repair did."""
    counts, shards = found.counts, counted(found.shards, "shard")
    state = "" if found.finished else "; not finished: the same expand resumes it"
    rejected = f", {counts.rejected:,} rejected" if counts.rejected else ""
    images = f"{counts.real:,} real and {counts.synthetic:,} synthetic images{rejected}"
    lines = [
        Text(f"{found.out}: {shards}, {images}{state}"),
        *listed("damaged", [str(problem) for problem in found.problems]),
    ]
    if found.ok:
        size = data_size(found.size)
        words = f"Everything is as written: {size} of images, their labels, names and splits."
        lines.append(Text(words, style="green"))
    elif repaired is None:
        lines.append(Text(f"{counted(len(found.problems), 'problem')}. {_way_out(found)}", style="bold red"))
    else:
        lines += _repaired(repaired)
    return Group(*lines)


def _way_out(found: Findings) -> str:
    if len(found.mended_by("nothing")) == len(found.problems):
        return "--repair cannot help with these."
    shards = len(found.damaged_shards)
    dropped = f"{shards:,} of {found.shards:,} shards" if shards else "what was assembled"
    return f"--repair drops {dropped}; the same expand then makes that again, and nothing else."


def _repaired(repaired: Repaired) -> list[Text]:
    lines = []
    if repaired.dropped:
        lines.append(Text(f"Dropped {counted(len(repaired.dropped), 'damaged shard')}.", style="yellow"))
    if repaired.rewritten:
        lines.append(Text(f"Written again: {', '.join(repaired.rewritten)}.", style="yellow"))
    if repaired.unfinished:
        lines.append(Text("Run the same expand again: it makes what is missing.", style="yellow"))
    return [*lines, *listed("left", [str(problem) for problem in repaired.left])]
