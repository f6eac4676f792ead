"""USPS: `usps.bz2` and `usps.t.bz2`, LIBSVM's text of labels 1 to 10 and 256 values in [-1, 1]."""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augmentor.data.importers.base import DatasetError, Listing, find, refuse_no_folder
from augmentor.data.importers.mnist import Digits, digit_listing

_SIDE = 16
_FILES = {"train": "usps.bz2", "test": "usps.t.bz2"}


def read_usps(src: Path) -> Listing:
    """Read USPS as torchvision stores it. Attribute: `digit`.

    Raises:
        DatasetError: naming file and line.
    """
    refuse_no_folder(src)
    found: dict[str, Digits] = {}
    notes = []
    for split, name in _FILES.items():
        path = find(src, [name], folders=("", "USPS", "usps"))
        if path is None:
            notes.append(f"{src}: no {name} in it, so there are no {split} images")
        else:
            found[split] = _read(path)
    if not found:
        raise DatasetError(f"{src}: neither usps.bz2 nor usps.t.bz2 in it")
    return digit_listing("usps", found, src=src, notes=tuple(notes))


def _read(path: Path) -> Digits:
    images, labels = [], []
    try:
        with bz2.open(path, "rt", encoding="ascii") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    label, values = _line(line, f"{path}, line {number}")
                    labels.append(label)
                    images.append(values)
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: does not unpack: {error}. Download it again") from None
    if not images:
        raise DatasetError(f"{path}: is empty. Download it again")
    # Cut off as torchvision does, so that both see the same pixels.
    pixels = ((np.stack(images) + 1) / 2 * 255).astype(np.uint8)
    return pixels.reshape(-1, _SIDE, _SIDE), np.array(labels, dtype=np.uint8)


def _line(line: str, where: str) -> tuple[int, NDArray[np.float32]]:
    """Return the digit, and its 256 values; LIBSVM's form leaves out values of 0."""
    label, *pairs = line.split()
    values = np.zeros(_SIDE * _SIDE, dtype=np.float32)
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
