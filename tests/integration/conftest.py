"""Whole commands, run for real: how tests start them, and the small images, model and outputs that they share."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from augmentor.bench.machine import WATCHED_COMMAND
from augmentor.judge.stored import save_judge
from augmentor.judge.thresholds import Thresholds
from stargan.checkpoints import load_model
from tests.conftest import MakeJudge
from tests.integration.forkserver import REAPING, ForkServer, Request
from tests.integration.killing import is_gone, kill_all
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
HAIR = ("black", "blond", "red")
COLOURS = ((30, 30, 40), (230, 200, 90), (190, 70, 30))
TINY = {
    "images.size": "16",
    "generator.width": "4",
    "generator.blocks": "1",
    "generator.downsamplings": "1",
    "discriminator.width": "4",
    "discriminator.depth": "2",
    "training.batch_size": "4",
    "training.critic_steps": "2",
    "training.workers": "0",
    "judge.steps": "0",
}


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended: its exit code (minus the signal's number where one killed it) and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, object]:
        """The last line of stdout."""
        state: dict[str, object] = json.loads(self.out.splitlines()[-1])
        return state


@dataclass(kw_only=True)
class Running:
    """A command on its way. A wait for it that takes too long ends it, with all that it has started.

    Args:
        pid: of the process; it leads a process group.
        folder: holds the files "out" and "err".
        wait: waits so many seconds for the exit code, or raises TimeoutError.
        code: the exit code, once it is known.
    """

    pid: int
    folder: Path
    wait: Callable[[float], int]
    code: int | None = None

    def sees(self, seen: Callable[[], object], *, every: float = 0.002, patience: float = PATIENCE) -> bool:
        """Wait until something can be seen; return whether it was before the command ended."""
        try:
            return wait_until(seen, unless=lambda: is_gone(self.pid), every=every, patience=patience)
        except TimeoutError as error:
            self._give_up(error)

    def wait_for(self, seen: Callable[[], object], *, every: float = 0.002, patience: float = PATIENCE) -> None:
        """Wait until something can be seen, and fail if the command ends before."""
        if not self.sees(seen, every=every, patience=patience):
            done = self.end(patience=patience)
            pytest.fail(f"the command has ended with {done.code}; it said:\n{done.err}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal: Ctrl-C as a terminal does, to the workers, too; any other to the command alone."""
        if number == signal.SIGINT:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def end(self, *, patience: float = PATIENCE) -> Done:
        """Wait for the end."""
        if self.code is None:
            try:
                self.code = self.wait(patience)
            except OSError as error:  # in vain, or the server has died
                self._give_up(error)
        return Done(code=self.code, out=(self.folder / "out").read_text(), err=self._said())

    def kill(self) -> None:
        """End the command, whatever it does, and all that it has started."""
        if self.code is None:
            kill_all(self.pid)
            self.code = -signal.SIGKILL
            with suppress(OSError):  # The next command starts a server of its own then.
                self.code = self.wait(REAPING)

    def _said(self) -> str:
        return (self.folder / "err").read_text()

    def _give_up(self, error: Exception) -> NoReturn:
        self.kill()
        pytest.fail(f"{error}; the command said:\n{self._said()}")


@dataclass
class Augmentor:
    """Starts commands, each in a process of its own.

    `run` and `start` fork from a server that has imported torch (`warm.py`), because importing it for every
    command would take most of the suite's time; `cold` starts `python -m augmentor` from nothing, and `spawn` any
    program. What a test puts into `more` is in the environment of the commands that it forks.

    A server that dies or does not answer is replaced. A command that a test leaves behind is killed when the test
    ends.
    """

    folder: Path
    environment: dict[str, str]
    warm: tuple[str, ...] = (sys.executable, str(Path(__file__).with_name("warm.py")))
    more: dict[str, str] = field(default_factory=dict)
    server: ForkServer | None = None
    running: list[Running] = field(default_factory=list)
    started: int = 0

    def run(self, *words: object, script: Path | None = None, inside: Path = ROOT) -> Done:
        """Run a command, or a script, in a folder, to its end."""
        return self.start(*words, script=script, inside=inside).end()

    def start(
        self, *words: object, script: Path | None = None, inside: Path = ROOT, patience: float = PATIENCE
    ) -> Running:
        """Start a command in a folder; end it before the next one is started.

        Args:
            words: of the command, or the arguments of the script.
            script: run in the command's place.
            inside: the working directory.
            patience: seconds after which a server that does not answer is replaced.
        """
        assert all(other.code is not None for other in self.running), "end the command before the next is started"
        folder = self._folder()
        request: Request = {
            "number": self.started,
            "argv": [str(word) for word in words],
            "script": "" if script is None else str(script),
            "cwd": str(inside),
            "out": str(folder / "out"),
            "err": str(folder / "err"),
            "environment": self.more,
        }
        for limit in (patience, PATIENCE):
            server = self._answering()
            with suppress(OSError):  # no answer
                pid = server.start(request, patience=limit)
                return self._noted(pid, folder, partial(server.answer, request["number"]))
        pytest.fail(f"the server that forks does not answer; it said:\n{self._log.read_text()}")

    def cold(self, *words: object) -> Done:
        """Run `python -m augmentor` to its end, as a user does."""
        return self.spawn(sys.executable, "-m", "augmentor", *words).end()

    def spawn(self, *command: object, **variables: str) -> Running:
        """Start any program in the root folder.

        Args:
            command: the program and its arguments.
            variables: of its environment, on top of those that all commands have.
        """
        folder = self._folder()
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

        def wait(patience: float) -> int:
            try:
                return process.wait(patience)
            except subprocess.TimeoutExpired as error:
                raise TimeoutError(f"no end within {patience:g} seconds") from error

        return self._noted(process.pid, folder, wait)

    def measured(self, *words: object) -> tuple[Done, float, float]:
        """Run like `cold`; also return the seconds of processor time and the peak memory in bytes."""
        memory = self.folder / "memory"
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = self.spawn(sys.executable, "-c", WATCHED_COMMAND, memory, *words).end()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return done, seconds, float(memory.read_text())

    def kill_running(self) -> None:
        """Kill what a test has started and not waited for."""
        for running in self.running:
            running.kill()
        self.running.clear()

    def close(self) -> None:
        """End all processes."""
        self.kill_running()
        if self.server is not None:
            self.server.close()
            self.server = None

    def _answering(self) -> ForkServer:
        """Return the server; a new one where it does not answer."""
        if self.server is None or not self.server.answers:
            self.close()
            environment = {**self.environment, "PYTHONPATH": str(ROOT)}
            self.server = ForkServer(self.warm, folder=ROOT, environment=environment, log=self._log)
        return self.server

    @property
    def _log(self) -> Path:
        return self.folder / "server"

    def _noted(self, pid: int, folder: Path, wait: Callable[[float], int]) -> Running:
        running = Running(pid=pid, folder=folder, wait=wait)
        self.running.append(running)
        return running

    def _folder(self) -> Path:
        self.started += 1
        folder = self.folder / f"{self.started:03d}"
        folder.mkdir()
        for name in ("out", "err"):  # A command that is killed at once has not opened them yet.
            (folder / name).touch()
        return folder


@dataclass(frozen=True, kw_only=True)
class Small:
    """Small images and their manifest.

    24 rows of hair (three values in turn), smile (binary, 3 unknown), split (16 train, 4 val, 4 test) and group
    (two rows each). Train: 6 black, 5 blond, 5 red; smile 8 no, 6 yes, 2 unknown (a blond row and a black one).
    """

    folder: Path
    rows: list[dict[str, str]]

    @property
    def manifest(self) -> Path:
        """The table's file."""
        return self.folder / "manifest.csv"

    def of(self, *splits: str) -> list[dict[str, str]]:
        """The rows of some splits."""
        return [row for row in self.rows if row["split"] in splits]


def write_manifest(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a manifest."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def fingerprints(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def augmentor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Augmentor]:
    """The command."""
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PYTHONPATH")},
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "80",
        "PYTHONUTF8": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    commands = Augmentor(folder=tmp_path_factory.mktemp("commands"), environment=environment)
    yield commands
    commands.close()


@pytest.fixture(autouse=True)
def _nothing_runs_on(augmentor: Augmentor) -> Iterator[None]:
    """A test that fails between the start and the end of a command does not leave it to the next one."""
    yield
    augmentor.kill_running()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Small images and their manifest; tests must not change them."""
    folder = tmp_path_factory.mktemp("small")
    random = np.random.default_rng(0)
    rows = []
    for number in range(24):
        pixels = np.full((18, 20, 3), COLOURS[number % 3]) + random.integers(-25, 26, size=(18, 20, 3))
        name = f"images/{number:02d}.png"
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
        rows.append(
            {
                "path": name,
                "id": f"face{number:02d}",
                "split": "train" if number < 16 else "val" if number < 20 else "test",
                "group": f"person{number // 2}",
                "hair": HAIR[number % 3],
                "smile": "" if number % 8 == 7 else str(number // 3 % 2),
            }
        )
    write_manifest(folder / "manifest.csv", rows)
    return Small(folder=folder, rows=rows)


@pytest.fixture(scope="session")
def tiny() -> list[str]:
    """The flags that make a training run a matter of milliseconds."""
    return [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="session")
def trained(
    augmentor: Augmentor, small: Small, tiny: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Done]:
    """A run of six steps, judged in two, and what its command printed."""
    run = tmp_path_factory.mktemp("trained") / "run"
    words = (*tiny, "--set", "judge.steps=2", "--steps", 6, "--json")
    return run, augmentor.cold("train", small.manifest, "--out", run, *words)


@pytest.fixture(scope="session")
def model(trained: tuple[Path, Done]) -> Path:
    """A run folder."""
    run, done = trained
    assert done.code == 0, done.err
    return run


@pytest.fixture(scope="session")
def judge(model: Path, untrained_judge: MakeJudge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge that rejects some of the model's translations, in a folder of its own."""
    folder = tmp_path_factory.mktemp("judge") / "judge"
    save_judge(folder, untrained_judge(load_model(model).space, auto=Thresholds(agreement=0.1)))
    return folder


@pytest.fixture(scope="session")
def outputs(
    augmentor: Augmentor, small: Small, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Done]]:
    """One and the same expansion, hair=* and smile=~, as a folder and as an HDF5 file, in shards of 16."""
    folder = tmp_path_factory.mktemp("outputs")
    made = {}
    for form, out in (("folder", folder / "out"), ("hdf5", folder / "out.h5")):
        words = ("--model", model, "--domains", "hair=*", "--domains", "smile=~", "--shard-size", 16, "--json")
        made[form] = out, augmentor.run("expand", small.manifest, *words, "--out", out)
        assert made[form][1].code == 0, made[form][1].err
    return made
