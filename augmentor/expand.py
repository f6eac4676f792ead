"""`augmentor expand`: plan -> shards -> commit; the same command again resumes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch

from augmentor import __version__
from augmentor.domains import parse_domains
from augmentor.durable import TEMPORARY, sync_folder, write_synced
from augmentor.errors import AugmentorError, ManifestError, OutputError
from augmentor.images import ImageFormat, encode
from augmentor.manifest import SPLITS, Manifest, key_stems, read_manifest, refuse_split_leaks
from augmentor.pipeline import RealMode, Sources, run_shard
from augmentor.plan import Plan, make_plan
from augmentor.report import Assignment, Shown, preview_columns, preview_grid, read_spread
from augmentor.writers import FolderWriter, HDF5Writer, Writer
from augmentor.writers.records import Counts, Json
from stargan.checkpoint import CheckpointError, Model, load_model
from stargan.translate import Translator

OutputFormat = Literal["folder", "hdf5"]

_PREVIEW_ROWS = 8
_TRIED_ROWS = 8
"""Sources that a dry run translates to estimate bytes and time."""


@dataclass(frozen=True, kw_only=True)
class ExpandSettings:
    """What an expansion makes; all of it is part of the fingerprint.

    Args:
        domains: the `--domains` SPECs.
        splits: whose rows are translated.
        real: whether real rows are written as the synthetic ones are, as their files are, or not at all.
        output_format: a folder of files, or one HDF5 file.
        image_format: of the files in a folder.
        class_folders: the attribute whose values name the image folders, or None.
        shard_size: items that are committed together.
        include_identity: whether a row is also translated into its own domain.
    """

    domains: tuple[str, ...]
    splits: tuple[str, ...] = ("train",)
    real: RealMode = "processed"
    output_format: OutputFormat = "folder"
    image_format: ImageFormat = "png"
    class_folders: str | None = None
    shard_size: int = 1024
    include_identity: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that cannot work together.

        Raises:
            AugmentorError: naming the flags.
        """
        if self.output_format == "hdf5" and self.class_folders is not None:
            raise AugmentorError("--class-folders names folders, and an HDF5 file has none. Use --format folder")
        if self.output_format == "hdf5" and self.real == "original":
            raise AugmentorError(
                "--real original keeps each file's own size, and one HDF5 table holds one size. "
                "Use --real processed, or --format folder"
            )
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown or not self.splits:
            raise AugmentorError(f"--splits: {', '.join(unknown) or 'nothing'} is not one of {', '.join(SPLITS)}")
        if self.shard_size < 1:
            raise AugmentorError(f"--shard-size must be at least 1, not {self.shard_size}")


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


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """One expansion, planned: a manifest, a model, settings, and what follows from them.

    Args:
        manifest: the user's table, in the model's label space.
        model: what translates.
        settings: what is asked for.
        out: the folder or file to write.
        plan: the items.
    """

    manifest: Manifest
    model: Model
    settings: ExpandSettings
    out: Path
    plan: Plan

    @cached_property
    def sources(self) -> Sources:
        """The manifest as the pipeline needs it."""
        return Sources(
            manifest=self.manifest,
            stems=tuple(key_stems(self.manifest.rows)),
            crop=model_crop(self.model),
            real=self.settings.real,
        )

    @cached_property
    def fingerprint(self) -> str:
        """What tells this expansion from any other: plan, rows, model and settings."""
        digest = hashlib.sha256(self.plan.fingerprint().encode())
        digest.update(self.model.sha256.encode())
        digest.update(json.dumps(asdict(self.settings), sort_keys=True).encode())
        digest.update(json.dumps([self.model.image_size, model_crop(self.model)]).encode())
        for name in ("id", "path", "split", "group"):
            column = self.manifest.rows[name].astype(str)
            digest.update(hashlib.sha256("\0".join(column).encode("utf-8", "surrogatepass")).digest())
        return digest.hexdigest()

    def writer(self) -> Writer:
        """Return the writer of this expansion's output."""
        settings, space = self.settings, self.manifest.space
        if settings.output_format == "hdf5":
            return HDF5Writer(self.out, space=space, description=self.description())
        return FolderWriter(
            self.out,
            space=space,
            description=self.description(),
            image_format=settings.image_format,
            class_folders=settings.class_folders,
        )

    def description(self) -> dict[str, Json]:
        """Return what `dataset.json` says about where the output comes from."""
        settings = cast(dict[str, Json], json.loads(json.dumps(asdict(self.settings))))
        return {
            "fingerprint": self.fingerprint,
            "augmentor": __version__,
            "manifest": self.manifest.path.name,
            "model": {"sha256": self.model.sha256, "step": self.model.step},
            "image_size": list(self.model.image_size),
            "settings": settings,
        }


def plan_expansion(
    manifest: Path,
    *,
    model: Path,
    settings: ExpandSettings,
    out: Path,
    image_column: str | None = None,
) -> Expansion:
    """Read the manifest and the model and plan the expansion; writes nothing.

    Args:
        manifest: the user's table.
        model: a run folder or a checkpoint.
        settings: what is asked for.
        out: the folder or file to write.
        image_column: the column of the images' paths, if it has an unusual name.

    Raises:
        AugmentorError: the manifest, the model, the domains or the settings cannot be used.
    """
    loaded = open_model(model)
    table = read_model_manifest(manifest, loaded, image_column=image_column)
    refuse_split_leaks(table)
    eligible = table.split_mask(settings.splits)
    if not eligible.any():
        raise ManifestError(
            f"{manifest}: no row has split {' or '.join(settings.splits)}, so there is nothing to translate. "
            "--splits says whose rows are translated"
        )
    plan = make_plan(
        table.codes,
        space=loaded.space,
        request=parse_domains(settings.domains, loaded.space),
        eligible=eligible,
        with_real=settings.real != "none",
        include_identity=settings.include_identity,
    )
    return Expansion(manifest=table, model=loaded, settings=settings, out=out, plan=plan)


def open_model(path: Path) -> Model:
    """Load what translates.

    Raises:
        AugmentorError: nothing to load there, or a file is damaged.
    """
    try:
        return load_model(path)
    except CheckpointError as error:
        raise AugmentorError(f"--model {path}: {error}") from error


def read_model_manifest(manifest: Path, model: Model, *, image_column: str | None) -> Manifest:
    """Read a manifest in a model's label space, with the column names that the model was trained with."""
    recipe = model.settings.get("recipe")
    trained = recipe.get("manifest") if isinstance(recipe, dict) else None
    column = image_column or (trained.get("image_column") if isinstance(trained, dict) else None)
    return read_manifest(manifest, space=model.space, image_column=None if column is None else str(column))


def model_crop(model: Model) -> int | None:
    """Return the centred square that the model's training images were cut to first, in pixels, or None."""
    images = model.settings.get("images")
    crop = images.get("crop") if isinstance(images, dict) else None
    return int(crop) if isinstance(crop, int) and crop > 0 else None


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
            counts = writer.finish(shards)
            return ExpandResult(
                out=expansion.out,
                counts=counts,
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
        counts = writer.finish(shards)
        _write_preview(expansion, translator)
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
    shown = _some_sources(expansion, _TRIED_ROWS)
    if not shown.images:
        return Estimate(size=None, seconds=None)
    translator = Translator(expansion.model, device=device, batch_size=batch_size)
    repeated = torch.arange(batch_size) % len(shown.images)
    sources = torch.from_numpy(np.stack(shown.images)).permute(0, 3, 1, 2)[repeated]
    targets = torch.from_numpy(shown.codes.astype(np.int64))[repeated]
    translator.translate(sources, targets)
    started = time.monotonic()
    translated = translator.translate(sources, targets).permute(0, 2, 3, 1).numpy()
    each = (time.monotonic() - started) / batch_size
    started = time.monotonic()
    encoded = [len(encode(pixels, expansion.settings.image_format)) for pixels in translated[: len(shown.images)]]
    each += (time.monotonic() - started) / len(encoded) / default_workers()
    height, width = expansion.model.image_size
    raw = height * width * expansion.model.image_channels
    size = raw if expansion.settings.output_format == "hdf5" else sum(encoded) / len(encoded)
    return Estimate(size=int(size * len(expansion.plan)), seconds=each * len(expansion.plan))


def default_workers() -> int:
    """Return the number of decoding and encoding threads that this machine's cores suggest."""
    return max(2, os.cpu_count() or 2)


def preview_path(out: Path, output_format: OutputFormat) -> Path:
    """Return where an output's preview lies: inside the folder, or beside the HDF5 file."""
    return out / "preview.png" if output_format == "folder" else out.with_suffix(".preview.png")


def failures_path(out: Path, output_format: OutputFormat) -> Path:
    """Return where an output's list of failed rows lies: inside the folder, or beside the HDF5 file."""
    return out / "failures.csv" if output_format == "folder" else out.with_suffix(".failures.csv")


def write_preview(
    manifest: Path,
    *,
    model: Path,
    domains: tuple[str, ...],
    splits: tuple[str, ...],
    rows: int,
    out: Path,
    image_column: str | None,
    device: torch.device,
) -> Path:
    """Draw a grid of inputs against targets without expanding anything.

    Args:
        manifest: the user's table.
        model: a run folder or a checkpoint.
        domains: the `--domains` SPECs that name the columns.
        splits: whose rows are shown.
        rows: how many, evenly spread.
        out: the PNG to write.
        image_column: the column of the images' paths, if it has an unusual name.
        device: where to translate.

    Raises:
        AugmentorError: something cannot be used, or no image can be read.
    """
    if out.suffix.lower() != ".png":
        raise AugmentorError(f"--out {out}: a preview is a PNG; give it a name that ends in .png")
    loaded = open_model(model)
    table = read_model_manifest(manifest, loaded, image_column=image_column)
    columns = preview_columns(parse_domains(domains, loaded.space), loaded.space)
    shown = read_spread(
        table,
        splits=splits,
        size=loaded.image_size,
        channels=loaded.image_channels,
        crop=model_crop(loaded),
        most=rows,
    )
    if not shown.images:
        raise ManifestError(f"{manifest}: no image of {', '.join(splits)} can be read; augmentor check says why")
    with _explained(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        _write_grid(out, Translator(loaded, device=device), shown, columns)
    return out


def _write_preview(expansion: Expansion, translator: Translator) -> None:
    shown = _some_sources(expansion, _PREVIEW_ROWS)
    if shown.images:
        columns = preview_columns(expansion.plan.request, expansion.model.space)
        _write_grid(preview_path(expansion.out, expansion.settings.output_format), translator, shown, columns)


def _write_grid(path: Path, translator: Translator, shown: Shown, columns: Sequence[Assignment]) -> None:
    grid = preview_grid(translator, shown.images, shown.codes, columns, row_labels=shown.names)
    draft = path.with_name(TEMPORARY + path.name)
    write_synced(draft, encode(grid, "png"))
    draft.replace(path)
    sync_folder(path.parent)


def _some_sources(expansion: Expansion, most: int) -> Shown:
    model = expansion.model
    return read_spread(
        expansion.manifest,
        splits=expansion.settings.splits,
        size=model.image_size,
        channels=model.image_channels,
        crop=model_crop(model),
        most=most,
    )


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
