"""Importer of CelebA, CelebA-HQ and lists in their format: attributes, splits, identities, the images' folder."""

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
    image_files,
    read_fields,
    read_lines,
    read_pairs,
    refuse_no_folder,
    without_missing,
)
from augmentor.errors import counted, listing

HAIR = {"Black_Hair": "black", "Blond_Hair": "blond", "Brown_Hair": "brown", "Gray_Hair": "gray"}
"""The columns that become the one attribute `hair`."""

_HIGH_QUALITY = "CelebAMask-HQ-attribute-anno.txt"
_ATTRIBUTES = ("list_attr_celeba.txt", "list_attr_celeba.csv", _HIGH_QUALITY)
"""The owners' list, Kaggle's, and CelebA-HQ's."""

_IMAGES = (
    *("img_align_celeba/img_align_celeba", "img_align_celeba", "img_align_celeba_png", "images", "CelebA-HQ-img"),
    "",
)
_FOLDERS = ("", "celeba", "Anno", "Eval", "Img", "CelebA/Anno", "CelebA/Eval", "CelebA/Img", "CelebAMask-HQ")
"""Loose, as torchvision puts them, as the owners' drive has them, and as CelebA-HQ is unpacked."""

_SPLITS = {"0": "train", "1": "val", "2": "test"}
_USUAL = ("hair", "male", "young")
_NO_OR_YES = np.array(["0", "1"], dtype=object)


def read_celeba(src: Path) -> Listing:
    """Read CelebA from the folder with the owners' or Kaggle's files, torchvision's root, CelebA-HQ, or own lists.

    Attributes: `hair` (black, blond, brown, gray; unknown where none or several are set) and the others under
    their names in lower case, 0 or 1. Identities become groups. A list may be cut to some of the images, have
    other attributes, and name a JPEG where the file is a PNG.
    """
    refuse_no_folder(src)
    listed = find(src, _ATTRIBUTES, folders=_FOLDERS)
    if listed is None:
        raise DatasetError(
            f"{src}: no list_attr_celeba.txt in it, nor {listing(_ATTRIBUTES[1:])}. Name the folder that holds "
            "CelebA's text files"
        )
    names, columns, codes, notes = _attributes(listed)
    images, files = _images(src, names)
    kind = "celebahq" if listed.name == _HIGH_QUALITY else "celeba"
    ids = [f"{kind}-{_stem(name)}" for name in names]
    frame = pd.DataFrame({"path": [files.get(_stem(name), name) for name in names], "id": ids})
    originals = _originals(src, names) if listed.name == _HIGH_QUALITY else names
    partition = find(src, ["list_eval_partition.txt", "list_eval_partition.csv"], folders=_FOLDERS)
    if partition is not None and originals:
        frame["split"] = _splits(partition, originals)
    else:
        notes.append(f"{src}: no list_eval_partition.txt in it, so there are no splits (or cut them with --split)")
    identity = find(src, ["identity_CelebA.txt", "identity_CelebA.csv"], folders=_FOLDERS)
    if identity is not None and originals:
        people = read_pairs(identity)
        frame["group"] = [f"celeba-{people[name][0]}" if name in people else "" for name in originals]
    hair = [name for name in HAIR if name in columns]
    if len(hair) > 1:
        frame["hair"] = _hair(hair, columns, codes)
    if 0 < len(hair) < len(HAIR):
        notes.append(f"{listed}: of the hair colours it has {listing(hair)}")
    others = {
        column.lower(): _NO_OR_YES[codes[:, place]]
        for place, column in enumerate(columns)
        if len(hair) < 2 or column not in hair
    }
    frame = pd.concat([frame, pd.DataFrame(others, dtype=str)], axis=1)
    frame, missing = without_missing(frame, there=list(files.values()), where=images)
    notes += missing
    if "split" in frame and (unsplit := frame["split"] == "").any():
        first = frame.loc[unsplit, "path"].iloc[0]
        notes.append(
            f"{partition}: left out {counted(int(unsplit.sum()), 'image')} without a line in it, such as {first}"
        )
        frame = frame[~unsplit].reset_index(drop=True)
    usual = tuple(name for name in _USUAL if name in frame.columns)
    return Listing(frame=frame, root=images, default=usual or tuple(others), notes=tuple(notes))


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _images(src: Path, names: list[str]) -> tuple[Path, dict[str, str]]:
    """Return the folder that holds most of the listed images, and its files by their names without suffix."""
    stems = set(map(_stem, names))
    nested = any("/" in name for name in names)
    found: list[tuple[Path, dict[str, str]]] = []
    for folder in dict.fromkeys(src / above / name for above in _FOLDERS for name in _IMAGES):
        if folder.is_dir():
            inside = image_files(folder) if nested else sorted(entry.name for entry in folder.iterdir())
            # Of several suffixes the list's own counts.
            inside.sort(key=lambda name: name.endswith((".jpg", ".JPG")))
            found.append((folder, {_stem(name): name for name in inside if _stem(name) in stems}))
    # The last of `_IMAGES`, the folder of the lists itself, only where it holds images.
    proper = [(folder, files) for folder, files in found if files or folder.name in map(_last, _IMAGES)]
    if proper:
        return max(proper, key=lambda each: len(each[1]))
    packed = find(src, ["img_align_celeba.zip", "CelebA-HQ-img.zip"], folders=_FOLDERS)
    if packed is not None:
        raise DatasetError(f"{packed}: is still packed. Unpack it where it is")
    raise DatasetError(
        f"{src}: no folder img_align_celeba (or {', '.join(_IMAGES[2:-1])}) in it. That is where CelebA's "
        "images are"
    )


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _attributes(path: Path) -> tuple[list[str], list[str], NDArray[np.int8], list[str]]:
    """Return the images' names, the columns' names, the codes, int8 (images, columns) of 0 and 1, and notes.

    A .csv has one header line, which names the images' column, too. Else the number of images may come first.
    """
    lines = read_lines(path)
    number, header = next(lines, (1, []))
    said = None
    if len(header) == 1 and header[0].isdecimal():
        said = int(header[0])
        number, header = next(lines, (2, []))
    columns = header[1:] if path.suffix.lower() == ".csv" else header
    if not columns or {"1", "-1"} & set(columns):
        raise DatasetError(f"{path}, line {number}: no names of attributes in it. Is it CelebA's own file?")
    folded = [name.lower() for name in columns]
    repeated = next((name for name in folded if folded.count(name) > 1), None)
    if repeated is not None:
        raise DatasetError(f"{path}, line {number}: the attribute {repeated} is named twice")
    rows: dict[str, int] = {}
    values = array("b")
    no = ""
    for line, (name, *words) in read_fields(path, count=1 + len(columns), skip=number):
        if not no:
            no = next((word for word in words if word in ("-1", "0")), "")
        code_of = {no or "-1": 0, "1": 1}
        try:
            values.extend([code_of[word] for word in words])
        except KeyError:
            place = next(place for place, word in enumerate(words) if word not in code_of)
            raise DatasetError(
                f"{path}, line {line}, {columns[place]}: {words[place]!r} is neither 1 nor {no or '-1'}"
            ) from None
        if name in rows:
            raise DatasetError(f"{path}, line {line}: a second line for {name}")
        rows[name] = line
    if not rows:
        raise DatasetError(f"{path}: no line for an image. Is it cut short?")
    notes = []
    if said is not None and said != len(rows):
        notes.append(f"{path}: line 1 says {said:,} images, and there are {len(rows):,}: it is cut to a part")
    codes = np.frombuffer(values, dtype=np.int8).reshape(len(rows), len(columns))
    return list(rows), columns, codes, notes


def _hair(hair: list[str], columns: list[str], codes: NDArray[np.int8]) -> NDArray[np.object_]:
    """Return each image's one hair colour, "" where none or several are set."""
    colours = codes[:, [columns.index(name) for name in hair]]
    words: NDArray[np.object_] = np.array([HAIR[name] for name in hair], dtype=object)[colours.argmax(axis=1)]
    words[colours.sum(axis=1) != 1] = ""
    return words


def _originals(src: Path, names: list[str]) -> list[str]:
    """Return the names that CelebA-HQ's images have in CelebA, by its mapping; none without it."""
    mapping = find(src, ["CelebA-HQ-to-CelebA-mapping.txt"], folders=_FOLDERS)
    if mapping is None:
        return []
    original = {index: file for _, (index, _, file) in read_fields(mapping, count=3, skip=1)}
    return [original.get(_stem(name), "") for name in names]


def _splits(path: Path, names: list[str]) -> list[str]:
    """Return the split of each image, "" for one that the list lacks."""
    pairs = read_pairs(path)
    for value, number in pairs.values():
        if value not in _SPLITS:
            raise DatasetError(f"{path}, line {number}: {value!r} is not 0 (train), 1 (val) or 2 (test)")
    return [_SPLITS[pairs[name][0]] if name in pairs else "" for name in names]
