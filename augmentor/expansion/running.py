"""What every run of an expansion needs, whichever of its shards it makes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch

from augmentor.data import read_model_samples, sample_originals
from augmentor.errors import ManifestError, StalledError, explain_faults
from augmentor.expansion.executors.local import State, Work
from augmentor.expansion.executors.protocol import Engine
from augmentor.expansion.job import Expansion
from augmentor.expansion.stages import Loads, default_workers
from augmentor.images import PREVIEW_CELL, preview_grid, write_grid
from augmentor.outputs import planned_place
from augmentor.outputs.writers import Writer, publish
from augmentor.planning import preview_columns
from augmentor.storage import is_there
from stargan.config import Compile
from stargan.inference import Translator, generator_flops

_PREVIEW_ROWS = 8
_LOOKED_FOR_ROWS = 32
"""Sources spread over the manifest of which one at least must be there, or the folder is not."""

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

    @classmethod
    def of(cls, state: State, *, total: int) -> Self:
        """Return how far an engine's state is on the way to a total."""
        return cls(
            done=state.done,
            total=total,
            resumed=state.resumed,
            failed=state.failed,
            rejected=state.rejected,
            loads=state.loads,
        )


def work_of(
    expansion: Expansion,
    writer: Writer,
    engine: Engine,
    *,
    batch_size: int | None,
    workers: int | None,
    compile: Compile,  # noqa: A002 - the word that torch has for it
    verify_sources: bool,
) -> Work:
    """Return what an engine, in its `with` block, is to do; see `augmentor.expansion.run.run_expansion`."""
    return Work(
        plan=expansion.plan,
        shard_size=expansion.settings.shard_size,
        sources=expansion.sources,
        writer=writer,
        model=expansion.model,
        batch_size=batch_size,
        precision=expansion.settings.precision,
        compile=_compiles(expansion, compile, engine),
        workers=workers or default_workers(),
        verify_sources=verify_sources,
        judging=expansion.judging,
        check=partial(refuse_absent, expansion),
    )


def count_shards(expansion: Expansion) -> int:
    """Return how many shards the plan has."""
    return expansion.plan.shards(expansion.settings.shard_size)


def compile_pays(flops: float, device: torch.device) -> bool:
    """Return whether torch.compile saves more time than it takes; of the plan and the device's kind alone.

    So the same command decides alike again, however far an earlier one came.

    Args:
        flops: of all translating, in FLOPs.
        device: where.
    """
    return flops >= _COMPILED_FROM.get(device.type, float("inf"))


def few_translator(expansion: Expansion, device: torch.device, batch_size: int | None) -> Translator:
    """Return what translates a few images: to compile it would take longer than they do."""
    precision = expansion.settings.precision
    return Translator(expansion.model, device=device, batch_size=batch_size, precision=precision)


def write_preview(expansion: Expansion, translator: Translator) -> None:
    """Draw some sources in the domains that are asked for; without a source that can be read, nothing."""
    manifest, model, settings = expansion.manifest, expansion.model, expansion.settings
    shown = read_model_samples(manifest, model, splits=settings.splits, most=_PREVIEW_ROWS)
    if shown.images:
        columns = preview_columns(expansion.shown_request, model.space, only=model.only_target)
        grid = preview_grid(
            translator,
            shown.images,
            shown.codes,
            columns,
            row_labels=shown.names,
            originals=sample_originals(
                manifest, model, shown, size=settings.size, uses=len(columns) + 1, longest=PREVIEW_CELL
            ),
        )
        path = planned_place(expansion.disk, settings.output_format).beside("preview.png")
        write_grid(path, grid)
        publish(path, expansion.out)


def refuse_absent(expansion: Expansion) -> None:
    """Refuse to make a failed row of every row because a disk is not there.

    Raises:
        ManifestError: naming one of the files.
    """
    manifest = expansion.manifest
    rows = np.unique(np.linspace(0, len(manifest) - 1, _LOOKED_FOR_ROWS).astype(int))
    paths = [manifest.image_path(int(row)) for row in rows]
    try:
        there = any(is_there(path) for path in paths)
    except OSError as error:
        raise ManifestError(f"{error.filename}: cannot be read ({error.strerror})") from error
    if not there:
        raise ManifestError(
            f"{manifest.path}: of {len(paths)} images looked for not one is there, for example {paths[0]}. Is the "
            "disk that holds them mounted? augmentor check lists all that are missing"
        )


@contextmanager
def explained(out: Path) -> Iterator[None]:
    """Turn faults of the machine into messages that say how to continue the expansion."""
    try:
        with explain_faults(
            out,
            kept=lambda: "What was committed is safe.",
            resume="run the same command again",
            less_memory="Run the same command again, with a smaller --batch-size or another --device",
        ):
            yield
    except StalledError as error:
        raise StalledError(f"{out}: {error}: what was committed is safe") from error


def _compiles(expansion: Expansion, wanted: Compile, engine: Engine) -> bool:
    if wanted != "auto":
        return wanted == "on"
    model, count = expansion.model, expansion.plan.n_synthetic
    weights = sum(weight.numel() for weight in model.generator.parameters())
    # To count is slow, and no weight is multiplied more than once a pixel: most runs need not be counted.
    return (
        compile_pays(2.0 * count * weights * math.prod(model.image_size), engine.device)
        and compile_pays(count * generator_flops(model), engine.device)
        and engine.compiling_works()
    )
