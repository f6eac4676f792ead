"""What all commands share: consoles, errors as short blocks, interrupts, exit codes."""

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

from augmentor.errors import AugmentorError, ManifestError, OutputError, RecipeError, counted
from augmentor.storage import refuse_unusable

P = ParamSpec("P")

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

results = Console(highlight=False, soft_wrap=False)
"""stdout: what was asked for."""

messages = Console(stderr=True, highlight=False)
"""stderr: progress, remarks, errors."""

_debug = False
_interrupted = False


def set_debug(debug: bool) -> None:
    """Show tracebacks instead of short errors from now on."""
    global _debug  # noqa: PLW0603 - the one switch of the process
    _debug = debug


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors of a command into one short block and DESIGN's exit codes.

    SIGTERM ends it as Ctrl-C does: with the same command as the way on.
    """
    return _guarded(function, ())


def resumed_by(*flags: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Do as `command` for one that goes on only with these flags."""
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
            # Here, not within: so there is no moment in which an interrupt has no answer.
            if _comes_of_interrupt(error):
                exit_interrupted(resume=this_command(*resuming))
            if _debug or not isinstance(error, Exception):
                raise
            _end_with(error)

    return run


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
    """Yield the paths among what a command was given."""
    for value in values:
        if isinstance(value, Path):
            yield value
        elif isinstance(value, list | tuple):
            yield from _paths(value)


def end_at_once(code: int) -> NoReturn:
    """End the process without waiting for its threads, of which one hangs; the interpreter would wait for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def exit_interrupted(*, resume: str) -> NoReturn:
    """Say which command goes on, and end with the exit code of an interrupt."""
    messages.print("[yellow]Interrupted.[/]")
    messages.print(f"Go on with:  {escape(resume)}", soft_wrap=True)
    raise typer.Exit(INTERRUPTED)


def program() -> list[str]:
    """Return the words that start augmentor as it was started now, so that a printed command can be copied."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return ["python", "-m", "augmentor"]
    found = shutil.which("augmentor")
    on_path = found is not None and Path(found).resolve() == started.resolve()
    return ["augmentor"] if on_path or not started.exists() else [sys.argv[0]]


def this_command(*extra: str, without: Sequence[str] = ()) -> str:
    """Return the command line that runs now, with flags added that it lacks, and without some."""
    words = [*program(), *(word for word in sys.argv[1:] if word not in without)]
    return shlex.join([*words, *(flag for flag in extra if flag not in words)])


_UNRECORDED_FLAGS = frozenset({"--debug", "--dry-run", "--json", "--overwrite", "--resume", "--verify-sources"})
_UNRECORDED_VALUES = frozenset(
    {"--address", "--device", "--devices", "--engine", "--max-failures", "--ray-workers", "--shards", "--workers"}
)
_PLACES = frozenset({"--out"})


def recorded_command() -> str:
    """Return the command line that runs now as outputs record it: what was asked for, not how it was run.

    It is the same when the command is given again after a kill, on another device or with more workers, and for an
    output of the same name elsewhere; for only then has the output the same bytes.
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
        elif name in _PLACES:
            words += ["--out", Path(value if equals else next(given, "")).name]
        else:
            words.append(word)
    return shlex.join(words)


def print_json(values: Mapping[str, object]) -> None:
    """Print one JSON object as the last line of stdout."""
    sys.stdout.write(json.dumps(values, ensure_ascii=False) + "\n")


def escape(text: str) -> str:
    """Return text as rich prints it literally: neither its markup nor a terminal's codes in it act."""
    return escape_markup(visible(text))


def visible(text: str) -> str:
    """Return text that cannot act on a terminal: escape sequences and the like are spelled out.

    Names of files and cells of tables come from anywhere; one that clears the screen, or writes from right to
    left, could make a message say something else.
    """
    return text.translate(_SPELLED_OUT)


_SPELLED_OUT = {
    code: chr(code).encode("unicode_escape").decode()
    for code in (*range(10), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Control characters but for the line feed, and those that change a text's direction."""


def remark(text: str) -> None:
    """Print one remark on stderr."""
    messages.print(f"[yellow]note[/]  {escape(text)}", soft_wrap=True)


@contextmanager
def one_voice(speaks: bool) -> Iterator[None]:
    """Let one of several processes speak for all: the others are silent, but for what stops them alone.

    Args:
        speaks: whether this process does.
    """
    results.quiet = messages.quiet = not speaks
    try:
        yield
    except (ManifestError, RecipeError, OutputError):
        raise  # all of them read the same files, and one says what is wrong
    except Exception:
        messages.quiet = False
        raise


@contextmanager
def stop_flag() -> Iterator[Callable[[], bool]]:
    """Let SIGINT and SIGTERM ask for a stop; a second SIGINT interrupts at once.

    Yields:
        A function that says whether a stop was asked for.
    """
    asked = False

    def ask(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        messages.print("Stopping after this step; the checkpoint is written first ...")

    with _handled(ask):
        yield lambda: asked


@contextmanager
def interruptible(*, resume: str) -> Iterator[None]:
    """Answer an interrupt of a command with another way on than the command itself."""
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
    """Let SIGTERM interrupt as Ctrl-C does, and remember either."""
    global _interrupted  # noqa: PLW0603 - signals are the whole process's
    _interrupted = False
    with _handled(_interrupt):
        yield


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a function handle SIGINT and SIGTERM; one that is ignored, as by a shell's background jobs, stays so."""
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
    """Return whether an error is an interrupt, or what a library made of one.

    pandas says that a table does not parse when its reader is interrupted, pydantic that a schema is wrong.
    """
    return isinstance(error, KeyboardInterrupt) or (_interrupted and isinstance(error, Exception))


def _print_error(text: str) -> None:
    first, *rest = text.split("\n")
    messages.print(f"[bold red]error[/]  {escape(first)}", soft_wrap=True)
    for line in rest:
        messages.print(f"       {escape(line)}", soft_wrap=True)


def exit_for_failures(failed: int, allowed: int, where: Path) -> None:
    """Say how many rows failed, and end with exit code 1 if there are more than allowed.

    Raises:
        typer.Exit: there are.
    """
    if failed:
        messages.print(f"{counted(failed, 'row')} could not be used: {escape(str(where))}", soft_wrap=True)
    if failed > allowed:
        raise typer.Exit(FAILED)
