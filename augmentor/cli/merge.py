"""`augmentor merge`: one output of all shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from augmentor.cli.options import JsonOption
from augmentor.cli.session import command, escape, print_json, results
from augmentor.storage import place


@command
def merge(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder, FILE.h5 or URL of expand --shards.", parser=place)
    ],
    json: JsonOption = False,
) -> None:
    """Put together what all shares of an expansion have made.

    The share that ends last does that by itself; this is for when it was
    killed. A second call changes nothing.
    """
    from augmentor.expansion import merge as put_together
    from augmentor.report import report_path, write_report

    counts = put_together(out, write_pages=write_report)
    results.print(
        f"{counts.synthetic:,} synthetic and {counts.real:,} real images in {escape(str(out))}", soft_wrap=True
    )
    results.print(f"Report: {report_path(out)}", soft_wrap=True, markup=False)
    if json:
        print_json({"out": str(out), "report": str(report_path(out)), **counts.to_json()})
