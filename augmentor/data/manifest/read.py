"""The manifest: rows, a label space and codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.data.manifest.columns import FIXED_COLUMNS, AttributeColumns, choose_sources, sources_for_space
from augmentor.data.manifest.encode import encode_space, infer_space
from augmentor.data.manifest.files import read_table
from augmentor.data.manifest.label_sets import with_label_sets
from augmentor.data.manifest.missing import in_stored_form
from augmentor.data.manifest.reading import AS_WRITTEN, TableReading
from augmentor.data.manifest.rows import SPLITS, build_rows, subject_notes, without_duplicates
from augmentor.data.manifest.table import Table, clean
from augmentor.errors import ManifestError, did_you_mean
from augmentor.storage import MAX_PIXELS, Access, GreyRange, located
from stargan.labels import UNKNOWN, LabelSpace, spelled


@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """The user's table, or several for joint training, as rows, a label space and codes.

    Args:
        path: the table's file; the first one of several.
        rows: one row per image, index 0 to N - 1, with the columns `path` (as written, "/" between folders), `id`
            (unique) and `group` ("" = none) as str, `split` (train, val, test), `dataset` ("" = none) and `pair`
            (code -1 = none) as categoricals, and `line`, int32, the row as a spreadsheet numbers it (the header is
            row 1). Only of several tables: `file`, a categorical of the tables' files as text.
        space: the attributes, in the columns' order or the model's, with a label set for each kind of data set.
        codes: (N, A) int16, the index of each value, -1 unknown.
        has_splits: there is a `split` column; without one every row is train.
        notes: for the user, a line each.
        more_paths: the files of the other tables.
        allow_outside: images may be outside the tables' folders.
        max_pixels: images of more pixels (width x height) are refused.
        grey_range: the grey values that become black and white, of files with more than 8 bits; see `Access`.
    """

    path: Path
    rows: pd.DataFrame
    space: LabelSpace
    codes: NDArray[np.int16]
    has_splits: bool
    notes: tuple[str, ...]
    more_paths: tuple[Path, ...] = ()
    allow_outside: bool = False
    max_pixels: int = MAX_PIXELS
    grey_range: GreyRange | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def root(self) -> Path:
        """The folder that relative image paths start from."""
        return self.path.parent

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of all tables."""
        return (self.path, *self.more_paths)

    @property
    def title(self) -> str:
        """The files of all tables, as messages name them."""
        return ", ".join(map(str, self.paths))

    @cached_property
    def access(self) -> Access:
        """Which image files may be read: a table names files below its own folder, unless more is allowed."""
        folders = None if self.allow_outside else tuple(path.parent for path in self.paths)
        return Access(max_pixels=self.max_pixels, folders=folders, grey_range=self.grey_range)

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The number of each row's pair, (N,): equal in rows that are the same picture; -1 for none."""
        return self.rows["pair"].cat.codes.to_numpy().astype(np.int64)

    def allowing(self, *, outside: bool | None = None, max_pixels: int | None = None) -> Manifest:
        """Return the manifest with images outside its folders or of more pixels allowed; None for no change."""
        return replace(
            self,
            allow_outside=self.allow_outside if outside is None else outside,
            max_pixels=self.max_pixels if max_pixels is None else max_pixels,
        )

    def label_set_of_rows(self) -> NDArray[np.int64]:
        """Return the first label set in which each row is labelled, (N,), 0 if there are no sets; -1 for none."""
        if not self.space.label_sets:
            return np.zeros(len(self), dtype=np.int64)
        known = self.codes != UNKNOWN
        sets = np.array(self.space.set_of_attribute)[known.argmax(axis=1)]
        return np.where(known.any(axis=1), sets, -1)

    def image_path(self, i: int) -> Path:
        """Return the path of row `i`'s image."""
        return located(self.root, str(self.rows["path"].iat[i]))

    def select(self, which: NDArray[np.bool_] | NDArray[np.integer] | Sequence[int]) -> Manifest:
        """Return the rows of a mask (N,), or of row numbers in the order wanted, renumbered from 0."""
        chosen = np.asarray(which)
        if chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.intp)
        return replace(self, rows=self.rows.iloc[chosen].reset_index(drop=True), codes=self.codes[chosen])

    def split_mask(self, splits: Sequence[str]) -> NDArray[np.bool_]:
        """Return (N,) bool: the rows of any of `splits`."""
        for split in splits:
            if split not in SPLITS:
                raise ManifestError(
                    f"{self.title}: no split '{split}': train, val or test.{did_you_mean(split, SPLITS)}"
                )
        wanted = [SPLITS.index(split) for split in splits]
        mask: NDArray[np.bool_] = np.isin(self.rows["split"].cat.codes.to_numpy(), wanted)
        return mask


def read_manifest(
    path: Path,
    *,
    attributes: Sequence[str] | None = None,
    space: LabelSpace | None = None,
    one_hot: Mapping[str, Sequence[str]] | None = None,
    reading: TableReading = AS_WRITTEN,
) -> Manifest:
    """Read a manifest. Images are not opened, and groups in two splits not refused: see `refuse_split_leaks`.

    Args:
        path: a CSV, TSV or Parquet file.
        attributes: columns or names of `one_hot`; None for every column without another meaning. With `space`, its
            other attributes are unknown.
        space: the attributes of a model, with which cells are encoded; None infers them.
        one_hot: categorical attributes, each the names of binary columns of which one is set.
        reading: the column of the images, and the words that mean unknown.

    Raises:
        ManifestError: naming file, row, column and the fix.
        MissingExtraError: a Parquet file without pyarrow.
    """
    table = read_table(path, reading)
    if space is None:
        return infer_manifest(table, attributes=attributes, one_hot=one_hot)
    if attributes is not None:
        attributes = [spelled(name, space.names) for name in attributes]
    groups = {spelled(name, space.names): list(map(clean, columns)) for name, columns in (one_hot or {}).items()}
    sources, choice_notes = sources_for_space(table, space, attributes=attributes, one_hot=groups)
    table, duplicate_notes = without_duplicates(table, _used(sources))
    codes, notes = encode_space(table, space, sources)
    return _manifest(table, space, codes, (*table.notes, *choice_notes, *duplicate_notes, *notes))


def infer_manifest(
    table: Table, *, attributes: Sequence[str] | None = None, one_hot: Mapping[str, Sequence[str]] | None = None
) -> Manifest:
    """Turn a table of cells into a manifest; data sets with different attributes become label sets."""
    if attributes is not None:
        attributes = list(map(clean, attributes))
    groups = {clean(name): list(map(clean, columns)) for name, columns in (one_hot or {}).items()}
    sources, choice_notes = choose_sources(table, attributes=attributes, one_hot=groups)
    table, duplicate_notes = without_duplicates(table, _used(sources))
    space, codes, notes = infer_space(table, sources, requested=attributes is not None)
    manifest = _manifest(table, space, codes, (*table.notes, *choice_notes, *duplicate_notes, *notes))
    if "dataset" not in table.columns:
        return manifest
    space, codes, notes = with_label_sets(space, codes, manifest.rows["dataset"], where=str(table.path))
    return replace(manifest, space=space, codes=codes, notes=(*manifest.notes, *notes))


def _used(sources: Sequence[AttributeColumns]) -> list[str]:
    return [*FIXED_COLUMNS, *(column for source in sources for column in source.columns)]


def _manifest(table: Table, space: LabelSpace, codes: NDArray[np.int16], notes: tuple[str, ...]) -> Manifest:
    rows = build_rows(table, pairs=None if "pair" in space.names else table.columns.get("pair"))
    rows["path"] = in_stored_form(table.path.parent, rows["path"])
    return Manifest(
        path=table.path,
        rows=rows,
        space=space,
        codes=codes,
        has_splits="split" in table.columns,
        notes=(*notes, *subject_notes(table)),
    )
