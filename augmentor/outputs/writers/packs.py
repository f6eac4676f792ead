"""Folders of packs: one file per split and shard holds all its images and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from augmentor.data.manifest import SPLITS
from augmentor.images import ImageFormat
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.paths import INDEX_FILE, OutputFormat
from augmentor.outputs.records import ShardRecord
from augmentor.outputs.writers.folder import FolderWriter
from augmentor.outputs.writers.hdf5_shards import HDF5Pack, HDF5Packing
from augmentor.outputs.writers.packing import Pack, Packing, damage_named, pack_name
from augmentor.outputs.writers.parquet import ParquetPack, ParquetPacking
from augmentor.outputs.writers.staged import StagedShard
from augmentor.outputs.writers.webdataset import TarPack, TarPacking
from augmentor.storage import TEMPORARY, Json, RemotePath, open_folder, remove_file, sync_file, sync_folder
from stargan.labels import LabelSpace

_PACKINGS: dict[OutputFormat, type[Packing]] = {
    "hdf5": HDF5Packing,
    "webdataset": TarPacking,
    "parquet": ParquetPacking,
}

PACK_SUFFIXES = {output_format: packing.suffix for output_format, packing in _PACKINGS.items()}

_PACKS: dict[str, Callable[[Path], Pack]] = {".h5": HDF5Pack, ".tar": TarPack, ".parquet": ParquetPack}


def packing_of(output_format: OutputFormat, *, space: LabelSpace, encoding: ImageFormat | None) -> Packing:
    """Return the packing of a format.

    Args:
        output_format: not "folder".
        space: the label space.
        encoding: of the images; None for pixels, in HDF5 only.

    Raises:
        ValueError: the format has no packs, or cannot hold such images.
    """
    if output_format == "folder" or (encoding is None and output_format != "hdf5"):
        raise ValueError(f"there are no packs of {output_format} with images as {encoding or 'pixels'}")
    return _PACKINGS[output_format](space=space, encoding=encoding)


def open_pack(path: Path) -> Pack:
    """Open a pack for reading; raises ImageError if it is damaged."""
    return _FetchedPack(path) if isinstance(path, RemotePath) else _PACKS[path.suffix](path)


class _FetchedPack(Pack):
    """A remote pack, downloaded to this disk while it is open."""

    def __init__(self, path: RemotePath) -> None:
        with ExitStack() as held:
            copy = Path(held.enter_context(TemporaryDirectory()), path.name)
            with damage_named(path):
                copy.write_bytes(path.read_bytes())
            self._pack = held.enter_context(open_pack(copy))
            self.shape = self._pack.shape
            self._held = held.pop_all()

    def read(self, file_name: str) -> bytes:
        return self._pack.read(file_name)

    def close(self) -> None:
        self._held.close()


class PackWriter(FolderWriter):
    """Writes DIR/SPLIT/NNNNN.tar (or .parquet, or .h5), and the tables as for a folder of files.

    Args:
        out: DIR.
        space: the label space of the rows' codes.
        description: as for `LocalWriter`.
        packing: writes the packs.
    """

    packing: Packing

    def __init__(self, out: Path, *, space: LabelSpace, description: Mapping[str, Json], packing: Packing) -> None:
        super().__init__(out, space=space, description=description, image_format=packing.encoding or "png")
        self.packing = packing

    def check(self) -> None:
        """See `FolderWriter.check` and `Packing.check`."""
        self.packing.check()
        super().check()

    def complete(self) -> bool:
        """Return whether the output is finished, with the index over its packs."""
        return super().complete() and (self.packing.suffix != ".h5" or (self.out / INDEX_FILE).is_file())

    def shard(self, index: int) -> PackShard:
        """Start, or start again, one shard."""
        return PackShard(self, index)

    def drop(self, index: int, reasons: Mapping[int, str]) -> None:
        """Write the packs of a committed shard again without some images, then its record.

        A kill in between leaves packs with fewer images than the record names: the same call again completes it.
        """
        record = ShardRecord.read(self.records.path(index))
        left = record.without(reasons)
        packs = {}
        for name in record.packs:
            rows = [row for row in left.rows if pack_name(row.file_name, self.packing.suffix) == name]
            path = self.out / name
            if len(rows) == sum(pack_name(each, self.packing.suffix) == name for each in record.files):
                packs[name] = record.packs[name]
            elif rows:
                packs[name] = self._repack(path, rows, left)
            else:
                remove_file(path, below=self.out)
        for folder in {(self.out / name).parent for name in record.packs}:
            sync_folder(folder)
        self.records.rewrite(replace(left, packs=packs))

    def _repack(self, path: Path, rows: Sequence[LabelRow], record: ShardRecord) -> str:
        """Write a pack again with only these rows' images; return its SHA-256."""
        fresh = path.with_name(TEMPORARY + path.name)
        remove_file(fresh, below=self.out)
        with open_pack(path) as pack:
            images = (pack.read(row.file_name) for row in rows)
            self.packing.write(fresh, rows, images, shape=record.shape)
        sync_file(fresh)
        digest = _sha256(fresh)
        fresh.replace(path)
        return digest


class PackShard(StagedShard):
    """One shard of a `PackWriter`: images are encoded in parallel, and packed by one thread on commit."""

    writer: PackWriter
    holds = "a pack"

    def __init__(self, writer: PackWriter, index: int) -> None:
        super().__init__(writer, index, encoding=writer.packing.encoding)

    def _publish(self, record: ShardRecord) -> None:
        """Write the packs, move them into place, sync them, then write the record."""
        packing, out = self.writer.packing, self.writer.out
        staged: dict[str, Path] = {}
        for split in SPLITS:
            places = [place for place, row in enumerate(record.rows) if row.split == split]
            if places:
                rows = [record.rows[place] for place in places]
                path = self.staged / f"{split}{packing.suffix}"
                images = self._images([record.positions[place] for place in places])
                packing.write(path, rows, images, shape=record.shape)
                sync_file(path)
                staged[pack_name(rows[0].file_name, packing.suffix)] = path
        packs = {name: _sha256(path) for name, path in staged.items()}
        self.stage_record(replace(record, packs=packs))
        for name, path in staged.items():
            with open_folder((out / name).parent, below=out, make=True) as folder:
                folder.receive(str(path), (out / name).name)
        self.commit_record({(out / name).parent for name in staged})

    def _images(self, positions: Sequence[int]) -> Iterator[bytes]:
        return (Path(self.waiting(position)).read_bytes() for position in positions)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
