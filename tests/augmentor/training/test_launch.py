"""Processes that find each other, and leave each other however their training ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch

from augmentor.training.launch import together
from stargan.distributed import SINGLE_RANK

SCRIPT = """
import torch
from torch import distributed as dist
from augmentor.training.launch import together

try:
    with together(torch.device("cpu")) as ranks:
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
    said = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert said == [["0 2 True", "False"], ["1 2 True", "False"]]
    assert [process.returncode for process in processes] == [0, 0]


def test_one_process_is_alone() -> None:
    with together(torch.device("cpu")) as ranks:
        assert ranks is SINGLE_RANK
