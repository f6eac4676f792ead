"""The preview grid: inputs against targets, drawn for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from augmentor.images.codec import encode
from augmentor.images.full_resolution import Original
from augmentor.images.grid import label_grid
from augmentor.storage import replace_bytes
from stargan.inference import Translator

PREVIEW_CELL = 256
"""Pixels of the longest side to which originals are shrunk for a preview."""


def preview_grid(
    translator: Translator,
    images: Sequence[NDArray[np.uint8]],
    codes: NDArray[np.integer],
    columns: Sequence[Mapping[int, int]],
    *,
    row_labels: Sequence[str] | None = None,
    originals: Sequence[Original] | None = None,
) -> NDArray[np.uint8]:
    """Translate every image into every column's target and draw the table.

    Args:
        translator: the model.
        images: uint8 (H, W, C), one per row of the grid.
        codes: (N, A) the images' own domains, -1 unknown.
        columns: what each column asks for, attribute position -> code; all else stays the row's own.
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
        asked = space.to_one_label_set(torch.from_numpy(targets), torch.from_numpy(codes.astype(np.int64)))
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
