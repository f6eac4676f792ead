"""Errors that mean: there is too little memory."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from augmentor.errors import MemoryShortError, out_of_memory, shared_memory_error
from augmentor.training.faults import explained


def allocated_by_torch() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def allocated_by_numpy() -> None:
    np.empty(1 << 60, dtype=np.uint8)


@pytest.mark.parametrize(
    ("allocate", "said"),
    [(allocated_by_torch, "can't allocate memory: you"), (allocated_by_numpy, "Unable to allocate 1.00 EiB")],
)
def test_training_that_needs_more_memory_than_there_is(
    allocate: Callable[[], None], said: str, tmp_path: Path
) -> None:
    with pytest.raises(MemoryShortError, match="a smaller training") as raised, explained(tmp_path / "run"):
        allocate()
    assert f"out of memory ({said}" in str(raised.value)


def test_other_errors_are_others(tmp_path: Path) -> None:
    other = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert out_of_memory(other) == ""
    assert shared_memory_error(other, instead="use less") is None
    assert shared_memory_error(RuntimeError(), instead="use less") is None
    assert shared_memory_error(OSError(errno.EMFILE, "Too many open files"), instead="use less") is None
    with pytest.raises(RuntimeError, match="mat1 and mat2"), explained(tmp_path / "run"):
        raise other


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError(
            "Caught it\nRuntimeError: unable to allocate shared memory(shm) for file </torch_1_2_3>: No space"
        ),
        RuntimeError(
            "DataLoader worker (pid 7) is killed by signal: Bus error. workers are out of shared memory."
        ),
        RuntimeError("unable to resize file </torch_1_2_3> to the right size: File too large (27)"),
    ],
)
def test_shared_memory_that_is_short(error: OSError | RuntimeError) -> None:
    found = shared_memory_error(error, instead="use less")
    assert found is not None
    assert str(found).endswith("or use less")
    assert "\n" not in str(found)
