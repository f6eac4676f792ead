"""One HDF5 file with images, labels and the label table's other columns, made from one part per shard."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np

from augmentor.data import write_failures
from augmentor.errors import OutputError
from augmentor.images import ImageFormat
from augmentor.outputs.description import Shape, describe
from augmentor.outputs.fingerprints import Identity, is_same_run, refuse_other_run
from augmentor.outputs.judge_results import (
    pack_judged,
    rejected_cells,
    rejected_columns,
    scores_cells,
    scores_columns,
)
from augmentor.outputs.paths import OutputPaths
from augmentor.outputs.records import ShardRecord
from augmentor.outputs.report_files import remove_report_files
from augmentor.outputs.writers.assembly import Assembly, Ending, discard
from augmentor.outputs.writers.base import LocalWriter, every_shard
from augmentor.outputs.writers.hdf5_layout import (
    COLUMN_CHUNK,
    OVERHEAD,
    SLACK,
    describe_space,
    file_columns,
    reserve,
    shard_digest,
    system_errors,
    table_columns,
)
from augmentor.outputs.writers.parts import Parts, PartShard
from augmentor.storage import (
    TEMPORARY,
    Json,
    remove_file,
    remove_tree,
    replacing_table,
    sync_file,
    sync_folder,
    write_json,
)
from stargan.labels import LabelSpace

_MERGED = "merged.h5"
"""Name of the unfinished file."""

_COMPANIONS = (".failures.csv", ".rejected.csv", ".scores.csv", ".dataset.json", ".preview.png")


class HDF5Writer(LocalWriter):
    """Writes FILE.h5, and beside it FILE.dataset.json and FILE.failures.csv, .rejected.csv and .scores.csv.

    Until all shards are committed they are in FILE.h5.parts/NNNNN.part; the finished file holds its fingerprint,
    so nothing else has to stay.

    Args:
        out: FILE.h5.
        space: the label space of the rows' codes.
        description: as for `LocalWriter`.
        encoding: format of encoded images, which may be of any sizes; None for pixels of one size.
    """

    def __init__(
        self,
        out: Path,
        *,
        space: LabelSpace,
        description: Mapping[str, Json],
        encoding: ImageFormat | None = None,
    ) -> None:
        super().__init__(OutputPaths(out, one_file=True), space=space, description=description)
        self.encoding: ImageFormat | None = encoding
        self.parts = Parts(out, folder=self.paths.work, encoding=encoding)

    def check(self) -> None:
        """See `Writer.check`."""
        if self.out.is_dir():
            raise OutputError(f"{self.out}: is a folder, not a file. Give another --out, or --format folder.")
        if self.out.exists():
            refuse_other_run(self.out, found=_identity(self.out), expected=self.identity)
        else:
            self.records.check(self.out, self.identity)

    def clear(self) -> None:
        """Remove FILE.h5, the files beside it and its parts, of any expansion.

        Raises:
            OutputError: FILE.h5 was not written by expand.
        """
        if self.out.is_dir() or (self.out.exists() and _identity(self.out) is None):
            raise OutputError(
                f"{self.out}: was not written by expand, so --overwrite leaves it. Give another --out."
            )
        self.records.refuse_links()
        if self.out.exists() or self.records.started():
            for path in (self.out, *map(self.out.with_suffix, _COMPANIONS)):
                path.unlink(missing_ok=True)
                path.with_name(TEMPORARY + path.name).unlink(missing_ok=True)
            remove_report_files(self.paths)
        if self.records.started():
            self.remove_parts()

    def open(self, mine: Callable[[int], bool] = every_shard, *, shards: int | None = None) -> None:
        """See `Writer.open`; where FILE.h5 is finished, removes the rest of its parts."""
        self.check()
        if self.out.exists():
            self.remove_parts()
            return
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.records.open(self.out, self.description, self.space, shards=shards)
        for staged in self.records.temporary.iterdir():
            # What was being merged is begun anew, and nobody merges while shards are made.
            if staged.name == _MERGED or (staged.stem.isdigit() and mine(int(staged.stem))):
                staged.unlink()

    def complete(self) -> bool:
        """Return whether this run's FILE.h5 exists."""
        return self.out.is_file() and is_same_run(_identity(self.out), self.identity)

    def missing(self, shards: int) -> list[int]:
        """See `Writer.missing`."""
        return [] if self.complete() else self.records.missing(shards)

    def record(self, index: int) -> ShardRecord | None:
        """Return the record of a shard that is not merged yet; None where it is to be made."""
        return self.parts.get(index)

    def shard(self, index: int) -> PartShard:
        """Start, or start again, one shard."""
        return PartShard(self.parts, index)

    def drop(self, index: int, reasons: Mapping[int, str]) -> None:
        """See `Writer.drop`; only the record changes, and the finished file leaves the images out."""
        self.records.rewrite(ShardRecord.read(self.records.path(index)).without(reasons))

    def assembly(self, shards: int) -> HDF5Assembly:
        """Start to write the file."""
        return HDF5Assembly(self, shards)

    def remove_parts(self) -> None:
        """Delete the parts of a finished file."""
        if self.records.shards.exists():
            remove_tree(self.records.shards)  # First of all: no record must outlive what says whose it is.
        if self.parts.folder.exists():
            remove_tree(self.parts.folder)


class HDF5Assembly(Assembly):
    """The unfinished file of an `HDF5Writer`, which grows shard by shard."""

    def __init__(self, writer: HDF5Writer, shards: int) -> None:
        super().__init__(writer.records, shards)
        self._writer = writer
        self._path = writer.records.temporary / _MERGED
        remove_file(self._path, below=writer.records.root)
        self._file: h5py.File | None = None
        self._columns: dict[str, h5py.Dataset] = {}
        self._length = 0
        self._entries: list[dict[str, object]] = []
        self._reserved = 0
        self._companions = ExitStack()
        space, beside = writer.space, writer.paths.beside
        self._scores, self._rejected = (
            self._companions.enter_context(replacing_table(beside(name), names))
            for name, names in (("scores.csv", scores_columns(space)), ("rejected.csv", rejected_columns(space)))
        )

    def _add(self, record: ShardRecord) -> None:
        columns = table_columns(record.rows)
        judged = pack_judged(record.positions, record.scores, record.rejected)
        digest = shard_digest(columns, record.files.values(), record.failures, judged)
        failures = [asdict(failure) for failure in record.failures]
        entry: dict[str, object] = {"rows": len(record.rows), "sha256": digest, "failures": failures}
        self._entries.append({**entry, "judged": judged} if judged else entry)
        self._scores.writerows(scores_cells(record.rows, record.scores, self._writer.space))
        self._rejected.writerows(rejected_cells(record.rejected, self._writer.space))
        if record.rows:
            with system_errors():
                self._append(record, columns)

    def _append(self, record: ShardRecord, columns: Mapping[str, np.ndarray | list[str]]) -> None:
        if not self._writer.encoding and self.shape not in (None, record.shape):
            raise OutputError(
                f"{self._writer.out}: shard {record.index} has images of {record.shape}, not {self.shape}."
            )
        self._begin(record.shape, rows=len(record.rows))
        written = self._records.path(record.index).stat().st_size  # All the texts are in it.
        self._reserve(sum(size for _, size in record.extents) + 2 * written + OVERHEAD * len(record.rows))
        start, self._length = self._length, self._length + len(record.rows)
        for name, values in columns.items():
            self._columns[name].resize(self._length, axis=0)
            self._columns[name][start:] = values
        images = self._columns["image"]
        images.resize(self._length, axis=0)
        if self._writer.encoding:
            for place, data in enumerate(self._writer.parts.encoded(record), start=start):
                images[place] = np.frombuffer(data, np.uint8)
            return
        for block in self._writer.parts.pixels(record, images.shape[1:]):
            images[start : start + len(block)] = block
            start += len(block)

    def _finish(self, ending: Ending) -> None:
        writer = self._writer
        with system_errors():
            self._begin(None, rows=0)
        self._companions.close()
        self.counts.failed = write_failures(writer.out.with_suffix(".failures.csv"), self.failures)
        description = describe(
            writer.description,
            writer.space,
            counts=self.counts,
            shape=self.shape,
            added={"content_sha256": self.content},
        )
        self._reserve(2 * len(json.dumps([self._entries, description])))
        with system_errors():
            self._describe(description)
            assert self._file is not None
            self._file.flush()
            os.truncate(self._path, self._file.id.get_filesize())  # What was reserved in vain.
            self._close()
        sync_file(self._path)
        ending(description, self._path)
        write_json(writer.out.with_suffix(".dataset.json"), description)
        self._path.replace(writer.out)
        sync_folder(writer.out.parent)
        writer.remove_parts()

    def _reserve(self, size: int) -> None:
        """Reserve disk space for so many bytes more, or raise OSError; see `reserve`."""
        end = 0 if self._file is None else self._file.id.get_filesize()
        room = end + size + SLACK + 2 * COLUMN_CHUNK * len(self._writer.space)
        if room > self._reserved:
            reserve(self._path, room)
            self._reserved = room

    def _discard(self) -> None:
        with suppress(OSError, RuntimeError):  # A full disk takes no more, and what it has is deleted.
            self._close()
        self._path.unlink(missing_ok=True)
        discard(self._companions)

    def _begin(self, shape: Shape | None, *, rows: int) -> None:
        """Create the file and its columns, unless they exist; `shape` is (H, W, C) of pixels.

        `rows`, of the first shard that is not empty, times the number of shards limits the columns' chunks.
        """
        if self._file is not None:
            return
        self._reserve(0)
        self._file = h5py.File(self._path, "w")  # It gives back what was reserved: so reserve it again.
        self._reserved = 0
        self._reserve(0)
        chunk = max(1, min(rows * self._shards, COLUMN_CHUNK))
        for column in file_columns(self._writer.space, encoding=self._writer.encoding, shape=shape):
            self._columns[column.name] = column.create(self._file, rows=0, chunk=chunk, grows=True)

    def _describe(self, description: Mapping[str, object]) -> None:
        """Write the file's attributes."""
        assert self._file is not None
        attributes = self._file.attrs
        describe_space(self._file, self._writer.space, encoding=self._writer.encoding)
        attributes["fingerprint"] = self._writer.identity.fingerprint
        attributes["shards"] = json.dumps(self._entries, ensure_ascii=False)
        attributes["dataset_json"] = json.dumps(description, sort_keys=True, ensure_ascii=False)

    def _close(self) -> None:
        file, self._file, self._columns = self._file, None, {}
        if file is not None:
            file.close()


def _identity(path: Path) -> Identity | None:
    """Return the identity in a finished file, None where it has none; raise OutputError where it is not HDF5."""
    try:
        with h5py.File(path, "r") as file:
            described = file.attrs.get("dataset_json")
        return None if described is None else Identity.of(json.loads(described))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path}: is there, but is not an HDF5 file or is damaged. Give another --out, or delete it."
        ) from error
