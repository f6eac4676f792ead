"""The Typer app and its commands. Slow imports are inside the commands."""

from __future__ import annotations

import shutil
import traceback
from typing import Annotated

import typer

from augmentor import __version__
from augmentor.cli.bench import bench
from augmentor.cli.check import check
from augmentor.cli.convert import convert
from augmentor.cli.demo import demo
from augmentor.cli.evaluate import evaluate
from augmentor.cli.expand import expand
from augmentor.cli.info import info
from augmentor.cli.judge import judge
from augmentor.cli.merge import merge
from augmentor.cli.preview import preview
from augmentor.cli.recipes import explain, recipes
from augmentor.cli.report import report
from augmentor.cli.session import FAILED, end_at_once, messages, results, set_debug
from augmentor.cli.train import train
from augmentor.cli.verify import verify
from augmentor.storage import anything_hangs

app = typer.Typer(
    name="augmentor",
    help="Data augmentation with one StarGAN: train on labelled images, translate them into every domain.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(convert, name="convert")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SystemExit as end:
        if anything_hangs():
            end_at_once(end.code if isinstance(end.code, int) else FAILED)
        raise
    except BaseException:  # With --debug.
        if anything_hangs():
            traceback.print_exc()
            end_at_once(FAILED)
        raise


def _print_version(wanted: bool) -> None:
    if wanted:
        results.print(f"augmentor {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    set_debug(debug)


for each in (
    check,
    train,
    expand,
    merge,
    preview,
    judge,
    info,
    report,
    verify,
    evaluate,
    recipes,
    explain,
    bench,
    demo,
):
    app.command()(each)

if shutil.get_terminal_size().columns < 80:
    results.soft_wrap = messages.soft_wrap = True
