"""`augmentor report`: an output's page, written again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from augmentor.cli.options import JsonOption
from augmentor.cli.session import command, print_json, results


@command
def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder, or FILE.h5, that expand wrote.")],
    json: JsonOption = False,
) -> None:
    """Write the page and the data set card of an output again.

    `expand` writes them, and `evaluate` once more. One HTML file with its
    pictures beside it, which needs no network: what is in the output, how it
    was judged, the best and the rejected, and whether a classifier gets better.
    """
    from augmentor.report import write_report

    page = write_report(out)
    results.print(str(page), soft_wrap=True, markup=False)
    if json:
        print_json({"report": str(page)})
