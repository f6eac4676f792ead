"""The preview grid: inputs against targets, drawn for people."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from augmentor.planning.domains import DomainRequest
from augmentor.storage.atomic import replace_bytes
from augmentor.errors import ImageError
from augmentor.images.full_resolution import Original
from augmentor.images import decode, encode, label_grid
from augmentor.data.manifest import Manifest
from stargan.labels import LabelSpace
from stargan.inference.translator import Translator

Assignment = dict[int, int]
"""Attribute position -> code: what one column of the grid asks for; all else stays the row's own."""

MOST_COLUMNS = 24

PREVIEW_CELL = 256
"""Pixels of the longest side to which originals are shrunk for a preview."""


def preview_columns(request: DomainRequest, space: LabelSpace, *, only: int | None = None) -> list[Assignment]:
    """Return what the columns of a preview ask for: every value combination that the request names.

    Args:
        request: what is asked for; `~` counts as every value.
        space: the label space that it was parsed against.
        only: the one code that the model translates its one attribute into, see `Model.only_target`.

    Returns:
        At most `MOST_COLUMNS` assignments, each once, in the request's order.
    """
    columns: list[Assignment] = []
    for spec in request.specs:
        positions = [choice.attribute for choice in spec]
        candidates = [choice.candidates(len(space.attributes[choice.attribute].values)) for choice in spec]
        for codes in itertools.product(*candidates):
            assignment = dict(zip(positions, codes, strict=True))
            if assignment not in columns and (only is None or assignment == {0: only}):
                columns.append(assignment)
            if len(columns) == MOST_COLUMNS:
                return columns
    return columns


def preview_grid(
    translator: Translator,
    images: Sequence[NDArray[np.uint8]],
    codes: NDArray[np.integer],
    columns: Sequence[Assignment],
    *,
    row_labels: Sequence[str] | None = None,
    originals: Sequence[Original] | None = None,
) -> NDArray[np.uint8]:
    """Translate every image into every column's target and draw the table.

    Args:
        translator: the model.
        images: uint8 (H, W, C), one per row of the grid.
        codes: (N, A) the images' own domains, -1 unknown.
        columns: what the columns ask for.
        row_labels: a word per row.
        originals: the rows' sources at the size that is written, to be shown in place of `images`, with the
            changes blended in; each is used once more than there are columns.

    Returns:
        uint8 (H, W, 3), the picture: the source first, then a column per target, named.
    """
    space = translator.model.space
    sources = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    cells = [list(images) if originals is None else [each.pixels() for each in originals]]
    for assignment in columns:
        targets = codes.astype(np.int64)
        for attribute, code in assignment.items():
            targets[:, attribute] = code
        asked = space.asked(torch.from_numpy(targets), torch.from_numpy(codes.astype(np.int64)))
        if originals is None:
            translated = translator.translate(sources, asked)
            cells.append(list(translated.permute(0, 2, 3, 1).numpy()))
        else:
            changes = translator.changes(sources, asked)
            pairs = zip(originals, changes, strict=True)
            cells.append([each.changed(change) for each, change in pairs])
    headings = [
        ", ".join(f"{space.names[a]}={space.attributes[a].values[code]}" for a, code in assignment.items())
        for assignment in columns
    ]
    return label_grid(
        [list(row) for row in zip(*cells, strict=True)], columns=["source", *headings], row_labels=row_labels
    )


def write_grid(path: Path, grid: NDArray[np.uint8]) -> None:
    """Write a picture as PNG; it takes its name only when it is whole.

    Args:
        path: the file; replaced if it is there.
        grid: uint8 (H, W, 3).
    """
    replace_bytes(path, encode(grid, "png"))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The sources of a grid.

    Args:
        images: uint8 (H, W, C), one per row.
        rows: their rows of the manifest.
        codes: (N, A) their domains, -1 unknown.
        names: their ids.
    """

    images: list[NDArray[np.uint8]]
    rows: list[int]
    codes: NDArray[np.int16]
    names: list[str]


def read_spread(
    manifest: Manifest,
    *,
    splits: Sequence[str],
    size: tuple[int, int],
    channels: int,
    crop: int | None,
    most: int,
) -> Shown:
    """Read a few sources for people to look at: spread over the manifest, the same on every call.

    An image that cannot be read is passed over: who works on all rows reports it, a grid just takes another.

    Args:
        manifest: the user's table.
        splits: whose rows may be shown.
        size: (height, width) in pixels.
        channels: 1 or 3.
        crop: side of the centred square that is cut out first, or None.
        most: rows wanted; fewer where fewer can be read.
    """
    rows = np.flatnonzero(manifest.split_mask(splits))
    spread = rows[np.linspace(0, len(rows) - 1, min(len(rows), 4 * most)).astype(int)]
    images, kept = [], []
    for row in np.random.default_rng(0).permutation(spread):
        try:
            path = manifest.image_path(int(row))
            images.append(decode(path, size=size, channels=channels, crop=crop, access=manifest.access))
        except ImageError:
            continue
        kept.append(int(row))
        if len(kept) == most:
            break
    names = [str(manifest.rows["id"].iat[row]) for row in kept]
    return Shown(images=images, rows=kept, codes=manifest.codes[kept], names=names)
