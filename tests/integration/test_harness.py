"""How the tests start commands: one that is given up on is killed, and the next one gets its own exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import Augmentor, Running
from tests.integration.killing import descendants, is_gone, kill_all
from tests.waiting import HANG, wait_until

BRIEFLY = 0.2

SERVER = "from tests.integration.forkserver import serve; serve()"
HANGING = f"""
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep({HANG})"], start_new_session=True)
print("hangs", file=sys.stderr, flush=True)
time.sleep({HANG})
"""
ENDING = """
import os, sys
print(os.environ.get("WORD"), os.getcwd())
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def commands(augmentor: Augmentor, tmp_path: Path) -> Iterator[Augmentor]:
    """Commands that are forked from a server of their own, which has imported nothing."""
    commands = Augmentor(folder=tmp_path, environment=augmentor.environment, warm=(sys.executable, "-c", SERVER))
    yield commands
    commands.close()


@pytest.fixture
def hanging(tmp_path: Path) -> Path:
    path = tmp_path / "hanging.py"
    path.write_text(HANGING)
    return path


@pytest.fixture
def ending(tmp_path: Path) -> Path:
    path = tmp_path / "ending.py"
    path.write_text(ENDING)
    return path


def wait_for_the_end(running: Running) -> None:
    running.end(patience=BRIEFLY)


def wait_for_a_sight(running: Running) -> None:
    running.wait_for(lambda: False, patience=BRIEFLY)


@pytest.mark.parametrize("wait", [wait_for_the_end, wait_for_a_sight])
def test_a_wait_in_vain_kills_the_command_and_leaves_the_next_one_alone(
    wait: Callable[[Running], None], commands: Augmentor, hanging: Path, ending: Path
) -> None:
    running = commands.start(script=hanging)
    running.wait_for((running.folder / "err").read_text)
    both = [running.pid, *descendants(running.pid)]
    with pytest.raises(pytest.fail.Exception, match=r"(?s)0\.2 seconds.*the command said:.*hangs"):
        wait(running)
    wait_until(lambda: all(map(is_gone, both)))
    assert running.end().code == -signal.SIGKILL
    for code in (7, 0, 3):
        assert commands.run(code, script=ending).code == code


def test_an_answer_that_comes_too_late_is_discarded(commands: Augmentor, hanging: Path, ending: Path) -> None:
    """The server answers to what was killed only when it is asked again."""
    running = commands.start(script=hanging)
    server = commands.server
    assert server is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    running.code = 0  # as if it had been waited for
    kill_all(running.pid)
    os.kill(server.process.pid, signal.SIGCONT)
    assert commands.run(7, script=ending).code == 7
    assert commands.server is server


def test_a_server_that_is_dead_or_does_not_answer_is_replaced(commands: Augmentor, ending: Path) -> None:
    assert commands.run(7, script=ending).code == 7
    for number in (signal.SIGSTOP, signal.SIGKILL):
        server = commands.server
        assert server is not None
        os.kill(server.process.pid, number)
        assert commands.start(5, script=ending, patience=BRIEFLY).end().code == 5
        assert commands.server is not server
        assert is_gone(server.process.pid)


def test_a_command_that_ends_ends_the_wait_for_what_it_does_not_do(commands: Augmentor, ending: Path) -> None:
    for running in (
        commands.start(9, script=ending),
        commands.spawn(sys.executable, ending, 9),
    ):
        assert not running.sees(lambda: False)
        with pytest.raises(pytest.fail.Exception, match="the command has ended with 9"):
            running.wait_for(lambda: False)


def test_a_command_that_a_test_leaves_behind_is_killed(commands: Augmentor, hanging: Path, ending: Path) -> None:
    running = commands.start(script=hanging)
    with pytest.raises(AssertionError, match="end the command before the next"):
        commands.run(0, script=ending)
    commands.kill_running()
    assert is_gone(running.pid)
    assert commands.run(2, script=ending).code == 2


def test_where_a_script_runs_and_with_what(commands: Augmentor, ending: Path, tmp_path: Path) -> None:
    commands.more["WORD"] = "given"
    done = commands.start(0, script=ending, inside=tmp_path).end()
    assert done.out.split() == ["given", str(tmp_path)]
