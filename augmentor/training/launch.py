"""Several processes that train one model: torch.distributed starts them, and here they find each other."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import torch
from torch import distributed as dist

from augmentor.errors import AugmentorError, TrainingError, first_line
from augmentor.storage import STALLED_SECONDS, usable_cores
from augmentor.training.faults import last_checkpoint
from augmentor.training.launched import launched, on_this_machine, place
from stargan.distributed import SINGLE_RANK, Ranks

_MONITOR_SECONDS = 0.2
"""How often the launcher looks whether a process has ended."""


@contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """Find the other processes of this training, if there are any, and leave them in the end.

    Args:
        device: where this process's networks lie.

    Raises:
        TrainingError: they cannot be found.
    """
    size = launched()
    if size == 1:
        yield SINGLE_RANK
        return
    limit = timedelta(seconds=STALLED_SECONDS)
    try:
        dist.init_process_group("gloo", timeout=limit)
        world = dist.group.WORLD
        assert world is not None
        work = dist.new_group(backend="nccl", timeout=limit) if device.type == "cuda" else world
        assert isinstance(work, dist.ProcessGroup)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"the {size} processes of this training do not find each other ({first_line(error)}). Start them with "
            "torchrun, or with --devices"
        ) from error
    try:
        yield Ranks(rank=dist.get_rank(), world_size=size, cpu_group=world, device_group=work)
    except BaseException:
        # Left to the interpreter's end, gloo's threads may abort the process, and so take the place of the error.
        # NCCL would wait for processes that may be gone by now; the launcher ends what is left.
        if device.type != "cuda":
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def own_device(devices: Sequence[torch.device]) -> torch.device:
    """Return this process's device: of several the one in its place, of several processes' one GPU its own.

    Raises:
        AugmentorError: there are not as many devices as processes on this machine.
    """
    count = on_this_machine()
    if len(devices) == 1 and devices[0].type == "cuda" and devices[0].index is None and count > 1:
        there = torch.cuda.device_count()
        if there < count:
            raise AugmentorError(f"{count} processes were started, and there are {there} GPUs. Start as many")
        device = torch.device("cuda", place())
    elif len(devices) == 1 and devices[0].type == "cpu":
        device = devices[0]
    elif len(devices) == count:
        device = devices[place()]
    else:
        raise AugmentorError(f"{count} processes were started, for {len(devices)} devices. Start one for each")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def launch(devices: Sequence[torch.device], *, run: Path) -> int:
    """Start the command that runs now again, once for each device, with torch.distributed's own launcher.

    Args:
        devices: one process each.
        run: the run folder, for what is said where a process is killed.

    Returns:
        The exit code: 0, that of the process that failed first, or 130 after SIGINT or SIGTERM.

    Raises:
        TrainingError: a process was killed; the others were ended.
    """
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415 - few start several
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what they would tell is told below, in one line
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // len(devices))))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=len(devices),
        run_id=str(uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=_MONITOR_SECONDS,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "augmentor", *sys.argv[1:])
    except SignalException:
        return 130
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return int(failure.exitcode)  # it has said why
        how = signal.Signals(-failure.exitcode).name
        raise TrainingError(
            f"{run}: process {rank + 1} of {len(devices)} (on {devices[rank]}) was killed ({how}); the others "
            f"were ended. {last_checkpoint(run)} Go on with --resume"
        ) from None
    return 0
