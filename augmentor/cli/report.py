"""Command `augmentor report`: the HTML report of an output."""

from __future__ import annotations

from augmentor.cli.options import JsonOption, OutputArgument
from augmentor.cli.session import command, print_json, print_line


@command
def report(out: OutputArgument, json: JsonOption = False) -> None:
    """Rewrite the HTML report and the data set card of an output.

    expand and evaluate write them, too. The report is one HTML file with a folder
    of pictures and needs no network: label counts, scores, the best and the
    rejected translations, the judge's accuracy, the evaluation.
    """
    from augmentor.report import write_report

    page = write_report(out)
    print_line(str(page))
    if json:
        print_json({"report": str(page)})
