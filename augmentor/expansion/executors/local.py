"""Executor on this machine: one device in this process, or one process per device over the same shards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from augmentor.expansion.executors.work import Executor, Networks, Work
from augmentor.expansion.pipeline import run_shards
from augmentor.expansion.progress import Progress
from augmentor.expansion.shard_assembly import Shard
from augmentor.outputs import refuse_changed_sources
from augmentor.storage import Send, run_processes
from stargan.inference import compiling_works

_FEW_SHARDS = 4
"""Shards per device from which a later round is worth a process on each."""


class LocalExecutor(Executor):
    """One device in this process, or one process per device."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = tuple(devices)
        self._networks: Networks | None = None

    @property
    def device(self) -> torch.device:
        """The first device: the others are of its kind."""
        return self._devices[0]

    def compiling_works(self) -> bool:
        """Return whether torch.compile finds what it needs."""
        return compiling_works(self.device)

    def run(
        self, work: Work, *, on_progress: Callable[[Progress], None], on_committed: Callable[[int], None]
    ) -> None:
        """Make the shards that are missing; ProcessError: a process died."""
        # To start processes for the few shards of a later round would take longer than to make them.
        later_round = work.first_shard > 0 and work.step == 1
        few = later_round and work.shards - work.first_shard < _FEW_SHARDS * len(self._devices)
        if len(self._devices) == 1 or few:
            if self._networks is None:  # Kept for later rounds: compiling takes long.
                self._networks = work.networks(self.device)
            run_here(work, self._networks, on_progress=on_progress, on_committed=on_committed)
        else:
            self._run_processes(work, on_progress=on_progress, on_committed=on_committed)

    def close(self) -> None:
        """Release the model."""
        self._networks = None

    def _run_processes(
        self, work: Work, *, on_progress: Callable[[Progress], None], on_committed: Callable[[int], None]
    ) -> None:
        """Make the missing shards in one process per device; the output is that of one process."""
        parts = [Progress() for _ in self._devices]

        def receive(process: int, message: Progress | int) -> None:
            if isinstance(message, int):
                on_committed(message)
                return
            parts[process] = message
            on_progress(Progress.combined(parts, total=work.items))

        shared = replace(work, workers=max(2, work.workers // len(self._devices)))
        names = [f"--devices {device}" for device in self._devices]
        run_processes(_run_in_process, (shared, self._devices), names=names, on_message=receive)


def run_here(
    work: Work,
    networks: Networks,
    *,
    on_progress: Callable[[Progress], None],
    on_committed: Callable[[int], None],
    numbers: Iterator[int] | None = None,
) -> None:
    """Make the missing shards in this process, all or those of `numbers` (as `Work.index` counts).

    `on_progress` is called several times a second; `on_committed`, with a shard's index, in another thread.
    """
    translator, judges = networks
    resumed = 0

    def shards() -> Iterator[Shard]:
        nonlocal resumed
        for number in numbers or itertools.count():
            index = work.index(number)
            if index >= work.shards:
                return
            record = work.writer.record(index)
            if record is not None:
                refuse_changed_sources(work.sources.manifest.root, record.origins, by_content=work.verify_sources)
                start, stop = work.plan.shard_range(index, work.shard_size)
                resumed += stop - start
                yield Shard(index, (), None)
            else:
                yield Shard(index, work.plan.shard(index, work.shard_size), work.writer.shard(index))

    def report(made: Progress) -> None:
        on_progress(replace(made, done=resumed + made.done, total=work.items, resumed=resumed))

    run_shards(
        shards(),
        sources=work.sources,
        translator=translator,
        workers=work.workers,
        judges=judges,
        on_progress=report,
        on_committed=on_committed,
    )


def _run_in_process(
    argument: tuple[Work, tuple[torch.device, ...]],
    process: int,
    numbers: Iterator[int],
    send: Send[Progress | int],
) -> None:
    work, devices = argument
    networks = work.networks(devices[process])
    run_here(work, networks, on_progress=send, on_committed=send, numbers=numbers)
