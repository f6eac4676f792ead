"""Reader of finished outputs of every format: description, tables in chunks, and images."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar, cast

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.errors import ImageError, OutputError, listing
from augmentor.images import Pixels
from augmentor.outputs.description import Counts
from augmentor.outputs.judge_results import Rejected, rejected_columns, scores_columns, unpack_judged
from augmentor.outputs.label_table import CHUNK, SCORE_COLUMNS, columns, read_chunks, read_label_table
from augmentor.outputs.paths import OutputPaths, format_of, paths_of
from augmentor.outputs.readers.images import FolderImages, HDF5Images, ImageSource, PackImages
from augmentor.outputs.records import RecordFolder, ShardRecord
from augmentor.outputs.writers.hdf5_layout import TEXT_COLUMNS, open_hdf5
from augmentor.outputs.writers.packs import PACK_SUFFIXES
from augmentor.storage import GreyRange, Json, as_grey_range
from stargan.labels import AttributeState, LabelSpace

Item = TypeVar("Item")

_MOST_RECORDS = 256
"""Shards, evenly spread, whose rejected translations are read: reading all takes long for a million rows."""


@dataclass(frozen=True, kw_only=True)
class FinishedOutput:
    """A finished output of any format, or one about to be finished.

    Args:
        out: the folder, or FILE.h5.
        images: where the images are now: `out`, its URL, or the unfinished file.
        description: the content of `dataset.json`, or of an HDF5 file's copy of it.
        space: the label space.
    """

    out: Path
    images: Path
    description: Mapping[str, Json]
    space: LabelSpace

    @classmethod
    def open(
        cls, out: Path, *, description: Mapping[str, object] | None = None, images: Path | None = None
    ) -> FinishedOutput:
        """Open an output.

        Args:
            out: the folder, or FILE.h5.
            description: of an unfinished output; None reads it.
            images: where an unfinished output's images are; None for `out`.

        Raises:
            OutputError: there is no finished output, or it is damaged.
        """
        if description is None:
            description = _file_description(out) if out.is_file() else _folder_description(out)
        try:
            space = LabelSpace.from_json(cast("list[AttributeState]", description["label_space"]))
        except (KeyError, TypeError, ValueError) as error:
            raise OutputError(
                f"{out}: dataset.json has no valid label space ({error!r}); expand did not write it"
            ) from error
        return cls(out=out, images=images or out, description=cast("Mapping[str, Json]", description), space=space)

    @cached_property
    def is_file(self) -> bool:
        """Whether it is an HDF5 file."""
        return self.images.is_file()

    @property
    def paths(self) -> OutputPaths:
        """The paths of the output's files."""
        return OutputPaths(self.out, one_file=self.is_file)

    def beside(self, name: str) -> Path:
        """Return the path of a companion: DIR/NAME, or FILE.NAME beside FILE.h5."""
        return self.paths.beside(name)

    @property
    def counts(self) -> Counts:
        """Numbers of images in the description."""
        return Counts.from_json(self.description["counts"])

    @property
    def channels(self) -> int:
        """Channels of the images, 1 or 3; 3 where unknown."""
        shape = self.description.get("image_shape")
        return (cast(int | None, shape[2]) if isinstance(shape, Sequence) and len(shape) == 3 else None) or 3

    @property
    def grey_range(self) -> GreyRange | None:
        """The range of grey values of original files with more than 8 bits; None for that of 16 bits."""
        made_of = self.description.get("made_of")
        model = made_of.get("model") if isinstance(made_of, Mapping) else None
        return as_grey_range(model.get("grey_range")) if isinstance(model, Mapping) else None

    @property
    def class_note(self) -> str:
        """What readers of class folders need to know where a split lacks some; "" where none does."""
        missing = cast("Mapping[str, Sequence[str]]", self.description.get("missing_classes", {}))
        lacks = "; ".join(f"{split} lacks {listing([*names], 12)}" for split, names in missing.items())
        return lacks and (
            f"class folders: {lacks}. torchvision's ImageFolder then numbers the others differently in each "
            f"split; {self.out / 'classes.txt'} has the numbers of all (docs/outputs.md)"
        )

    @property
    def pack_suffix(self) -> str | None:
        """Suffix of the packs; None where images are in one file or files of their own."""
        return None if self.is_file else PACK_SUFFIXES.get(format_of(self.description))

    def label_table(self) -> pd.DataFrame:
        """Return the whole label table, as `read_label_table` does.

        Raises:
            OutputError: it is missing or damaged.
        """
        if not self.is_file:
            return read_label_table(self.out / "labels.csv", self.space)
        with _hdf5(self.images) as file:
            return _hdf5_rows(file, self.space, slice(None))

    def label_rows(self) -> Iterator[pd.DataFrame]:
        """Yield the label table in chunks; text as written, `is_synthetic` bool.

        Raises:
            OutputError: it is missing or damaged.
        """
        if self.is_file:
            with _hdf5(self.images) as file:
                for first in range(0, len(file["labels"]), CHUNK):
                    yield _hdf5_rows(file, self.space, slice(first, first + CHUNK))
            return
        for chunk in read_chunks(self.out / "labels.csv", expected=columns(self.space)):
            chunk["is_synthetic"] = chunk["is_synthetic"] == "1"
            yield chunk

    def score_rows(self) -> Iterator[pd.DataFrame]:
        """Yield `scores.csv` in chunks; nothing where it is missing."""
        path = self.beside("scores.csv")
        if path.is_file():
            yield from read_chunks(path, expected=scores_columns(self.space))

    def rejected_rows(self) -> Iterator[pd.DataFrame]:
        """Yield `rejected.csv` in chunks; nothing where it is missing."""
        path = self.beside("rejected.csv")
        if path.is_file():
            yield from read_chunks(path, expected=rejected_columns(self.space))

    def image_source(
        self, rows: NDArray[np.int64], names: Iterable[str], *, size: tuple[int, int] | None = None
    ) -> ImageSource:
        """Return a reader of some images, numbered from 0.

        Args:
            rows: (N,) their rows in the label table.
            names: their file names there.
            size: (height, width) that every image is cropped and resized to; None keeps its own.
        """
        where = self.images.resolve()
        if self.is_file:
            return HDF5Images(where, rows, channels=self.channels, size=size)
        if self.pack_suffix is not None:
            return PackImages(where, names, suffix=self.pack_suffix, channels=self.channels, size=size)
        return FolderImages(where, names, channels=self.channels, size=size, grey_range=self.grey_range)

    def read(self, row: int, file_name: str) -> Pixels | None:
        """Return one image, uint8 (H, W, C), by its label table row and name; None where it cannot be read."""
        try:
            if self._packs is not None:
                return self._packs.read_named(file_name)
            return self.image_source(pd.Index([row]).to_numpy(), [file_name]).read(0)
        except (ImageError, OSError, IndexError):
            return None

    @cached_property
    def _packs(self) -> PackImages | None:
        """The reader of the packs, some of which stay open; None for other formats."""
        suffix = self.pack_suffix
        return None if suffix is None else PackImages(self.images, [], suffix=suffix, channels=self.channels)

    def rejected_pictures(self) -> dict[str, bytes]:
        """Return the JPEG thumbnails of rejected translations, by key."""
        pictures: dict[str, bytes] = {}
        for rejected in self._rejected():
            if rejected.thumbnail:
                with suppress(binascii.Error):  # Damaged; `verify` reports it.
                    pictures[rejected.row.key] = base64.b64decode(rejected.thumbnail, validate=True)
        return pictures

    def _rejected(self) -> Iterator[Rejected]:
        """Yield the rejected translations of some shards, without damaged shards, which `verify` reports."""
        if self.is_file:
            with _hdf5(self.images) as file:
                shards: list[dict[str, object]] = json.loads(file.attrs["shards"])
            for shard in _spread(shards):
                with suppress(ValueError, TypeError):
                    yield from unpack_judged(str(shard.get("judged", ""))).rejected
            return
        for path in _spread(RecordFolder(self.paths.work).committed()):
            with suppress(OutputError):
                yield from ShardRecord.read(path).rejected


def _spread(items: Sequence[Item]) -> Sequence[Item]:
    return items[:: max(1, -(-len(items) // _MOST_RECORDS))]


def _folder_description(out: Path) -> Mapping[str, object]:
    """Return the content of an output folder's `dataset.json`."""
    path = out / "dataset.json"
    try:
        described = json.loads(path.read_bytes())
    except FileNotFoundError:
        if paths_of(out).work.exists():
            raise OutputError(
                f"{out}: expand has not finished here. Run the same `augmentor expand` command again."
            ) from None
        if out.exists():
            raise OutputError(
                f"{out}: holds no dataset.json, so it is not an output of `augmentor expand`."
            ) from None
        raise OutputError(f"{out}: does not exist.") from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({error}). Run the same `augmentor expand` again") from error
    if not isinstance(described, dict):
        raise OutputError(f"{path}: is not a JSON object")
    return described


def _file_description(path: Path) -> Mapping[str, object]:
    """Return an HDF5 file's copy of `dataset.json`."""
    with _hdf5(path) as file:
        described = json.loads(file.attrs["dataset_json"])
        if not isinstance(described, dict):
            raise ValueError("dataset_json is not a JSON object")
        return described


@contextmanager
def _hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an output's HDF5 file; raise OutputError for all errors of opening and reading it."""
    try:
        with open_hdf5(path) as file:
            yield file
    except (OSError, KeyError, ValueError) as error:
        raise OutputError(f"{path}: not an HDF5 file that expand wrote, or damaged ({error})") from error


def _hdf5_rows(file: h5py.File, space: LabelSpace, rows: slice) -> pd.DataFrame:
    """Return some rows of the label table."""
    codes = file["labels"][rows]
    table: dict[str, np.ndarray] = {name: file[name].asstr()[rows] for name in TEXT_COLUMNS}
    table["is_synthetic"] = file["is_synthetic"][rows].astype(bool)
    for name in SCORE_COLUMNS:  # The table's 4 decimals, without what float32 adds to them.
        table[name] = file[name][rows].astype(np.float64).round(4)
    for column, attribute in enumerate(space.attributes):
        # Code -1, unknown, indexes the last entry: the blank.
        table[attribute.name] = np.array([*attribute.values, ""], dtype=object)[codes[:, column]]
    return pd.DataFrame(table)[columns(space)]
