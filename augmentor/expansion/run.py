"""Run of an expansion: the missing shards, then the end of the output; the same command again resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from augmentor.expansion.executors.local import LocalExecutor
from augmentor.expansion.executors.work import Executor, Work, plan_work, refuse_absent_sources
from augmentor.expansion.finish import finish_output
from augmentor.expansion.job import Expansion
from augmentor.expansion.preview import write_output_preview
from augmentor.expansion.progress import Progress, Stage
from augmentor.expansion.settings import RunSettings
from augmentor.expansion.top_up import run_rounds
from augmentor.expansion.writer import explain_failures
from augmentor.outputs import Counts
from augmentor.outputs.readers import FinishedOutput
from augmentor.outputs.writers import WritePages
from augmentor.planning import CellState
from augmentor.storage import locked


@dataclass(frozen=True, kw_only=True)
class ExpandResult:
    """Result of an expansion.

    Args:
        counts: of the output's images.
        resumed: items made by earlier runs.
        seconds: duration of this run.
        was_complete: whether the output was finished already.
        made: items made, or failed, in this run.
        slowest: the stage that limited the speed; None where nothing was made.
        balance: counts of the combinations filled up.
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
        """Items made per second of this run, from its start to its end."""
        return self.made / self.seconds if self.seconds > 0 else 0.0


def run_expansion(
    expansion: Expansion,
    settings: RunSettings,
    *,
    write_pages: WritePages,
    overwrite: bool = False,
    executor: Executor | None = None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> ExpandResult:
    """Make the missing shards of an expansion and finish its output, to which one process at a time may write.

    Args:
        expansion: from `plan_expansion`.
        settings: devices, batch size, threads.
        write_pages: writes the report and the card, before the output counts as finished.
        overwrite: whether to start anew, in place of an earlier expansion's output; other files are kept.
        executor: makes the shards; None for the devices. The first device then draws the preview alone.
        on_progress: called several times a second.

    Raises:
        OutputError: another expansion's or process's output, one that cannot be written, or changed sources.
        SourcesLostError: the sources disappeared meanwhile.
        ManifestError: none of the sources exists.
        ProcessError: one of several processes died.
        StalledError: a thread or a process hangs; see `augmentor.storage.workers`.
    """
    started = time.monotonic()
    writer = expansion.writer()
    with explain_failures(expansion.out), ExitStack() as held:
        if not overwrite:
            writer.check()
        finished = not overwrite and writer.complete()
        if not finished:
            refuse_absent_sources(expansion.manifest)
        # A finished output may be in a place that is read-only by now.
        with suppress(OSError) if finished else nullcontext():
            held.enter_context(locked(writer.lock, output=expansion.out))
        if overwrite:
            writer.clear()
        writer.open(shards=None if expansion.settings.fills else expansion.shards)
        if writer.complete():
            output = FinishedOutput.open(expansion.out)
            states = cast("Sequence[Mapping[str, object]]", output.description.get("balance", ()))
            return ExpandResult(
                out=expansion.out,
                counts=output.counts,
                resumed=len(expansion.plan),
                seconds=time.monotonic() - started,
                was_complete=True,
                balance=tuple(map(CellState.from_json, states)),
            )
        # Ended before the lock is released.
        executor = held.enter_context(executor or LocalExecutor(settings.devices))
        work = plan_work(expansion, writer, executor, settings)
        counts, last, balance = _make(
            expansion, work, executor, settings, write_pages=write_pages, on_progress=on_progress
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
    executor: Executor,
    settings: RunSettings,
    *,
    write_pages: WritePages,
    on_progress: Callable[[Progress], None],
) -> tuple[Counts, Progress, Sequence[CellState]]:
    """Make the missing shards and finish the output; return its counts, the last progress, the balance."""
    before = last = Progress()

    def run(work: Work, on_committed: Callable[[int], None] = lambda _index: None) -> None:
        nonlocal before
        before = last

        def report(progress: Progress) -> None:
            nonlocal last
            last = before.followed_by(progress)
            on_progress(last)

        executor.run(work, on_progress=report, on_committed=on_committed)

    def draw_preview() -> None:
        executor.close()  # Assembling many images takes long, and others may use its devices meanwhile.
        write_output_preview(expansion, settings)

    finish = partial(finish_output, expansion.out, write_pages=write_pages, draw_preview=draw_preview)
    if work.plan.balance is not None:
        work, rounds = run_rounds(work, run)
        balance = rounds.states()
        counts = finish(expansion.writer(balance), shards=work.shards, rules=(rounds.surplus,))
        return counts, last, balance
    rules = expansion.settings.rules
    # The selection is known only when all shards are there; without one they are assembled as they come.
    with nullcontext() if rules else work.writer.assembly(work.shards) as assembly:
        run(work) if assembly is None else run(work, assembly.take)
        return finish(work.writer, shards=work.shards, rules=rules, assembly=assembly), last, ()
