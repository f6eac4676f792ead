"""Importer of CelebA: its text files of attributes, splits and identities, and `img_align_celeba/`."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.importers.base import (
    DatasetError,
    Listing,
    find,
    read_fields,
    read_pairs,
    refuse_no_folder,
    without_missing,
)

HAIR = {"Black_Hair": "black", "Blond_Hair": "blond", "Brown_Hair": "brown", "Gray_Hair": "gray"}
"""The columns that become the one attribute `hair`."""

_SPLITS = {"0": "train", "1": "val", "2": "test"}
_CODES = {"-1": 0, "1": 1}
_NO_OR_YES = np.array(["0", "1"], dtype=object)
_FOLDERS = ("", "celeba", "Anno", "Eval", "Img", "CelebA/Anno", "CelebA/Eval", "CelebA/Img")
"""Loose, as torchvision puts them, and as the owners' drive has them."""


def read_celeba(src: Path) -> Listing:
    """Read CelebA from the folder with the owners' files, or torchvision's root.

    Attributes: `hair` (black, blond, brown, gray; unknown where none or several are set) and the 36 others under
    their names in lower case, 0 or 1. Identities become groups.
    """
    refuse_no_folder(src)
    listed = find(src, ["list_attr_celeba.txt"], folders=_FOLDERS)
    if listed is None:
        raise DatasetError(f"{src}: no list_attr_celeba.txt in it. Name the folder that holds CelebA's text files")
    images = _images(src)
    names, columns, codes = _attributes(listed)
    frame = pd.DataFrame({"path": names, "id": [f"celeba-{Path(name).stem}" for name in names]})
    notes = []
    partition = find(src, ["list_eval_partition.txt"], folders=_FOLDERS)
    if partition is not None:
        frame["split"] = _splits(partition, names)
    else:
        notes.append(f"{src}: no list_eval_partition.txt in it, so there are no splits (or cut them with --split)")
    identity = find(src, ["identity_CelebA.txt"], folders=_FOLDERS)
    if identity is not None:
        people = read_pairs(identity)
        frame["group"] = [f"celeba-{people[name][0]}" if name in people else "" for name in names]
    frame["hair"] = _hair(columns, codes)
    others = {
        column.lower(): _NO_OR_YES[codes[:, place]] for place, column in enumerate(columns) if column not in HAIR
    }
    frame = pd.concat([frame, pd.DataFrame(others, dtype=str)], axis=1)
    frame, missing = without_missing(frame, there=[entry.name for entry in images.iterdir()], where=images)
    return Listing(frame=frame, root=images, default=("hair", "male", "young"), notes=(*notes, *missing))


def _images(src: Path) -> Path:
    images = find(src, ["img_align_celeba/img_align_celeba", "img_align_celeba"], folders=_FOLDERS)
    if images is not None and images.is_dir():
        return images
    packed = find(src, ["img_align_celeba.zip"], folders=_FOLDERS)
    if packed is not None:
        raise DatasetError(f"{packed}: is still packed. Unpack it where it is")
    raise DatasetError(f"{src}: no folder img_align_celeba in it. That is where CelebA's images are")


def _attributes(path: Path) -> tuple[list[str], list[str], NDArray[np.int8]]:
    """Return the images' names, the columns' names and the codes, int8 (images, columns) of 0 and 1."""
    with path.open(encoding="utf-8") as file:
        first, columns = file.readline().strip(), file.readline().split()
    if not first.isdecimal():
        raise DatasetError(f"{path}, line 1: {first[:60]!r} is not the number of images")
    absent = [name for name in (*HAIR, "Male", "Young") if name not in columns]
    if absent:
        raise DatasetError(f"{path}, line 2: no {absent[0]} among the attributes' names. Is it CelebA's own file?")
    names: list[str] = []
    values = array("b")
    for number, (name, *words) in read_fields(path, count=1 + len(columns), skip=2):
        try:
            values.extend([_CODES[word] for word in words])
        except KeyError:
            place = next(place for place, word in enumerate(words) if word not in _CODES)
            raise DatasetError(
                f"{path}, line {number}, {columns[place]}: {words[place]!r} is neither 1 nor -1"
            ) from None
        names.append(name)
    if len(names) != int(first):
        raise DatasetError(f"{path}: line 1 says {first} images, but there are {len(names)}. Is it cut short?")
    repeated = pd.Series(names)[pd.Series(names).duplicated()]
    if len(repeated):
        raise DatasetError(f"{path}, line {int(repeated.index[0]) + 3}: a second line for {repeated.iloc[0]}")
    return names, columns, np.frombuffer(values, dtype=np.int8).reshape(len(names), len(columns))


def _hair(columns: list[str], codes: NDArray[np.int8]) -> NDArray[np.object_]:
    """Return each image's one hair colour, "" where none or several are set."""
    colours = codes[:, [columns.index(name) for name in HAIR]]
    words: NDArray[np.object_] = np.array(list(HAIR.values()), dtype=object)[colours.argmax(axis=1)]
    words[colours.sum(axis=1) != 1] = ""
    return words


def _splits(path: Path, names: list[str]) -> list[str]:
    pairs = read_pairs(path)
    for value, number in pairs.values():
        if value not in _SPLITS:
            raise DatasetError(f"{path}, line {number}: {value!r} is not 0 (train), 1 (val) or 2 (test)")
    for name in names:
        if name not in pairs:
            raise DatasetError(f"{path}: no line for {name}")
    return [_SPLITS[pairs[name][0]] for name in names]
