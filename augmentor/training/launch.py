"""Launch on several devices: torch.distributed's launcher, ranks, and the environment variables of each."""

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
from stargan.distributed import SINGLE_RANK, Ranks

_MONITOR_SECONDS = 0.2
"""Interval in which the launcher checks whether a process has ended."""


def world_size() -> int:
    """Return the number of ranks that torchrun, or a launcher like it, started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def local_world_size() -> int:
    """Return how many of the ranks share this machine's cores and memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size() > 1 else 1


def is_rank_0() -> bool:
    """Return whether this process is rank 0, the one that prints and writes files."""
    return world_size() == 1 or os.environ["RANK"] == "0"


def local_rank() -> int:
    """Return this process's number among the ranks on this machine, counted from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def join_ranks(device: torch.device) -> Iterator[Ranks]:
    """Connect to the other ranks of the launcher, for networks on `device`, and disconnect at the end.

    Raises:
        TrainingError: they cannot be reached.
    """
    size = world_size()
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
            f"the {size} ranks of this training cannot connect to each other ({first_line(error)}). Start them "
            "with torchrun, or with --devices"
        ) from error
    try:
        yield Ranks(rank=dist.get_rank(), world_size=size, cpu_group=world, device_group=work)
    except BaseException:
        # gloo's threads, left running until the interpreter exits, may abort the process and hide the error.
        # NCCL would wait for ranks that may be gone by now; the launcher ends those that are left.
        if device.type != "cuda":
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def local_device(devices: Sequence[torch.device]) -> torch.device:
    """Return this rank's device: the one at its local rank, or for a plain "cuda" the GPU of that number.

    Raises:
        AugmentorError: there are not as many devices as ranks on this machine.
    """
    count = local_world_size()
    if len(devices) == 1 and devices[0].type == "cuda" and devices[0].index is None and count > 1:
        there = torch.cuda.device_count()
        if there < count:
            raise AugmentorError(f"{count} processes were started, and there are {there} GPUs. Start as many")
        device = torch.device("cuda", local_rank())
    elif len(devices) == 1 and devices[0].type == "cpu":
        device = devices[0]
    elif len(devices) == count:
        device = devices[local_rank()]
    else:
        raise AugmentorError(f"{count} processes were started, for {len(devices)} devices. Start one for each")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def launch(devices: Sequence[torch.device], *, run: Path) -> int:
    """Start this process's command again as one rank for each device, with torch.distributed's own launcher.

    Returns:
        The exit code: 0, that of the rank that failed first, or 130 after SIGINT or SIGTERM.

    Raises:
        TrainingError: a rank was killed; the others were ended. The message names the last checkpoint in `run`.
    """
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415 - rarely needed
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the message below replaces theirs
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
            return int(failure.exitcode)  # the rank has printed its error
        how = signal.Signals(-failure.exitcode).name
        raise TrainingError(
            f"{run}: rank {rank} of {len(devices)} (on {devices[rank]}) was killed ({how}); the others were "
            f"ended. {last_checkpoint(run)} Continue with --resume"
        ) from None
    return 0
