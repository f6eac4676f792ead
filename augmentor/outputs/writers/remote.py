"""Writer of outputs to URLs: shards are made on this disk and uploaded.

An object store cannot rename. So a shard's files are uploaded first, then its record. An object that no record
names does not count; the next run overwrites it. `dataset.json` comes last. The records on the store decide what
is committed. This machine keeps copies of them, and what a killed run had not uploaded yet, under `scratch()`
until the output is complete.

An object store has no lock. `RemoteWriter.lock` excludes other processes of this machine. Two machines with the
same command both make the shards that they do not find committed, with the same bytes; `--shards` divides the
work.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from augmentor.data.manifest import SPLITS
from augmentor.errors import OutputError
from augmentor.outputs.description import Counts
from augmentor.outputs.records import ShardRecord, is_shard_number
from augmentor.outputs.report_files import REPORT_FILES, REPORT_IMAGES, is_report_image
from augmentor.outputs.writers.assembly import Ending
from augmentor.outputs.writers.base import ShardWriter, Writer, every_shard
from augmentor.outputs.writers.folder import COMPANIONS, FolderWriter
from augmentor.outputs.writers.metadata import SPLIT_TABLES, FolderTables
from augmentor.storage import (
    TEMPORARY,
    RemotePath,
    Status,
    each,
    patiently_locked,
    remove,
    replace_bytes,
    upload,
    write_bytes,
)

_LAST = "dataset.json"


def scratch() -> Path:
    """Return the local folder of outputs that go to a URL: under $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "augmentor", "outputs")


def on_disk(out: Path, fingerprint: str) -> Path:
    """Return where an output is made: `out`, or for a URL a local folder, the same for the same fingerprint."""
    if not isinstance(out, RemotePath):
        return out
    return scratch() / hashlib.sha256(f"{out}\0{fingerprint}".encode()).hexdigest()[:16] / out.name


def publish(file: Path, out: Path) -> None:
    """Upload a companion file, where the output is a URL."""
    if isinstance(out, RemotePath):
        upload(file, out / file.name)


class RemoteWriter(Writer):
    """Writes what a `FolderWriter` writes, to a URL; see this module's docstring.

    Args:
        out: the URL.
        here: writes on this disk, at `on_disk(out, ...)`.
        there: the same at `out`, only used to look.
    """

    def __init__(self, out: RemotePath, *, here: FolderWriter, there: FolderWriter) -> None:
        self.out = out
        self.here = here
        self.there = there

    @property
    def lock(self) -> Path:
        """The lock file, which is on this machine: others do not see it."""
        folder = self.here.out.parent
        return folder.with_name(f"{folder.name}.lock")

    def check(self) -> None:
        """See `Writer.check`; raises OSError where the storage does not answer, or refuses."""
        self.there.check()

    def clear(self) -> None:
        """See `Writer.clear`; also raises OutputError where the records of what expand wrote are missing."""
        records = self.there.records
        if not records.started():
            if (self.out / _LAST).exists():
                raise OutputError(
                    f"{self.out}: the records of what expand wrote ({records.work.name}) are gone, so --overwrite "
                    "cannot tell its files from others. Give another --out, or delete what is there."
                )
            return
        remove(self.out / _LAST)  # First of all: what is being removed is not complete.
        # A record moves away before what it names is removed: a kill in between leaves none of what is gone.
        each("moving {}".format, self._set_aside, _objects(records.shards))
        for path in _objects(records.temporary):
            with suppress(OutputError):  # One that is damaged: nobody knows what it named.
                self._remove_all(ShardRecord.read(path).placed)
            remove(path)
        tables = (f"{split}/{name}" for split in SPLITS for name in SPLIT_TABLES)
        pictures = (
            f"{REPORT_IMAGES}/{path.name}"
            for path in _objects(self.out / REPORT_IMAGES)
            if is_report_image(path.name)
        )
        self._remove_all([*tables, *COMPANIONS, *REPORT_FILES, *pictures])
        self._remove_scratch()
        # By this the next step knows that what else is there is none of its business.
        self.here.records.work.mkdir(parents=True)
        self.here.records.begin(self.here.description, self.here.space)
        self._upload_beginning()

    def open(self, mine: Callable[[int], bool] = every_shard, *, shards: int | None = None) -> None:
        """See `Writer.open`: writes `run.json` to the storage, and synchronises this disk and the storage.

        Records are downloaded, images are not. A shard that is committed on this disk only, because its upload was
        interrupted, is uploaded again.
        """
        self.check()
        if self.complete():
            self._remove_scratch()
            return
        self.here.out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.here.open(mine, shards=shards)
        if not self.there.records.started():
            self._upload_beginning()
        there = self._committed()
        here = {int(path.stem) for path in self.here.records.committed()}
        self._bring_all(index for index in there if mine(index))
        for index in sorted(filter(mine, here)):
            record = self.here.record(index)
            if record is None:
                continue
            if index in there:
                self._drop_files(record)
            elif all((self.here.out / name).is_file() for name in record.placed):
                self.push(index)
            else:
                self.here.records.path(index).unlink()

    def complete(self) -> bool:
        """Return whether this run's `dataset.json`, which is uploaded last, and the tables exist."""
        return self.there.complete()

    def missing(self, shards: int) -> list[int]:
        """Return the shards, numbered below `shards`, that no machine has committed; one listing."""
        there = self._committed()
        return [index for index in range(shards) if index not in there]

    def record(self, index: int) -> ShardRecord | None:
        """Return the record of a committed and whole shard; None where it is to be made."""
        return self.here.record(index) or self._bring(index)

    def shard(self, index: int) -> ShardWriter:
        """Start, or start again, one shard: made on this disk, uploaded by its commit."""
        self._prepare()
        shard = self.here.shard(index)
        shard.committed = self.push
        return shard

    def push(self, index: int) -> None:
        """Commit a locally committed shard: upload its files, then its record; remove the local files.

        If another machine has committed it, its identical files stay. Raises OSError where the storage refuses.
        """
        record = self.here.record(index)
        if record is None:
            raise OutputError(f"{self.here.records.path(index)}: the shard's record is gone")
        if self._bring(index) is None:
            each(self._sending, lambda name: upload(self.here.out / name, self.out / name), record.placed)
            self._upload_record(index)
        self._drop_files(record)

    def drop(self, index: int, reasons: Mapping[int, str]) -> None:
        """See `Writer.drop`."""
        record = self.record(index)
        if record is None:
            raise OutputError(f"{self.out}: shard {index} is missing. Run the same expand again.")
        if record.packs:
            self._repack(index, record, reasons)
        else:
            left = set(record.without(reasons).placed)
            self._remove_all([name for name in record.placed if name not in left])
            self.here.drop(index, reasons)
        self._upload_record(index)

    def assembly(self, shards: int) -> RemoteTables:
        """Start to write the tables on this disk."""
        self._prepare()
        return RemoteTables(self, shards)

    def bring_missing(self, shards: int) -> None:
        """Download the records that other machines have committed."""
        self._bring_all(index for index in range(shards) if self.here.record(index) is None)

    def upload_companions(self) -> None:
        """Upload all companion files except `dataset.json`."""
        root = self.here.out
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        names = [path.relative_to(root).as_posix() for path in files if not path.name.startswith(TEMPORARY)]
        wanted = [name for name in names if not name.startswith(".") and name != _LAST]
        each(self._sending, lambda name: upload(root / name, self.out / name), wanted)

    def upload_description(self) -> None:
        """Upload `dataset.json`, which completes the output, and remove the local copy of the output."""
        upload(self.here.out / _LAST, self.out / _LAST)
        self._remove_scratch()

    def _prepare(self) -> None:
        """Make the local folders, where another machine has opened the output."""
        if not self.here.records.started():
            with patiently_locked(self.lock.with_name(f"{self.lock.name}.opening"), output=self.out):
                if not self.here.records.started():
                    self.here.open(lambda _index: False)

    def _committed(self) -> dict[int, Status]:
        """Return the storage's status of every committed record, by the shard's number."""
        found = _remote(self.there.records.shards).listing()
        stems = {name.removesuffix(".json"): status for name, status in found.items()}
        return {int(stem): status for stem, status in stems.items() if is_shard_number(stem)}

    def _bring_all(self, indices: Iterable[int]) -> None:
        """Download records in parallel, except those whose local copy is the same."""
        there = self._committed()
        wanted = [index for index in indices if index in there and not self._is_same(index, there[index])]
        each(lambda index: f"reading {self.there.records.path(index)}", self._bring, wanted)

    def _is_same(self, index: int, status: Status) -> bool:
        try:
            data = self.here.records.path(index).read_bytes()
        except FileNotFoundError:
            return False
        return hashlib.md5(data, usedforsecurity=False).hexdigest() == status.etag

    def _bring(self, index: int) -> ShardRecord | None:
        """Download and return a committed record; None where it is missing or damaged."""
        try:
            data = self.there.records.path(index).read_bytes()
        except FileNotFoundError:
            return None
        path = self.here.records.path(index)
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, data)
        record = self.here.records.get(index)
        if record is None:  # Not what was written there: it is made anew, and takes its place.
            path.unlink() if before is None else replace_bytes(path, before)
        return record

    def _repack(self, index: int, record: ShardRecord, reasons: Mapping[int, str]) -> None:
        """Download a shard's packs, remove images from them, and upload the rest."""
        for name in record.packs:
            path = self.here.out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(path, (self.out / name).read_bytes())
        self.here.drop(index, reasons)
        left = ShardRecord.read(self.here.records.path(index))
        each(self._sending, lambda name: upload(self.here.out / name, self.out / name), list(left.packs))
        self._remove_all([name for name in record.packs if name not in left.packs])
        self._drop_files(left)

    def _upload_beginning(self) -> None:
        upload(self.here.records.work / "run.json", _remote(self.there.records.work) / "run.json")

    def _upload_record(self, index: int) -> None:
        upload(self.here.records.path(index), _remote(self.there.records.path(index)))

    def _drop_files(self, record: ShardRecord) -> None:
        for name in record.placed:
            (self.here.out / name).unlink(missing_ok=True)

    def _remove_all(self, names: Sequence[str]) -> None:
        each(lambda name: f"removing {self.out / name}", lambda name: remove(self.out / name), names)

    def _set_aside(self, path: RemotePath) -> None:
        write_bytes(_remote(self.there.records.temporary) / path.name, path.read_bytes())
        remove(path)

    def _remove_scratch(self) -> None:
        shutil.rmtree(self.here.out.parent, ignore_errors=True)  # What stays takes room, and no more.

    def _sending(self, name: str) -> str:
        return f"uploading {self.out / name}"


class RemoteTables(FolderTables):
    """The tables of a `RemoteWriter`, written on this disk while any machine makes shards."""

    def __init__(self, writer: RemoteWriter, shards: int) -> None:
        here = writer.here
        super().__init__(
            here.out,
            space=here.space,
            description=here.description,
            records=here.records,
            shards=shards,
            packing=here.packing,
        )
        self._writer = writer

    def take(self, index: int) -> None:
        """Add a shard that this or another machine has committed."""
        self._writer.record(index)
        super().take(index)

    def finish(self, ending: Ending = lambda _description, _images: None) -> Counts:
        """Finish the output on this disk, upload the companion files (`ending`'s, too), then `dataset.json`."""
        self._writer.bring_missing(self._shards)

        def ended(description: Mapping[str, object], _images: Path) -> None:
            ending(description, self._writer.out)
            self._writer.upload_companions()

        counts = super().finish(ended)
        self._writer.upload_description()
        return counts


def _objects(folder: Path) -> list[RemotePath]:
    remote = _remote(folder)
    return [remote / name for name, status in remote.listing().items() if status.kind == "file"]


def _remote(path: Path) -> RemotePath:
    if not isinstance(path, RemotePath):
        raise TypeError(f"{path}: not a URL")
    return path
