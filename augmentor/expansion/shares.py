"""Shares of a plan, made by independent processes such as a job array's tasks, and their merge into one output."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from augmentor.errors import AugmentorError, OutputError
from augmentor.expansion.executors.local import LocalExecutor
from augmentor.expansion.executors.work import plan_work, refuse_absent_sources
from augmentor.expansion.finish import finish_output
from augmentor.expansion.job import Expansion
from augmentor.expansion.preview import write_output_preview
from augmentor.expansion.progress import Progress
from augmentor.expansion.settings import ExpandSettings, RunSettings
from augmentor.expansion.writer import explain_failures, make_writer
from augmentor.outputs import Counts, RecordFolder, paths_of
from augmentor.outputs.readers import FinishedOutput
from augmentor.outputs.writers import WritePages, Writer
from augmentor.storage import TakenError, is_free, locked, patiently_locked, refuse_holder, share_locks

SLURM = "slurm"
"""Value of `--shards` where Slurm's variables name the share."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Every so many-th shard of a plan: share `number`, from 1, of `of`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, index: int) -> bool:
        """Return whether a shard, counted from 0, is in this share."""
        return index % self.of == self.number - 1

    def lock(self, lock: Path) -> Path:
        """Return the lock file of this share, beside the output's own."""
        return lock.with_name(f"{lock.name}.{self.number}-of-{self.of}")


def parse_share(text: str, environment: Mapping[str, str] = os.environ) -> Share:
    """Return the share that `--shards` names.

    Args:
        text: "3/16", the third of sixteen; or "slurm", for the task of the job array.
        environment: has Slurm's SLURM_ARRAY_TASK_ID, _MIN, _STEP and _COUNT.

    Raises:
        AugmentorError: there is no such share, or this is no task of an array.
    """
    if text == SLURM:
        try:
            task, first, step, count = (
                int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "STEP", "COUNT")
            )
        except (KeyError, ValueError):
            raise AugmentorError(
                "--shards slurm: this is no task of a job array (SLURM_ARRAY_TASK_ID and its like are not set). "
                "Start it with sbatch --array=1-16, or write for example --shards 3/16"
            ) from None
        return Share(number=(task - first) // step + 1, of=count)
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise AugmentorError(
            f"--shards {text!r}: not a share. Write which one of how many, counted from 1, for example 3/16; or "
            "slurm"
        )
    return Share(number=int(match[1]), of=int(match[2]))


@dataclass(frozen=True, kw_only=True)
class ShareResult:
    """Result of a run of one share.

    Args:
        made: items made, or failed, in this run.
        resumed: items of the share made by earlier runs.
        failed: rows that could not be used in this run.
        seconds: duration of this run.
        missing: shards of other shares that are not committed yet.
        counts: of the output's images, if this run or another one has finished it.
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
    settings: RunSettings,
    *,
    write_pages: WritePages,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> ShareResult:
    """Make the missing shards of one share; the share that ends last finishes the output.

    The other shares may run at the same time, also on other machines that see the same disk.

    Args:
        expansion: from `plan_expansion`.
        share: which shards.
        settings: devices, batch size, threads.
        write_pages: writes the report and the card, where this share ends last.
        on_progress: called several times a second, with the share's progress.

    Raises:
        AugmentorError: the plan has top-up rounds, whose number of shards is not known in advance.
        OutputError: see `run_expansion`; or another process makes this share, or shares of another division.
    """
    if expansion.settings.fills:
        raise AugmentorError(
            "--shards divides a plan that is known, and how many translations --balance needs is known when they "
            "were judged. Leave --shards out, or ask for --domains"
        )
    started = time.monotonic()
    writer, shards = expansion.writer(), expansion.shards
    last = Progress()

    def report(progress: Progress) -> None:
        nonlocal last
        last = progress
        on_progress(progress)

    with explain_failures(expansion.out):
        writer.check()
        if not writer.complete():
            refuse_absent_sources(expansion.manifest)
            with ExitStack() as held:
                held.enter_context(locked(writer.lock, output=expansion.out, shared=True))
                held.enter_context(locked(share.lock(writer.lock), output=expansion.out))
                refuse_holder(writer.lock, output=expansion.out)
                _refuse_other_division(expansion.out, share, writer.lock)
                with patiently_locked(writer.lock.with_name(f"{writer.lock.name}.opening"), output=expansion.out):
                    writer.open(share.has, shards=shards)
                executor = held.enter_context(LocalExecutor(settings.devices))
                work = plan_work(expansion, writer, executor, settings)
                work = replace(work, first_shard=share.number - 1, step=share.of)
                executor.run(work, on_progress=report, on_committed=lambda _index: None)
                if share.number == 1:
                    write_output_preview(expansion, settings)
        counts, missing = _finish_if_last(expansion, writer, shards, write_pages)
    return ShareResult(
        share=share,
        made=last.done - last.resumed,
        resumed=last.resumed,
        failed=last.failed,
        seconds=time.monotonic() - started,
        missing=missing,
        counts=counts,
    )


def merge(out: Path, *, write_pages: WritePages) -> Counts:
    """Finish an output from the shards of all shares, and return its counts; a second call changes nothing.

    Args:
        out: the folder, its URL, or the file of the shares.
        write_pages: writes the report and the card, before the output counts as finished.

    Raises:
        OutputError: shards are missing, another process writes to it, or there is no expansion.
        AugmentorError: its expansion was begun by another version of augmentor.
    """
    with explain_failures(out):
        if out.is_file():
            return FinishedOutput.open(out).counts
        run = RecordFolder(paths_of(out).work).read_run()
        try:
            settings = ExpandSettings.from_json(cast(Mapping[str, object], run.description["settings"]))
        except (TypeError, KeyError) as error:
            raise AugmentorError(f"{out}: was begun by another version of augmentor ({error})") from error
        shards = run.shards
        if shards is None:
            raise OutputError(f"{out}: how many shards it will have is not known. Run the same expand again")
        writer = make_writer(out, settings=settings, space=run.space, description=run.description)
        with locked(writer.lock, output=out):
            writer.check()
            if writer.complete():
                return FinishedOutput.open(out).counts
            if missing := writer.missing(shards):
                raise OutputError(
                    f"{len(missing):,} of {shards:,} shards are missing, the first is number {missing[0]:,}. Run "
                    "the shares that have not ended again, with the same --shards"
                )
            return finish_output(out, writer, shards=shards, rules=settings.rules, write_pages=write_pages)


def _finish_if_last(
    expansion: Expansion, writer: Writer, shards: int, write_pages: WritePages
) -> tuple[Counts | None, int]:
    """Finish an output whose shards are all committed, unless another process does.

    Returns the counts of its images, None where it is not finished yet, and how many shards are missing.
    """
    out, rules = expansion.out, expansion.settings.rules
    if writer.complete():
        return FinishedOutput.open(out).counts, 0
    if missing := len(writer.missing(shards)):
        return None, missing
    try:
        with locked(writer.lock, output=out):
            if writer.complete():
                return FinishedOutput.open(out).counts, 0
            return finish_output(out, writer, shards=shards, rules=rules, write_pages=write_pages), 0
    except TakenError:  # Another share is about to end, and finishes it; or does so now.
        return None, 0


def _refuse_other_division(out: Path, share: Share, lock: Path) -> None:
    for other, count in share_locks(lock):
        if count != share.of and not is_free(other):
            raise OutputError(
                f"{out}: shares of another division are being made ({other.name.rpartition('.')[2]}), which may "
                f"be the same shards. Wait until they have ended, or use the same division for all"
            )
