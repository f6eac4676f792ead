"""Image grids with headings: sources beside their translations, for previews and training samples."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from augmentor.images.encode import encode
from augmentor.images.full_resolution import Original
from augmentor.images.sizes import Pixels, to_image
from augmentor.storage import replace_bytes
from stargan.inference import Translator

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PREVIEW_CELL = 256
"""Pixels to which the longest side of originals is shrunk in a preview."""

_PAGE = "#ffffff"
_INK = "#24292f"
_PALE_INK = "#8b949e"
_EMPTY = "#f3f4f6"
_MARGIN = 20
_GAP = 6
_SOURCE_GAP = 18
_CELL = 96
_HEADING_SIZE = 13
_LABEL_SIZE = 12
_LABEL_WIDTH = 120
_MAX_LINES = 5
_LINE_SPACING = 1.25
_MOST_CHARACTERS = 1000
"""Characters of a label or heading that are used at most."""


def preview_grid(
    translator: Translator,
    images: Sequence[Pixels],
    codes: NDArray[np.integer],
    columns: Sequence[Mapping[int, int]],
    *,
    row_labels: Sequence[str] | None = None,
    originals: Sequence[Original] | None = None,
    looks: int = 1,
    seed: Callable[[int, tuple[int, ...], int], int] | None = None,
) -> Pixels:
    """Translate every image into every column's target and draw the grid: the source, then a column per target.

    With several looks there is a column for each of them.

    Args:
        translator: the model.
        images: uint8 (H, W, C), one per row of the grid.
        codes: (N, A) the images' own labels, -1 unknown.
        columns: the target of each column, attribute position -> code; other attributes keep the row's value.
        row_labels: a word per row.
        originals: the rows' sources at the output size, drawn instead of `images`, with the changes blended in;
            each is used once more than there are columns of translations.
        looks: translations of an image into each target.
        seed: maps the index of an image, its target's codes and a look, from 1, to the seed of the noise; None for
            the same noise in all rows.

    Returns:
        uint8 (H, W, 3).
    """
    space = translator.model.space
    sources = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    cells = [list(images) if originals is None else [each.pixels() for each in originals]]
    for assignment, look in itertools.product(columns, range(1, looks + 1)):
        targets = codes.astype(np.int64)
        for attribute, code in assignment.items():
            targets[:, attribute] = code
        seeds = torch.full((len(targets),), look - 1)
        if seed is not None:
            seeds = torch.tensor([seed(i, tuple(target), look) for i, target in enumerate(targets.tolist())])
        labels = space.to_one_label_set(torch.from_numpy(targets), torch.from_numpy(codes.astype(np.int64)))
        if originals is None:
            translated = translator.translate(sources, labels, seeds)
            cells.append(list(translated.permute(0, 2, 3, 1).numpy()))
        else:
            changes = translator.changes(sources, labels, seeds)
            pairs = zip(originals, changes, strict=True)
            cells.append([each.changed(change) for each, change in pairs])
    headings = [
        ", ".join(
            [
                *(f"{space.names[a]}={space.attributes[a].values[code]}" for a, code in assignment.items()),
                *([f"look {look}"] if looks > 1 else []),
            ]
        )
        for assignment, look in itertools.product(columns, range(1, looks + 1))
    ]
    return label_grid(
        [list(row) for row in zip(*cells, strict=True)], columns=["source", *headings], row_labels=row_labels
    )


def write_grid(path: Path, grid: Pixels) -> None:
    """Write a (H, W, 3) grid as PNG, by an atomic rename."""
    replace_bytes(path, encode(grid, "png"))


def label_grid(
    rows: Sequence[Sequence[Pixels | None]],
    *,
    columns: Sequence[str],
    row_labels: Sequence[str] | None = None,
    scale: int | None = None,
    source_columns: int = 1,
) -> Pixels:
    """Draw a table of images with a heading over every column, uint8 (H, W, 3).

    Args:
        rows: uint8 (H, W, C) images, C = 1 or 3, of any sizes; None, or a short row, leaves an empty box.
        columns: the headings; long ones are wrapped, first at commas, and elided.
        row_labels: a word per row, drawn at the left.
        scale: whole-number enlargement without smoothing; None enlarges small images to about 96 pixels.
        source_columns: the number of input columns at the left, set apart by a wider gap.

    Raises:
        ValueError: a row has more images than there are columns, or the row labels do not match the rows.
    """
    if any(len(row) > len(columns) for row in rows):
        raise ValueError(f"a row has more images than the {len(columns)} columns")
    if row_labels is not None and len(row_labels) != len(rows):
        raise ValueError(f"{len(row_labels)} row labels for {len(rows)} rows")
    pictures = [image for row in rows for image in row if image is not None]
    height = max((image.shape[0] for image in pictures), default=_CELL)
    width = max((image.shape[1] for image in pictures), default=_CELL)
    scale = scale or max(1, -(-_CELL // max(height, width)))
    height, width = height * scale, width * scale

    heading_font = ImageFont.load_default(_HEADING_SIZE)
    label_font = ImageFont.load_default(_LABEL_SIZE)
    headings = [wrap_heading(heading, heading_font, width) for heading in columns]
    labels = [elide(label, label_font, _LABEL_WIDTH) for label in row_labels or ()]
    line = round(_HEADING_SIZE * _LINE_SPACING)
    top = _MARGIN + line * max((len(lines) for lines in headings), default=0) + _GAP
    label_width = max((round(label_font.getlength(label)) + 2 * _GAP for label in labels), default=0)
    lefts = [
        _MARGIN
        + label_width
        + column * (width + _GAP)
        + (_SOURCE_GAP - _GAP if 0 < source_columns <= column else 0)
        for column in range(len(columns))
    ]
    page_width = (lefts[-1] + width if lefts else _MARGIN + label_width) + _MARGIN
    page_height = top + len(rows) * (height + _GAP) - (_GAP if rows else 0) + _MARGIN
    page = Image.new("RGB", (page_width, page_height), _PAGE)
    draw = ImageDraw.Draw(page)

    for left, lines in zip(lefts, headings, strict=True):
        for number, text in enumerate(reversed(lines), start=1):
            position = (left + width / 2, top - _GAP - (number - 0.5) * line)
            draw.text(position, text, font=heading_font, fill=_INK, anchor="mm")
    for index, row in enumerate(rows):
        y = top + index * (height + _GAP)
        if labels:
            position = (_MARGIN + label_width - 2 * _GAP, y + height / 2)
            draw.text(position, labels[index], font=label_font, fill=_PALE_INK, anchor="rm")
        for column, left in enumerate(lefts):
            image = row[column] if column < len(row) else None
            if image is None:
                draw.rectangle((left, y, left + width - 1, y + height - 1), fill=_EMPTY)
            else:
                _paste(page, image, left=left, top=y, cell=(width, height), scale=scale)
    return np.asarray(page, dtype=np.uint8).copy()


def _paste(page: Image.Image, pixels: Pixels, *, left: int, top: int, cell: tuple[int, int], scale: int) -> None:
    """Put one image, enlarged by whole pixels, into the middle of its cell."""
    image = to_image(pixels).convert("RGB")
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    page.paste(image, (left + (cell[0] - image.width) // 2, top + (cell[1] - image.height) // 2))


def wrap_heading(text: str, font: _Font, width: int) -> list[str]:
    """Break a heading into lines of at most `width` pixels: after commas, at spaces, after "="."""
    lines: list[str] = []
    for part in re.split(r"(?<=,)\s*", text.strip()[:_MOST_CHARACTERS]):
        line = ""
        for word in _words(part, font, width):
            longer = f"{line} {word}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                line = word
            else:
                line = longer
        if lines and line and font.getlength(f"{lines[-1]} {line}") <= width:
            lines[-1] = f"{lines[-1]} {line}"
        elif line:
            lines.append(line)
    if len(lines) > _MAX_LINES:
        lines = [*lines[: _MAX_LINES - 1], "\N{HORIZONTAL ELLIPSIS}"]
    return [elide(line, font, width) for line in lines]


def _words(text: str, font: _Font, width: int) -> list[str]:
    """Split at spaces; a word that is too wide for a line also after its equals sign."""
    words: list[str] = []
    for word in text.split():
        words += re.split(r"(?<==)", word) if font.getlength(word) > width else [word]
    return words


def elide(text: str, font: _Font, width: int) -> str:
    """Shorten a text in its middle until it is at most `width` pixels wide."""
    if len(text) > _MOST_CHARACTERS:
        # To measure a long text at every length would take quadratic time.
        text = text[: _MOST_CHARACTERS // 2] + text[-_MOST_CHARACTERS // 2 :]
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = f"{text[: (kept + 1) // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - kept // 2 :]}"
        if font.getlength(shorter) <= width:
            return shorter
    return "\N{HORIZONTAL ELLIPSIS}"
