"""What a figure was measured on, and where a device's time goes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from augmentor import __version__
from augmentor.bench.figures import Figure, Hot, Sample, Series, seconds_of, synchronise, take_turns
from augmentor.storage import usable_cores
from stargan.checkpoints import Json

_HOTTEST = 10
"""Lines of a profile that are kept."""


def describe_machine(device: torch.device) -> dict[str, Json]:
    """Return the device, the processor and the versions, as plain JSON values."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": processor(),
        "cores": usable_cores(),
        "torch_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "augmentor": __version__,
        "system": platform.platform(),
        # What a plain loop computes float32 convolutions in on a GPU: torch's own choice is left alone.
        "tf32_convolutions": bool(torch.backends.cudnn.allow_tf32) if device.type == "cuda" else None,
    }


def processor() -> str:
    """Return the processor's name, or what is known of it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure_matrices(device: torch.device, dtype: torch.dtype, *, seconds: float, rounds: int) -> Figure:
    """Measure how many floating-point operations a second the device does in one large matrix product.

    Args:
        device: where.
        dtype: of the matrices.
        seconds: of measuring, about.
        rounds: how many times it is measured.
    """
    side = 8192 if device.type == "cuda" else 1024
    # Random ones: of equal numbers a GPU draws less power, and runs faster than in earnest.
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=random).to(device, dtype) for _ in range(2))
    operations = 2.0 * side**3

    def once() -> None:
        torch.mm(left, right)

    once()
    times = max(1, round(seconds / rounds / seconds_of(once, device)))

    def several() -> Sample:
        def work() -> None:
            for _ in range(times):
                once()

        return Sample(times * operations / 1e9, seconds_of(work, device))

    rates: Series = take_turns({"ours": several}, rounds=rounds)["ours"]
    name = str(dtype).removeprefix("torch.")
    return Figure(
        stage="matrices", setting=name, unit="GFLOP/s", ours=rates, notes=(f"the device's rate in {name}",)
    )


@contextmanager
def profiled(device: torch.device) -> Iterator[list[Hot]]:
    """Watch which operations take most of a device's time.

    Args:
        device: whose time counts; its outstanding work is waited for at both ends.

    Yields:
        A list that holds them, most first, once the block is left.
    """
    cuda = device.type == "cuda"
    found: list[Hot] = []
    synchronise(device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as watched:
        yield found
        synchronise(device)
    spent = [
        (float(event.self_device_time_total if cuda else event.self_cpu_time_total), event.key, int(event.count))
        for event in watched.key_averages()
    ]
    total = sum(time for time, _, _ in spent) or 1.0
    spent.sort(reverse=True)
    found += [Hot(name[:80], time / total, calls) for time, name, calls in spent[:_HOTTEST]]
