"""Preview grids of inputs against targets: before an expansion, and beside its output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from augmentor.data import (
    NO_DESCRIPTION,
    ForeignDescription,
    open_model,
    read_model_manifest,
    read_model_samples,
    sample_originals,
)
from augmentor.data.manifest import Manifest, TableReading, refuse_unreachable
from augmentor.errors import AugmentorError, DomainError, ManifestError, OutputError
from augmentor.expansion.job import Expansion
from augmentor.expansion.settings import RunSettings
from augmentor.images import PREVIEW_CELL, OutputSize, Pixels, check_output_size, preview_grid, write_grid
from augmentor.outputs import planned_paths
from augmentor.outputs.writers import publish
from augmentor.planning import parse_domains, preview_columns
from augmentor.storage import MAX_PIXELS
from stargan.inference import Translator

_OUTPUT_ROWS = 8


def write_preview(
    manifest: Path,
    *,
    model: Path,
    domains: tuple[str, ...],
    splits: tuple[str, ...],
    rows: int,
    out: Path,
    reading: TableReading,
    device: torch.device,
    size: OutputSize = "model",
    description: ForeignDescription = NO_DESCRIPTION,
    max_pixels: int = MAX_PIXELS,
    allow_outside: bool = False,
) -> Path:
    """Draw a grid of inputs against targets without expanding anything.

    Args:
        manifest: the user's table.
        model: a run folder, a checkpoint, or a foreign file.
        domains: the `--domains` SPECs that name the columns.
        splits: whose rows are shown.
        rows: how many, evenly spread.
        out: the PNG to write.
        reading: how the manifest's cells are read.
        device: where to translate.
        size: of the pictures, as for expand; larger ones are shrunk to cells of 256 pixels.
        description: what a foreign file does not say about itself.
        max_pixels: images of more pixels (width x height) are skipped.
        allow_outside: images may lie outside the manifest's folder.

    Raises:
        AugmentorError: something cannot be used, or no image can be read.
    """
    if out.suffix.lower() != ".png":
        raise AugmentorError(f"--out {out}: a preview is a PNG; give it a name that ends in .png")
    loaded = open_model(model, description)
    check_output_size(loaded, size)
    table = read_model_manifest(manifest, loaded, reading=reading)
    table = table.allowing(outside=allow_outside, max_pixels=max_pixels)
    refuse_unreachable(table, splits)
    columns = preview_columns(parse_domains(domains, loaded.space), loaded.space, only=loaded.only_target)
    if not columns:
        only = loaded.space.attributes[0]
        raise DomainError(
            f"--domains {' '.join(domains)}: the model's file holds one direction, "
            f"into {only.name}={only.values[-1]}"
        )
    grid = _draw_grid(Translator(loaded, device=device), table, columns, splits=splits, rows=rows, size=size)
    if grid is None:
        raise ManifestError(f"{manifest}: no image of {', '.join(splits)} can be read; augmentor check says why")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_grid(out, grid)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from error
    return out


def write_output_preview(expansion: Expansion, settings: RunSettings) -> None:
    """Draw some sources in the requested domains beside an output; without a readable source, nothing."""
    grid = _draw_grid(
        expansion.translator(settings.devices[0], settings.batch_size),
        expansion.manifest,
        preview_columns(expansion.preview_request, expansion.model.space, only=expansion.model.only_target),
        splits=expansion.settings.splits,
        rows=_OUTPUT_ROWS,
        size=expansion.settings.size,
    )
    if grid is not None:
        path = planned_paths(expansion.disk, expansion.settings.output_format).beside("preview.png")
        write_grid(path, grid)
        publish(path, expansion.out)


def _draw_grid(
    translator: Translator,
    manifest: Manifest,
    columns: Sequence[Mapping[int, int]],
    *,
    splits: Sequence[str],
    rows: int,
    size: OutputSize,
) -> Pixels | None:
    """Return a grid of some sources and their translations; None where no source can be read."""
    model = translator.model
    shown = read_model_samples(manifest, model, splits=splits, most=rows)
    if not shown.images:
        return None
    originals = sample_originals(manifest, model, shown, size=size, uses=len(columns) + 1, longest=PREVIEW_CELL)
    return preview_grid(
        translator, shown.images, shown.codes, columns, row_labels=shown.names, originals=originals
    )
