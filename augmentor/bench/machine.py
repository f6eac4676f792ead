"""The machine that measurements run on: description, matrix rate, profile and peak memory."""

from __future__ import annotations

import inspect
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from augmentor import __version__
from augmentor.bench.measure import HotOperation, Measurement, Round, seconds_of, synchronise, take_turns
from augmentor.storage import usable_cores
from stargan.checkpoints import Json

_HOTTEST = 10
"""Operations that a profile keeps."""


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
        # The plain loop's float32 convolutions on a GPU: torch's own choice.
        "tf32_convolutions": bool(torch.backends.cudnn.allow_tf32) if device.type == "cuda" else None,
    }


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measure_matrices(device: torch.device, dtype: torch.dtype, *, seconds: float, rounds: int) -> Measurement:
    """Measure the FLOP/s of one large matrix product; `seconds` is the time of all rounds, about."""
    side = 8192 if device.type == "cuda" else 1024
    # Random values: with equal ones a GPU draws less power and runs faster than on real data.
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=random).to(device, dtype) for _ in range(2))
    operations = 2.0 * side**3

    def once() -> None:
        torch.mm(left, right)

    once()
    times = max(1, round(seconds / rounds / seconds_of(once, device)))

    def several() -> Round:
        def work() -> None:
            for _ in range(times):
                once()

        return Round(times * operations / 1e9, seconds_of(work, device))

    name = str(dtype).removeprefix("torch.")
    return Measurement(
        stage="matrices",
        setting=name,
        unit="GFLOP/s",
        ours=take_turns({"ours": several}, rounds=rounds)["ours"],
        notes=(f"the device's rate in {name}",),
    )


@contextmanager
def profiled(device: torch.device) -> Iterator[list[HotOperation]]:
    """Profile the block; the yielded list receives its longest operations at the end, longest first.

    The device's outstanding work is waited for at both ends.
    """
    cuda = device.type == "cuda"
    found: list[HotOperation] = []
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
    found += [HotOperation(name[:80], time / total, calls) for time, name, calls in spent[:_HOTTEST]]


def peak_memory() -> int:
    """Return this process's peak memory so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss includes the process before exec
        return int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


WATCHED_COMMAND = f"""
import atexit, resource, runpy, sys
from pathlib import Path
{inspect.getsource(peak_memory)}
report = Path(sys.argv.pop(1))
atexit.register(lambda: report.write_text(str(peak_memory())))
runpy.run_module("augmentor", run_name="__main__")
"""
"""Runs `augmentor` and writes its peak memory, in bytes, to the file that its first argument names.

It contains the function's source: importing it would add the memory of this module's imports.
"""
