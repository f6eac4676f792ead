"""Shared code of the importers: the listing of a data set, and finding and reading its files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from augmentor.errors import AugmentorError, counted, did_you_mean, short
from augmentor.images import Pixels

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's ImageFolder, fewer than can be read: its users keep the rows that they have there."""

ROW_COLUMNS = ("path", "id", "split", "group", "pair", "dataset")
"""The columns of a listing that are no attributes, in the order in which a manifest has them."""


class DatasetError(AugmentorError):
    """A data set's files are missing or in another format, or lack a requested attribute or value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Listing:
    """A data set's images and labels.

    Args:
        frame: (N rows) a row per image, every cell a str, "" = unknown: `path` ("/" between folders, relative to
            `root`), where the data set has them `id` (unique), `split` and `group`, and a column per attribute.
        root: the folder that holds the images; None where they have no files yet.
        image: returns the image of a row that has no file yet; None where all have one.
        default: the attributes that a manifest gets unless others are requested.
        shares: usual percentages of train, val and test of a data set without splits.
        suggested: for attributes with too many values, those that are kept unless others are requested.
    """

    frame: pd.DataFrame
    root: Path | None = None
    image: Callable[[int], Pixels] | None = None
    default: tuple[str, ...]
    shares: tuple[float, float, float] | None = None
    suggested: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def attributes(self) -> tuple[str, ...]:
        """All its attributes."""
        return tuple(name for name in self.frame.columns if name not in ROW_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Importer:
    """The reader of a data set.

    Args:
        read: the folder that holds its files -> the listing; a DatasetError names file and line.
        home: where its files come from.
        download: fetches them into a folder; None where a program cannot.
    """

    read: Callable[[Path], Listing]
    title: str
    home: str
    download: Callable[[Path], object] | None = None


def refuse_no_folder(src: Path) -> None:
    """Refuse what is not a folder."""
    if src.is_dir():
        return
    if src.exists():
        raise DatasetError(f"{src}: this is a file. Unpack it, and name the folder that holds its content")
    around = [entry.name for entry in src.parent.iterdir()] if src.parent.is_dir() else []
    raise DatasetError(f"{src}: no such folder.{did_you_mean(src.name, around)}")


def find(src: Path, names: Sequence[str], *, folders: Sequence[str]) -> Path | None:
    """Return the first of the files or folders `names` that is in `src` or one of its `folders` ("" = itself)."""
    for folder in folders:
        for name in names:
            if (src / folder / name).exists():
                return src / folder / name
    return None


def read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and words of each line that is not blank, split at the commas of a .csv, else at blanks."""
    commas = path.suffix.lower() == ".csv"
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, [word.strip() for word in line.split(",")] if commas else line.split()
        except UnicodeDecodeError:
            raise DatasetError(f"{path}: this is not text. Is it still packed?") from None


def read_fields(path: Path, *, count: int, skip: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield number and words of each line after `skip` lines; refuse lines that do not have `count` words."""
    for number, words in read_lines(path):
        if number > skip:
            if len(words) != count:
                found = f"{counted(len(words), 'word')}, not {count}: {short(' '.join(words))!r}"
                raise DatasetError(f"{path}, line {number}: {found}")
            yield number, words


def read_pairs(path: Path) -> dict[str, tuple[str, int]]:
    """Read "KEY VALUE" lines, after a header in a .csv, as key -> (value, the line's number); keys are unique."""
    pairs: dict[str, tuple[str, int]] = {}
    for number, (key, value) in read_fields(path, count=2, skip=1 if path.suffix.lower() == ".csv" else 0):
        if key in pairs:
            raise DatasetError(f"{path}, line {number}: '{key}' is already in line {pairs[key][1]}")
        pairs[key] = value, number
    return pairs


def image_files(root: Path, *, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[str]:
    """Return all images below a folder, sorted, as "folder/name.jpg"; follows links, skips hidden names."""
    found: list[str] = []
    for place, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        base = Path(place).relative_to(root)
        found += [
            (base / name).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    for path in found:
        # An undecodable byte in a name is a surrogate here, which no table can hold.
        if not path.isprintable() and any("\ud800" <= character <= "\udfff" for character in path):
            raise DatasetError(f"{root}: the file name {path!r} is not UTF-8. Rename it")
    return sorted(found)


def without_missing(frame: pd.DataFrame, *, there: Sequence[str], where: Path) -> tuple[pd.DataFrame, list[str]]:
    """Leave out rows whose image is not in `there`, with a note, and renumber; refuse if no image is left."""
    kept = frame["path"].isin(list(there))
    missing = frame.loc[~kept, "path"]
    if missing.empty:
        return frame, []
    first = missing.iloc[0]
    if len(missing) == len(frame):
        raise DatasetError(f"{where}: holds none of the {len(frame):,} images that are listed, such as {first}")
    note = f"{where}: left out {len(missing):,} of {len(frame):,} images, listed but not there, such as {first}"
    return frame[kept].reset_index(drop=True), [note]
