"""Importer of class folders: `CLASS/*.jpg`, with splits around or in them, and CycleGAN's `trainA trainB`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from augmentor.data.importers.base import DatasetError, Listing, image_files, refuse_no_folder
from augmentor.data.manifest.rows import SPLIT_WORDS
from augmentor.data.manifest.table import clean
from augmentor.errors import counted, listing

SIDE_FOLDER = re.compile(r"(?i:(train|training|val|valid|validation|test|testing)[ _-]?)([AB])")
"""CycleGAN's folders: a split and the side of the translation."""

_STRAY = 10
"""Images beside the class folders are left out up to one in this many; more are no accident."""

Parts = tuple[str, ...]
Row = tuple[Parts, str, str]
"""The parts of an image's path, its class, and its split or ""."""


def read_imagefolder(src: Path) -> Listing:
    """Read a tree of class folders; folders inside them belong to the class. Attribute: `label`.

    Four layouts: `CLASS/*.jpg`, `{train,val,test}/CLASS/*.jpg`, `CLASS/{train,val,test}/*.jpg`, and CycleGAN's
    `trainA trainB testA testB`, whose classes are A and B. What looks like splits but is none of these is refused:
    test images would become training rows, and splits labels.
    """
    refuse_no_folder(src)
    parts = [PurePosixPath(path).parts for path in image_files(src)]
    inside = [each for each in parts if len(each) > 1]
    if not inside:
        raise DatasetError(f"{src}: no images in folders in it. It must look like {src.name}/CLASS/IMAGE.jpg")
    rows = cyclegan_rows(src, inside) or _splits_around(src, inside) or _splits_inside(src, inside)
    rows = rows or [(each, each[0], "") for each in inside]
    notes = []
    if len(rows) < len(parts):
        loose = counted(len(parts) - len(rows), "image")
        notes.append(f"{src}: left out {loose} beside the class folders")
    holding = {each[0] for each in parts}
    empty = sorted(
        entry.name
        for entry in src.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in holding
    )
    if empty:
        notes.append(f"{src}: no images in the folders {listing(empty)}")
    columns = {"path": ["/".join(each) for each, _, _ in rows], "label": [clean(label) for _, label, _ in rows]}
    if rows[0][2]:
        columns["split"] = [split for _, _, split in rows]
    return Listing(frame=pd.DataFrame(columns, dtype=str), root=src, default=("label",), notes=tuple(notes))


def _split(folder: str) -> str:
    """Return the split that a folder is named after, or ""."""
    return SPLIT_WORDS.get(folder.casefold(), "")


def _few(stray: int, of: int) -> bool:
    return stray <= -(-of // _STRAY)


def cyclegan_rows(src: Path, inside: Sequence[Parts]) -> list[Row] | None:
    """Read CycleGAN's folders; None for another layout."""
    sides = {folder: SIDE_FOLDER.fullmatch(folder) for folder in dict.fromkeys(each[0] for each in inside)}
    if not any(sides.values()):
        return None
    if not all(sides.values()) or {side.group(2) for side in sides.values() if side} != {"A", "B"}:
        raise DatasetError(
            f"{src}: looks like CycleGAN's folders trainA, trainB, testA and testB, but holds "
            f"{listing(sorted(sides))}. Put these four into a folder of their own, or, if they are classes, give "
            "them other names"
        )
    found = {folder: (side.group(2), _split(side.group(1))) for folder, side in sides.items() if side}
    return [(each, *found[each[0]]) for each in inside]


def _splits_around(src: Path, inside: Sequence[Parts]) -> list[Row] | None:
    """Read `{train,val,test}/CLASS/`; None for another layout."""
    classes: dict[str, set[str]] = {}
    direct: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for each in inside:
        total[each[0]] += 1
        direct[each[0]] += len(each) == 2
        classes.setdefault(each[0], set()).update(each[1:2] if len(each) > 2 else ())
    splits = sorted(filter(_split, classes))
    others = sorted(set(classes) - set(splits))
    whole = [folder for folder in splits if classes[folder] and _few(direct[folder], total[folder])]
    if splits and not others and whole == splits:
        return [(each, each[1], _split(each[0])) for each in inside if len(each) > 2]
    # One folder of a split's name may be a class; it is none if it holds what others are or hold.
    around = {*others, *(name for folder in others for name in classes[folder])}
    alike = any(classes[folder] & around for folder in splits) or any(not direct[folder] for folder in whole)
    if len(set(map(_split, splits))) < 2 and not alike:
        return None
    reasons = [
        f"{folder} holds {counted(direct[folder], 'image')} and "
        + (f"the folders {listing(sorted(classes[folder]))}" if classes[folder] else "no class folder")
        for folder in splits
        if folder not in whole
    ]
    reasons += [f"{listing(others)} {'is' if len(others) == 1 else 'are'} no split"] if others else []
    raise DatasetError(
        f"{src}: looks like splits, {listing(splits)}, with class folders in them, but {'; '.join(reasons)}. "
        "Put every image into SPLIT/CLASS/ and move what belongs to no split elsewhere, or, if these are classes, "
        "give them other names"
    )


def _splits_inside(src: Path, inside: Sequence[Parts]) -> list[Row] | None:
    """Read `CLASS/{train,val,test}/`; None for another layout."""
    rows = [(each, each[0], _split(each[1]) if len(each) > 2 else "") for each in inside]
    kept = [row for row in rows if row[2]]
    if len({split for _, _, split in kept}) < 2:
        return None
    known = {label for _, label, _ in kept}
    wrong = [each for each, label, split in rows if not split and (len(each) > 2 or label not in known)]
    if wrong or not _few(len(rows) - len(kept), len(rows)):
        where = wrong or [each for each, _, split in rows if not split]
        raise DatasetError(
            f"{src}: looks like splits in class folders, CLASS/train/ and CLASS/test/, but {'/'.join(where[0])} "
            "is in no split. Put every image into CLASS/SPLIT/, or give the inner folders other names"
        )
    return kept
