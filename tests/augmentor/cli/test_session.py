"""What all commands share: errors as short blocks, exit codes, interrupts, the command that resumes."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
import typer

from augmentor.cli import session
from augmentor.errors import AugmentorError, ManifestError, TrainingError


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    session.set_debug(False)
    yield
    session.set_debug(False)


def ended(function: Callable[[], None]) -> int:
    """Run a command; return its exit code."""
    try:
        session.command(function)()
    except typer.Exit as end:
        return end.exit_code
    return 0


def failing(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


# ---- errors ----


def test_a_command_that_works_ends_with_0() -> None:
    assert ended(lambda: None) == 0


@pytest.mark.parametrize(
    ("error", "code"), [(ManifestError("no"), 2), (AugmentorError("no"), 2), (TrainingError("no"), 1)]
)
def test_exit_codes_of_errors(error: AugmentorError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(failing(error)) == code
    assert capsys.readouterr() == ("", "error  no\n")


def test_a_message_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b[2J\x1b]0;title\x07\r\u202egnp.exe\x9b1m \U0001f469 [red]ä"
    assert ended(failing(ManifestError(hostile))) == 2
    session.remark(hostile)
    shown = "a\\x1b[2J\\x1b]0;title\\x07\\r\\u202egnp.exe\\x9b1m \U0001f469 [red]ä"
    assert capsys.readouterr().err == f"error  {shown}\nnote  {shown}\n"


def test_an_error_is_one_block_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    long = "[bold]x[/bold].csv, row 3: " + "very " * 40 + "long"
    assert ended(failing(ManifestError(f"{long}\nDo this."))) == 2
    assert capsys.readouterr().err == f"error  {long}\n       Do this.\n"


def test_a_bug_is_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(failing(ZeroDivisionError("by zero"))) == 1
    said = capsys.readouterr().err
    assert said.startswith("error  unexpected ZeroDivisionError: by zero\n")
    assert "augmentor --debug" in said


@pytest.mark.parametrize("error", [ManifestError("no"), ZeroDivisionError("by zero")])
def test_debug_lets_errors_through(error: Exception) -> None:
    session.set_debug(True)
    with pytest.raises(type(error)):
        ended(failing(error))


def test_other_ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "check", "my data.csv"])
    assert ended(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "Interrupted.\nGo on with:  augmentor check 'my data.csv'\n"
    assert ended(failing(typer.Exit(7))) == 7
    assert ended(failing(BrokenPipeError())) == 1
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["manifest", "manifests", "model", "run", "recipe"])
def test_no_command_is_printed_that_cannot_go_on(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "train", "faces.csv"])
    interrupted = session.command(lambda **_kwargs: failing(KeyboardInterrupt())())
    there, absent = tmp_path / "there", tmp_path / "absent"
    there.touch()
    for path, said in (
        (there, "Go on with:  augmentor train faces.csv"),
        (absent, f"The same command would fail: {absent} does not exist."),
    ):
        with pytest.raises(typer.Exit) as end:
            interrupted(**{name: [path] if name == "manifests" else path, "out": absent})
        assert end.value.exit_code == 130
        assert capsys.readouterr().err == f"Interrupted.\n{said}\n"


def test_a_recipe_that_ships_is_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "train", "faces.csv", "--recipe", "cpu-quick"])
    interrupted = session.command(lambda **_kwargs: failing(KeyboardInterrupt())())
    with pytest.raises(typer.Exit):
        interrupted(recipe=Path("cpu-quick"))
    assert "Go on with:  augmentor train faces.csv --recipe cpu-quick" in capsys.readouterr().err


# ---- what is printed ----


def test_json_is_one_line_of_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"out": "Bilder/für [alle]", "count": 3, "none": None}
    session.print_json(values)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "für [alle]" in said
    assert json.loads(said) == values


def test_remarks_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    session.remark("column [hair]: " + "x" * 200)
    assert capsys.readouterr() == ("", f"note  column [hair]: {'x' * 200}\n")


def test_the_command_that_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/augmentor", "train", "my data.csv", "--set", "a=[1]"])
    assert session.this_command() == "augmentor train 'my data.csv' --set 'a=[1]'"
    assert session.this_command("--resume") == "augmentor train 'my data.csv' --set 'a=[1]' --resume"
    monkeypatch.setattr(sys, "argv", ["x", "train", "--resume"])
    assert session.this_command("--resume") == "augmentor train --resume"
    assert session.this_command(without=("--resume",)) == "augmentor train"


def test_the_command_that_outputs_record(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["expand", "my data.csv", "--model", "run", "--domains", "hair=red|blond", "--keep-best", "3"]
    expected = "augmentor expand 'my data.csv' --model run --domains 'hair=red|blond' --keep-best 3 --out more.h5"
    for before, after in (
        ([], ["--out", "more.h5"]),
        (["--debug"], ["--workers", "4", "--out=/disk/more.h5", "--json", "--overwrite"]),
        ([], ["--device=cuda", "--out", "elsewhere/more.h5", "--devices", "cpu,cpu", "--max-failures", "9"]),
    ):
        monkeypatch.setattr(sys, "argv", ["/opt/bin/augmentor", *before, *asked, *after])
        assert session.recorded_command() == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_every_command_can_be_interrupted_and_says_how_to_go_on(
    number: signal.Signals, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "train", "a.csv"])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(typer.Exit) as end:
        session.resumed_by("--resume")(lambda: os.kill(os.getpid(), number))()
    assert end.value.exit_code == 130
    assert capsys.readouterr().err == "Interrupted.\nGo on with:  augmentor train a.csv --resume\n"
    assert signal.getsignal(signal.SIGTERM) is before


# ---- signals ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_for_a_stop(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with session.stop_flag() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()
        assert "Stopping after this step" in capsys.readouterr().err
        os.kill(os.getpid(), signal.SIGTERM)  # a second one may come from the same shut-down
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_names_another_way_on(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    reached = []

    def work() -> None:
        with session.interruptible(resume="augmentor expand 'a [b].csv'"):
            os.kill(os.getpid(), number)
            reached.append("too far")

    assert ended(work) == 130
    assert reached == []
    assert capsys.readouterr().err == "Interrupted.\nGo on with:  augmentor expand 'a [b].csv'\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ignored_signal_stays_ignored(number: signal.Signals) -> None:
    """A shell starts its background jobs so."""
    before = signal.signal(number, signal.SIG_IGN)
    changed_targets: list[bool] = []

    def work() -> None:
        os.kill(os.getpid(), number)
        with session.stop_flag() as asked:
            os.kill(os.getpid(), number)
            changed_targets.append(asked())

    try:
        assert ended(work) == 0
        assert changed_targets == [False]
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_library_makes_of_an_interrupt_is_one(
    number: signal.Signals, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pandas says that the table does not parse."""
    monkeypatch.setattr(sys, "argv", ["x", "check", "a.csv"])

    class Interrupted(io.StringIO):
        def read(self, size: int | None = -1, /) -> str:
            os.kill(os.getpid(), number)
            return super().read(size)

    for way_on in ("augmentor check a.csv", "another"):

        def read(way_on: str = way_on) -> None:
            with session.interruptible(resume=way_on) if way_on == "another" else nullcontext():
                try:
                    pd.read_csv(Interrupted("a,b\n1,2\n"))
                except ValueError as error:
                    raise ManifestError(f"a.csv: {error}") from error

        assert ended(read) == 130
        assert capsys.readouterr().err == f"Interrupted.\nGo on with:  {way_on}\n"
    assert ended(failing(ManifestError("a.csv: wrong"))) == 2  # The next command is not interrupted.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", [2, 3])
def test_an_interrupt_is_answered_from_the_first_moment_to_the_last(
    number: signal.Signals, moment: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal comes as soon as SIGTERM has its handler, or just before it gives it back."""
    monkeypatch.setattr(sys, "argv", ["x", "check", "a.csv"])
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    change, changes = signal.signal, []

    def changing(which: int, handler: signal.Handlers) -> object:
        changes.append(which)
        if len(changes) == 3 == moment:
            os.kill(os.getpid(), number)
        was = change(which, handler)
        if len(changes) == 2 == moment:
            os.kill(os.getpid(), number)
        return was

    try:
        with monkeypatch.context() as patched:
            patched.setattr(signal, "signal", changing)
            code = ended(lambda: None)
    except KeyboardInterrupt:  # which would end all tests
        code = -number
    finally:
        for each, handler in before.items():
            change(each, handler)
    assert code == 130
    assert capsys.readouterr().err == "Interrupted.\nGo on with:  augmentor check a.csv\n"


def test_a_printed_command_starts_augmentor_as_it_was_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = tmp_path / "bin" / "augmentor"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent))
    monkeypatch.setattr(sys, "argv", [str(command)])
    assert session.program() == ["augmentor"]
    monkeypatch.setenv("PATH", str(tmp_path))  # not found there: the file itself is named
    assert session.program() == [str(command)]
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "__main__.py")])
    assert session.program() == ["python", "-m", "augmentor"]
