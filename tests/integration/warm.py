"""Runs commands in processes of their own that need not import torch anew: a server that forks.

A request is one line of JSON: {"argv": [...], "script": path or null, "cwd": path, "out": path, "err": path}.
The answers are two lines: the child's process id, then how it ended, as `Popen.returncode` says it. The child
runs `python -m augmentor ARGV`, or the script, as a fresh interpreter would; only the imports are warm.
"""

from __future__ import annotations

import json
import os
import runpy
import sys

import augmentor.check
import augmentor.datasets
import augmentor.expand
import augmentor.quality
import augmentor.train  # noqa: F401 - all of these are imported for the children


def _redirect(number: int, path: str, flags: int) -> None:
    handle = os.open(path, flags, 0o644)
    os.dup2(handle, number)
    os.close(handle)


def _serve() -> dict[str, str] | None:
    """Fork a child for every request; returns in the children with theirs, at the end in the parent with None."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            request: dict[str, str] = json.loads(line)
            return request
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


REQUEST = _serve()
if REQUEST is not None:
    _redirect(0, os.devnull, os.O_RDONLY)
    _redirect(1, REQUEST["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _redirect(2, REQUEST["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.chdir(REQUEST["cwd"])
    sys.argv = [REQUEST["script"] or "augmentor", *REQUEST["argv"]]
    if REQUEST["script"]:
        runpy.run_path(REQUEST["script"], run_name="__main__")
    else:
        runpy.run_module("augmentor", run_name="__main__", alter_sys=False)
