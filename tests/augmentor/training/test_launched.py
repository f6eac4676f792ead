"""Which of several processes this one is, by what torchrun leaves in the environment."""

from __future__ import annotations

import pytest
import torch

from augmentor.errors import AugmentorError
from augmentor.storage.threads import usable_cores
from augmentor.training.launch import own_device, together
from augmentor.training.launched import launched, leads, on_this_machine, place
from augmentor.training.loading import default_workers
from stargan.distributed import SINGLE_RANK

CPU = torch.device("cpu")
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TOLD:
        monkeypatch.delenv(name, raising=False)


def tell(monkeypatch: pytest.MonkeyPatch, *values: int) -> None:
    for name, value in zip(TOLD, values, strict=True):
        monkeypatch.setenv(name, str(value))


def test_alone() -> None:
    assert (launched(), on_this_machine(), place(), leads()) == (1, 1, 0, True)
    with together(CPU) as ranks:
        assert ranks is SINGLE_RANK


def test_the_sixth_of_eight_on_two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, 5, 8, 1, 4)
    assert (launched(), on_this_machine(), place(), leads()) == (8, 4, 1, False)
    assert default_workers() == max(1, min(8, usable_cores() // 4 - 1))
    tell(monkeypatch, 0, 8, 0, 4)
    assert leads()


def test_a_world_of_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, 0, 1, 0, 1)
    assert (launched(), leads()) == (1, True)
    with together(CPU) as ranks:
        assert ranks is SINGLE_RANK


def test_each_process_has_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_device([CPU]) == CPU
    tell(monkeypatch, 1, 2, 1, 2)
    assert own_device([CPU]) == CPU
    assert own_device([torch.device("cpu", 0), torch.device("cpu", 1)]) == torch.device("cpu", 1)
    with pytest.raises(AugmentorError, match="2 processes were started, for 3 devices"):
        own_device([CPU, CPU, CPU])


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="says what is wrong where GPUs are too few")
def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, 1, 2, 1, 2)
    with pytest.raises(AugmentorError, match=r"2 processes were started, and there are \d GPUs"):
        own_device([torch.device("cuda")])
