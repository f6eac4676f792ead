"""`augmentor expand --shards`: one share of the shards; whoever ends last puts the output together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from augmentor.errors import AugmentorError, OutputError
from augmentor.expansion.executors.local import LocalEngine, State
from augmentor.expansion.job import Expansion
from augmentor.expansion.merge import put_together
from augmentor.expansion.running import (
    Progress,
    count_shards,
    explained,
    few_translator,
    refuse_absent,
    work_of,
    write_preview,
)
from augmentor.expansion.shares import Share
from augmentor.outputs import Counts
from augmentor.outputs.writers import WritePages, Writer
from augmentor.storage import TakenError, is_free, locked, patiently_locked
from stargan.config import Compile


@dataclass(frozen=True, kw_only=True)
class ShareResult:
    """How a share of an expansion ended.

    Args:
        share: which one.
        made: items that this run made, or could not make.
        resumed: items of the share that earlier runs had made.
        failed: rows that could not be used in this run.
        seconds: this run's time.
        missing: shards that the others have not made yet.
        counts: what the output holds, if this run, or another one, has finished it.
    """

    share: Share
    made: int
    resumed: int
    failed: int
    seconds: float
    missing: int
    counts: Counts | None


def run_share(
    expansion: Expansion,
    share: Share,
    *,
    device: torch.device | Sequence[torch.device],
    batch_size: int | None = None,
    workers: int | None = None,
    compile: Compile = "auto",  # noqa: A002 - the word that torch has for it
    verify_sources: bool = False,
    write_pages: WritePages,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> ShareResult:
    """Make what is missing of one share of an expansion's shards; whoever ends last finishes the output.

    The processes that make other shares may run at the same time, on other machines that have the same disk, too.

    Args:
        expansion: what `plan_expansion` returned.
        share: which shards.
        device: see `run_expansion`, as for all that follows.
        batch_size: pairs that pass the generator at once.
        workers: threads that decode and encode.
        compile: whether torch.compile fuses the generator.
        verify_sources: whether sources are compared by their content.
        write_pages: writes the report and the card, where this share ends last.
        on_progress: told how far the share is.

    Raises:
        AugmentorError: combinations are to be filled up, of which nobody knows before how many shards that takes.
        OutputError: see `run_expansion`; or another process makes this share, or shares of another division.
    """
    if expansion.settings.fills:
        raise AugmentorError(
            "--shards divides a plan that is known, and how many translations --balance needs is known when they "
            "were judged. Leave --shards out, or ask for --domains"
        )
    started = time.monotonic()
    devices = (device,) if isinstance(device, torch.device) else tuple(device)
    writer, shards = expansion.writer(), count_shards(expansion)
    last = State()

    def report(state: State) -> None:
        nonlocal last
        last = state
        on_progress(Progress.of(state, total=work.items))

    with explained(expansion.out):
        writer.check()
        if not writer.complete():
            refuse_absent(expansion)
            with ExitStack() as held:
                held.enter_context(locked(writer.lock, output=expansion.out, shared=True))
                held.enter_context(locked(share.lock(writer.lock), output=expansion.out))
                _refuse_other_division(expansion.out, share, writer.lock)
                with patiently_locked(writer.lock.with_name(f"{writer.lock.name}.opening"), output=expansion.out):
                    writer.open(share.has, shards=shards)
                engine = held.enter_context(LocalEngine(devices))
                work = replace(
                    work_of(
                        expansion,
                        writer,
                        engine,
                        batch_size=batch_size,
                        workers=workers,
                        compile=compile,
                        verify_sources=verify_sources,
                    ),
                    share=share,
                )
                engine.run(work, on_state=report)
                if share.number == 1:
                    write_preview(expansion, few_translator(expansion, devices[0], batch_size))
        counts, missing = _finished_by_the_last(expansion, writer, shards, write_pages)
    return ShareResult(
        share=share,
        made=last.done - last.resumed,
        resumed=last.resumed,
        failed=last.failed,
        seconds=time.monotonic() - started,
        missing=missing,
        counts=counts,
    )


def _finished_by_the_last(
    expansion: Expansion, writer: Writer, shards: int, write_pages: WritePages
) -> tuple[Counts | None, int]:
    """Put the output together if all shards are there and nobody else does it.

    Returns:
        What it holds, None where it is not finished yet; and how many shards are missing.
    """
    if writer.complete():
        return writer.counts(), 0
    missing = len(writer.missing(shards))
    if missing:
        return None, missing
    try:
        with locked(writer.lock, output=expansion.out):
            if writer.complete():
                return writer.counts(), 0
            finished = put_together(
                expansion.out, writer, expansion.settings, shards=shards, write_pages=write_pages
            )
            return finished, 0
    except TakenError:  # Another one is about to end, and does it; or does it now.
        return None, 0


def _refuse_other_division(out: Path, share: Share, lock: Path) -> None:
    for other in share.others(lock):
        if not is_free(other):
            raise OutputError(
                f"{out}: shares of another division are being made ({other.name.rpartition('.')[2]}), which may "
                f"be the same shards. Wait until they have ended, or use the same division for all"
            )
