"""HDF5 packs, and the virtual file dataset.h5 over all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from augmentor.outputs.description import Shape
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.paths import INDEX_FILE
from augmentor.outputs.writers.hdf5_layout import (
    COLUMN_CHUNK,
    OVERHEAD,
    SLACK,
    HDF5Column,
    describe_space,
    file_columns,
    open_hdf5,
    reserve,
    system_errors,
    table_columns,
)
from augmentor.outputs.writers.packing import Pack, Packed, Packing, damage_named
from augmentor.storage import TEMPORARY, sync_file, sync_folder

_TOGETHER = 1 << 25
"""Bytes of pixels written at once."""


class HDF5Packing(Packing):
    """Writes SPLIT/NNNNN.h5, each with the columns of one HDF5 file, and dataset.h5 over all of them.

    In dataset.h5 every column is virtual: it names the columns of the files by their relative paths, in the order
    of the shards, and within a shard train, val, test. Nothing is copied.
    """

    suffix = ".h5"

    def check(self) -> None:
        """Accept everything: h5py is always installed, and attributes are no columns."""

    def write(self, path: Path, rows: Sequence[LabelRow], images: Iterable[bytes], *, shape: Shape | None) -> None:
        """See `Packing.write`."""
        table = table_columns(rows)
        texts = sum(len(text.encode()) for values in table.values() if isinstance(values, list) for text in values)
        columns = file_columns(self.space, encoding=self.encoding, shape=shape)
        with system_errors(), h5py.File(path, "w") as file:
            room = texts + (OVERHEAD + 2 * len(self.space)) * len(rows) + SLACK
            reserve(path, file.id.get_filesize() + room)
            for column in columns:
                made = column.create(file, rows=len(rows), chunk=min(len(rows), COLUMN_CHUNK), grows=False)
                if column.name != "image":
                    made[:] = table[column.name]
            place = 0
            for some in _blocks(images):
                reserve(path, file.id.get_filesize() + room + sum(map(len, some)))
                if self.encoding is None:
                    file["image"][place : place + len(some)] = _pixels(some, file["image"].shape[1:])
                else:
                    for offset, data in enumerate(some):
                        file["image"][place + offset] = np.frombuffer(data, np.uint8)
                place += len(some)
            describe_space(file, self.space, encoding=self.encoding)
            file.flush()
            os.truncate(path, file.id.get_filesize())  # What was reserved in vain.

    def write_index(
        self, out: Path, packs: Sequence[Packed], *, shape: Shape | None, description: Mapping[str, object]
    ) -> None:
        """Write dataset.h5, durably; equal packs give equal bytes."""
        path = out / INDEX_FILE
        temporary = path.with_name(TEMPORARY + path.name)
        temporary.unlink(missing_ok=True)  # It may be a link.
        with system_errors(), h5py.File(temporary, "w") as file:
            for column in file_columns(self.space, encoding=self.encoding, shape=shape):
                _create_virtual(file, column, packs)
            describe_space(file, self.space, encoding=self.encoding)
            file.attrs["fingerprint"] = str(description["fingerprint"])
            file.attrs["dataset_json"] = json.dumps(description, sort_keys=True, ensure_ascii=False)
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(out)


class HDF5Pack(Pack):
    """An open HDF5 file; raises ImageError if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with damage_named(path):
            self._file = open_hdf5(path)
            self._images = self._file["image"]
            self._places = {name: place for place, name in enumerate(self._file["file_name"].asstr()[:])}
            encoded = h5py.check_vlen_dtype(self._images.dtype) is not None
            self.shape = None if encoded else self._images.shape[1:]

    def read(self, file_name: str) -> bytes:
        """Return the bytes of an image file, or of an image's pixels."""
        with damage_named(self.path):
            data: bytes = self._images[self._places[file_name]].tobytes()
            return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _create_virtual(file: h5py.File, column: HDF5Column, packs: Sequence[Packed]) -> None:
    """Add a virtual column over the packs' columns; h5py's own `create_virtual_dataset` would store the time."""
    shape = (sum(pack.rows for pack in packs), *column.width)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_obj_track_times(False)
    name, first = column.name.encode(), 0
    space = h5py.h5s.create_simple(shape)
    for pack in packs:
        part = (pack.rows, *column.width)
        space.select_hyperslab((first, *(0 for _ in column.width)), part)
        properties.set_virtual(space, os.fsencode(pack.name), name, h5py.h5s.create_simple(part))
        first += pack.rows
    kind = h5py.h5t.py_create(column.dtype, logical=True)
    h5py.h5d.create(file.id, name, kind, h5py.h5s.create_simple(shape), properties)


def _blocks(images: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Yield images in lists of about `_TOGETHER` bytes."""
    block: list[bytes] = []
    size = 0
    for image in images:
        block.append(image)
        size += len(image)
        if size >= _TOGETHER:
            yield block
            block, size = [], 0
    if block:
        yield block


def _pixels(images: Sequence[bytes], shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(b"".join(images), np.uint8).reshape(-1, *shape)
