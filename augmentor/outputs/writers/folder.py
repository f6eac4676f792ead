"""Images in folders, one file each, with a label table that training jobs and Hugging Face read as it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from augmentor.data.manifest import SPLITS
from augmentor.errors import OutputError
from augmentor.images import ImageFormat
from augmentor.outputs.fingerprints import is_same_run, read_identity, refuse_other_run
from augmentor.outputs.label_table import LabelRow, attribute_named
from augmentor.outputs.paths import INDEX_FILE, WORK_FOLDER, OutputPaths
from augmentor.outputs.records import ShardRecord
from augmentor.outputs.report_files import remove_report_files
from augmentor.outputs.writers.base import LocalWriter, every_shard
from augmentor.outputs.writers.metadata import CLASS_LIST, SPLIT_TABLES, FolderTables
from augmentor.outputs.writers.packing import Packing
from augmentor.outputs.writers.staged import RECORD, FolderShard, StagedShard
from augmentor.storage import TEMPORARY, Json, remove_file, remove_files, remove_tree, sync_folder
from stargan.labels import UNKNOWN, LabelSpace

COMPANIONS = ("labels.csv", "failures.csv", "rejected.csv", "scores.csv", "preview.png", CLASS_LIST, INDEX_FILE)


class FolderWriter(LocalWriter):
    """Writes DIR/SPLIT/NNNNN/KEY.png, the label tables, `failures.csv` and `dataset.json`.

    Args:
        out: DIR.
        space: the label space of the rows' codes.
        description: as for `LocalWriter`.
        image_format: of encoded images; linked files keep their own.
        class_folders: an attribute whose values name the folders, in place of the shards' numbers.

    Raises:
        AugmentorError: `class_folders` is no attribute.
    """

    packing: Packing | None = None

    def __init__(
        self,
        out: Path,
        *,
        space: LabelSpace,
        description: Mapping[str, Json],
        image_format: ImageFormat = "png",
        class_folders: str | None = None,
    ) -> None:
        super().__init__(OutputPaths(out, one_file=False), space=space, description=description)
        self.image_format: ImageFormat = image_format
        self._class_column: int | None = None
        self._class_names: tuple[str, ...] = ()
        if class_folders is not None:
            values = attribute_named(space, class_folders).values
            self._class_column = space.index(class_folders)
            self._class_names = _folder_names(values)

    def check(self) -> None:
        """See `Writer.check`."""
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f"{self.out}: is a file, not a folder. Give another --out.")
        found = read_identity(self.out / "dataset.json")
        if found is not None:
            refuse_other_run(self.out, found=found, expected=self.identity)
        elif self.out.exists() and not self.records.started():
            others = sorted(path.name for path in self.out.iterdir() if not path.name.startswith("."))
            if others:
                raise OutputError(
                    f"{self.out}: already holds {others[0]!r}, which expand did not write. "
                    "Give a new or empty folder as --out."
                )
        self.records.check(self.out, self.identity)

    def clear(self) -> None:
        """Remove what any expansion wrote into DIR; other files, and their folders, stay.

        Raises:
            OutputError: the records of what expand wrote are missing.
        """
        if not self.records.started():
            if (self.out / "dataset.json").exists():
                raise OutputError(
                    f"{self.out}: the records of what expand wrote ({WORK_FOLDER}) are gone, so --overwrite "
                    "cannot tell its files from others. Give another --out, or delete the folder."
                )
            return
        self.records.make_folders()
        # First of all: what is being removed is not complete.
        (self.out / "dataset.json").unlink(missing_ok=True)
        for staged in self.records.staged():
            self.undo(staged)
        folders = {self.out / split for split in SPLITS}
        for path in self.records.committed():
            # Back to where it was before it was committed: a kill in between leaves no record of what is gone.
            staged = self.records.temporary / path.stem
            staged.mkdir(exist_ok=True)
            path.replace(staged / RECORD)
            folders |= self.undo(staged)
        tables = [self.out / split / name for split in SPLITS for name in SPLIT_TABLES]
        for path in (*tables, *(self.out / name for name in COMPANIONS)):
            for each in (path, path.with_name(TEMPORARY + path.name)):
                remove_file(each, below=self.out)
        remove_report_files(self.paths)
        for folder in sorted(folders, reverse=True):  # The inner ones first.
            with suppress(OSError):  # Somebody else's files are in it.
                folder.rmdir()
        # Not removed: by this the next step knows that what else is here is none of its business.
        self.records.begin(self.description, self.space)

    def open(self, mine: Callable[[int], bool] = every_shard, *, shards: int | None = None) -> None:
        """See `Writer.open`; undoes the half-committed shards of a killed run."""
        self.check()
        self.records.open(self.out, self.description, self.space, shards=shards)
        for staged in self.records.staged():
            if mine(int(staged.name)):
                self.undo(staged)

    def complete(self) -> bool:
        """Return whether this run's `dataset.json`, which is written last, and the tables exist."""
        tables = [self.out / name for name in ("labels.csv", "failures.csv", "rejected.csv", "scores.csv")]
        finished = is_same_run(read_identity(self.out / "dataset.json"), self.identity)
        return finished and all(table.is_file() for table in tables)

    def shard(self, index: int) -> StagedShard:
        """Start, or start again, one shard."""
        return FolderShard(self, index, encoding=self.image_format)

    def drop(self, index: int, reasons: Mapping[int, str]) -> None:
        """See `Writer.drop`."""
        record = ShardRecord.read(self.records.path(index))
        positions = zip(record.positions, record.rows, strict=True)
        dropped = [row.file_name for position, row in positions if position in reasons]
        for folder in remove_files(self.out, dropped):
            sync_folder(folder)
            with suppress(OSError):  # Other images are in it; an empty one would be a class without images.
                folder.rmdir()
        self.records.rewrite(record.without(reasons))

    def assembly(self, shards: int) -> FolderTables:
        """Start to write the label tables."""
        return FolderTables(
            self.out,
            space=self.space,
            description=self.description,
            records=self.records,
            shards=shards,
            packing=self.packing,
        )

    def file_name(self, row: LabelRow, index: int, suffix: str) -> str:
        """Return an image's path inside DIR."""
        folder = f"{index:05d}"
        if self._class_column is not None:
            code = row.codes[self._class_column]
            folder = "unknown" if code == UNKNOWN else self._class_names[code]
        return f"{row.split}/{folder}/{row.key}{suffix}"

    def undo(self, staged: Path) -> set[Path]:
        """Remove the files of an uncommitted shard, staged or moved; return the folders that they had moved to."""
        folders: set[Path] = set()
        if staged.is_symlink():
            staged.unlink()
            return folders
        record_path = staged / RECORD
        if record_path.exists() and self.records.get(int(staged.name)) is None:
            # The record is synced before the first file moves: one that cannot be read had no moves yet.
            try:
                record = ShardRecord.read(record_path)
            except OutputError:
                pass
            else:
                # See `drop`; a million files are not looked for under names that they cannot have.
                unfinished = [name.replace("/", f"/{TEMPORARY}", 1) for name in record.packs]
                folders = remove_files(self.out, [*record.placed, *unfinished])
        remove_tree(staged)
        return folders


def _folder_names(values: Sequence[str]) -> tuple[str, ...]:
    """Return a folder name per value: the value itself where it is a unique, valid name, else with a hash."""
    names: list[str] = []
    taken = {"unknown"}
    for value in values:
        # Disks count bytes: a hundred characters may be four hundred.
        name = re.sub(r"[^\w .+-]", "-", value).strip(" .")[:100].encode()[:200].decode(errors="ignore") or "-"
        if name != value or name.casefold() in taken:
            name = f"{name}-{hashlib.sha1(value.encode(), usedforsecurity=False).hexdigest()[:8]}"
        taken.add(name.casefold())
        names.append(name)
    return tuple(names)
