"""Checks of a whole manifest that open no image: split leaks, paths outside its folder, multi-frame files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from augmentor.data.manifest.read import Manifest
from augmentor.data.manifest.rows import SPLITS
from augmentor.errors import ManifestError, counted, row_list

_SHOWN = 5

_LOOKED_AT = 16
"""Rows whose paths are resolved, spread over the manifest: a million paths would take a minute."""
_FRAMED = (".gif", ".tif", ".tiff", ".apng")
"""Suffixes of files that often hold several frames or pages."""


def split_leaks(manifest: Manifest) -> list[str]:
    """Return a message for every group, or image file of several tables, that is in more than one split.

    Equal groups of several tables are one where the tables are in the same folder; a blank group is none.
    A message reads "group 'ann' is in train (rows 2, 3) and test (row 9)"; they are in the order of the rows.
    """
    rows = manifest.rows
    named = rows["group"] != ""
    if not manifest.more_paths:
        return _in_two_splits(rows[named], rows.loc[named, "group"], what="group")
    folders = rows["file"].map({str(path): str(path.absolute().parent) for path in manifest.paths}).astype(str)
    images = pd.Series(
        [os.path.normpath(Path(folder, path)) for folder, path in zip(folders, rows["path"], strict=True)],
        index=rows.index,
    )
    return [
        *_in_two_splits(rows[named], rows.loc[named, "group"], within=folders[named], what="group"),
        *_in_two_splits(rows, images, what="image"),
    ]


def _in_two_splits(
    rows: pd.DataFrame, names: pd.Series[str], *, within: pd.Series[str] | None = None, what: str
) -> list[str]:
    """Return a message for every name whose rows are in several splits.

    `names` (N,) must each stay in one split; equal ones mean the same where `within` (N,) is equal, or everywhere.
    """
    where = pd.Series("", index=rows.index) if within is None else within
    key = names.groupby([where, names], sort=False).ngroup()
    pairs = pd.DataFrame({"key": key, "split": rows["split"]}).drop_duplicates()
    leaking = key.isin(pairs.loc[pairs["key"].duplicated(), "key"].unique())
    rows, names, where = rows[leaking], names[leaking], where[leaking]
    files = rows["file"] if "file" in rows else pd.Series("", index=rows.index)
    places: dict[tuple[str, str], dict[str, dict[str, list[int]]]] = {}
    for folder, name, split, file, line in zip(where, names, rows["split"], files, rows["line"], strict=True):
        places.setdefault((folder, name), {}).setdefault(split, {}).setdefault(file, []).append(line)
    return [
        f"{what} '{name}' is in "
        + " and ".join(f"{split} ({_places(splits[split])})" for split in SPLITS if split in splits)
        for (_, name), splits in places.items()
    ]


def _places(lines: dict[str, list[int]]) -> str:
    """Return "rows 2, 3", with the file's name where there are several."""
    return "; ".join(f"{file}, {row_list(rows)}" if file else row_list(rows) for file, rows in lines.items())


def refuse_split_leaks(manifest: Manifest) -> None:
    """Refuse a manifest in which a group, or an image of two tables, is in more than one split."""
    leaks = split_leaks(manifest)
    if leaks:
        joint = bool(manifest.more_paths)
        more = f"; and {counted(len(leaks) - _SHOWN, 'more group')}" if len(leaks) > _SHOWN else ""
        raise ManifestError(
            f"{manifest.title}, column '{'split' if joint else 'group'}': {'; '.join(leaks[:_SHOWN])}{more}. "
            "Then test images show subjects that training has seen. Put all rows of a group"
            f"{', and of an image,' if joint else ''} into one split"
        )


def frame_notes(manifest: Manifest) -> list[str]:
    """Return a note on files that may hold several frames, by their suffixes."""
    framed = int(manifest.rows["path"].str.lower().str.endswith(_FRAMED).sum())
    if not framed:
        return []
    return [
        f"{manifest.title}: {counted(framed, 'image')} may have several frames or pages ({', '.join(_FRAMED)}): "
        "the first one is used. augmentor check names them"
    ]


def refuse_all_outside(manifest: Manifest, splits: Sequence[str] = SPLITS) -> None:
    """Refuse a manifest whose images in `splits` are all outside its folder; if only some are, their rows fail."""
    rows = np.flatnonzero(manifest.split_mask(splits))
    if manifest.allow_outside or not len(rows):
        return
    spread = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(int)]
    if all(manifest.access.is_outside(manifest.image_path(int(row))) for row in spread):
        row = int(spread[0])
        path = str(manifest.rows["path"].iat[row])
        file = str(manifest.rows["file"].iat[row]) if "file" in manifest.rows else str(manifest.path)
        place = manifest.access.led(manifest.image_path(row))
        raise ManifestError(
            f"{file}, row {manifest.rows['line'].iat[row]}: {path!r} leads out of the manifest's folder, to "
            f"{place}, and so do the other rows. A manifest from someone else could name any file of yours, so "
            "this is not read by default. If you trust it, add --allow-outside; or put the manifest into the "
            "images' folder"
        )
