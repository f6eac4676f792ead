"""The manifest file of a data set: relative paths, appending to an existing file, reading back, writing."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from augmentor.data.importers.base import DatasetError
from augmentor.data.manifest import Manifest, read_manifest
from augmentor.data.manifest.files import DELIMITERS, read_table
from augmentor.data.manifest.rows import ids_from_paths
from augmentor.data.manifest.table import Table
from augmentor.errors import ManifestError, listing
from augmentor.storage import replacing_text


def with_prefix(frame: pd.DataFrame, folder: Path, manifest: Path) -> pd.DataFrame:
    """Return the rows with paths that start from the manifest's folder, no longer from the images' `folder`."""
    prefix = _relative(folder, manifest.parent)
    frame["path"] = paths = prefix + frame["path"]
    odd = paths.str.contains(r"[\\\x00-\x1f\x7f]", regex=True) | (paths != paths.str.strip())
    if odd.any():
        raise DatasetError(
            f"{paths[odd].iloc[0]!r}: a backslash, a space at an end or an unprintable character in a file's "
            "name. Rename it"
        )
    return frame


def appended(out: Path, added: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of an existing manifest, which keeps its image column's name, with new ones appended.

    Columns are united; a row's cell is blank where its data set has no such column, but for `split`: rows
    of a table without that column are train. Ids of added rows that are taken get a digest of their path.
    """
    table = read_table(out)
    before = _raw(out, table)
    image = table.image_column
    added = added.rename(columns={"path": image})
    _refuse_known(out, before[image], added[image])
    if "id" in before.columns or "id" in added.columns:
        before["id"] = _ids(before, image, out)
        added["id"] = _distinct(_ids(added, image, out), taken=before["id"], paths=added[image])
    if "split" in before.columns or "split" in added.columns:
        before["split"] = before.get("split", "train")
        added["split"] = added.get("split", "train")
    return pd.concat([before, added], ignore_index=True).fillna("")


def read_back(frame: pd.DataFrame, out: Path, *, attributes: Sequence[str]) -> tuple[Manifest, list[str]]:
    """Return the manifest that `frame` will be in the file `out`, and notes, before it is written; opens no image.

    `attributes` are the columns of the data set that was added.
    """
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / out.name
        trial.write_text(_text(frame, out), encoding="utf-8", newline="")
        try:
            try:
                manifest = read_manifest(trial)
            except ManifestError as error:
                manifest = read_manifest(trial, attributes=attributes)
                flag = f"name the columns wherever it is used, --attributes {','.join(attributes)}"
                notes = [f"{flag}: {error}"]
            else:
                notes = list(manifest.notes)
        except ManifestError as error:
            raise ManifestError(str(error).replace(str(trial), str(out))) from None
    return manifest, [note.replace(str(trial), str(out)) for note in notes]


def write(frame: pd.DataFrame, out: Path) -> None:
    """Write the manifest; until it is whole, what was there stays."""
    with replacing_text(out) as file:
        file.write(_text(frame, out))


def separator(out: Path) -> str:
    """Return what separates the cells of a file with this name."""
    if out.suffix.lower() not in DELIMITERS:
        raise DatasetError(f"--out {out}: a manifest is written as .csv or .tsv, not {out.suffix}")
    return DELIMITERS[out.suffix.lower()]


def _text(frame: pd.DataFrame, out: Path) -> str:
    return frame.to_csv(index=False, sep=separator(out), lineterminator="\n")


def _relative(folder: Path, start: Path) -> str:
    """Return the relative path from one folder to another, "" or ending in "/"."""
    there, here = (Path(os.path.normpath(path.absolute())) for path in (folder, start))
    if there.is_relative_to(here):
        steps = there.relative_to(here).as_posix()
    else:
        try:
            # Links resolved, because ".." starts from the real folder.
            steps = Path(os.path.relpath(there.resolve(), here.resolve())).as_posix()
        except ValueError:  # on another drive
            steps = there.as_posix()
    return "" if steps == "." else f"{steps.rstrip('/')}/"


def _raw(out: Path, table: Table) -> pd.DataFrame:
    """Return every cell of the manifest, stripped; the columns and their order stay."""
    raw = pd.read_csv(out, sep=separator(out), dtype=str, keep_default_na=False, encoding="utf-8-sig", header=None)
    raw = raw.apply(lambda column: column.str.strip())
    raw = raw[(raw != "").any(axis=1)]
    names = raw.iloc[0].tolist()
    if table.image_column not in names:
        raise DatasetError(f"{out}: its cells are not separated as its suffix tells. Rename it")
    if "" in names:
        raise DatasetError(f"{out}: column {names.index('') + 1} has no name. Name it, or remove it")
    rows: pd.DataFrame = raw.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)
    return rows


def _refuse_known(out: Path, before: pd.Series[str], added: pd.Series[str]) -> None:
    root = out.parent.absolute()

    def whole(paths: pd.Series[str]) -> pd.Series[str]:
        return paths.map(lambda path: os.path.normpath(root / path.replace("\\", "/")))

    known = whole(added).isin(whole(before)).to_numpy()
    if known.any():
        raise DatasetError(
            f"{out}: has {known.sum():,} of these images already: {listing(added[known].tolist(), 3)}. "
            "Was this data set appended before?"
        )


def _ids(frame: pd.DataFrame, image: str, out: Path) -> pd.Series[str]:
    """Return the column `id`, made as `augmentor` would make it where there is none."""
    if "id" in frame.columns:
        return frame["id"]
    lines = frame.reset_index().index.to_numpy(dtype="int32") + 2
    table = Table(path=out, image_column=image, images=frame[image], ids=None, columns={}, lines=lines)
    return ids_from_paths(table)


def _distinct(ids: pd.Series[str], *, taken: pd.Series[str], paths: pd.Series[str]) -> pd.Series[str]:
    clash = ids.str.lower().isin(taken.str.lower())
    digests = paths.map(lambda path: hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()[:8])
    return ids.where(~clash, ids + "-" + digests)
