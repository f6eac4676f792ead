"""Readers of an output's images: from files, from packs, or from one HDF5 file."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from augmentor.errors import ImageError
from augmentor.images import Pixels, decode, decode_bytes, resize
from augmentor.outputs.writers.hdf5_layout import open_hdf5
from augmentor.outputs.writers.packing import Pack, pack_name
from augmentor.outputs.writers.packs import open_pack
from augmentor.storage import Access, GreyRange

_OPEN_PACKS = 32
"""Packs that a process keeps open: the number of its open files is limited."""


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file of an output; raise ImageError where it leads out of it."""
    path = folder / name
    if Access(folders=(folder,)).is_outside(path):
        raise ImageError(f"{path}: leads out of the output, so it is not read")
    return path


class ImageSource(Protocol):
    """Reads the images of a selection; may be pickled, and used after a fork."""

    def read(self, index: int) -> Pixels:
        """Return one image, uint8 (H, W, C)."""


class FolderImages:
    """Image files of an output folder.

    Args:
        folder: the output.
        names: the files' names inside it.
        channels: 1 (grey) or 3 (RGB).
        size: (height, width) that every image is cropped and resized to; None keeps its own.
        grey_range: of original files with more than 8 bits, see `Access`.
    """

    def __init__(
        self,
        folder: Path,
        names: Iterable[str],
        *,
        channels: int,
        size: tuple[int, int] | None = None,
        grey_range: GreyRange | None = None,
    ) -> None:
        self.folder = folder
        self.size = size
        self.access = Access(grey_range=grey_range)
        # Bytes, not Python strings: workers count references, which would copy the list into each of them.
        self.names = np.array([name.encode() for name in names], dtype=np.bytes_)
        self.channels = channels

    def read(self, index: int) -> Pixels:
        """Return one image, uint8 (H, W, C)."""
        path = inside(self.folder, self.names[index].decode())
        return decode(path, channels=self.channels, size=self.size, access=self.access)


class HDF5Images:
    """Images of an HDF5 file, which every process opens for itself: handles must not cross a fork or a pickle.

    Args:
        path: the file.
        rows: (N,) the images' rows in it.
        channels: 1 (grey) or 3 (RGB), of encoded images.
        size: (height, width) that every image is cropped and resized to; None keeps its own.
    """

    def __init__(
        self, path: Path, rows: NDArray[np.int64], *, channels: int, size: tuple[int, int] | None = None
    ) -> None:
        self.path = path
        self.rows = rows
        self.channels = channels
        self.size = size
        self._images: h5py.Dataset | None = None
        self._process: int | None = None

    def read(self, index: int) -> Pixels:
        """Return one image, uint8 (H, W, C)."""
        if self._images is None or self._process != os.getpid():
            self._images = open_hdf5(self.path)["image"]
            self._process = os.getpid()
        stored: NDArray[np.uint8] = self._images[self.rows[index]]
        if h5py.check_vlen_dtype(self._images.dtype) is not None:
            return decode_bytes(stored.tobytes(), channels=self.channels, size=self.size)
        return stored if self.size is None else resize(stored, self.size)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_images": None, "_process": None}


class PackImages(FolderImages):
    """Images of a folder of packs, which every process opens for itself; arguments as for `FolderImages`.

    Random access to Parquet is slow: each image's whole row group is read. `suffix` is that of the packs.
    """

    def __init__(
        self,
        folder: Path,
        names: Iterable[str],
        *,
        suffix: str,
        channels: int,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(folder, names, channels=channels, size=size)
        self.suffix = suffix
        self._open: OrderedDict[str, Pack] = OrderedDict()
        self._process: int | None = None

    def read(self, index: int) -> Pixels:
        """Return one image, uint8 (H, W, C).

        Raises:
            ImageError: its pack is missing or damaged.
        """
        return self.read_named(self.names[index].decode())

    def read_named(self, name: str) -> Pixels:
        """Return one image, as `read` does, by its name in the label table."""
        pack = self._pack(pack_name(name, self.suffix))
        data = pack.read(name)
        if pack.shape is None:
            try:
                return decode_bytes(data, channels=self.channels, size=self.size)
            except ImageError as error:
                raise ImageError(f"{self.folder / name}: {error}") from error
        stored = np.frombuffer(data, np.uint8).reshape(pack.shape).copy()
        return stored if self.size is None else resize(stored, self.size)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": OrderedDict(), "_process": None}

    def _pack(self, name: str) -> Pack:
        if self._process != os.getpid():
            self._open = OrderedDict()  # Those of the process before are its own.
            self._process = os.getpid()
        if name not in self._open:
            while len(self._open) >= _OPEN_PACKS:
                self._open.popitem(last=False)[1].close()
            self._open[name] = open_pack(inside(self.folder, name))
        self._open.move_to_end(name)
        return self._open[name]
