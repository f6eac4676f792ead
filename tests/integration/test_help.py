"""Every command's --help: it works, and fits a terminal of 80 columns."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len
from typer.main import get_command

from augmentor import __version__
from augmentor.cli import app

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

COMMANDS = (
    "check",
    "train",
    "expand",
    "preview",
    "judge",
    "info",
    "report",
    "verify",
    "merge",
    "evaluate",
    "recipes",
    "explain",
    "convert",
    "convert checkpoint",
    "convert dataset",
    "bench",
    "demo",
)


def lines(augmentor: Augmentor, *words: str) -> list[str]:
    """Return what a command's help says."""
    done = augmentor.run(*words, "--help")
    assert (done.code, done.err) == (0, "")
    return done.out.splitlines()


def test_the_list_above_is_whole(augmentor: Augmentor) -> None:
    def names(command: object, above: str = "") -> set[str]:
        found = set()
        for name, child in getattr(command, "commands", {}).items():
            found |= {f"{above}{name}", *names(child, f"{above}{name} ")}
        return found

    assert names(get_command(app)) == set(COMMANDS)
    listed = re.findall(r"^│ (\w+)  ", "\n".join(lines(augmentor)), flags=re.MULTILINE)
    assert listed == [name for name in dict.fromkeys(listed) if name in COMMANDS]
    assert set(listed) == {name for name in COMMANDS if " " not in name}


@pytest.mark.parametrize("words", ["", *COMMANDS])
def test_help_fits_80_columns(words: str, augmentor: Augmentor) -> None:
    said = lines(augmentor, *words.split())
    assert len(said) > 5
    assert max(map(cell_len, said)) <= 80
    # What does not fit is cut with an ellipsis: then a person cannot read it.
    assert not any("…" in line for line in said)


def test_version_and_bare_call(augmentor: Augmentor) -> None:
    assert augmentor.run("--version").out == f"augmentor {__version__}\n"
    bare = augmentor.run()
    assert "Usage: " in bare.out + bare.err
    unknown = augmentor.run("expnad")
    assert unknown.code == 2
    assert "No such command 'expnad'" in unknown.err
    assert sys.executable not in unknown.err
