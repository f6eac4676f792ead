"""Console output, error blocks, interrupts and exit codes of all commands."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.text import Text

from augmentor.errors import AugmentorError, ManifestError, OutputError, RecipeError, counted
from augmentor.recipes import shipped_recipes
from augmentor.storage import RemotePath, mask_credentials, refuse_unusable

P = ParamSpec("P")

FAILED, INTERRUPTED = 1, 130

results = Console(highlight=False, soft_wrap=False)
"""stdout: results."""

messages = Console(stderr=True, highlight=False)
"""stderr: progress, remarks, errors."""

_debug = False
_interrupted = False


def set_debug(debug: bool) -> None:
    """Show tracebacks in place of error blocks."""
    global _debug  # noqa: PLW0603 - the one switch of the process
    _debug = debug


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command: print its errors as one short block, and exit with the documented codes.

    SIGTERM and Ctrl-C both exit with 130 and print the command that resumes.
    """
    return _guarded(function, ())


def resumed_by(*flags: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Wrap a command, as `command` does, that resumes only with these flags."""
    return lambda function: _guarded(function, flags)


def _guarded(function: Callable[P, None], resuming: Sequence[str]) -> Callable[P, None]:
    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            for path in _paths(kwargs.values()):
                refuse_unusable(path)
            with _signals_interrupt():
                function(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except BaseException as error:
            # Here, outside of the handlers' scope: no interrupt is left unanswered in between.
            if _comes_of_interrupt(error):
                exit_interrupted(resume=this_command(*resuming), absent=_absent(kwargs))
            if _debug or not isinstance(error, Exception):
                raise
            _end_with(error)

    return run


_READ = ("manifest", "manifests", "model", "run", "recipe")
"""Parameters of commands whose files are read; others are written, or may be."""


def _absent(arguments: Mapping[str, object]) -> Path | None:
    """Return the first local file or folder that a command is to read and that does not exist."""
    read = _paths(arguments[name] for name in _READ if name in arguments)
    local = (path for path in read if not isinstance(path, RemotePath))
    named = shipped_recipes()
    absent = (path for path in local if not os.path.exists(path))  # noqa: PTH110 - unlike Path's, no error
    return next((path for path in absent if path != arguments.get("recipe") or str(path) not in named), None)


def _end_with(error: Exception) -> NoReturn:
    code = FAILED
    if isinstance(error, AugmentorError):
        _print_error(str(error))
        code = error.exit_code
    elif not isinstance(error, BrokenPipeError):
        _print_error(
            f"unexpected {type(error).__name__}: {error}\n"
            "This is a bug. Run it again as 'augmentor --debug ...' and report what it prints."
        )
    raise typer.Exit(code) from None


def _paths(values: Iterable[object]) -> Iterator[Path]:
    """Yield the paths among a command's arguments."""
    for value in values:
        if isinstance(value, Path):
            yield value
        elif isinstance(value, list | tuple):
            yield from _paths(value)


def end_at_once(code: int) -> NoReturn:
    """End the process without joining its threads, one of which hangs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_interrupted(*, resume: str, absent: Path | None = None) -> NoReturn:
    """Print the command that resumes, or the missing input that it would stop at, and exit as interrupted."""
    messages.print("[yellow]Interrupted.[/]")
    if absent is None:
        messages.print(f"Go on with:  {escape(resume)}", soft_wrap=True)
    else:
        messages.print(f"The same command would fail: {escape(str(absent))} does not exist.", soft_wrap=True)
    raise typer.Exit(INTERRUPTED)


def program() -> list[str]:
    """Return the words that started augmentor, so that a printed command can be copied."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return ["python", "-m", "augmentor"]
    found = shutil.which("augmentor")
    on_path = found is not None and Path(found).resolve() == started.resolve()
    return ["augmentor"] if on_path or not started.exists() else [sys.argv[0]]


def this_command(*extra: str, without: Sequence[str] = ()) -> str:
    """Return the running command line, with missing flags added and some removed."""
    words = [*program(), *(word for word in sys.argv[1:] if word not in without)]
    return shlex.join([*words, *(flag for flag in extra if flag not in words)])


_READING = ("image_column", "image_prefix", "image_suffix", "na_values", "max_pixels", "allow_outside")
"""Options that say how to read a manifest: who gives them to one command needs them in the next."""


def print_next(context: typer.Context, name: str, *words: str | Path, carried: Sequence[str] = ()) -> None:
    """Print a command to go on with, with the words given, and with options of the running one.

    These are the ones that say how to read the manifest, and those `carried`, as far as both commands have them.
    """
    commands = getattr(context.find_root().command, "commands", {})
    known = {parameter.name for parameter in commands[name].params}
    found = [name, *map(str, words)]
    for parameter in context.command.params:
        key = parameter.name or ""
        source = context.get_parameter_source(key)
        given = source is not None and source.name == "COMMANDLINE"
        if key in (*_READING, *carried) and key in known and given:
            value = context.params[key]
            for each in value if isinstance(value, list | tuple) else [value]:
                found += [parameter.opts[0]] if each is True else [parameter.opts[0], str(each)]
    print_line(f"Next:  {shlex.join([*program(), *found])}")


_UNRECORDED_FLAGS = frozenset({"--debug", "--dry-run", "--json", "--overwrite", "--resume", "--verify-sources"})
_UNRECORDED_VALUES = frozenset(
    {"--address", "--device", "--devices", "--engine", "--max-failures", "--ray-workers", "--shards", "--workers"}
)


def recorded_command() -> str:
    """Return the running command line as outputs record it, without flags of execution.

    Equal after a kill, on another device, with other workers and in another folder: so are the output's bytes.
    """
    words = ["augmentor"]
    given = iter(sys.argv[1:])
    for word in given:
        name, equals, value = word.partition("=")
        if word in _UNRECORDED_FLAGS:
            continue
        if name in _UNRECORDED_VALUES:
            if not equals:
                next(given, None)
        elif name == "--out":
            words += ["--out", Path(value if equals else next(given, "")).name]
        else:
            words.append(mask_credentials(word))
    return shlex.join(words)


def print_line(text: str) -> None:
    """Print one line on stdout: unwrapped, without markup, control characters spelled out."""
    results.print(Text(visible(text)), soft_wrap=True)


def print_json(values: Mapping[str, object]) -> None:
    """Print one JSON object as the last line of stdout."""
    sys.stdout.write(mask_credentials(json.dumps(values, ensure_ascii=False)) + "\n")


def escape(text: str) -> str:
    """Return text with rich markup and control characters escaped."""
    return escape_markup(visible(text))


def visible(text: str) -> str:
    """Return text with control and direction characters spelled out, and without the credentials in its URLs.

    File names and table cells are not trusted: a character that clears the screen, or changes the direction of
    writing, could falsify a message.
    """
    return mask_credentials(text).translate(_SPELLED_OUT)


_SPELLED_OUT = {
    code: chr(code).encode("unicode_escape").decode()
    for code in (*range(10), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Control characters except the line feed, and characters that change a text's direction."""


def remark(text: str) -> None:
    """Print a note on stderr."""
    messages.print(f"[yellow]note[/]  {escape(text)}", soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on stderr that is meant to be the last thing on the screen."""
    messages.print(f"[bold red]warning[/]  {escape(text)}", soft_wrap=True)


@contextmanager
def output_of_rank_0(is_rank_0: bool) -> Iterator[None]:
    """Print nothing in other processes than rank 0, except errors that rank 0 does not have."""
    results.quiet = messages.quiet = not is_rank_0
    try:
        yield
    except (ManifestError, RecipeError, OutputError):
        raise  # all ranks read the same files, and rank 0 prints the error
    except Exception:
        messages.quiet = False
        raise


@contextmanager
def stop_flag() -> Iterator[Callable[[], bool]]:
    """Let SIGINT and SIGTERM request a stop; a second SIGINT interrupts at once.

    Yields a function that returns whether a stop was requested.
    """
    requested = False

    def request(number: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested = True
        messages.print("Stopping after this step; the checkpoint is written first ...")

    with _handled(request):
        yield lambda: requested


@contextmanager
def interruptible(*, resume: str) -> Iterator[None]:
    """Exit on an interrupt with this command to resume, in place of the running one."""
    try:
        yield
    except typer.Exit:
        raise
    except BaseException as error:
        if not _comes_of_interrupt(error):
            raise
        exit_interrupted(resume=resume)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does, and record that either did."""
    global _interrupted  # noqa: PLW0603 - signals are the whole process's
    _interrupted = False
    with _handled(_interrupt):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM with a function, except one that is ignored (as in a shell's background jobs)."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: each for number, each in handlers.items() if each != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, each in before.items():
            signal.signal(number, each)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    global _interrupted  # noqa: PLW0603
    _interrupted = True
    raise KeyboardInterrupt


def _comes_of_interrupt(error: BaseException) -> bool:
    """Return whether an error is an interrupt, or a library's error that an interrupt caused.

    pandas raises a parser error when its reader is interrupted, pydantic a schema error.
    """
    return isinstance(error, KeyboardInterrupt) or (_interrupted and isinstance(error, Exception))


def _print_error(text: str) -> None:
    first, *rest = text.split("\n")
    messages.print(f"[bold red]error[/]  {escape(first)}", soft_wrap=True)
    for line in rest:
        messages.print(f"       {escape(line)}", soft_wrap=True)


def exit_for_failures(failed: int, allowed: int, where: Path) -> None:
    """Print the number of failed rows, and exit with 1 if more failed than allowed."""
    if failed:
        messages.print(f"{counted(failed, 'row')} could not be used: {escape(str(where))}", soft_wrap=True)
    if failed > allowed:
        raise typer.Exit(FAILED)
