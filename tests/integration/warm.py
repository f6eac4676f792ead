"""Runs commands in processes of their own that need not import torch anew: a server that forks.

A request is one line of JSON: {"argv": [...], "script": path or "", "cwd": path, "out": path, "err": path,
"environment": variables on top of the server's own}.
The answers are two lines: the child's process id, then how it ended, as `Popen.returncode` says it. The child
runs `python -m augmentor ARGV`, or the script, as a fresh interpreter would; only the imports are warm.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import sys
import traceback
from typing import TypedDict

import s3fs  # noqa: F401
import torchvision.models  # noqa: F401

import augmentor.data.check
import augmentor.expansion.run
import augmentor.judge
import augmentor.outputs.readers.dataset
import augmentor.training.run  # noqa: F401 - all of these are imported for the children


def _redirect(number: int, path: str, flags: int) -> None:
    handle = os.open(path, flags, 0o644)
    os.dup2(handle, number)
    os.close(handle)


class Request(TypedDict):
    """What to run, and where its output goes."""

    argv: list[str]
    script: str
    cwd: str
    out: str
    err: str
    environment: dict[str, str]


def _serve() -> Request | None:
    """Fork a child for every request; returns in the children with theirs, at the end in the parent with None."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.setsid()  # a group of its own, which Ctrl-C then reaches as a whole
            request: Request = json.loads(line)
            return request
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


def _run(argv: list[str], script: str) -> int:
    """Run the command, or the script, as the interpreter would; return the exit code."""
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


gc.freeze()  # or the first collection in a child would copy every page
if (request := _serve()) is None:
    os._exit(0)
else:
    _redirect(0, os.devnull, os.O_RDONLY)
    _redirect(1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _redirect(2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.chdir(request["cwd"])
    os.environ.update(request["environment"])
    code = _run(request["argv"], request["script"])
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking all of torch apart would take longer than most commands
