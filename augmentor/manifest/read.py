"""The manifest as everything else sees it: rows, a label space and codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augmentor.errors import ManifestError
from augmentor.manifest.choice import FIXED_COLUMNS, choose_sources, sources_for_space
from augmentor.manifest.encode import encode_space, infer_space
from augmentor.manifest.files import read_table
from augmentor.manifest.rows import SPLITS, build_rows, without_duplicates
from augmentor.manifest.wording import nearest
from stargan.labels import LabelSpace


@dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """The user's table, understood.

    Args:
        path: the table's file.
        rows: one row per image, index 0 to N - 1, with the columns `path` (as written, "/" between folders), `id`
            (unique) and `group` ("" = none) as str, `split` (train, val, test) and `dataset` ("" = none) as
            categoricals, and `line`, int32, the row as a spreadsheet numbers it (the header is row 1).
        space: the attributes, in the columns' order or the model's.
        codes: (N, A) int16, the index of each value, -1 unknown.
        has_splits: there is a `split` column; without one every row is train.
        notes: remarks for the person, a line each.
    """

    path: Path
    rows: pd.DataFrame
    space: LabelSpace
    codes: NDArray[np.int16]
    has_splits: bool
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def root(self) -> Path:
        """The folder that relative image paths start from."""
        return self.path.parent

    def image_path(self, i: int) -> Path:
        """Return where the image of row `i` lies."""
        return self.root / str(self.rows["path"].iat[i])

    def select(self, which: NDArray[np.bool_] | NDArray[np.integer] | Sequence[int]) -> Manifest:
        """Return the manifest with some of its rows, renumbered from 0.

        Args:
            which: a mask (N,) bool, or row numbers in the order wanted.
        """
        chosen = np.asarray(which)
        if chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.intp)
        return replace(self, rows=self.rows.iloc[chosen].reset_index(drop=True), codes=self.codes[chosen])

    def split_mask(self, splits: Sequence[str]) -> NDArray[np.bool_]:
        """Return (N,) bool: the rows of any of `splits`.

        Raises:
            ManifestError: a name that is no split.
        """
        for split in splits:
            if split not in SPLITS:
                raise ManifestError(
                    f"{self.path}: no split '{split}': train, val or test.{nearest(split, SPLITS)}"
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
    image_column: str | None = None,
) -> Manifest:
    """Read a manifest. Images are not opened, and groups in two splits not refused: see `refuse_split_leaks`.

    Args:
        path: a CSV, TSV or Parquet file.
        attributes: the attributes to use, columns or names of `one_hot`; None for every column without another
            meaning. With `space`, its other attributes are unknown.
        space: the attributes of a model, with which cells are encoded; None infers them.
        one_hot: categorical attributes, each the names of binary columns of which one is set.
        image_column: the column that holds the image paths, in place of path, file_name or image.

    Raises:
        ManifestError: naming file, row, column and the way out.
        MissingExtraError: a Parquet file without pyarrow.
    """
    table = read_table(path, image_column=image_column)
    groups = dict(one_hot or {})
    if space is None:
        sources, choice_notes = choose_sources(table, attributes=attributes, one_hot=groups)
    else:
        sources, choice_notes = sources_for_space(table, space, attributes=attributes, one_hot=groups)
    used = [*FIXED_COLUMNS, *(column for source in sources for column in source.columns)]
    table, duplicate_notes = without_duplicates(table, used)
    if space is None:
        space, codes, notes = infer_space(table, sources, requested=attributes is not None)
    else:
        codes, notes = encode_space(table, space, sources)
    return Manifest(
        path=path,
        rows=build_rows(table),
        space=space,
        codes=codes,
        has_splits="split" in table.columns,
        notes=(*table.notes, *choice_notes, *duplicate_notes, *notes),
    )
