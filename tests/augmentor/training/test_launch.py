"""Ranks from torchrun's environment: connecting, disconnecting, and the device of each."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch

from augmentor.errors import AugmentorError
from augmentor.storage.workers import usable_cores
from augmentor.training.launch import is_rank_0, join_ranks, local_device, local_rank, local_world_size, world_size
from augmentor.training.loading import default_workers
from stargan.distributed import SINGLE_RANK
from tests.waiting import PATIENCE

CPU = torch.device("cpu")
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")

SCRIPT = """
import torch
from torch import distributed as dist
from augmentor.training.launch import join_ranks

try:
    with join_ranks(torch.device("cpu")) as ranks:
        print(ranks.rank, ranks.world_size, dist.is_initialized())
        {ending}
except ValueError:
    pass
print(dist.is_initialized())
"""


@pytest.mark.parametrize("ending", ["pass", "raise ValueError"])
def test_nothing_is_left_of_the_group(ending: str) -> None:
    """Threads that are would abort the interpreter at its end, now and then."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(ending=ending)],
            env={**shared, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=PATIENCE)[0].splitlines() for process in processes]
    assert said == [["0 2 True", "False"], ["1 2 True", "False"]]
    assert [process.returncode for process in processes] == [0, 0]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOLD:
        monkeypatch.delenv(name, raising=False)


def tell(monkeypatch: pytest.MonkeyPatch, *values: int) -> None:
    for name, value in zip(TOLD, values, strict=True):
        monkeypatch.setenv(name, str(value))


def test_alone() -> None:
    assert (world_size(), local_world_size(), local_rank(), is_rank_0()) == (1, 1, 0, True)
    with join_ranks(CPU) as ranks:
        assert ranks is SINGLE_RANK


def test_the_sixth_of_eight_on_two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, 5, 8, 1, 4)
    assert (world_size(), local_world_size(), local_rank(), is_rank_0()) == (8, 4, 1, False)
    assert default_workers() == max(1, min(8, usable_cores() // 4 - 1))
    tell(monkeypatch, 0, 8, 0, 4)
    assert is_rank_0()


def test_a_world_of_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, 0, 1, 0, 1)
    assert (world_size(), is_rank_0()) == (1, True)
    with join_ranks(CPU) as ranks:
        assert ranks is SINGLE_RANK


def test_each_process_has_its_local_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert local_device([CPU]) == CPU
    tell(monkeypatch, 1, 2, 1, 2)
    assert local_device([CPU]) == CPU
    assert local_device([torch.device("cpu", 0), torch.device("cpu", 1)]) == torch.device("cpu", 1)
    with pytest.raises(AugmentorError, match="2 processes were started, for 3 devices"):
        local_device([CPU, CPU, CPU])


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="says what is wrong where GPUs are too few")
def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, 1, 2, 1, 2)
    with pytest.raises(AugmentorError, match=r"2 processes were started, and there are \d GPUs"):
        local_device([torch.device("cuda")])
