"""Parquet: packs with a column of images and Hugging Face's features, and tables of typed columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from augmentor.outputs.description import Shape
from augmentor.outputs.label_table import COLUMNS_AFTER, COLUMNS_BEFORE, SCORE_COLUMNS, LabelRow, rounded
from augmentor.outputs.writers.packing import Pack, Packing, damage_named, refuse_taken_name
from augmentor.storage import replacing_binary
from stargan.labels import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet as pq

IMAGE = "image"

ROW_GROUP = 100
"""Images per row group, Hugging Face's default: some megabytes, one request; reading one image reads them all."""

ColumnType: TypeAlias = Literal["string", "int64", "float64"]
"""Type of a table's column."""

_TABLE_ROWS = 10_000
"""Rows of a table per row group."""

_TYPES = {"is_synthetic": "bool", "agreement": "float64", "realism": "float64"}


class ParquetPacking(Packing):
    """Writes SPLIT/NNNNN.parquet: the image, the label table's columns, and every attribute as a ClassLabel.

    A ClassLabel is the code (int64) with the values' names beside it; unknown is -1, as in Hugging Face's own data
    sets. Unknown scores are null.
    """

    suffix = ".parquet"

    def check(self) -> None:
        """Refuse an attribute with the image column's name."""
        refuse_taken_name("parquet", space=self.space, taken=IMAGE, by="the column of the images is")

    def write(self, path: Path, rows: Sequence[LabelRow], images: Iterable[bytes], *, shape: Shape | None) -> None:
        """See `Packing.write`."""
        del shape  # The images say it.
        import pyarrow as pa  # noqa: PLC0415 - slow to import
        from pyarrow import parquet as pq  # noqa: PLC0415

        schema = _schema(self.space)
        plain = [name for name in schema.names if name != IMAGE]
        coming = iter(images)
        with pq.ParquetWriter(
            path,
            schema,
            # Images are packed already, and their least and greatest bytes tell nobody anything.
            compression={**dict.fromkeys(plain, "snappy"), f"{IMAGE}.bytes": "none", f"{IMAGE}.path": "snappy"},
            use_dictionary=plain,
            write_statistics=plain,
        ) as writer:
            for first in range(0, len(rows), ROW_GROUP):
                some = rows[first : first + ROW_GROUP]
                columns = _columns(some, [next(coming) for _ in some], self.space)
                writer.write_table(pa.table(columns, schema=schema), row_group_size=ROW_GROUP)


class ParquetPack(Pack):
    """An open Parquet file; raises ImageError if it cannot be read.

    The images of a row group are read together, and the last group is kept.
    """

    def __init__(self, path: Path) -> None:
        from pyarrow import parquet as pq  # noqa: PLC0415 - slow to import

        self.path = path
        self._group: tuple[int, Sequence[bytes]] = (-1, ())
        with damage_named(path):
            self._file = pq.ParquetFile(path)
            self._places = {
                str(name): (group, place)
                for group in range(self._file.num_row_groups)
                for place, name in enumerate(self._file.read_row_group(group, ["file_name"])[0].to_pylist())
            }

    def read(self, file_name: str) -> bytes:
        """Return the bytes of an image file."""
        with damage_named(self.path):
            group, place = self._places[file_name]
            if group != self._group[0]:
                column = self._file.read_row_group(group, [f"{IMAGE}.bytes"])[0].combine_chunks()
                self._group = group, column.field("bytes").to_pylist()
            return self._group[1][place]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TypedWriter:
    """Writes rows of texts into columns of given types; a blank cell is null.

    `writer` is a `ParquetWriter`, `types` are the columns in order.
    """

    def __init__(self, writer: pq.ParquetWriter, types: Mapping[str, ColumnType]) -> None:
        self._writer = writer
        self._read = [_READ[kind] for kind in types.values()]
        self._rows: list[list[object]] = []

    def writerow(self, cells: Sequence[str]) -> None:
        """Write one row."""
        self._rows.append([read(cell) if cell else None for read, cell in zip(self._read, cells, strict=True)])
        if len(self._rows) == _TABLE_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are still in memory."""
        import pyarrow as pa  # noqa: PLC0415 - slow to import

        if self._rows:
            columns = list(map(list, zip(*self._rows, strict=True)))
            self._writer.write_table(pa.table(columns, schema=self._writer.schema))
            self._rows.clear()


_READ: Mapping[ColumnType, Callable[[str], object]] = {"string": str, "int64": int, "float64": float}


@contextmanager
def replacing_typed_table(
    path: Path, types: Mapping[str, ColumnType], *, below: Path | None = None
) -> Iterator[TypedWriter]:
    """Open a Parquet file for writing rows; it replaces `path` only when the block ends without an error.

    `below` is as for `open_folder`.
    """
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    from pyarrow import parquet as pq  # noqa: PLC0415

    schema = pa.schema([pa.field(name, pa.type_for_alias(kind)) for name, kind in types.items()])
    with replacing_binary(path, below=below) as file, pq.ParquetWriter(file, schema) as writer:
        table = TypedWriter(writer, types)
        yield table
        table.flush()


def read_typed_table(path: Path) -> Iterator[list[str]]:
    """Yield the columns of a Parquet file, with their types, then its rows, all as text; null is "".

    Raises:
        ValueError: it is damaged.
    """
    from pyarrow import parquet as pq  # noqa: PLC0415 - slow to import

    with pq.ParquetFile(path) as file:
        yield [f"{field.name} ({field.type})" for field in file.schema_arrow]
        for batch in file.iter_batches(_TABLE_ROWS):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield ["" if value is None else str(value) for value in row]


def _schema(space: LabelSpace) -> pa.Schema:
    """Return the columns' types, with Hugging Face's features as metadata."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import

    types = {name: _TYPES.get(name, "string") for name in (*COLUMNS_BEFORE, *COLUMNS_AFTER)}
    before = [pa.field(name, pa.type_for_alias(types[name])) for name in COLUMNS_BEFORE]
    labels = [pa.field(name, pa.int64()) for name in space.names]
    after = [pa.field(name, pa.type_for_alias(types[name])) for name in COLUMNS_AFTER]
    image = pa.field(IMAGE, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    features: dict[str, object] = {IMAGE: {"_type": "Image"}}
    for field in (*before, *labels, *after):
        features[field.name] = (
            {"names": list(space[field.name].values), "_type": "ClassLabel"}
            if field.name in space.names
            else {"dtype": types[field.name], "_type": "Value"}
        )
    described = json.dumps({"info": {"features": features}}, ensure_ascii=False)
    return pa.schema([image, *before, *labels, *after], metadata={"huggingface": described})


def _columns(rows: Sequence[LabelRow], images: Sequence[bytes], space: LabelSpace) -> dict[str, list[object]]:
    """Return the rows as table columns."""
    return {
        IMAGE: [
            {"bytes": image, "path": row.file_name.rpartition("/")[2]}
            for row, image in zip(rows, images, strict=True)
        ],
        **{name: [getattr(row, name) for row in rows] for name in COLUMNS_BEFORE},
        **{name: [row.codes[place] for row in rows] for place, name in enumerate(space.names)},
        "changed": [row.changed_text for row in rows],
        **{name: [rounded(getattr(row, name)) for row in rows] for name in SCORE_COLUMNS},
    }
