"""Layout of every HDF5 file of an output: its columns and its attributes."""

from __future__ import annotations

import errno
import hashlib
import json
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
from augmentor.outputs.label_table import COLUMNS_AFTER, COLUMNS_BEFORE, LabelRow
from stargan.labels import LabelSpace

TEXT_COLUMNS = ("file_name", "key", "split", "group", "source_id", "source_path", "changed")
SCORE_COLUMNS = ("agreement", "realism")

COLUMN_CHUNK = 4096

OVERHEAD = 256
"""Bytes an image, more than enough, for what HDF5 notes about it."""

SLACK = 1 << 22
"""Bytes, more than enough, for the first chunk of every column and for what HDF5 notes about the file."""


class HDF5Column(NamedTuple):
    """A data set of length N.

    Args:
        name: its name.
        dtype: of its elements.
        width: the shape of one row.
        checked: whether a chunk that was damaged is an error when it is read.
    """

    name: str
    dtype: np.dtype[np.generic]
    width: tuple[int, ...]
    checked: bool

    def create(self, file: h5py.File, *, rows: int, chunk: int, grows: bool) -> h5py.Dataset:
        """Add the data set to a file.

        Args:
            file: open for writing.
            rows: its length.
            chunk: rows of a chunk; of images always one.
            grows: whether it will be resized.
        """
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

    Args:
        space: the attributes.
        encoding: of the images; None holds pixels.
        shape: (H, W, C) of the pixels; of encoded images, or if there is none, it does not matter.
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
    """Write what the codes of a file mean as its attributes.

    Texts are variable-length, which HDF5's limit of 64 KiB does not meet.
    """
    attributes, text = file.attrs, h5py.string_dtype()
    attributes["schema_version"] = SCHEMA_VERSION
    attributes["attribute_names"] = np.array(space.names, dtype=text)
    attributes["attribute_kinds"] = np.array([a.kind for a in space.attributes], dtype=text)
    attributes["attribute_values"] = json.dumps([list(a.values) for a in space.attributes])
    if encoding:
        attributes["image_encoding"] = encoding


def table_columns(rows: Sequence[LabelRow]) -> dict[str, np.ndarray | list[str]]:
    """Return the rows as the file's columns: texts, int8 flags, (n, A) codes and float32 scores (NaN unknown)."""
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
    """Return the SHA-256 of all that the file holds of one shard, by which `augmentor verify` knows damage.

    Args:
        columns: what `table_columns` returned, or the same read from the file.
        images: the SHA-256 of each image's bytes in the file, in order.
        failures: rows that could not be used.
        judged: what `pack_judged` returned.
    """
    digest = hashlib.sha256(json.dumps([*images, *map(asdict, failures)]).encode())
    for name, values in sorted(columns.items()):
        if isinstance(values, np.ndarray):
            digest.update(values.astype("<f4" if name in SCORE_COLUMNS else "<i2").tobytes())
        else:
            digest.update(json.dumps(values).encode())
    digest.update(judged.encode())
    return digest.hexdigest()


def reserve(path: Path, size: int) -> None:
    """Make sure that a file can grow to so many bytes: HDF5 may crash, not fail, where it cannot write.

    Args:
        path: the file; made if it is not there.
        size: its bytes, at most. What is not needed of them is to be cut off in the end.

    Raises:
        OSError: there is no room for them.
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
    """Turn what HDF5 says when the disk is full into one OSError; where HDF5 closes, it is a RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        found = re.search(r"errno = (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
