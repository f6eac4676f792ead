"""Which devices a person means, and which are not there."""

from __future__ import annotations

import pytest
import torch

from augmentor.cli.devices import parse_devices, pick_device
from augmentor.errors import OutputError

CPU = torch.device("cpu")


def test_a_device() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(OutputError, match=r"--device gpu: not usable here .* Try --device auto"):
        pick_device("gpu")
    with pytest.raises(OutputError, match="--device cuda:99: not usable here"):
        pick_device("cuda:99")


def test_devices_of_a_list() -> None:
    assert parse_devices("cpu, cpu,") == (CPU, CPU)
    with pytest.raises(OutputError, match="--devices 99: not usable here"):
        parse_devices("cpu,99")  # a GPU's number
    for text, said in (
        ("cpu,cuda:99", r"--devices cuda:99: not usable here\. .*cpu"),
        ("gpu0", "--devices gpu0: "),
        (" , ", "--devices names no device"),
    ):
        with pytest.raises(OutputError, match=said):
            parse_devices(text)


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_gpus_of_a_machine_without_one() -> None:
    for text in ("0", "cuda:0", "cuda"):
        with pytest.raises(OutputError, match=r"no CUDA GPU on this machine, only cpu\. .* write --devices cpu"):
            parse_devices(text)
        with pytest.raises(OutputError, match=r"no CUDA GPU on this machine, only cpu\. Try --device auto"):
            pick_device(text)
