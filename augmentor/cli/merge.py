"""Command `augmentor merge`: one output from all shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from augmentor.cli.options import JsonOption
from augmentor.cli.session import command, print_json, print_line, remark, warn
from augmentor.storage import parse_path


@command
def merge(
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Output folder, FILE.h5 or URL of expand --shards.", parser=parse_path),
    ],
    json: JsonOption = False,
) -> None:
    """Merge the shares of expand --shards into one output.

    The last share to end does this itself. Use this command if that share was
    killed. A second call changes nothing.
    """
    from augmentor.expansion import merge as put_together
    from augmentor.judge import Unchecked
    from augmentor.outputs.readers import FinishedOutput
    from augmentor.report import report_path, write_report

    counts = put_together(out, write_pages=write_report)
    output = FinishedOutput.open(out)
    print_line(f"{counts.synthetic:,} synthetic and {counts.real:,} real images in {out}")
    print_line(f"Report: {report_path(out)}")
    if json:
        print_json({"out": str(out), "report": str(report_path(out)), **counts.to_json()})
    if note := output.class_note:
        remark(note)
    if unchecked := Unchecked.described(output.description):
        warn(Unchecked.warning(unchecked))
