"""`augmentor expand`: plan -> shards -> commit; the same command again resumes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from augmentor.expansion.executors.local import LocalEngine, State, Work, tell_nobody
from augmentor.expansion.executors.protocol import Engine
from augmentor.expansion.filling import fill
from augmentor.expansion.job import Expansion
from augmentor.expansion.running import (
    Progress,
    count_shards,
    explained,
    few_translator,
    refuse_absent,
    work_of,
    write_preview,
)
from augmentor.expansion.selection import drop_unselected
from augmentor.expansion.shares import remove_left_locks
from augmentor.expansion.stages import Stage
from augmentor.outputs import Counts
from augmentor.outputs.writers import WritePages, Writer
from augmentor.planning import CellState
from augmentor.storage import locked
from stargan.config import Compile


@dataclass(frozen=True, kw_only=True)
class ExpandResult:
    """How an expansion ended.

    Args:
        out: the finished output.
        counts: what it holds.
        resumed: items that earlier runs had made.
        seconds: this run's time.
        was_complete: nothing was left to do.
        made: items that this run made, or could not make.
        slowest: the stage that held the others up; None where nothing was left to do.
        balance: how the combinations stand that were to be filled up.
    """

    out: Path
    counts: Counts
    resumed: int
    seconds: float
    was_complete: bool
    made: int = 0
    slowest: Stage | None = None
    balance: tuple[CellState, ...] = ()

    @property
    def images_per_second(self) -> float:
        """Items made a second, from the start of this run to its end."""
        return self.made / self.seconds if self.seconds > 0 else 0.0


def run_expansion(
    expansion: Expansion,
    *,
    device: torch.device | Sequence[torch.device],
    batch_size: int | None = None,
    workers: int | None = None,
    compile: Compile = "auto",  # noqa: A002 - the word that torch has for it
    overwrite: bool = False,
    verify_sources: bool = False,
    engine: Engine | None = None,
    write_pages: WritePages,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> ExpandResult:
    """Make what is missing of an expansion and finish its output.

    Only one process at a time writes to an output.

    Args:
        expansion: what `plan_expansion` returned.
        device: where to translate; several make one process each.
        batch_size: pairs that pass the generator at once; None picks from the device.
        workers: threads that decode and encode, on all devices together; None picks from the cores.
        compile: whether torch.compile fuses the generator; "auto" does for much work.
        overwrite: start anew, in the place of whatever expand wrote there before; other files stay.
        verify_sources: whether it is by their content, not by size and time, that sources are found to be the same
            as when an earlier run read them.
        engine: who makes the shards in the place of the device, on which the preview alone is then drawn.
        write_pages: writes the report and the card, before the output counts as finished.
        on_progress: told how far it is, several times a second.

    Raises:
        OutputError: the output is another expansion's, another process writes to it, it cannot be written, or
            sources have changed since it was begun.
        SourcesLostError: the sources went away meanwhile.
        ManifestError: none of the sources is there.
        ProcessError: one of several processes died.
        StalledError: nothing moves any more; see `augmentor.storage.workers`.
    """
    started = time.monotonic()
    devices = (device,) if isinstance(device, torch.device) else tuple(device)
    writer = expansion.writer()
    with explained(expansion.out):
        if not overwrite:
            writer.check()
        finished = not overwrite and writer.complete()
        if not finished:
            refuse_absent(expansion)
    with explained(expansion.out), ExitStack() as alone:
        # What is finished may lie where nobody may write any more.
        with suppress(OSError) if finished else nullcontext():
            alone.enter_context(locked(writer.lock, output=expansion.out))
        if overwrite:
            writer.clear()
        writer.open(shards=None if expansion.settings.fills else count_shards(expansion))
        if writer.complete():
            return ExpandResult(
                out=expansion.out,
                counts=writer.counts(),
                resumed=len(expansion.plan),
                seconds=time.monotonic() - started,
                was_complete=True,
                balance=_described_balance(expansion),
            )
        remove_left_locks(writer.lock)
        maker = alone.enter_context(engine or LocalEngine(devices))  # Gone when the next one may take the lock.
        work = work_of(
            expansion,
            writer,
            maker,
            batch_size=batch_size,
            workers=workers,
            compile=compile,
            verify_sources=verify_sources,
        )
        counts, last, balance = _make(
            expansion, work, maker, device=devices[0], write_pages=write_pages, on_progress=on_progress
        )
    return ExpandResult(
        out=expansion.out,
        counts=counts,
        resumed=last.resumed,
        seconds=time.monotonic() - started,
        was_complete=False,
        made=last.done - last.resumed,
        slowest=last.loads.slowest if last.loads is not None else None,
        balance=tuple(balance),
    )


def _make(
    expansion: Expansion,
    work: Work,
    maker: Engine,
    *,
    device: torch.device,
    write_pages: WritePages,
    on_progress: Callable[[Progress], None],
) -> tuple[Counts, State, Sequence[CellState]]:
    """Make the missing shards, choose, and make the preview and the tables.

    Returns:
        What the output holds, how far it came, and how the combinations stand that were filled up.
    """
    before = last = State()

    def run(work: Work, on_committed: Callable[[int], None] = tell_nobody) -> None:
        nonlocal before
        before = last

        def report(state: State) -> None:
            nonlocal last
            last = before.followed_by(state)
            on_progress(Progress.of(last, total=len(work.plan)))

        maker.run(work, on_state=report, on_committed=on_committed)

    def preview() -> None:
        maker.close()  # To put together many images takes long: others may have its devices meanwhile.
        # Ahead of the end: a kill in between must not leave a finished output without its preview.
        write_preview(expansion, few_translator(expansion, device, work.batch_size))

    def put_together(writer: Writer, shards: int) -> Counts:
        with writer.assembly(shards) as assembly:
            return assembly.finish(ending)

    # Likewise: the page and the card are there when the output is.
    ending = partial(write_pages, expansion.disk)
    # What is chosen is known when all is there: then nothing can be put together before.
    if work.plan.balance is not None:
        filled = fill(work, run)
        drop_unselected(work.writer, shards=filled.work.shards, rules=(filled.surplus,))
        preview()
        return put_together(expansion.writer(filled.states), filled.work.shards), last, filled.states
    rules = expansion.settings.rules
    if rules:
        run(work)
        drop_unselected(work.writer, shards=work.shards, rules=rules)
        preview()
        return put_together(work.writer, work.shards), last, ()
    with work.writer.assembly(work.shards) as assembly:
        run(work, assembly.take)
        preview()
        return assembly.finish(ending), last, ()


def _described_balance(expansion: Expansion) -> tuple[CellState, ...]:
    """Return what a finished output says of its combinations."""
    try:
        states = json.loads(expansion.place.beside("dataset.json").read_bytes()).get("balance", ())
    except FileNotFoundError:  # Beside an HDF5 file it may be gone; the images are there.
        return ()
    return tuple(CellState.from_json(state) for state in states)
