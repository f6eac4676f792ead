"""Checks of a whole manifest that open no image: split leaks and paths that lead nowhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.manifest.missing import Elsewhere, look_elsewhere
from augmentor.data.manifest.read import Manifest
from augmentor.data.manifest.rows import SPLITS
from augmentor.errors import ManifestError, counted, row_list
from augmentor.storage import RemotePath, is_there

_SHOWN = 5

_LOOKED_AT = 16
"""Rows whose paths are resolved, spread over the manifest: a million paths would take a minute."""


def split_leaks(manifest: Manifest) -> list[str]:
    """Return a message for every group, pair, or image file of several tables, that is in more than one split.

    Equal groups of several tables are one where the tables are in the same folder; a blank group is none.
    A message reads "group 'ann' is in train (rows 2, 3) and test (row 9)"; they are in the order of the rows.
    """
    return [message for messages in _leaks(manifest).values() for message in messages]


def _leaks(manifest: Manifest) -> dict[str, list[str]]:
    """Return the messages of `split_leaks` by what leaks: a group, a pair, an image."""
    rows = manifest.rows
    named, paired = rows["group"] != "", manifest.pairs >= 0
    pairs = _in_two_splits(rows[paired], rows.loc[paired, "pair"].astype(str), what="pair")
    if not manifest.more_paths:
        return {"group": _in_two_splits(rows[named], rows.loc[named, "group"], what="group"), "pair": pairs}
    folders = rows["file"].map({str(path): str(path.absolute().parent) for path in manifest.paths}).astype(str)
    images = pd.Series(
        [os.path.normpath(Path(folder, path)) for folder, path in zip(folders, rows["path"], strict=True)],
        index=rows.index,
    )
    return {
        "group": _in_two_splits(rows[named], rows.loc[named, "group"], within=folders[named], what="group"),
        "pair": pairs,
        "image": _in_two_splits(rows, images, what="image"),
    }


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
    """Refuse a manifest in which a group, a pair, or an image of two tables, is in more than one split."""
    leaks = {what: messages for what, messages in _leaks(manifest).items() if messages}
    if leaks:
        messages = [message for each in leaks.values() for message in each]
        joint = bool(manifest.more_paths)
        column = "split" if joint or len(leaks) > 1 else next(iter(leaks))
        kept = ["a group"] if joint or "group" in leaks else []
        kept += ["a pair"] if "pair" in leaks else []
        kept += ["an image"] if joint else []
        more = f"; and {counted(len(messages) - _SHOWN, 'more leak')}" if len(messages) > _SHOWN else ""
        raise ManifestError(
            f"{manifest.title}, column '{column}': {'; '.join(messages[:_SHOWN])}{more}. Then test images show "
            f"subjects that training has seen. Put all rows of {', and of '.join(kept)}"
            f"{',' if len(kept) > 1 else ''} into one split"
        )


def missing_notes(manifest: Manifest) -> list[str]:
    """Return what is known of files elsewhere for the missing ones of a few images; only these are looked at."""
    spread = _spread(np.arange(len(manifest)))
    return [f"{manifest.title}: {cause}" for cause in _elsewhere(manifest, _missing(manifest, spread)).causes]


def refuse_unreachable(manifest: Manifest, splits: Sequence[str] = SPLITS) -> None:
    """Refuse a manifest whose images in `splits` are all outside its folder, or all missing but found elsewhere.

    If only some are, their rows fail.
    """
    spread = _spread(np.flatnonzero(manifest.split_mask(splits)))
    missing = _missing(manifest, spread)
    if missing and len(missing) == len(spread) and (found := _elsewhere(manifest, missing)).files:
        raise ManifestError(f"{_row_of(manifest, missing[0])}: no such file. {'. '.join(found.causes)}")
    if manifest.allow_outside or not len(spread):
        return
    if all(manifest.access.is_outside(manifest.image_path(row)) for row in spread):
        path = str(manifest.rows["path"].iat[spread[0]])
        place = manifest.access.led(manifest.image_path(spread[0]))
        raise ManifestError(
            f"{_row_of(manifest, spread[0])}: {path!r} leads out of the manifest's folder, to "
            f"{place}, and so do the other rows. A manifest from someone else could name any file of yours, so "
            "this is not read by default. If you trust it, add --allow-outside; or put the manifest into the "
            "images' folder"
        )


def _spread(rows: NDArray[np.intp]) -> list[int]:
    """Return a few of the rows."""
    few: list[int] = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LOOKED_AT)).astype(int)].tolist()
    return few


def _row_of(manifest: Manifest, row: int) -> str:
    file = str(manifest.rows["file"].iat[row]) if "file" in manifest.rows else str(manifest.path)
    return f"{file}, row {manifest.rows['line'].iat[row]}"


def _missing(manifest: Manifest, rows: Sequence[int]) -> list[int]:
    """Return the rows whose file on this machine is not there."""
    paths = [(row, manifest.image_path(row)) for row in rows]
    return [row for row, path in paths if not isinstance(path, RemotePath) and not is_there(path)]


def _elsewhere(manifest: Manifest, rows: Sequence[int]) -> Elsewhere:
    """Look for the missing files of rows of one table, the first row's."""
    files = manifest.rows["file"].astype(str) if "file" in manifest.rows else None
    table = manifest.path if files is None or not rows else Path(str(files.iat[rows[0]]))
    # The rows of several tables may have absolute paths.
    root = f"{table.absolute().parent.as_posix()}/"
    written = [
        str(manifest.rows["path"].iat[row]).removeprefix(root)
        for row in rows
        if files is None or files.iat[row] == str(table)
    ]
    return look_elsewhere(table, written)
