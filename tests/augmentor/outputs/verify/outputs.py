"""Outputs that tests of verify make, damage and restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from augmentor.data import Failure
from augmentor.images import ImageFormat, Pixels
from augmentor.outputs.label_table import LabelRow, key, real_key
from augmentor.outputs.verify import Findings
from augmentor.outputs.writers import FolderWriter, HDF5Writer, Writer
from augmentor.storage import Json
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.outputs.finishing import finish as finish_output

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "rötlich")),
        Attribute(name="male"),
    )
)

SHARDS = 4

DESCRIPTION: dict[str, Json] = {
    "fingerprint": "abc",
    "made_of": {"settings": {"splits": ["train"]}},
    "settings": {"splits": ["train"], "real": "processed"},
}

FAILED = Failure(id="broken", path="images/broken.png", reason="it is cut short")

Damage = Callable[[Path], object]


def make_row(stem: str, codes: tuple[int, ...], split: str, *, synthetic: bool, group: str = "") -> LabelRow:
    return LabelRow(
        file_name="",
        key=key(stem, SPACE.domain(codes)) if synthetic else real_key(stem),
        split=split,
        group=group,
        is_synthetic=synthetic,
        source_id=stem,
        source_path=f"images/{stem}.png",
        codes=codes,
        changed=("hair",) if synthetic else (),
        agreement=0.123456 if synthetic else None,
        realism=-1234.5678 if synthetic else None,
    )


def items(shard: int) -> Iterator[tuple[int, LabelRow, Pixels]]:
    """Three sources, of which the last is not translated: in shard 0 it is of val, in shard 1 of test."""
    random = np.random.default_rng(shard)
    position = 0
    for number in range(3):
        stem = f"face{shard}{number}"
        split = ("val", "test", "train", "train")[shard] if number == 2 else "train"
        for hair in range(1 if number == 2 else 3):
            row = make_row(stem, (hair, -1 if number else 1), split, synthetic=hair > 0, group=f"g{stem}")
            yield position, row, random.integers(0, 256, (8, 6, 3), dtype=np.uint8)
            position += 2  # every other item failed


def make(writer: Writer, *, shards: int = SHARDS, finish: bool = True) -> None:
    """Do what the same expand does: make the shards that are not there."""
    writer.open()
    if writer.complete():
        return
    for index in range(shards):
        if writer.record(index) is None:
            with writer.shard(index) as shard:
                for item in items(index):
                    shard.add_all([item])
                shard.commit([FAILED] if index == 2 else [])
    if finish:
        finish_output(writer, shards)


def folder_writer(out: Path) -> FolderWriter:
    return FolderWriter(out, space=SPACE, description=DESCRIPTION)


def hdf5_writer(out: Path, encoding: ImageFormat | None = None) -> HDF5Writer:
    return HDF5Writer(out, space=SPACE, description=DESCRIPTION, encoding=encoding)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def said(found: Findings) -> str:
    return "\n".join(map(str, found.problems))


def write(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def flipped(data: bytes, place: int | None = None) -> bytes:
    place = len(data) // 2 if place is None else place
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def image(shard: int, which: int = 0) -> str:
    """The name of one of a shard's training images."""
    rows = [row for _, row, _ in items(shard) if row.split == "train"]
    return f"train/{shard:05d}/{rows[which].key}.png"


def damaged(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda out: write(out / name, change)
