"""One HDF5 file with images, labels and the label table's other columns; made from one part per shard."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np

from augmentor.durable import replacing_text, sync_file, sync_folder
from augmentor.errors import OutputError
from augmentor.images.codec import ImageFormat, Pixels, encode, extension
from augmentor.labeltable import COLUMNS_AFTER, COLUMNS_BEFORE, LabelRow
from augmentor.writers.records import (
    SCHEMA_VERSION,
    Counts,
    Failure,
    Json,
    RecordFolder,
    Shape,
    ShardRecord,
    common_shape,
    describe,
    dump_json,
    refuse_other_run,
    write_failures,
)
from stargan.labels import LabelSpace

TEXT_COLUMNS = ("file_name", "key", "split", "group", "source_id", "source_path", "changed")
SCORE_COLUMNS = ("agreement", "realism")

_BLOCK_BYTES = 1 << 25
_COLUMN_CHUNK = 4096


def parts_folder(out: Path) -> Path:
    """Return the folder that holds the shards of FILE.h5 until it is finished."""
    return out.with_name(f"{out.name}.parts")


class HDF5Writer:
    """Writes FILE.h5, and next to it FILE.failures.csv and FILE.dataset.json.

    Until all shards are there they wait as FILE.h5.parts/NNNNN.h5; the finished file knows its fingerprint,
    so nothing else has to stay.

    Args:
        out: FILE.h5.
        space: the attributes of the rows' codes.
        description: what FILE.dataset.json says besides schema version, label space, image shape and counts;
            its "fingerprint" (a string) tells this plan, model and settings from any other.
        encoding: hold the bytes of image files of this format, which may be of any sizes; None holds pixels of
            one size.
    """

    def __init__(
        self,
        out: Path,
        *,
        space: LabelSpace,
        description: Mapping[str, Json],
        encoding: ImageFormat | None = None,
    ) -> None:
        self.out = out
        self.space = space
        self.description = description
        self.encoding: ImageFormat | None = encoding
        self.fingerprint = str(description["fingerprint"])
        self.parts = parts_folder(out)
        self.records = RecordFolder(self.parts)

    def open(self) -> None:
        """Make the folder of the parts, or, where FILE.h5 is finished, remove what is left of it.

        Raises:
            OutputError: FILE.h5 or its parts are not of this run.
        """
        if self.out.is_dir():
            raise OutputError(f"{self.out}: is a folder, not a file. Give another --out, or --format folder.")
        if self.out.exists():
            refuse_other_run(self.out, found=_fingerprint(self.out), expected=self.fingerprint)
            self._remove_parts()
            return
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.records.open(self.out, self.fingerprint)
        for staged in self.records.temporary.iterdir():
            staged.unlink()

    def complete(self) -> bool:
        """Return whether FILE.h5 is there and of this run."""
        return self.out.is_file() and _fingerprint(self.out) == self.fingerprint

    def counts(self) -> Counts:
        """Return what a complete output holds."""
        with h5py.File(self.out, "r") as file:
            return Counts.from_json(json.loads(file.attrs["dataset_json"])["counts"])

    def has(self, index: int) -> bool:
        """Return whether a shard is committed, or was merged already."""
        if self.complete():
            return True
        if not self.records.has(index):
            return False
        return all((self.parts / name).exists() for name in ShardRecord.read(self.records.path(index)).files)

    def shard(self, index: int) -> HDF5Shard:
        """Start, or start again, one shard."""
        return HDF5Shard(self, index)

    def finish(self, shards: int) -> Counts:
        """Merge the parts in order, write the companions, give FILE.h5 its name and delete the parts.

        Raises:
            OutputError: a shard is not committed, or the shards' images differ in shape and are not encoded.
        """
        if self.complete():
            self._remove_parts()
            return self.counts()
        counts = Counts()
        failures: list[Failure] = []
        shape: Shape | None = None
        for record in self.records.read_all(shards):
            failures.extend(record.failures)
            if not self.encoding and record.shape is not None and shape not in (None, record.shape):
                raise OutputError(f"{self.out}: shard {record.index} has images of {record.shape}, not {shape}.")
            shape = common_shape(shape, record.shape)
            for row in record.rows:
                counts.add(row)
        counts.failed = write_failures(self.out.with_suffix(".failures.csv"), failures)
        description = describe(self.description, self.space, counts=counts, shape=shape)
        merged = self.records.temporary / "merged.h5"
        with h5py.File(merged, "w") as file:
            self._describe_file(file, description)
            images = self._images(file, shape or (1, 1, 3), length=counts.real + counts.synthetic)
            self._merge(file, images, shards, length=len(images))
        sync_file(merged)
        with replacing_text(self.out.with_suffix(".dataset.json")) as companion:
            companion.write(dump_json(description))
        merged.replace(self.out)
        sync_folder(self.out.parent)
        self._remove_parts()
        return counts

    def file_name(self, row: LabelRow, index: int) -> str:
        """Return the path that the same image has in a folder of files: PNG, if the images are not encoded."""
        return f"{row.split}/{index:05d}/{row.key}{extension(self.encoding or 'png')}"

    def _describe_file(self, file: h5py.File, description: Mapping[str, object]) -> None:
        """Write the file's attributes. Texts are variable-length, which HDF5's limit of 64 KiB does not meet."""
        text = h5py.string_dtype()
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["fingerprint"] = self.fingerprint
        file.attrs["attribute_names"] = np.array(self.space.names, dtype=text)
        file.attrs["attribute_kinds"] = np.array([a.kind for a in self.space.attributes], dtype=text)
        file.attrs["attribute_values"] = json.dumps([list(a.values) for a in self.space.attributes])
        if self.encoding:
            file.attrs["image_encoding"] = self.encoding
        file.attrs["dataset_json"] = json.dumps(description, sort_keys=True, ensure_ascii=False)

    def _images(self, file: h5py.File, shape: Shape, *, length: int | None) -> h5py.Dataset:
        """Add the dataset of the images: of a final length, or one that grows.

        Args:
            file: the finished file, or a part.
            shape: (H, W, C) of the pixels; of encoded images it does not matter.
            length: how many there are; None for a part, which begins with none and need not be kept for long.
        """
        # h5py refuses chunks longer than an empty dataset may become: nothing has no final length.
        longest = length or None
        if self.encoding:
            # One heap of bytes holds them all. HDF5 has no checksums for it; PNG has its own.
            chunk = max(1, min(length or _COLUMN_CHUNK, _COLUMN_CHUNK))
            return file.create_dataset(
                "image",
                (length or 0,),
                h5py.vlen_dtype(np.uint8),
                maxshape=(longest,),
                chunks=(chunk,),
                track_times=False,
            )
        # A checksum per chunk (fletcher32): a damaged image is an error when it is read, not a strange picture.
        return file.create_dataset(
            "image",
            (length or 0, *shape),
            np.uint8,
            maxshape=(longest, *shape),
            chunks=(1, *shape),
            fletcher32=length is not None,
            track_times=False,
        )

    def _merge(self, file: h5py.File, images: h5py.Dataset, shards: int, *, length: int) -> None:
        """Copy all shards into the file, some images at a time."""
        large = max((len(a.values) for a in self.space.attributes), default=0) > np.iinfo(np.int8).max
        columns: dict[str, h5py.Dataset] = {}
        chunk = max(1, min(length, _COLUMN_CHUNK))

        def column(name: str, dtype: object, width: tuple[int, ...] = ()) -> None:
            columns[name] = file.create_dataset(
                name,
                (length, *width),
                dtype,
                maxshape=(length or None, *width),
                chunks=(chunk, *width),
                fletcher32=name not in TEXT_COLUMNS,  # HDF5 has no checksums for texts of variable length.
                track_times=False,
            )

        column("labels", np.int16 if large else np.int8, (len(self.space),))
        for name in (*COLUMNS_BEFORE, *COLUMNS_AFTER):
            if name in TEXT_COLUMNS:
                column(name, h5py.string_dtype())
            else:
                column(name, np.float32 if name in SCORE_COLUMNS else np.int8)
        start = 0
        for record in self.records.read_all(shards):
            stop = start + len(record.rows)
            if record.rows:
                for name, values in table_columns(record.rows).items():
                    columns[name][start:stop] = values
                self._copy_images(record, images, start)
            start = stop

    def _copy_images(self, record: ShardRecord, images: h5py.Dataset, at: int) -> None:
        """Copy a shard's images, in order, from its part to where they begin in the file."""
        with h5py.File(self.parts / f"{record.index:05d}.h5", "r") as part:
            if self.encoding:
                for place, position in enumerate(record.positions, start=at):
                    images[place] = part["image"][position]
                return
            for block in _blocks(part["image"], record.positions):
                images[at : at + len(block)] = block
                at += len(block)

    def _remove_parts(self) -> None:
        if self.parts.exists():
            shutil.rmtree(self.parts)


class HDF5Shard:
    """One shard of an `HDF5Writer`: an unfinished part that `commit` gives its name."""

    def __init__(self, writer: HDF5Writer, index: int) -> None:
        self.writer = writer
        self.index = index
        self._staged = writer.records.temporary / f"{index:05d}.h5"
        self._lock = threading.Lock()
        self._file: h5py.File | None = None
        self._images: h5py.Dataset | None = None
        self._shape: Shape | None = None
        self._rows: dict[int, LabelRow] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._staged.unlink(missing_ok=True)

    def add(self, position: int, row: LabelRow, pixels: Pixels) -> None:
        """Write one image into the part; threads may call this at once.

        Raises:
            ValueError: it has another shape than the first one, and is not encoded.
        """
        encoding = self.writer.encoding
        stored = np.frombuffer(encode(pixels, encoding), dtype=np.uint8) if encoding else pixels
        with self._lock:
            if self._images is None:
                self._file = h5py.File(self._staged, "w")
                self._images = self.writer._images(self._file, pixels.shape, length=None)
            if not encoding and pixels.shape != self._images.shape[1:]:
                raise ValueError(f"an image of {pixels.shape} among images of {self._images.shape[1:]}")
            if position >= len(self._images):
                self._images.resize(position + 1, axis=0)
            self._images[position] = stored
            self._shape = common_shape(self._shape, pixels.shape)
            self._rows[position] = replace(row, file_name=self.writer.file_name(row, self.index))

    def link(self, position: int, row: LabelRow, source: Path) -> None:
        """Refuse: an HDF5 file holds what was made for it, not files.

        Raises:
            OutputError: always.
        """
        raise OutputError(
            f"{self.writer.out}: shard {self.index}, item {position} ({row.source_id}): an HDF5 file cannot "
            f"hold {source} as it is. Use --real processed, or a folder as --out."
        )

    def commit(self, failures: Sequence[Failure]) -> None:
        """Sync the part, give it its name, then write the record."""
        files: dict[str, str] = {}
        self._close()
        if self._shape is not None:
            part = self.writer.parts / f"{self.index:05d}.h5"
            sync_file(self._staged)
            with self._staged.open("rb") as file:
                files[part.name] = hashlib.file_digest(file, "sha256").hexdigest()
            self._staged.replace(part)
            sync_folder(self.writer.parts)
        positions = sorted(self._rows)
        staged_record = self._staged.with_suffix(".json")
        ShardRecord(
            index=self.index,
            shape=self._shape,
            rows=[self._rows[position] for position in positions],
            positions=positions,
            failures=failures,
            files=files,
        ).write(staged_record)
        self.writer.records.commit(staged_record, self.index)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = self._images = None


def table_columns(rows: Sequence[LabelRow]) -> dict[str, np.ndarray | list[str]]:
    """Return the rows as the file's columns: texts, int8 flags, (n, A) codes and float32 scores (NaN unknown)."""
    columns: dict[str, np.ndarray | list[str]] = {
        "file_name": [row.file_name for row in rows],
        "key": [row.key for row in rows],
        "split": [row.split for row in rows],
        "group": [row.group for row in rows],
        "source_id": [row.source_id for row in rows],
        "source_path": [row.source_path for row in rows],
        "changed": [row.changed_text for row in rows],
        "is_synthetic": np.array([row.is_synthetic for row in rows], dtype=np.int8),
        "labels": np.array([row.codes for row in rows], dtype=np.int16),
    }
    for name in SCORE_COLUMNS:
        scores = [getattr(row, name) for row in rows]
        columns[name] = np.array([np.nan if score is None else score for score in scores], dtype=np.float32)
    return columns


def _blocks(images: h5py.Dataset, positions: Sequence[int]) -> Iterator[Pixels]:
    """Yield the images at these positions, (n, H, W, C) uint8 at a time."""
    step = max(1, _BLOCK_BYTES // math.prod(images.shape[1:]))
    for start in range(0, len(positions), step):
        wanted = np.asarray(positions[start : start + step])
        # Rows that failed left holes; one read of the whole range is faster than one per image.
        yield images[wanted[0] : wanted[-1] + 1][wanted - wanted[0]]


def _fingerprint(path: Path) -> str | None:
    """Return the fingerprint of a finished file; None where it has none.

    Raises:
        OutputError: the file is not HDF5.
    """
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get("fingerprint")
    except OSError as error:
        raise OutputError(
            f"{path}: is there, but is not an HDF5 file or is damaged. Give another --out, or delete it."
        ) from error
    return None if found is None else str(found)
