"""A server that forks a process for every request, and its client: commands start without importing torch anew.

A request is a `Request`. It is answered twice, by a pair of the request's number and an integer: first the process
id of the child, which leads a process group by then; then its exit code, as in `Popen.returncode`. Answers to a
request on which the client has given up are discarded when they come.

One child runs at a time: the client ends it, or replaces the server, before it sends the next request.
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypedDict

from tests.integration.killing import kill_all
from tests.waiting import PATIENCE

REAPING = 60.0
"""Seconds within which a killed process has ended."""

Answer = tuple[int, int]


class Request(TypedDict):
    """What to run, and where its output goes.

    Attributes:
        number: of the request; its answers carry it.
        argv: the arguments of `python -m augmentor`, or of the script.
        script: path of a script to run; "" for augmentor.
        cwd: the working directory.
        out: path of the file for stdout.
        err: path of the file for stderr.
        environment: variables on top of the server's own.
    """

    number: int
    argv: list[str]
    script: str
    cwd: str
    out: str
    err: str
    environment: dict[str, str]


# ---- the server ----


def serve() -> None:
    """Fork a child for every request that comes over the connection whose descriptor the command line names."""
    link: Connection[Answer, Request] = Connection(int(sys.argv[1]))
    gc.freeze()  # or the first collection in a child would copy every page
    while True:
        try:
            request = link.recv()
        except EOFError:
            os._exit(0)
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            link.send((request["number"], os.waitstatus_to_exitcode(status)))
        else:
            os.setsid()  # a group of its own, which Ctrl-C then reaches as a whole
            link.send((request["number"], os.getpid()))
            link.close()
            _run(request)


def _run(request: Request) -> None:
    """Run the command as a fresh interpreter would, and end the process."""
    _redirect(0, os.devnull, os.O_RDONLY)
    _redirect(1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _redirect(2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.chdir(request["cwd"])
    os.environ.update(request["environment"])
    code = _exit_code(request["argv"], request["script"])
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking all of torch apart would take longer than most commands


def _redirect(number: int, path: str, flags: int) -> None:
    handle = os.open(path, flags, 0o644)
    os.dup2(handle, number)
    os.close(handle)


def _exit_code(argv: list[str], script: str) -> int:
    sys.argv = [script or "augmentor", *argv]
    try:
        if script:
            runpy.run_path(script, run_name="__main__")
        else:
            runpy.run_module("augmentor", run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - the interpreter prints these, too
        traceback.print_exc()
        return 1
    return 0


# ---- the client ----


class ForkServer:
    """A server process, seen from the process that sends it requests.

    Args:
        command: starts the server; the descriptor of the connection is appended.
        folder: the server's working directory.
        environment: the server's variables.
        log: the file for what the server itself prints.
    """

    def __init__(self, command: Sequence[str], *, folder: Path, environment: Mapping[str, str], log: Path) -> None:
        self.answers = True
        """False after a wait in vain."""
        ours, theirs = Pipe()
        self.link: Connection[Request, Answer] = ours
        with theirs, log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(self, request: Request, *, patience: float = PATIENCE) -> int:
        """Start a child; return its process id.

        Raises:
            OSError: no answer.
        """
        self.answers = False
        self.link.send(request)
        return self.answer(request["number"], patience)

    def answer(self, number: int, patience: float) -> int:
        """Return the next answer to a request; answers to others, on which the client has given up, are discarded.

        Raises:
            TimeoutError: no answer within so many seconds.
            ConnectionError: the server is dead.
        """
        self.answers = False
        deadline = time.monotonic() + patience
        while self.link.poll(max(0.0, deadline - time.monotonic())):
            try:
                request, value = self.link.recv()
            except EOFError:
                raise ConnectionError("the server that forks has died") from None
            if request == number:
                self.answers = True
                return value
        raise TimeoutError(f"no answer within {patience:g} seconds")

    def close(self) -> None:
        """End the server, and a child that it may have."""
        kill_all(self.process.pid)
        self.process.wait(REAPING)
        self.link.close()
