"""Whole commands, run for real: how tests start them, and the small images, model and outputs that they share."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmentor.bench.machine import WATCHED_COMMAND
from augmentor.judge.stored import save_judge
from augmentor.judge.thresholds import Thresholds
from stargan.checkpoints import load_model
from tests.conftest import MakeJudge

ROOT = Path(__file__).parents[2]
HAIR = ("black", "blond", "red")
COLOURS = ((30, 30, 40), (230, 200, 90), (190, 70, 30))
PATIENCE = 120.0
"""Seconds after which a command hangs."""

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


@dataclass(frozen=True, kw_only=True)
class Running:
    """A command on its way."""

    pid: int
    ended: Callable[[], int]
    folder: Path

    def wait_for(self, seen: Callable[[], bool]) -> None:
        """Wait until something can be seen."""
        deadline = time.monotonic() + PATIENCE
        while not seen():
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL)
                pytest.fail(f"waited in vain; the command said:\n{(self.folder / 'err').read_text()}")
            time.sleep(0.002)

    def send(self, number: signal.Signals) -> None:
        """Send a signal: Ctrl-C as a terminal does, to the workers, too; any other to the command alone."""
        if number == signal.SIGINT:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def end(self) -> Done:
        """Wait for the end."""
        code = self.ended()
        return Done(code=code, out=(self.folder / "out").read_text(), err=(self.folder / "err").read_text())


@dataclass
class Augmentor:
    """Starts commands, each in a process of its own.

    `run` and `start` fork from a process that has imported torch (`warm.py`), because importing it for every
    command would take most of the suite's time; `cold` starts `python -m augmentor` from nothing. What a test puts
    into `more` is in the environment of the commands that it forks.
    """

    folder: Path
    environment: dict[str, str]
    more: dict[str, str] = field(default_factory=dict)
    server: subprocess.Popen[str] | None = None
    started: int = field(default=0)

    def run(self, *words: object, script: Path | None = None, inside: Path = ROOT) -> Done:
        """Run a command, or a script, in a folder, to its end."""
        return self.start(*words, script=script, inside=inside).end()

    def start(self, *words: object, script: Path | None = None, inside: Path = ROOT) -> Running:
        """Start a command in a folder; end it before the next one is started."""
        if self.server is None:
            self.server = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("warm.py"))],
                cwd=ROOT,
                env={**self.environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        folder = self._folder()
        for name in ("out", "err"):  # A command that is killed at once has not opened them yet.
            (folder / name).touch()
        request = {
            "argv": [str(word) for word in words],
            "script": "" if script is None else str(script),
            "cwd": str(inside),
            "out": str(folder / "out"),
            "err": str(folder / "err"),
            "environment": self.more,
        }
        requests, answers = self.server.stdin, self.server.stdout
        assert requests is not None
        assert answers is not None
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        return Running(pid=int(answers.readline()), ended=lambda: int(answers.readline()), folder=folder)

    def cold(self, *words: object) -> Done:
        """Run `python -m augmentor` to its end, as a user does."""
        done = subprocess.run(
            [sys.executable, "-m", "augmentor", *map(str, words)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def measured(self, *words: object) -> tuple[Done, float, float]:
        """Run like `cold`; also return the seconds of processor time and the peak memory in bytes."""
        folder = self._folder()
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            command = [sys.executable, "-c", WATCHED_COMMAND, str(folder / "memory"), *map(str, words)]
            process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=out, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        done = Running(pid=process.pid, ended=lambda: process.returncode, folder=folder).end()
        return done, usage.ru_utime + usage.ru_stime, float((folder / "memory").read_text())

    def close(self) -> None:
        """End the process that forks."""
        if self.server is not None:
            self.server.communicate()

    def _folder(self) -> Path:
        self.started += 1
        folder = self.folder / f"{self.started:03d}"
        folder.mkdir()
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
