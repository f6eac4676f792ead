"""Interrupts before a command has started, and after it has ended: exit code 130, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

DYING = """
import os, sys
moment, number = sys.argv[1], int(sys.argv[2])
def interrupt(*_):
    os.kill(os.getpid(), number)

class Imports:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            interrupt()

from augmentor.__main__ import main
sys.argv = ["augmentor", "info", "--no-such-option"]
if moment == "imports":
    sys.meta_path.insert(0, Imports())
else:
    import augmentor.cli
    name = {"parsing": "set_debug", "ending": "anything_hangs"}[moment]
    setattr(sys.modules["augmentor.cli.app"], name, interrupt)
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are others there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["imports", "parsing", "ending"])
def test_an_interrupt_is_answered_at_any_moment(moment: str, number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DYING, moment, str(int(number))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == "Interrupted."
    assert "Traceback" not in done.stderr
