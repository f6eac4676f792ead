"""`augmentor expand`: plan -> shards -> commit; the same command again resumes."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from augmentor.cells import CellState
from augmentor.engines.local import State, Work, run_here, run_on_devices
from augmentor.errors import AugmentorError, ManifestError, MemoryShortError, OutputError, StalledError
from augmentor.expansion import Expansion, OutputFormat, shown_originals, some_sources
from augmentor.filling import fill
from augmentor.images import encode
from augmentor.judgement import Judges
from augmentor.lock import TakenError, is_free, locked
from augmentor.merging import put_together
from augmentor.report import PREVIEW_CELL, preview_columns, preview_grid, write_grid, write_report
from augmentor.selection import drop_unselected
from augmentor.shares import Share
from augmentor.shortage import short_of_memory
from augmentor.stages import Loads, Stage, default_workers
from augmentor.writers import Writer
from augmentor.writers.records import Counts
from stargan.config import Compile
from stargan.translate import Translator, compiling_works, generator_flops

_PATIENCE_SECONDS = 120.0
"""For so long a share waits for another one that makes the output's folders."""

_PREVIEW_ROWS = 8
_LOOKED_FOR_ROWS = 32
"""Sources spread over the manifest of which one at least must be there, or the folder is not."""

_FEW_SHARDS = 4
"""Shards per device from which a later round is worth a process on each."""

_TRIED_ROWS = 8
"""Sources that a dry run translates to estimate bytes and time."""

_COMPILED_FROM = {"cuda": 2e16, "cpu": 2e13}
"""FLOPs of translating from which torch.compile, which takes about a minute, saves more than that: some minutes of
work at the 100 TFLOP/s of a good GPU, or the 100 GFLOP/s of a few CPU cores."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an expansion is.

    Args:
        done: items made, resumed or failed.
        total: items of the plan.
        resumed: items that an earlier run had made.
        failed: rows that could not be used in this run.
        rejected: translations that the judge threw out in this run.
        loads: what holds it up; None before anything was done.
    """

    done: int
    total: int
    resumed: int
    failed: int
    rejected: int = 0
    loads: Loads | None = None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a dry run expects, from a few sources that it translated.

    Args:
        size: bytes on the disk, None if no source could be read.
        seconds: of translating and judging on the device that was asked for, decoding and encoding included.
    """

    size: int | None
    seconds: float | None


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
        on_progress: told how far it is, several times a second.

    Raises:
        OutputError: the output is another expansion's, another process writes to it, it cannot be written, or
            sources have changed since it was begun.
        SourceError: the sources went away meanwhile.
        ManifestError: none of the sources is there.
        ProcessError: one of several processes died.
        StalledError: nothing moves any more; see `augmentor.workers`.
    """
    started = time.monotonic()
    devices = (device,) if isinstance(device, torch.device) else tuple(device)
    writer = expansion.writer()
    with _explained(expansion.out):
        if not overwrite:
            writer.check()
        finished = not overwrite and writer.complete()
        if not finished:
            _refuse_absent(expansion)
    with _explained(expansion.out), ExitStack() as alone:
        # What is finished may lie where nobody may write any more.
        with suppress(OSError) if finished else nullcontext():
            alone.enter_context(locked(writer.lock, output=expansion.out))
        if overwrite:
            writer.clear()
        writer.open(shards=None if expansion.settings.fills else _shards(expansion))
        if writer.complete():
            return ExpandResult(
                out=expansion.out,
                counts=writer.counts(),
                resumed=len(expansion.plan),
                seconds=time.monotonic() - started,
                was_complete=True,
                balance=_described_balance(expansion),
            )
        work = _work(
            expansion,
            writer,
            devices,
            batch_size=batch_size,
            workers=workers,
            compile=compile,
            verify_sources=verify_sources,
        )
        counts, last, balance = _make(expansion, work, devices, on_progress)
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
    writer, shards = expansion.writer(), _shards(expansion)
    last = State()

    def report(state: State) -> None:
        nonlocal last
        last = state
        on_progress(
            Progress(
                done=state.done,
                total=work.items,
                resumed=state.resumed,
                failed=state.failed,
                rejected=state.rejected,
                loads=state.loads,
            )
        )

    with _explained(expansion.out):
        writer.check()
        if not writer.complete():
            _refuse_absent(expansion)
            with ExitStack() as held:
                held.enter_context(locked(writer.lock, output=expansion.out, shared=True))
                held.enter_context(locked(share.lock(writer.lock), output=expansion.out))
                _refuse_other_division(expansion.out, share, writer.lock)
                with _patiently_locked(writer.lock.with_name(f"{writer.lock.name}.opening"), output=expansion.out):
                    writer.open(share.has, shards=shards)
                work = replace(
                    _work(
                        expansion,
                        writer,
                        devices,
                        batch_size=batch_size,
                        workers=workers,
                        compile=compile,
                        verify_sources=verify_sources,
                    ),
                    share=share,
                )
                if len(devices) == 1:
                    translator, judges = work.translator(devices[0]), work.judges(devices[0])
                    run_here(work, translator, judges=judges, on_state=report, on_committed=_nobody)
                else:
                    run_on_devices(work, devices, on_state=report, on_committed=_nobody)
                if share.number == 1:
                    _write_preview(expansion, _few(expansion, devices[0], batch_size))
        counts, missing = _finished_by_the_last(expansion, writer, shards)
    return ShareResult(
        share=share,
        made=last.done - last.resumed,
        resumed=last.resumed,
        failed=last.failed,
        seconds=time.monotonic() - started,
        missing=missing,
        counts=counts,
    )


def _finished_by_the_last(expansion: Expansion, writer: Writer, shards: int) -> tuple[Counts | None, int]:
    """Put the output together if all shards are there and nobody else does it.

    Returns:
        What it holds, None where it is not finished yet; and how many shards are missing.
    """
    if writer.complete():
        return writer.counts(), 0
    missing = sum(not writer.has(index) for index in range(shards))
    if missing:
        return None, missing
    try:
        with locked(writer.lock, output=expansion.out):
            if writer.complete():
                return writer.counts(), 0
            return put_together(expansion.out, writer, expansion.settings, shards=shards), 0
    except TakenError:  # Another one is about to end, and does it; or does it now.
        return None, 0


def _refuse_other_division(out: Path, share: Share, lock: Path) -> None:
    for other in share.others(lock):
        if not is_free(other):
            raise OutputError(
                f"{out}: shares of another division are being made ({other.name.rpartition('.')[2]}), which may "
                f"be the same shards. Wait until they have ended, or use the same division for all"
            )


@contextmanager
def _patiently_locked(path: Path, *, output: Path) -> Iterator[None]:
    """Hold a lock that others hold for moments only."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(path, output=output))
                break
            except TakenError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield


def _nobody(_index: int) -> None:
    """Tell nobody of a shard that is there: it is put together when all are."""


def _shards(expansion: Expansion) -> int:
    return expansion.plan.shards(expansion.settings.shard_size)


def _work(
    expansion: Expansion,
    writer: Writer,
    devices: Sequence[torch.device],
    *,
    batch_size: int | None,
    workers: int | None,
    compile: Compile,  # noqa: A002 - the word that torch has for it
    verify_sources: bool,
) -> Work:
    return Work(
        plan=expansion.plan,
        shard_size=expansion.settings.shard_size,
        sources=expansion.sources,
        writer=writer,
        model=expansion.model,
        batch_size=batch_size,
        precision=expansion.settings.precision,
        compile=_compiles(expansion, compile, devices[0]),
        workers=workers or default_workers(),
        verify_sources=verify_sources,
        judging=expansion.judging,
    )


def _make(
    expansion: Expansion, work: Work, devices: Sequence[torch.device], on_progress: Callable[[Progress], None]
) -> tuple[Counts, State, Sequence[CellState]]:
    """Make the missing shards, choose, and make the preview and the tables.

    Returns:
        What the output holds, how far it came, and how the combinations stand that were filled up.
    """
    before = last = State()

    @cache
    def here() -> tuple[Translator, Judges | None]:
        # Not anew for every round: to compile takes long.
        return work.translator(devices[0]), work.judges(devices[0])

    def run(work: Work, on_committed: Callable[[int], None] = lambda _index: None) -> None:
        nonlocal before
        before = last

        def report(state: State) -> None:
            nonlocal last
            last = before.followed_by(state)
            on_progress(
                Progress(
                    done=last.done,
                    total=len(work.plan),
                    resumed=last.resumed,
                    failed=last.failed,
                    rejected=last.rejected,
                    loads=last.loads,
                )
            )

        # To start processes for the few shards of a later round would take longer than to make them.
        few = work.first_shard > 0 and work.shards - work.first_shard < _FEW_SHARDS * len(devices)
        if len(devices) == 1 or few:
            translator, judges = here()
            run_here(work, translator, judges=judges, on_state=report, on_committed=on_committed)
        else:
            run_on_devices(work, devices, on_state=report, on_committed=on_committed)

    def preview() -> None:
        # Ahead of the end: a kill in between must not leave a finished output without its preview.
        _write_preview(expansion, _few(expansion, devices[0], work.batch_size))

    def put_together(writer: Writer, shards: int) -> Counts:
        with writer.assembly(shards) as assembly:
            return assembly.finish(ending)

    # Likewise: the page and the card are there when the output is.
    ending = partial(_write_pages, expansion.out)
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
    out, folder = expansion.out, expansion.settings.output_format == "folder"
    path = out / "dataset.json" if folder else out.with_suffix(".dataset.json")
    try:
        states = json.loads(path.read_bytes()).get("balance", ())
    except FileNotFoundError:  # Beside an HDF5 file it may be gone; the images are there.
        return ()
    return tuple(CellState.from_json(state) for state in states)


def compile_pays(flops: float, device: torch.device) -> bool:
    """Return whether torch.compile saves more time than it takes; of the plan and the device's kind alone.

    So the same command decides alike again, however far an earlier one came.

    Args:
        flops: of all translating, in FLOPs.
        device: where.
    """
    return flops >= _COMPILED_FROM.get(device.type, float("inf"))


def estimate(
    expansion: Expansion,
    *,
    device: torch.device | Sequence[torch.device],
    batch_size: int | None = None,
    workers: int | None = None,
) -> Estimate:
    """Translate and encode a few sources to say how many bytes and seconds the whole will take.

    Args:
        expansion: what `plan_expansion` returned.
        device: where the run would translate; several divide the work.
        batch_size: pairs that would pass the generator at once; None picks from the device.
        workers: threads that would decode and encode; None picks from the cores.
    """
    shown = some_sources(expansion.manifest, expansion.model, splits=expansion.settings.splits, most=_TRIED_ROWS)
    if not shown.images:
        return Estimate(size=None, seconds=None)
    devices = (device,) if isinstance(device, torch.device) else tuple(device)
    translator = _few(expansion, devices[0], batch_size)
    repeated = torch.arange(translator.batch_size) % len(shown.images)
    sources = torch.from_numpy(np.stack(shown.images)).permute(0, 3, 1, 2)[repeated]
    own = torch.from_numpy(shown.codes.astype(np.int64))[repeated]
    only = expansion.model.only_target
    targets = expansion.model.space.asked(own, own) if only is None else torch.full_like(own, only)
    originals = shown_originals(expansion.manifest, expansion.model, shown, size=expansion.settings.size, uses=1)
    translate = translator.translate if originals is None else translator.changes
    translate(sources, targets)
    started = time.monotonic()
    translated = translate(sources, targets)
    seconds = time.monotonic() - started
    if expansion.judging is not None:
        judges = expansion.judging.on(devices[0])
        judges.judge(sources, sources, targets, own)
        started = time.monotonic()
        judges.judge(sources, sources, targets, own)
        seconds += time.monotonic() - started
    translating = seconds / len(repeated) / len(devices)
    started = time.monotonic()
    sizes = []
    for index, made in enumerate(translated[: len(shown.images)]):
        pixels = made.permute(1, 2, 0).numpy() if originals is None else originals[index].changed(made)
        encoding = expansion.settings.encoding
        sizes.append(pixels.nbytes if encoding is None else len(encode(pixels, encoding)))
    writing = (time.monotonic() - started) / len(sizes) / (workers or default_workers())
    plan = expansion.plan
    size = sum(sizes) * len(plan) // len(sizes)
    return Estimate(size=size, seconds=translating * plan.n_synthetic + writing * len(plan))


def preview_path(out: Path, output_format: OutputFormat) -> Path:
    """Return where an output's preview lies: inside the folder, or beside the HDF5 file."""
    return out / "preview.png" if output_format == "folder" else out.with_suffix(".preview.png")


def failures_path(out: Path, output_format: OutputFormat) -> Path:
    """Return where an output's list of failed rows lies: inside the folder, or beside the HDF5 file."""
    return out / "failures.csv" if output_format == "folder" else out.with_suffix(".failures.csv")


def rejected_path(out: Path, output_format: OutputFormat) -> Path:
    """Return where an output's list of rejected translations lies: inside the folder, or beside the HDF5 file."""
    return out / "rejected.csv" if output_format == "folder" else out.with_suffix(".rejected.csv")


def _few(expansion: Expansion, device: torch.device, batch_size: int | None) -> Translator:
    """Return what translates a few images: to compile it would take longer than they do."""
    precision = expansion.settings.precision
    return Translator(expansion.model, device=device, batch_size=batch_size, precision=precision)


def _compiles(expansion: Expansion, wanted: Compile, device: torch.device) -> bool:
    if wanted != "auto":
        return wanted == "on"
    model, count = expansion.model, expansion.plan.n_synthetic
    weights = sum(weight.numel() for weight in model.generator.parameters())
    # To count is slow, and no weight is multiplied more than once a pixel: most runs need not be counted.
    return (
        compile_pays(2.0 * count * weights * math.prod(model.image_size), device)
        and compile_pays(count * generator_flops(model), device)
        and compiling_works(device)
    )


def _write_pages(out: Path, description: Mapping[str, object], images: Path) -> None:
    write_report(out, description=description, images=images)


def _write_preview(expansion: Expansion, translator: Translator) -> None:
    manifest, model, settings = expansion.manifest, expansion.model, expansion.settings
    shown = some_sources(manifest, model, splits=settings.splits, most=_PREVIEW_ROWS)
    if shown.images:
        columns = preview_columns(expansion.shown_request, model.space, only=model.only_target)
        grid = preview_grid(
            translator,
            shown.images,
            shown.codes,
            columns,
            row_labels=shown.names,
            originals=shown_originals(
                manifest, model, shown, size=settings.size, uses=len(columns) + 1, longest=PREVIEW_CELL
            ),
        )
        write_grid(preview_path(expansion.out, settings.output_format), grid)


def _refuse_absent(expansion: Expansion) -> None:
    """Refuse to make a failed row of every row because a disk is not there.

    Raises:
        ManifestError: naming one of the files.
    """
    manifest = expansion.manifest
    rows = np.unique(np.linspace(0, len(manifest) - 1, _LOOKED_FOR_ROWS).astype(int))
    paths = [manifest.image_path(int(row)) for row in rows]
    # Not `Path.exists`, which raises for a name that is too long.
    if not any(os.path.exists(path) for path in paths):  # noqa: PTH110
        raise ManifestError(
            f"{manifest.path}: of {len(paths)} images looked for not one is there, for example {paths[0]}. Is the "
            "disk that holds them mounted? augmentor check lists all that are missing"
        )


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn what the operating system says about the output, or the device, into what the user can do."""
    try:
        yield
    except StalledError as error:
        raise StalledError(f"{out}: {error}: what was committed is safe") from error
    except (RuntimeError, MemoryError) as error:
        reason = short_of_memory(error)
        if not reason:
            raise
        raise MemoryShortError(
            f"{reason}. What was committed is safe: run the same command again, with a smaller --batch-size or "
            "another --device"
        ) from error
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}). What was committed is safe: mend it and "
            "run the same command again"
        ) from error
