"""Nothing waits for ever: what hangs is named, the process ends, and the same command goes on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import ROOT
from tests.integration.killing import committed, content
from tests.waiting import HANG, scaled, soon

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Small

HANGING = """
import sys, threading
from augmentor.expansion import pipeline
from augmentor.outputs.writers import parts, staged
from augmentor.storage import workers
from augmentor.training import loading

where, seconds = sys.argv.pop(1), float(sys.argv.pop(1))
workers.STALLED_SECONDS = seconds
workers.GRACE_SECONDS = 0.5
forever = threading.Event()

def hanging(plain, stop):
    def call(path, *given, **named):
        if stop in str(path):
            print("hangs", file=sys.stderr, flush=True)
            forever.wait()
        return plain(path, *given, **named)
    return call

match where:
    case "source":
        pipeline.decode = hanging(pipeline.decode, "20.png")  # of one shard: the other thread gets on
        loading.decode = hanging(loading.decode, "11.png")
    case "image":
        staged.encode_file = hanging(staged.encode_file, "00008")
    case "commit":
        staged.sync_folder = hanging(staged.sync_folder, "00008")
        parts.sync_file = hanging(parts.sync_file, "00008")

from augmentor.__main__ import main
main()
"""
"""Runs a command in which what its first argument names hangs; its second one says how long that is borne."""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "hanging.py"
    path.write_text(HANGING)
    return path


@pytest.fixture(scope="module")
def command(small: Small, model: Path) -> list[str]:
    """An expansion in 27 shards, but for its output."""
    words = ["expand", str(small.manifest), "--model", str(model), "--domains", "all", "--shard-size", "4"]
    return [*words, "--workers", "2"]


@pytest.mark.parametrize(
    ("where", "name", "said"),
    [
        ("source", "out", "while reading .*png"),
        ("source", "out.h5", "while reading .*png"),
        ("image", "out", "while encoding and writing images"),
        ("commit", "out", "while committing a shard"),
        ("commit", "out.h5", "while committing a shard"),
    ],
)
def test_an_expansion_that_hangs_ends_and_goes_on(
    where: str,
    name: str,
    said: str,
    script: Path,
    augmentor: Augmentor,
    command: list[str],
    tmp_path: Path,
) -> None:
    out, whole = tmp_path / "made" / name, tmp_path / "whole" / name
    for path in (out, whole):
        path.parent.mkdir()
    limit = scaled(1)
    done = augmentor.run(where, limit, *command, "--out", out, script=script)
    assert done.code == 1, done.err
    assert "hangs\n" in done.err
    (error,) = [line for line in done.err.splitlines() if line.startswith("error  ")]
    assert error.startswith(f"error  {out}: nothing has moved for {limit:g} seconds while ")
    assert said.removeprefix("while ").split(".*")[0] in error
    assert error.endswith("bring it back and run the same command again: what was committed is safe")
    assert "Traceback" not in done.err
    there = committed(out)
    assert 0 < there < 27
    assert augmentor.run("verify", out).code == 0
    again = augmentor.run(*command, "--out", out, "--json")
    assert again.code == 0, again.err
    resumed = again.json["resumed"]
    assert isinstance(resumed, int)
    assert resumed >= 4 * there - 2
    assert augmentor.run(*command, "--out", whole).code == 0
    assert content(out) == content(whole)


def test_the_interpreter_does_not_wait_for_it_either(
    script: Path, augmentor: Augmentor, command: list[str], tmp_path: Path
) -> None:
    """In a process from nothing: one forked for the tests ends in another way. Ctrl-C, too, is answered."""
    out = tmp_path / "out"
    words = (script, "source", HANG, *command, "--out", out)
    running = augmentor.spawn(sys.executable, *words, PYTHONPATH=str(ROOT))
    running.wait_for(lambda: "hangs\n" in (running.folder / "err").read_text())
    running.wait_for(lambda: committed(out) >= 1)
    with soon(20):
        running.send(signal.SIGINT)
        done = running.end()
    assert done.code == 130, done.err
    assert "Interrupted." in done.err
    assert "Go on with:" in done.err
    again = augmentor.run(*command, "--out", out, "--json")
    assert again.code == 0, again.err


@pytest.mark.parametrize("cache", ["on", "off"])
def test_training_that_hangs_ends_and_goes_on(
    cache: str, script: Path, augmentor: Augmentor, small: Small, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["train", str(small.manifest), "--out", str(run), *tiny, "--cache", cache]
    words += ["--set", "training.workers=1", "--steps", "6"]
    limit = scaled(2)
    done = augmentor.run("source", limit, *words, script=script)
    assert done.code == 1, done.err
    (error,) = [line for line in done.err.splitlines() if line.startswith("error  ")]
    assert error.startswith(f"error  {run}: nothing has moved for {limit:g} seconds while ")
    assert error.endswith("run the same command again, with --resume: its checkpoints are safe")
    assert "Traceback" not in done.err
    again = augmentor.run(*words, "--resume", "--json")
    assert again.code == 0, again.err
    assert again.json["step"] == 6
    assert not (run / ".lock").exists()
    assert [path for path in Path("/proc").glob("[0-9]*/cwd") if _is_ours(path, run)] == []


def _is_ours(path: Path, run: Path) -> bool:
    """Return whether a process has the run in its command line."""
    try:
        return str(run).encode() in (path.parent / "cmdline").read_bytes() and int(path.parent.name) != os.getpid()
    except OSError:
        return False
