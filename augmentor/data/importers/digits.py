"""Importers of digits without image files: MNIST (IDX, packed with gzip or not) and USPS (LIBSVM's text)."""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.importers.base import DatasetError, Listing, find, refuse_no_folder

Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Images, uint8 (N, H, W), and what they show, uint8 (N,)."""

_FOLDERS = ("", "MNIST/raw", "raw")
_PARTS = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTES = 0x08
"""The type of an IDX file's numbers, its third byte."""

_USPS_SIDE = 16
_USPS_FILES = {"train": "usps.bz2", "test": "usps.t.bz2"}


def read_mnist(src: Path) -> Listing:
    """Read MNIST's four files, or other digits in its form, also from torchvision's root. Attribute: `digit`."""
    refuse_no_folder(src)
    found: dict[str, Digits] = {}
    notes = []
    for split, part in _PARTS.items():
        files = [_file(src, f"{part}-images", "idx3"), _file(src, f"{part}-labels", "idx1")]
        if files[0] is None and files[1] is None:
            notes.append(f"{src}: no {part}-images-idx3-ubyte in it, so there are no {split} images")
            continue
        if files[0] is None or files[1] is None:
            absent = f"{part}-images-idx3-ubyte" if files[0] is None else f"{part}-labels-idx1-ubyte"
            raise DatasetError(f"{src}: no {absent} (or {absent}.gz), only its sibling")
        images, labels = read_idx(files[0], dimensions=3), read_idx(files[1], dimensions=1)
        if len(images) != len(labels):
            raise DatasetError(
                f"{files[1]}: {len(labels):,} labels, but {files[0].name} has {len(images):,} images"
            )
        if len(labels) and labels.max() > 9:
            place = int((labels > 9).argmax())
            raise DatasetError(f"{files[1]}, image {place}: the label {labels[place]} is no digit")
        found[split] = images, labels
    if not found:
        raise DatasetError(f"{src}: no train-images-idx3-ubyte in it, also not packed, nor in MNIST/raw")
    return digit_listing("mnist", found, src=src, notes=tuple(notes))


def read_usps(src: Path) -> Listing:
    """Read USPS as torchvision stores it. Attribute: `digit`."""
    refuse_no_folder(src)
    found: dict[str, Digits] = {}
    notes = []
    for split, name in _USPS_FILES.items():
        path = find(src, [name], folders=("", "USPS", "usps"))
        if path is None:
            notes.append(f"{src}: no {name} in it, so there are no {split} images")
        else:
            found[split] = _read_usps_file(path)
    if not found:
        raise DatasetError(f"{src}: neither usps.bz2 nor usps.t.bz2 in it")
    return digit_listing("usps", found, src=src, notes=tuple(notes))


def digit_listing(name: str, found: Mapping[str, Digits], *, src: Path, notes: tuple[str, ...] = ()) -> Listing:
    """Return the listing of the digits of each split, which have no files: `SPLIT/DIGIT/NAME-SPLIT-00000.png`."""
    sizes = {split: images.shape[1:] for split, (images, _) in found.items()}
    if len(set(sizes.values())) > 1:
        raise DatasetError(f"{src}: images of different sizes, {' and '.join(map(str, sizes.values()))}")
    ids = [f"{name}-{split}-{i:05d}" for split, (images, _) in found.items() for i in range(len(images))]
    splits = [split for split, (images, _) in found.items() for _ in range(len(images))]
    digits = [str(label) for _, labels in found.values() for label in labels.tolist()]
    paths = [f"{split}/{digit}/{key}.png" for split, digit, key in zip(splits, digits, ids, strict=True)]
    frame = pd.DataFrame({"path": paths, "id": ids, "split": splits, "digit": digits}, dtype=str)
    pixels = np.concatenate([images for images, _ in found.values()])
    return Listing(frame=frame, image=lambda row: pixels[row, :, :, np.newaxis], default=("digit",), notes=notes)


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Return the bytes of an IDX file, unpacked if it ends in ".gz", as an array; refuse other kinds and cut ones.

    Its head is two zeros, the numbers' type, the dimensions, and the size of each in 4 bytes, big-endian.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"{path}: does not unpack: {error}. Download it again") from None
    start = 4 + 4 * dimensions
    if len(data) < start or data[:4] != bytes((0, 0, _UNSIGNED_BYTES, dimensions)):
        raise DatasetError(f"{path}: is no IDX file of bytes in {dimensions} dimensions. Download it again")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(data) - start != expected:
        raise DatasetError(
            f"{path}: {len(data) - start:,} numbers, but its head says {expected:,}. Download it again"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def _file(src: Path, stem: str, kind: str) -> Path | None:
    names = (f"{stem}-{kind}-ubyte", f"{stem}.{kind}-ubyte")
    return find(src, [*names, *(f"{name}.gz" for name in names)], folders=_FOLDERS)


def _read_usps_file(path: Path) -> Digits:
    images, labels = [], []
    try:
        with bz2.open(path, "rt", encoding="ascii") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    label, values = _read_usps_line(line, f"{path}, line {number}")
                    labels.append(label)
                    images.append(values)
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: does not unpack: {error}. Download it again") from None
    if not images:
        raise DatasetError(f"{path}: is empty. Download it again")
    # Cut off as torchvision does, so that both see the same pixels.
    pixels = ((np.stack(images) + 1) / 2 * 255).astype(np.uint8)
    return pixels.reshape(-1, _USPS_SIDE, _USPS_SIDE), np.array(labels, dtype=np.uint8)


def _read_usps_line(line: str, where: str) -> tuple[int, NDArray[np.float32]]:
    """Return the digit, and its 256 values; LIBSVM's form leaves out values of 0."""
    label, *pairs = line.split()
    values = np.zeros(_USPS_SIDE * _USPS_SIDE, dtype=np.float32)
    try:
        for pair in pairs:
            index, _, value = pair.partition(":")
            if not 1 <= int(index) <= len(values):
                raise DatasetError(f"{where}: index {index} is not one of 1 to {len(values)}")
            values[int(index) - 1] = float(value)
        digit = int(label) - 1
    except ValueError:
        raise DatasetError(f"{where}: is not 'LABEL INDEX:VALUE ...': {line[:40].strip()!r}") from None
    if not 0 <= digit <= 9:
        raise DatasetError(f"{where}: the label {label} is not one of 1 to 10")
    if not (np.abs(values) <= 1).all():
        raise DatasetError(f"{where}: a value is not in [-1, 1]")
    return digit, values
