"""Preview grids of inputs against targets: before an expansion, and beside its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from augmentor.data import (
    NO_DESCRIPTION,
    ForeignDescription,
    open_model,
    read_model_manifest,
    read_model_samples,
    sample_originals,
)
from augmentor.data.manifest import Manifest, TableReading, key_stems, refuse_unreachable
from augmentor.errors import AugmentorError, DomainError, ManifestError, OutputError
from augmentor.expansion.job import Expansion
from augmentor.expansion.settings import RunSettings, check_looks
from augmentor.images import PREVIEW_CELL, OutputSize, Pixels, check_output_size, preview_grid, write_grid
from augmentor.outputs import Keys, planned_paths, seed_of
from augmentor.outputs.writers import publish
from augmentor.planning import MOST_COLUMNS, parse_domains, preview_columns
from augmentor.storage import MAX_PIXELS
from stargan.checkpoints import Model
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
    looks: int = 1,
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
        looks: translations of an image into each target, as for expand.

    Raises:
        AugmentorError: something cannot be used, or no image can be read.
    """
    if out.suffix.lower() != ".png":
        raise AugmentorError(f"--out {out}: a preview is a PNG; give it a name that ends in .png")
    loaded = open_model(model, description)
    check_output_size(loaded, size)
    check_looks(looks, loaded)
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
    shown = _translatable(table, loaded, columns)
    if not shown.split_mask(splits).any() and table.split_mask(splits).any():
        raise DomainError(
            f"{manifest}: every image of {', '.join(splits)} has an unknown yes-or-no label. The model's file has "
            "learnt from 0 and 1 alone: fill in these cells, or give values in their place with --unlabelled"
        )
    translator = Translator(loaded, device=device)
    grid = _draw_grid(translator, shown, columns, splits=splits, rows=rows, size=size, looks=looks)
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
    model = expansion.model
    columns = preview_columns(expansion.preview_request, model.space, only=model.only_target)
    grid = _draw_grid(
        expansion.translator(settings.devices[0], settings.batch_size),
        _translatable(expansion.manifest, model, columns),
        columns,
        splits=expansion.settings.splits,
        rows=_OUTPUT_ROWS,
        size=expansion.settings.size,
        looks=expansion.settings.looks,
    )
    if grid is not None:
        path = planned_paths(expansion.disk, expansion.settings.output_format).beside("preview.png")
        write_grid(path, grid)
        publish(path, expansion.out)


def _translatable(manifest: Manifest, model: Model, columns: Sequence[Mapping[int, int]]) -> Manifest:
    """Return the rows that the model supports in every column."""
    if model.learnt_unknown:
        return manifest
    own = torch.from_numpy(manifest.codes.astype(np.int64))
    supported = torch.ones(len(own), dtype=torch.bool)
    for column in columns:
        targets = own.clone()
        targets[:, list(column)] = torch.tensor(list(column.values()))
        supported &= model.supports(model.space.to_one_label_set(targets, own))
    return manifest.select(supported.numpy())


def _draw_grid(
    translator: Translator,
    manifest: Manifest,
    columns: Sequence[Mapping[int, int]],
    *,
    splits: Sequence[str],
    rows: int,
    size: OutputSize,
    looks: int,
) -> Pixels | None:
    """Return a grid of some sources and what expand makes of them; None where no source can be read."""
    model = translator.model
    shown = read_model_samples(manifest, model, splits=splits, most=rows)
    if not shown.images:
        return None
    looks = min(looks, MOST_COLUMNS)
    columns = columns[: MOST_COLUMNS // looks]
    uses = len(columns) * looks + 1
    originals = sample_originals(manifest, model, shown, size=size, uses=uses, longest=PREVIEW_CELL)
    return preview_grid(
        translator,
        shown.images,
        shown.codes,
        columns,
        row_labels=shown.names,
        originals=originals,
        looks=looks,
        seed=_item_seeds(manifest, shown.rows) if model.generator.noise else None,
    )


def _item_seeds(manifest: Manifest, rows: Sequence[int]) -> Callable[[int, tuple[int, ...], int], int]:
    """Return the seeds of `expand` for some rows, which follow from the keys of the translations."""
    stems, keys = key_stems(manifest.rows), Keys(manifest.space)
    return lambda image, target, look: seed_of(keys.key(str(stems.iloc[rows[image]]), target, look))
