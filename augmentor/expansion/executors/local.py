"""Shards on this machine: one device in this process, or one process per device over the same shards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import torch

from augmentor.expansion.executors.processes import Send, run_processes
from augmentor.expansion.making import Shard
from augmentor.expansion.pipeline import News, Sources, run_shards
from augmentor.expansion.shares import Share
from augmentor.expansion.stages import Loads
from augmentor.judge import DeviceJudge, TranslationJudge
from augmentor.outputs import refuse_changed
from augmentor.outputs.writers import Writer
from augmentor.planning import Plan
from stargan.checkpoints import Model
from stargan.config import Precision
from stargan.inference import Translator, compiling_works

_FEW_SHARDS = 4
"""Shards per device from which a later round is worth a process on each."""


def _nothing_to_check() -> None:
    """Find nothing wrong."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """All that a process must know to make any shard; can be pickled.

    Args:
        plan: the items.
        shard_size: items per shard.
        sources: the manifest's side.
        writer: of the output, opened.
        model: what translates.
        batch_size: pairs that are translated at once; None picks from the device.
        precision: what the convolutions compute in.
        compile: whether torch.compile fuses the generator.
        workers: threads that decode and encode, all processes together.
        verify_sources: whether the sources of shards that are there are compared by content, not size and time.
        judging: what judges translations; None keeps all.
        first_shard: those before it are there.
        share: whose shards alone are made; None makes all.
        check: asked on other machines before anything is made there; raises an `AugmentorError`.
    """

    plan: Plan
    shard_size: int
    sources: Sources
    writer: Writer
    model: Model
    batch_size: int | None
    precision: Precision
    compile: bool
    workers: int
    verify_sources: bool = False
    judging: TranslationJudge | None = None
    first_shard: int = 0
    share: Share | None = None
    check: Callable[[], None] = _nothing_to_check

    @property
    def shards(self) -> int:
        """Their number."""
        return self.plan.shards(self.shard_size)

    def index(self, number: int) -> int:
        """Return the shard, counted from 0, that is the number-th to be made here."""
        if self.share is not None:
            return number * self.share.of + self.share.number - 1
        return self.first_shard + number

    @property
    def items(self) -> int:
        """How many items the shards have that are made here."""
        if self.share is None:
            return len(self.plan)
        shards = range(self.share.number - 1, self.shards, self.share.of)
        ranges = [self.plan.shard_range(shard, self.shard_size) for shard in shards]
        return sum(stop - start for start, stop in ranges)

    def translator(self, device: torch.device) -> Translator:
        """Return what translates on a device."""
        return Translator(
            self.model,
            device=device,
            batch_size=self.batch_size,
            precision=self.precision,
            compile=self.compile,
        )

    def judges(self, device: torch.device) -> DeviceJudge | None:
        """Return what judges on a device; None if nothing is judged."""
        return None if self.judging is None else self.judging.on(device)


@dataclass(frozen=True, kw_only=True)
class State:
    """How far an engine is.

    Args:
        done: items made, resumed or failed.
        resumed: items that an earlier run had made.
        failed: rows that could not be used in this run.
        rejected: translations that the judge threw out in this run.
        loads: of the pipeline's stages, all processes together; None before anything was done.
    """

    done: int = 0
    resumed: int = 0
    failed: int = 0
    rejected: int = 0
    loads: Loads | None = None

    def followed_by(self, other: State) -> State:
        """Return how far one is that has done this before it went on to the other."""
        return State(
            done=self.done + other.done,
            resumed=self.resumed + other.resumed,
            failed=self.failed + other.failed,
            rejected=self.rejected + other.rejected,
            loads=other.loads or self.loads,
        )

    @classmethod
    def together(cls, states: Iterable[State]) -> State:
        """Return how far several are that work side by side."""
        many = list(states)
        loads = [state.loads for state in many if state.loads is not None]
        return cls(
            done=sum(state.done for state in many),
            resumed=sum(state.resumed for state in many),
            failed=sum(state.failed for state in many),
            rejected=sum(state.rejected for state in many),
            loads=Loads.together(loads) if loads else None,
        )


def tell_nobody(_index: int) -> None:
    """Tell nobody of a shard that is there."""


class LocalEngine:
    """This machine: one device in this process, or one process per device.

    Args:
        devices: where.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = tuple(devices)
        self._here: tuple[Translator, DeviceJudge | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def device(self) -> torch.device:
        """The first device: the others are of its kind."""
        return self._devices[0]

    def compiling_works(self) -> bool:
        """Return whether torch.compile finds what it needs."""
        return compiling_works(self.device)

    def run(
        self,
        work: Work,
        *,
        on_state: Callable[[State], None],
        on_committed: Callable[[int], None] = tell_nobody,
    ) -> None:
        """Make the shards that are missing.

        Args:
            work: what to do.
            on_state: told several times a second.
            on_committed: told of each shard that is there, in any order, perhaps in a thread of its own.
        """
        # To start processes for the few shards of a later round would take longer than to make them.
        few = work.first_shard > 0 and work.shards - work.first_shard < _FEW_SHARDS * len(self._devices)
        if len(self._devices) == 1 or few:
            if self._here is None:  # Not anew for every round: to compile takes long.
                self._here = work.translator(self.device), work.judges(self.device)
            translator, judges = self._here
            run_here(work, translator, judges=judges, on_state=on_state, on_committed=on_committed)
        else:
            run_on_devices(work, self._devices, on_state=on_state, on_committed=on_committed)

    def close(self) -> None:
        """Let go of the model."""
        self._here = None


def run_here(
    work: Work,
    translator: Translator,
    *,
    judges: DeviceJudge | None,
    on_state: Callable[[State], None],
    on_committed: Callable[[int], None],
    numbers: Iterator[int] | None = None,
) -> None:
    """Make the missing shards in this process.

    Args:
        work: what to do.
        translator: what `work.translator` returned.
        judges: what `work.judges` returned.
        on_state: told several times a second.
        on_committed: told of each shard that is there, in a thread of its own.
        numbers: of the shards, counted from the first one that is to be made; None for all.
    """
    resumed = 0
    state = State()

    def shards() -> Iterator[Shard]:
        nonlocal resumed
        for number in numbers or itertools.count():
            index = work.index(number)
            if index >= work.shards:
                return
            record = work.writer.record(index)
            if record is not None:
                refuse_changed(work.sources.manifest.root, record.origins, by_content=work.verify_sources)
                start, stop = work.plan.shard_range(index, work.shard_size)
                resumed += stop - start
                yield Shard(index, (), None)
            else:
                yield Shard(index, work.plan.shard(index, work.shard_size), work.writer.shard(index))

    def tell(news: News) -> None:
        nonlocal state
        state = State(
            done=resumed + news.done,
            resumed=resumed,
            failed=news.failed,
            rejected=news.rejected,
            loads=news.loads,
        )
        on_state(state)

    run_shards(
        shards(),
        sources=work.sources,
        translator=translator,
        workers=work.workers,
        judges=judges,
        on_news=tell,
        on_committed=on_committed,
    )


def run_on_devices(
    work: Work,
    devices: Sequence[torch.device],
    *,
    on_state: Callable[[State], None],
    on_committed: Callable[[int], None],
) -> None:
    """Make the missing shards in one process per device; the output is the same as of one process.

    Args:
        work: what to do.
        devices: where.
        on_state: told several times a second, in this thread.
        on_committed: told of each shard that is there, in any order, in this thread.

    Raises:
        ProcessError: a process died.
    """
    states = [State() for _ in devices]

    def hear(place: int, message: State | int) -> None:
        if isinstance(message, int):
            on_committed(message)
            return
        states[place] = message
        on_state(State.together(states))

    shared = replace(work, workers=max(2, work.workers // len(devices)))
    names = [f"--devices {device}" for device in devices]
    run_processes(_run_there, (shared, tuple(devices)), names=names, on_message=hear)


def _run_there(
    shared: tuple[Work, tuple[torch.device, ...]], place: int, numbers: Iterator[int], send: Send[State | int]
) -> None:
    work, devices = shared
    device = devices[place]
    run_here(
        work,
        work.translator(device),
        judges=work.judges(device),
        on_state=send,
        on_committed=send,
        numbers=numbers,
    )
