"""What expand wrote, as the report reads it: in pieces, so that a million rows need little memory."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import pandas as pd

from augmentor.errors import ImageError, OutputError
from augmentor.images import Pixels
from augmentor.outputs import (
    Place,
    Rejected,
    ShardRecord,
    columns,
    format_of,
    rejected_columns,
    scores_columns,
    unpack_judged,
)
from augmentor.outputs.readers import (
    FolderImages,
    HDF5Images,
    PackImages,
    hdf5_chunks,
    hdf5_description,
    hdf5_shards,
)
from augmentor.outputs.writers import PACK_SUFFIXES
from augmentor.storage import Json
from stargan.labels import AttributeState, LabelSpace

Item = TypeVar("Item")

CHUNK = 1 << 16
"""Rows of a table that are in memory at once."""

_MOST_RECORDS = 256
"""Shards, evenly spread, whose rejected translations can be shown: to read all of a million rows takes long."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of expand.

    Args:
        out: the folder, or FILE.h5.
        images: where the images are now: `out`, its URL, or the file that is about to take its name.
        description: what `dataset.json` says, or will say.
        space: its attributes.
    """

    out: Path
    images: Path
    description: Mapping[str, Json]
    space: LabelSpace

    @classmethod
    def open(
        cls, out: Path, *, description: Mapping[str, object] | None = None, images: Path | None = None
    ) -> Output:
        """Open an output.

        Args:
            out: the folder, or FILE.h5.
            description: what `dataset.json` will say, where the output is not finished; else it is read.
            images: where the images are until the output is finished; None for `out`.

        Raises:
            OutputError: there is no finished output, or it is damaged.
        """
        where = images or out
        if description is None:
            description = hdf5_description(out) if out.is_file() else _read_description(out)
        try:
            space = LabelSpace.from_json(cast("list[AttributeState]", description["label_space"]))
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"{out}: dataset.json names no label space ({error}); expand did not write it"
            ) from error
        return cls(out=out, images=where, description=cast("Mapping[str, Json]", description), space=space)

    @cached_property
    def is_file(self) -> bool:
        """Whether it is an HDF5 file."""
        return self.images.is_file()

    def beside(self, name: str) -> Path:
        """Return where a companion lies: inside the folder, or FILE.NAME beside FILE.h5."""
        return self._place.beside(name)

    @property
    def pack_suffix(self) -> str | None:
        """Of the files that hold the images; None where they are one file, or files of their own."""
        return None if self.is_file else PACK_SUFFIXES.get(format_of(self.description))

    def label_rows(self) -> Iterator[pd.DataFrame]:
        """Yield the label table in pieces; text as it is written, `is_synthetic` bool.

        Raises:
            OutputError: it is missing or damaged.
        """
        if self.is_file:
            yield from hdf5_chunks(self.images, self.space, rows=CHUNK)
            return
        for chunk in read_chunks(self.out / "labels.csv", expected=columns(self.space)):
            chunk["is_synthetic"] = chunk["is_synthetic"] == "1"
            yield chunk

    def score_rows(self) -> Iterator[pd.DataFrame]:
        """Yield `scores.csv` in pieces; nothing where there is none."""
        path = self.beside("scores.csv")
        if path.is_file():
            yield from read_chunks(path, expected=scores_columns(self.space))

    def rejected_rows(self) -> Iterator[pd.DataFrame]:
        """Yield `rejected.csv` in pieces; nothing where there is none."""
        path = self.beside("rejected.csv")
        if path.is_file():
            yield from read_chunks(path, expected=rejected_columns(self.space))

    def read(self, place: int, file_name: str) -> Pixels | None:
        """Return one image, uint8 (H, W, C); None where it cannot be read, of which `verify` says more.

        Args:
            place: its row in the label table.
            file_name: its name there.
        """
        try:
            if self.is_file:
                return HDF5Images(self.images, pd.Index([place]).to_numpy(), channels=self._channels).read(0)
            if self._packs is not None:
                return self._packs.read_named(file_name)
            return FolderImages(self.images, [file_name], channels=self._channels).read(0)
        except (ImageError, OSError, IndexError):
            return None

    @property
    def _place(self) -> Place:
        return Place(self.out, one_file=self.is_file)

    @property
    def _channels(self) -> int:
        shape = self.description.get("image_shape")
        return (cast(int | None, shape[2]) if isinstance(shape, Sequence) and len(shape) == 3 else None) or 3

    @cached_property
    def _packs(self) -> PackImages | None:
        """The packs, some of which stay open; None where there are none."""
        suffix = self.pack_suffix
        return None if suffix is None else PackImages(self.images, [], suffix=suffix, channels=self._channels)

    def rejected_pictures(self) -> dict[str, bytes]:
        """Return the JPEG thumbnails that the shards keep of rejected translations, by key."""
        pictures: dict[str, bytes] = {}
        for rejected in self._rejected():
            if rejected.thumbnail:
                with suppress(binascii.Error):  # Damaged, which `verify` tells: one picture less to show.
                    pictures[rejected.row.key] = base64.b64decode(rejected.thumbnail, validate=True)
        return pictures

    def _rejected(self) -> Iterator[Rejected]:
        """Yield what some shards say of rejected translations; a damaged one, which `verify` tells, nothing."""
        if self.is_file:
            for shard in _spread(hdf5_shards(self.images)):
                with suppress(ValueError, TypeError):
                    yield from unpack_judged(str(shard.get("judged", ""))).rejected
            return
        for path in _spread(sorted((self._place.work / "shards").glob("[0-9]*.json"))):
            with suppress(OutputError):
                yield from ShardRecord.read(path).rejected


def read_chunks(path: Path, *, expected: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield a CSV file in pieces, all cells as text.

    Args:
        path: the file.
        expected: the columns that it must have, in order.

    Raises:
        OutputError: it is missing, damaged, or has other columns.
    """
    try:
        with pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", chunksize=CHUNK) as chunks:
            for chunk in chunks:
                if list(chunk.columns) != list(expected):
                    raise OutputError(
                        f"{path}: the columns are {', '.join(chunk.columns)}, not {', '.join(expected)}"
                    )
                yield chunk
    except FileNotFoundError:
        raise OutputError(f"{path}: is missing. Run the same expand again.") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise OutputError(f"{path}: is damaged: {error}") from error


def _spread(items: Sequence[Item]) -> Sequence[Item]:
    return items[:: max(1, -(-len(items) // _MOST_RECORDS))]


def _read_description(out: Path) -> Mapping[str, object]:
    try:
        described = json.loads((out / "dataset.json").read_bytes())
    except FileNotFoundError:
        raise OutputError(
            f"{out}: holds no dataset.json. Give what `augmentor expand` wrote with --out, once it is finished"
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{out / 'dataset.json'}: cannot be read ({error})") from error
    if not isinstance(described, dict):
        raise OutputError(f"{out / 'dataset.json'}: is no JSON object")
    return described
