"""Label table rows of a manifest's images: key, source, target and changed attributes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from augmentor.data import Failure
from augmentor.data.manifest import Manifest
from augmentor.errors import ImageError
from augmentor.outputs.label_table import Keys, LabelRow, changed_names, real_key
from augmentor.planning import Item
from augmentor.storage import located

_ROWS_TOGETHER = 256
"""Manifest rows read at once: reading one cell takes as long as reading a hundred."""

_KEPT_BLOCKS = 8


class _Cells(NamedTuple):
    """A row of the manifest."""

    id: str
    path: str
    split: str
    group: str


class Lineage:
    """Makes label table rows, quickly and from several threads at once.

    Args:
        manifest: in the label space of the targets.
        stems: (N,) file-safe unique names of its rows.
    """

    def __init__(self, manifest: Manifest, stems: Sequence[str]) -> None:
        self._manifest = manifest
        self._stems = stems
        self._keys = Keys(manifest.space)
        self._names = manifest.space.names
        self._blocks = lru_cache(_KEPT_BLOCKS)(self._block)

    def path(self, row: int) -> Path:
        """Return a row's image file."""
        return located(self._manifest.root, self._cells(row).path)

    def written_path(self, row: int) -> str:
        """Return the path of a row's image as the manifest writes it."""
        return self._cells(row).path

    def label_rows(self, row: int, items: Sequence[Item]) -> list[LabelRow]:
        """Return the label table rows of one source's items; the writer fills in the files' names."""
        cells, stem = self._cells(row), self._stems[row]
        own = self._manifest.codes[row].tolist()
        return [
            LabelRow(
                "",
                self._keys.key(stem, item.target, item.look) if item.is_synthetic else real_key(stem),
                cells.split,
                cells.group,
                item.is_synthetic,
                cells.id,
                cells.path,
                item.target,
                changed_names(own, item.target, self._names) if item.is_synthetic else (),
            )
            for item in items
        ]

    def failure(self, row: int, error: ImageError) -> Failure:
        """Return a row of `failures.csv`; its reason does not repeat the path."""
        cells = self._cells(row)
        return Failure(id=cells.id, path=cells.path, reason=str(error).removeprefix(f"{self.path(row)}: "))

    def _cells(self, row: int) -> _Cells:
        block, place = divmod(row, _ROWS_TOGETHER)
        return self._blocks(block)[place]

    def _block(self, number: int) -> list[_Cells]:
        rows = self._manifest.rows.iloc[number * _ROWS_TOGETHER : (number + 1) * _ROWS_TOGETHER]
        columns = (map(str, rows[name].tolist()) for name in _Cells._fields)
        return [_Cells(*cells) for cells in zip(*columns, strict=True)]
