"""Layout of every HDF5 file of an output: columns and attributes."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from augmentor.data import Failure
from augmentor.images import ImageFormat
from augmentor.outputs.description import SCHEMA_VERSION, Shape
from augmentor.outputs.label_table import COLUMNS_AFTER, COLUMNS_BEFORE, SCORE_COLUMNS, LabelRow
from augmentor.storage import MAX_PIXELS
from stargan.labels import LabelSpace

TEXT_COLUMNS = ("file_name", "key", "split", "group", "source_id", "source_path", "changed")

_MOST_PACKED = 2000
"""Bytes of a column per byte in the file: compressed repetitions come to about half of that."""

COLUMN_CHUNK = 4096

OVERHEAD = 256
"""Upper bound of HDF5's overhead, bytes per image."""

SLACK = 1 << 22
"""Upper bound, in bytes, of the first chunk of every column and of HDF5's overhead per file."""


class HDF5Column(NamedTuple):
    """A data set of length N: `width` is the shape of a row, `checked` whether chunks have checksums."""

    name: str
    dtype: np.dtype[np.generic]
    width: tuple[int, ...]
    checked: bool

    def create(self, file: h5py.File, *, rows: int, chunk: int, grows: bool) -> h5py.Dataset:
        """Add the data set, of `rows` rows, to a file; chunks of `chunk` rows, or of one image."""
        return file.create_dataset(
            self.name,
            (rows, *self.width),
            self.dtype,
            maxshape=(None, *self.width) if grows else None,
            chunks=(1 if len(self.width) == 3 else chunk, *self.width),
            fletcher32=self.checked,
            track_times=False,
        )


def file_columns(space: LabelSpace, *, encoding: ImageFormat | None, shape: Shape | None) -> list[HDF5Column]:
    """Return the columns of a file: the image, the labels, and the rest of the label table.

    `shape` is (H, W, C) of pixels, and ignored for encoded images.
    """
    values = max((len(attribute.values) for attribute in space.attributes), default=0)
    labels = np.dtype(np.int16 if values > np.iinfo(np.int8).max else np.int8)
    pixels = tuple(side or 1 for side in shape or (1, 1, 3))
    columns = [
        # One heap of bytes holds all that is encoded. HDF5 has no checksums for it; PNG has its own.
        HDF5Column("image", h5py.vlen_dtype(np.uint8), (), checked=False)
        if encoding
        else HDF5Column("image", np.dtype(np.uint8), pixels, checked=True),
        HDF5Column("labels", labels, (len(space),), checked=True),
    ]
    for name in (*COLUMNS_BEFORE, *COLUMNS_AFTER):
        if name in TEXT_COLUMNS:
            # HDF5 has no checksums for texts of variable length.
            columns.append(HDF5Column(name, h5py.string_dtype(), (), checked=False))
        else:
            dtype = np.dtype(np.float32 if name in SCORE_COLUMNS else np.int8)
            columns.append(HDF5Column(name, dtype, (), checked=True))
    return columns


def describe_space(file: h5py.File, space: LabelSpace, *, encoding: ImageFormat | None) -> None:
    """Write the label space as a file's attributes, in texts of variable length: HDF5 limits others to 64 KiB."""
    attributes, text = file.attrs, h5py.string_dtype()
    attributes["schema_version"] = SCHEMA_VERSION
    attributes["attribute_names"] = np.array(space.names, dtype=text)
    attributes["attribute_kinds"] = np.array([a.kind for a in space.attributes], dtype=text)
    attributes["attribute_values"] = json.dumps([list(a.values) for a in space.attributes])
    if encoding:
        attributes["image_encoding"] = encoding


def table_columns(rows: Sequence[LabelRow]) -> dict[str, np.ndarray | list[str]]:
    """Return the rows as columns: texts, int8 flags, (n, A) int16 codes and float32 scores (NaN unknown)."""
    columns: dict[str, np.ndarray | list[str]] = {
        "file_name": [row.file_name for row in rows],
        "key": [row.key for row in rows],
        "split": [row.split for row in rows],
        "group": [row.group for row in rows],
        "source_id": [row.source_id for row in rows],
        "source_path": [row.source_path for row in rows],
        "changed": [row.changed_text for row in rows],
        "is_synthetic": np.array([row.is_synthetic for row in rows], dtype=np.int8),
        "labels": np.array([row.codes for row in rows], dtype=np.int16),
    }
    for name in SCORE_COLUMNS:
        scores = [getattr(row, name) for row in rows]
        columns[name] = np.array([np.nan if score is None else score for score in scores], dtype=np.float32)
    return columns


def shard_digest(
    columns: Mapping[str, np.ndarray | list[str]],
    images: Iterable[str],
    failures: Iterable[Failure],
    judged: str = "",
) -> str:
    """Return the SHA-256 of one shard's content in the file, by which `augmentor verify` detects damage.

    `columns` are those of `table_columns`, `images` the SHA-256 of each image's bytes in order, `judged` the text
    of `pack_judged`.
    """
    digest = hashlib.sha256(json.dumps([*images, *map(asdict, failures)]).encode())
    for name, values in sorted(columns.items()):
        if isinstance(values, np.ndarray):
            digest.update(values.astype("<f4" if name in SCORE_COLUMNS else "<i2").tobytes())
        else:
            digest.update(json.dumps(values).encode())
    digest.update(judged.encode())
    return digest.hexdigest()


def open_hdf5(path: Path) -> h5py.File:
    """Open an HDF5 file of an output for reading.

    The columns of dataset.h5 are in the files that it names, which must be in its folder.

    Raises:
        OSError: it is no HDF5 file, its data are in other files, or they are larger than images and tables are.
    """
    file = h5py.File(path, "r")
    try:
        for name in _checked_sources(file):
            source = Path(name)
            if source.is_absolute() or not {"..", "~"}.isdisjoint(source.parts) or "%" in name:
                raise OSError(f"its data are in {name}, outside of its folder")
            open_hdf5(path.parent / source).close()
    except BaseException:
        file.close()
        raise
    return file


def _checked_sources(file: h5py.File) -> set[str]:
    """Return the names of the other files that hold a file's columns; raise OSError for all but virtual ones."""
    sources: set[str] = set()
    for name in file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise OSError(f"{name} is a link, and the data of an output are in its own files")
        column = file[name]
        if not isinstance(column, h5py.Dataset):
            continue
        if column.external:
            raise OSError(f"the data of {name} are in another file, {column.external[0][0]}")
        if column.is_virtual:
            sources.update(each.file_name for each in column.virtual_sources())
        elif column.nbytes > _MOST_PACKED * (column.id.get_storage_size() + OVERHEAD):
            raise OSError(f"{name} is said to have {len(column):,} rows, and most of them are not in the file")
        if name == "image" and math.prod(column.shape[1:3]) > MAX_PIXELS:
            raise OSError(f"its images are said to have {column.shape[1]:,} x {column.shape[2]:,} pixels")
    return sources - {"."}


def reserve(path: Path, size: int) -> None:
    """Reserve disk space for a file, or raise OSError: HDF5 may crash where it cannot write.

    The file is created if it is missing; the caller truncates it in the end.
    """
    if not hasattr(os, "posix_fallocate"):  # Linux has it.
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


@contextmanager
def system_errors() -> Iterator[None]:
    """Turn HDF5's errors for a full disk (on closing, a RuntimeError) into an OSError with its errno."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        found = re.search(r"errno = (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
