"""Outputs as expand leaves them; their images are known to show a hue and, perhaps, a mark in the middle."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from augmentor.images import Pixels, encode
from augmentor.outputs.label_table import LabelRow, changed_names, key, real_key
from augmentor.outputs.writers import FolderWriter, HDF5Writer, Writer
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.outputs.finishing import finish

SIDE = 8
SPACE = LabelSpace(
    attributes=(
        Attribute(name="hue", kind="categorical", values=("red", "green", "blue")),
        Attribute(name="mark"),
    )
)
COLOURS = np.array([[150, 90, 90], [90, 150, 90], [90, 90, 150]])


class Row(NamedTuple):
    """A row of the manifest; its file is `path`, and what it shows `codes`."""

    path: str
    id: str
    split: str
    group: str
    codes: tuple[int, int]


class Translation(NamedTuple):
    """A translation of a row: what it was asked for, and its pixels, whatever they show."""

    source: Row
    codes: tuple[int, int]
    pixels: Pixels


@dataclass
class Planted:
    """A folder with images, and what is written into it."""

    folder: Path
    rows: list[Row] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def pixels(self, codes: tuple[int, int]) -> Pixels:
        """Draw an image."""
        picture = COLOURS[codes[0]] + self.random.normal(0, 12, (SIDE, SIDE, 3))
        if codes[1]:
            picture[2:6, 2:6] += 40
        drawn: Pixels = picture.clip(0, 255).astype(np.uint8)
        return drawn

    def add(self, count: int, split: str, codes: tuple[int, int], *, shown: tuple[int, int] | None = None) -> None:
        """Add rows that are labelled `codes` and show that, or something else; two make a group."""
        for _ in range(count):
            number = len(self.rows)
            row = Row(f"{number:03d}.png", f"r{number:03d}", split, f"{split}{number // 2}", codes)
            (self.folder / row.path).write_bytes(encode(self.pixels(shown or codes), "png"))
            self.rows.append(row)

    def of(self, split: str) -> list[Row]:
        """The rows of a split."""
        return [row for row in self.rows if row.split == split]

    def manifest(self, rows: Sequence[Row] | None = None) -> Path:
        """Write the table, of all rows or of others."""
        path = self.folder / "manifest.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "id", "split", "group", *SPACE.names])
            for row in self.rows if rows is None else rows:
                writer.writerow([*row[:4], SPACE.attributes[0].values[row.codes[0]], row.codes[1]])
        return path

    def output(self, name: str, translations: Sequence[Translation], **description: object) -> Path:
        """Write an output with all rows and some translations; `description` goes into dataset.json."""
        out = self.folder / name
        described: dict[str, object] = {
            "fingerprint": "planted",
            "made_of": {"model": {"image_size": [SIDE, SIDE], "crop": None}},
            "model": {"sha256": "none", "step": 1},
            "settings": {"output_format": "folder", "image_format": "png", "size": "model", "encoded": False},
            **description,
        }
        made = HDF5Writer if out.suffix == ".h5" else FolderWriter
        writer: Writer = made(out, space=SPACE, description=described)  # type: ignore[arg-type]
        writer.open()
        with writer.shard(0) as shard:
            for position, row in enumerate(self.rows):
                pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
                shard.add_all([(position, _label_row(row, row.codes, synthetic=False), pixels)])
            for position, each in enumerate(translations, start=len(self.rows)):
                shard.add_all([(position, _label_row(each.source, each.codes, synthetic=True), each.pixels)])
            shard.commit([])
        finish(writer, 1)
        return out

    def translate(
        self, source: Row, codes: tuple[int, int], *, shown: tuple[int, int] | None = None
    ) -> Translation:
        """Return a translation that shows what it should, or something else."""
        return Translation(source, codes, self.pixels(shown or codes))


def _label_row(row: Row, codes: tuple[int, int], *, synthetic: bool) -> LabelRow:
    return LabelRow(
        file_name="",
        key=key(row.id, SPACE.domain(codes)) if synthetic else real_key(row.id),
        split=row.split,
        group=row.group,
        is_synthetic=synthetic,
        source_id=row.id,
        source_path=row.path,
        codes=codes,
        changed=changed_names(row.codes, codes, SPACE.names),
    )


@pytest.fixture
def planted(tmp_path: Path) -> Planted:
    """An empty folder."""
    return Planted(tmp_path)


@pytest.fixture
def lopsided(tmp_path: Path) -> Planted:
    """Training images in which all that is marked is red, and nothing red is not; test images of every kind."""
    made = Planted(tmp_path)
    for split, count in (("train", 24), ("val", 6), ("test", 12)):
        for hue in range(3):
            for mark in range(2):
                if split != "train" or mark == (hue == 0):
                    made.add(count, split, (hue, mark))
    return made
