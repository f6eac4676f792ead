"""A short fuzz run with every kind of case, and the detection of every kind of failure."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from augmentor.errors import ManifestError
from tests.waiting import HANG, PATIENCE, scaled

if TYPE_CHECKING:
    from tests import fuzz, fuzz_cases
else:  # pytest finds what stands beside conftest.py without the folder's name.
    import fuzz
    import fuzz_cases


def test_a_short_run_finds_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    words = ["--cases", "80", "--recipes", "40", "--images", "80", "--processes", "2", "--seed", "1"]
    code = fuzz.main([*words, "--seconds", str(PATIENCE)])
    table = capfd.readouterr().out
    assert code == 0, table
    for kind, count in {"manifest": 40, "SPEC": 40, "recipe": 40, "image": 80}.items():
        (line,) = [line for line in table.splitlines() if line.startswith(f"| {kind} |")]
        cases, read, refused, *failures = [int(cell.replace(",", "")) for cell in line.split("|")[2:-1]]
        assert cases == count == read + refused
        # Both have to come up: else the cases are all too wild, or too tame.
        assert min(read, refused) > count // 10
        assert failures == [0, 0, 0, 0]


def test_every_kind_of_failure_is_seen(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    held: list[NDArray[np.uint8]] = []

    def misbehave(random: Random, folder: Path) -> str:
        del random
        # Counted by files: a process that takes another's place knows nothing of the cases before.
        place = len(list(folder.parent.glob("case*")))
        (folder.parent / f"case{place}").touch()
        match place:
            case 0:
                return "read"
            case 1:
                raise ManifestError("refused")
            case 2:
                raise KeyError("oops")
            case 3:
                os._exit(3)
            case 4:
                time.sleep(HANG)
            case 5:
                held.append(np.ones(150 << 20, dtype=np.uint8))
        return "read"

    monkeypatch.setattr(fuzz_cases, "KINDS", {"image": misbehave})
    words = ["--cases", "0", "--recipes", "0", "--images", "8", "--seconds", str(scaled(2)), "--megabytes", "100"]
    assert fuzz.main(words) == 1
    output = capfd.readouterr()
    assert "| image | 8 | 3 | 1 | 1 | 1 | 1 | 1 |" in output.out
    assert "image:2: error" in output.err
    assert "KeyError: 'oops'" in output.err
    assert "image:3: crash: exit code 3" in output.err
    assert "image:4: hang: no answer in time" in output.err
    assert "image:5: memory: 15" in output.err


def test_a_case_depends_on_its_number_and_seed_alone(tmp_path: Path) -> None:
    def inputs(kind: str, number: int, seed: int) -> list[tuple[str, bytes]]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        fuzz_cases.attempt(fuzz_cases.Case(kind, number), seed=seed, megabytes=256, folder=folder)
        return sorted((file.name, file.read_bytes()) for file in folder.iterdir())

    for kind in ("manifest", "image"):
        assert inputs(kind, 7, 3)
        assert inputs(kind, 7, 3) == inputs(kind, 7, 3)
        assert inputs(kind, 7, 3) != inputs(kind, 8, 3)
        assert inputs(kind, 7, 3) != inputs(kind, 7, 4)
