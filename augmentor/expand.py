"""`augmentor expand`: plan -> shards -> commit; the same command again resumes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from augmentor.errors import OutputError
from augmentor.expansion import Expansion, OutputFormat, shown_originals, some_sources
from augmentor.images import encode
from augmentor.pipeline import run_shard
from augmentor.report import PREVIEW_CELL, preview_columns, preview_grid, write_grid
from augmentor.writers.records import Counts
from stargan.translate import Translator

_PREVIEW_ROWS = 8
_TRIED_ROWS = 8
"""Sources that a dry run translates to estimate bytes and time."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far an expansion is.

    Args:
        done: items made, resumed or failed.
        total: items of the plan.
        resumed: items that an earlier run had made.
        failed: rows that could not be used in this run.
    """

    done: int
    total: int
    resumed: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a dry run expects, from a few sources that it translated.

    Args:
        size: bytes on the disk, None if no source could be read.
        seconds: seconds of translating, on the device that was asked for, decoding and encoding included.
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
    """

    out: Path
    counts: Counts
    resumed: int
    seconds: float
    was_complete: bool


def run_expansion(
    expansion: Expansion,
    *,
    device: torch.device,
    batch_size: int,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> ExpandResult:
    """Make what is missing of an expansion and finish its output.

    Args:
        expansion: what `plan_expansion` returned.
        device: where to translate.
        batch_size: images that pass the generator at once.
        workers: threads that decode and encode; None picks from the cores.
        on_progress: told how far it is, many times a second.

    Raises:
        OutputError: the output is another expansion's, or cannot be written.
    """
    started = time.monotonic()
    plan, size = expansion.plan, expansion.settings.shard_size
    shards = plan.shards(size)
    writer = expansion.writer()
    with _explained(expansion.out):
        writer.open()
        if writer.complete():
            return ExpandResult(
                out=expansion.out,
                counts=writer.counts(),
                resumed=len(plan),
                seconds=time.monotonic() - started,
                was_complete=True,
            )
        translator = Translator(expansion.model, device=device, batch_size=batch_size)
        done = resumed = failed = 0

        def report(count: int) -> None:
            nonlocal done
            done += count
            on_progress(Progress(done=done, total=len(plan), resumed=resumed, failed=failed))

        with ThreadPoolExecutor(workers or default_workers(), thread_name_prefix="images") as pool:
            try:
                for index in range(shards):
                    if writer.has(index):
                        items = min(size, len(plan) - index * size)
                        resumed += items
                        report(items)
                        continue
                    failed += run_shard(
                        plan.shard(index, size),
                        sources=expansion.sources,
                        translator=translator,
                        shard=writer.shard(index),
                        pool=pool,
                        on_items=report,
                    )
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        # Ahead of the end: a kill in between must not leave a finished output without its preview.
        _write_preview(expansion, translator)
        counts = writer.finish(shards)
    return ExpandResult(
        out=expansion.out,
        counts=counts,
        resumed=resumed,
        seconds=time.monotonic() - started,
        was_complete=False,
    )


def estimate(expansion: Expansion, *, device: torch.device, batch_size: int) -> Estimate:
    """Translate and encode a few sources to say how many bytes and seconds the whole will take.

    Args:
        expansion: what `plan_expansion` returned.
        device: where the run would translate.
        batch_size: images that would pass the generator at once.
    """
    shown = some_sources(expansion.manifest, expansion.model, splits=expansion.settings.splits, most=_TRIED_ROWS)
    if not shown.images:
        return Estimate(size=None, seconds=None)
    translator = Translator(expansion.model, device=device, batch_size=batch_size)
    repeated = torch.arange(batch_size) % len(shown.images)
    sources = torch.from_numpy(np.stack(shown.images)).permute(0, 3, 1, 2)[repeated]
    own = torch.from_numpy(shown.codes.astype(np.int64))[repeated]
    only = expansion.model.only_target
    targets = expansion.model.space.asked(own, own) if only is None else torch.full_like(own, only)
    originals = shown_originals(expansion.manifest, expansion.model, shown, size=expansion.settings.size, uses=1)
    translate = translator.translate if originals is None else translator.changes
    translate(sources, targets)
    started = time.monotonic()
    translated = translate(sources, targets)
    translating = (time.monotonic() - started) / batch_size
    started = time.monotonic()
    sizes = []
    for index, made in enumerate(translated[: len(shown.images)]):
        pixels = made.permute(1, 2, 0).numpy() if originals is None else originals[index].changed(made)
        encoding = expansion.settings.encoding
        sizes.append(pixels.nbytes if encoding is None else len(encode(pixels, encoding)))
    writing = (time.monotonic() - started) / len(sizes) / default_workers()
    plan = expansion.plan
    size = sum(sizes) * len(plan) // len(sizes)
    return Estimate(size=size, seconds=translating * plan.n_synthetic + writing * len(plan))


def default_workers() -> int:
    """Return the number of decoding and encoding threads that this machine's cores suggest."""
    return max(2, os.cpu_count() or 2)


def preview_path(out: Path, output_format: OutputFormat) -> Path:
    """Return where an output's preview lies: inside the folder, or beside the HDF5 file."""
    return out / "preview.png" if output_format == "folder" else out.with_suffix(".preview.png")


def failures_path(out: Path, output_format: OutputFormat) -> Path:
    """Return where an output's list of failed rows lies: inside the folder, or beside the HDF5 file."""
    return out / "failures.csv" if output_format == "folder" else out.with_suffix(".failures.csv")


def _write_preview(expansion: Expansion, translator: Translator) -> None:
    manifest, model, settings = expansion.manifest, expansion.model, expansion.settings
    shown = some_sources(manifest, model, splits=settings.splits, most=_PREVIEW_ROWS)
    if shown.images:
        columns = preview_columns(expansion.plan.request, model.space, only=model.only_target)
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


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """Turn what the operating system says about the output into what the user can do."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{out}: cannot be written ({error.strerror or error}). What was committed is safe: mend it and "
            "run the same command again"
        ) from error
