"""Importers of pix2pix' and CycleGAN's layouts: images of two sides, A and B, in pairs or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import pandas as pd

from augmentor.data.importers.base import DatasetError, Listing, image_files, refuse_no_folder
from augmentor.data.importers.imagefolder import SIDE_FOLDER, cyclegan_rows
from augmentor.data.manifest.rows import SPLIT_WORDS
from augmentor.data.manifest.table import clean
from augmentor.errors import counted, listing
from augmentor.images import Pixels, decode, upright_size
from augmentor.storage import side_by_side

SIDES = ("A", "B")
"""Values of the attribute `side`; in an image of both A is on the left."""

_COMBINED = "AB"
"""Folder that pix2pix' combine_A_and_B.py writes."""

Parts = tuple[str, ...]


def read_cyclegan(src: Path) -> Listing:
    """Read CycleGAN's `trainA trainB testA testB`, whose images are in no pairs. Attribute: `side` (A, B)."""
    refuse_no_folder(src)
    parts = [PurePosixPath(path).parts for path in image_files(src)]
    inside = [each for each in parts if len(each) > 1]
    rows = cyclegan_rows(src, inside)
    if not rows:
        raise DatasetError(
            f"{src}: no folders trainA and trainB with images in it. Name the folder that holds them"
        )
    loose = len(parts) - len(inside)
    notes = [f"{src}: left out {counted(loose, 'image')} beside the folders"] if loose else []
    columns = {
        "path": ["/".join(each) for each, _, _ in rows],
        "split": [split for _, _, split in rows],
        "side": [side for _, side, _ in rows],
    }
    return Listing(frame=pd.DataFrame(columns, dtype=str), root=src, default=("side",), notes=tuple(notes))


def read_pix2pix(src: Path) -> Listing:
    """Read pix2pix' pairs. Attribute: `side` (A, B); `pair` names what shows the same.

    Two layouts: images of A and B side by side, in `train/`, `val/` and `test/` or in one folder (also those in
    `AB/`, as combine_A_and_B.py writes them); or images of equal names in folders of A and of B: `A/train/`,
    `train/A/`, `trainA/`, or `A/` and `B/` alone.
    """
    refuse_no_folder(src)
    parts = [PurePosixPath(path).parts for path in image_files(src)]
    folders = {each[0] for each in parts if len(each) > 1}
    if not parts:
        raise DatasetError(f"{src}: no images in it")
    notes = []
    if _COMBINED in folders:
        if folders == {_COMBINED}:
            return read_pix2pix(src / _COMBINED)
        left_out = [each for each in parts if each[0] == _COMBINED]
        parts = [each for each in parts if each[0] != _COMBINED]
        notes.append(
            f"{src}: left out {counted(len(left_out), 'image')} in AB, which are those of A and B together"
        )
    sided = [_side(each) for each in parts]
    if not any(sided):
        return _combined(src, parts)
    strays = ["/".join(each) for each, found in zip(parts, sided, strict=True) if found is None]
    if strays:
        raise DatasetError(
            f"{src}: has folders of A and of B, but {listing(strays, 3)} {'is' if len(strays) == 1 else 'are'} in "
            "neither. Move everything else elsewhere"
        )
    rows = [(each, *found) for each, found in zip(parts, sided, strict=True) if found is not None]
    _refuse_some_splits(src, [split for _, _, split, _ in rows], ["/".join(each) for each in parts])
    _refuse_single(src, rows)
    columns = {
        "path": ["/".join(each) for each, _, _, _ in rows],
        "split": [split for _, _, split, _ in rows],
        "pair": [_pair(split, name) for _, _, split, name in rows],
        "side": [side for _, side, _, _ in rows],
    }
    frame = pd.DataFrame(columns if rows[0][2] else {k: v for k, v in columns.items() if k != "split"}, dtype=str)
    return Listing(frame=frame, root=src, default=("side",), notes=tuple(notes))


def _split(folder: str) -> str:
    return SPLIT_WORDS.get(folder.casefold(), "")


def _pair(split: str, name: str) -> str:
    return clean(f"{split}/{name}" if split else name)


def _side(parts: Parts) -> tuple[str, str, str] | None:
    """Return side, split ("" for none) and name of an image in a folder of one side; None for any other place."""
    folders, name = list(parts[:-1]), PurePosixPath(parts[-1]).stem
    if folders and (both := SIDE_FOLDER.fullmatch(folders[0])):
        return both.group(2), _split(both.group(1).rstrip(" _-")), "/".join([*folders[1:], name])
    split = next((_split(folder) for folder in folders[:2] if _split(folder)), "")
    rest = [folder for place, folder in enumerate(folders) if place > 1 or not _split(folder)]
    return (rest[0], split, "/".join([*rest[1:], name])) if rest and rest[0] in SIDES else None


def _refuse_some_splits(src: Path, splits: Sequence[str], paths: Sequence[str]) -> None:
    without = [path for path, split in zip(paths, splits, strict=True) if not split]
    if without and len(without) < len(paths):
        raise DatasetError(
            f"{src}: some images are in train, val or test, but {without[0]} is not. Put every image into one of "
            "them, or none"
        )


def _refuse_single(src: Path, rows: Sequence[tuple[Parts, str, str, str]]) -> None:
    """Refuse images without a partner, or with two."""
    found: dict[tuple[str, str], dict[str, Parts]] = {}
    for parts, side, split, name in rows:
        sides = found.setdefault((split, name), {})
        if side in sides:
            raise DatasetError(
                f"{src}: {'/'.join(sides[side])} and {'/'.join(parts)} have the same name. Rename one of them, "
                "and its partner"
            )
        sides[side] = parts
    single = [next(iter(sides.items())) for sides in found.values() if len(sides) == 1]
    if single:
        side, parts = single[0]
        more = f" ({counted(len(single), 'image')} without one in all)" if len(single) > 1 else ""
        raise DatasetError(
            f"{src}: {'/'.join(parts)} has no partner of the same name in {SIDES[1 - SIDES.index(side)]}{more}. "
            "Add it, or remove the image. Sides that are no pairs are converted as cyclegan, or as imagefolder"
        )


def _combined(src: Path, parts: Sequence[Parts]) -> Listing:
    """Read images of both sides, side by side, as two images each."""
    elsewhere = next((each for each in parts if len(each) > 1 and not _split(each[0])), None)
    if elsewhere is not None:
        raise DatasetError(
            f"{src}: has neither folders of A and of B, nor images of both side by side in train, val and test: "
            f"{'/'.join(elsewhere)}. Class folders are converted as imagefolder"
        )
    inner = [each[1:] if len(each) > 1 and _split(each[0]) else each for each in parts]
    splits = [_split(each[0]) if len(each) > 1 else "" for each in parts]
    paths = ["/".join(each) for each in parts]
    _refuse_some_splits(src, splits, paths)
    names = [str(PurePosixPath(*each).with_suffix("")) for each in inner]
    pairs = [_pair(split, name) for split, name in zip(splits, names, strict=True)]
    if len(set(pairs)) < len(pairs):
        twice = next(pair for pair in pairs if pairs.count(pair) > 1)
        raise DatasetError(f"{src}: two images are called {twice}. Rename one of them")
    sizes = list(side_by_side(lambda path: upright_size(src / path), paths))
    for path, (height, width) in zip(paths, sizes, strict=True):
        if width % 2:
            raise DatasetError(
                f"{src / path}: {width}x{height} px, an odd width, so it does not hold two images of one size "
                "side by side. Remove it, or fix it"
            )
    (height, width), number = Counter(sizes).most_common(1)[0]
    note = f"{src}: every image is cut into two, {number:,} of {len(paths):,} into {width // 2}x{height} px"
    columns = {
        "path": [f"{pair}_{side}.png" for pair in pairs for side in SIDES],
        "split": [split for split in splits for _ in SIDES],
        "pair": [pair for pair in pairs for _ in SIDES],
        "side": [side for _ in pairs for side in SIDES],
    }
    frame = pd.DataFrame(columns if splits[0] else {k: v for k, v in columns.items() if k != "split"}, dtype=str)
    return Listing(frame=frame, image=_halves([src / path for path in paths]), default=("side",), notes=(note,))


def _halves(paths: Sequence[Path]) -> Callable[[int], Pixels]:
    """Return what reads the half of a row: row 2 i is the left one of file i, row 2 i + 1 the right one."""
    whole = lru_cache(maxsize=1)(lambda path: decode(path, channels=3))

    def half(row: int) -> Pixels:
        pixels: Pixels = whole(paths[row // 2])
        width = pixels.shape[1] // 2
        return pixels[:, row % 2 * width :][:, :width]

    return half
