"""Sources of translations in the manifest, and checks that no test row was used for anything but scoring."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.manifest import Manifest, refuse_split_leaks
from augmentor.errors import OutputError
from augmentor.storage import located
from stargan.labels import LabelSpace

_SHOWN = 3

_PASSED = ("not among the best", "surplus")
"""First words of the reasons why translations that passed the gate were dropped."""


class TracedTranslations(NamedTuple):
    """Translations of train rows, with columns of the label table, and `rows`, (N,), the manifest row of each."""

    table: pd.DataFrame
    rows: NDArray[np.intp]


def read_rejected(path: Path, space: LabelSpace, *, with_passed: bool = False) -> pd.DataFrame:
    """Return the translations that the judge rejected, a row each; none without that file, OutputError if damaged.

    Translations that passed the gate, and were dropped because there were better ones or enough, are left out, or
    are there as well, with True in the column `passed`.
    """
    needed = ["split", "group", "source_id", "source_path", *space.names, "changed", "reason"]
    if not path.exists():
        return pd.DataFrame(columns=[*needed, "passed"], dtype=str).astype({"passed": bool})
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise OutputError(f"{path}: damaged ({error}). Run the same `augmentor expand` again") from error
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        raise OutputError(f"{path}: has no column {lacking[0]!r}: it was changed, or belongs to another output")
    table["passed"] = table["reason"].str.startswith(_PASSED)
    return table if with_passed else table[~table["passed"]].reset_index(drop=True)


def refuse_leaks(manifest: Manifest, used: pd.DataFrame, *, out: Path) -> None:
    """Refuse a manifest whose test rows the output, or the model behind it, may have been trained on.

    `used` are the rows of the output's label table and of its rejected translations. An OutputError names the test
    rows, and how they were used; a group in two splits is a ManifestError.
    """
    refuse_split_leaks(manifest)
    rows = manifest.rows
    test = rows["split"] == "test"
    files = rows["path"].map(lambda path: os.path.realpath(located(manifest.root, path)))
    shared = test & files.isin(set(files[~test]))
    if shared.any():
        places = rows.loc[shared, ["line", "path"]].itertuples(index=False)
        _refuse(
            manifest,
            [f"{path} (row {line})" for line, path in places],
            "the same image file stands in test and in another split",
        )
    # What was real and test then, and is test now, is how it should be.
    suspects = used[(used["split"] != "test") | used["is_synthetic"]]
    for column, own in (("source_id", "id"), ("source_path", "path"), ("group", "group")):
        names = rows.loc[test, own].map(_plain if own == "path" else str)
        cells = suspects[column].map(_plain if own == "path" else str)
        hit = cells.isin(set(names[names != ""])) & (cells != "")
        if hit.any():
            found = suspects[hit]
            splits = found["split"].where(~found["is_synthetic"], "the source of a translation")
            _refuse(
                manifest,
                sorted({f"{own} {cell!r} ({split})" for cell, split in zip(cells[hit], splits, strict=True)}),
                f"test rows were used for {out}, whose label table has them as train or val or as sources",
            )


def refuse_copies(
    manifest: Manifest, test: Iterable[tuple[int, bytes]], other: Iterable[tuple[int, bytes]]
) -> None:
    """Refuse test images with exactly the pixels of an image of another split; OutputError names the first rows.

    test, other: row of each image, and a digest of the pixels that classifiers see.
    """
    known = {pixels: row for row, pixels in other}
    copies = [(row, known[pixels]) for row, pixels in test if pixels in known]
    if copies:
        ids, lines = manifest.rows["id"], manifest.rows["line"]
        _refuse(
            manifest,
            [f"{ids.iat[a]} (row {lines.iat[a]}) as {ids.iat[b]} (row {lines.iat[b]})" for a, b in copies],
            "test images are, pixel for pixel, images of another split",
        )


def trace(manifest: Manifest, table: pd.DataFrame, *, out: Path) -> TracedTranslations:
    """Find the source of each translation of train rows; an OutputError names sources that are no train rows."""
    table = table[table["split"] == "train"].reset_index(drop=True)
    rows = manifest.rows
    train = np.flatnonzero((rows["split"] == "train").to_numpy())
    found = pd.Index(rows["id"].iloc[train]).get_indexer(pd.Index(table["source_id"]))
    paths = rows["path"].iloc[train].map(_plain).to_numpy(dtype=object)
    same = found >= 0
    same[same] = paths[found[same]] == table["source_path"][same].map(_plain).to_numpy(dtype=object)
    if not same.all():
        strangers = table[~same].drop_duplicates("source_id")
        names = [f"{i!r} ({path})" for i, path in strangers[["source_id", "source_path"]].itertuples(index=False)]
        raise OutputError(
            f"{out}: holds translations of {_listed(names)}, which {manifest.path} does not have as train rows. "
            "Evaluate with the manifest that the output was made from"
        )
    return TracedTranslations(table, train[found])


def _plain(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/"))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _refuse(manifest: Manifest, names: list[str], what: str) -> None:
    raise OutputError(
        f"{manifest.path}: {what}: {_listed(names)}. What is scored on them would be no test. Take these rows out "
        "of test, or give the split that expand was run with"
    )
