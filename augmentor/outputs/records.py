"""Shard records: the JSON that says a shard is complete, what it holds and what failed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from augmentor.data import Failure
from augmentor.data.manifest import SPLITS
from augmentor.errors import OutputError
from augmentor.outputs.description import SCHEMA_VERSION, Counts, Shape, checked_object, described_space
from augmentor.outputs.fingerprints import Identity, read_identity, refuse_other_run
from augmentor.outputs.judge_results import Rejected, RowScores, scores_from_json, scores_to_json
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.source_files import SourceFile
from augmentor.storage import (
    TEMPORARY,
    Json,
    RemotePath,
    make_folder,
    open_folder,
    refuse_links,
    remove_tree,
    sync_folder,
    write_json,
    write_synced,
)
from stargan.checkpoints import json_sha256
from stargan.labels import LabelSpace

_CHECKSUM = b', "sha256": "'
"""Precedes a record's SHA-256, which covers everything before it."""


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """Content of one committed shard.

    Args:
        index: the shard's number, from 0.
        shape: (H, W, C) of the images, None for a side in which they differ; None if there is no image.
        rows: the images in the plan's order.
        positions: their places in the shard, same length as `rows`.
        failures: the shard's rows that could not be used.
        files: sha256 of every image, by its `file_name`.
        packs: sha256 of every pack, by its path inside the output; empty for other formats.
        extents: (first byte, bytes) of each image in the shard's part; empty where images are files.
        origins: the source files, by the path that the manifest writes.
        scores: of every row, None for real ones; empty where nothing was judged.
        rejected: in the order of their positions.
    """

    index: int
    shape: Shape | None
    rows: Sequence[LabelRow]
    positions: Sequence[int]
    failures: Sequence[Failure]
    files: dict[str, str]
    packs: dict[str, str] = field(default_factory=dict)
    extents: Sequence[tuple[int, int]] = ()
    origins: Mapping[str, SourceFile] = field(default_factory=dict)
    scores: Sequence[RowScores | None] = ()
    rejected: Sequence[Rejected] = ()

    @property
    def placed(self) -> tuple[str, ...]:
        """Paths, inside the output, of the shard's files."""
        return tuple(self.packs or ([] if self.extents else self.files))

    def without(self, reasons: Mapping[int, str]) -> ShardRecord:
        """Return the record with more translations rejected: `reasons` by position, unknown positions ignored."""
        kept = [place for place, position in enumerate(self.positions) if position not in reasons]
        dropped = [
            Rejected(
                position=position,
                row=row._replace(file_name=""),
                scores=self.scores[place] if self.scores else None,
                reason=reasons[position],
            )
            for place, (position, row) in enumerate(zip(self.positions, self.rows, strict=True))
            if position in reasons
        ]
        rows = [self.rows[place] for place in kept]
        return replace(
            self,
            rows=rows,
            positions=[self.positions[place] for place in kept],
            files={row.file_name: self.files[row.file_name] for row in rows},
            extents=[self.extents[place] for place in kept] if self.extents else (),
            scores=[self.scores[place] for place in kept] if self.scores else (),
            rejected=sorted([*self.rejected, *dropped], key=lambda each: each.position),
        )

    def write(self, path: Path, *, below: Path | None = None) -> None:
        """Write the record and sync its content; the caller gives it its final name.

        `below` is as for `open_folder`.
        """
        counts = Counts(failed=len(self.failures), rejected=len(self.rejected))
        for row in self.rows:
            counts.add(row)
        state: dict[str, object] = {
            "index": self.index,
            "shape": None if self.shape is None else list(self.shape),
            "rows": [row.to_json() for row in self.rows],
            "positions": list(self.positions),
            "failures": [asdict(failure) for failure in self.failures],
            "files": self.files,
            "counts": counts.to_json(),
        }
        if self.packs:
            state["packs"] = self.packs
        if self.extents:
            state["extents"] = list(self.extents)
        if self.origins:
            state["origins"] = {
                path: (origin.size, origin.modified, origin.sha256) for path, origin in self.origins.items()
            }
        if any(scores is not None for scores in self.scores):
            state["scores"] = [scores_to_json(scores) for scores in self.scores]
        if self.rejected:
            state["rejected"] = [each.to_json() for each in self.rejected]
        write_synced(path, _with_checksum(json.dumps(state, ensure_ascii=False).encode()), below=below)

    @classmethod
    def read(cls, path: Path) -> ShardRecord:
        """Read a record.

        Raises:
            OutputError: the file is missing, not a record, or damaged.
        """
        try:
            state = json.loads(_checked(path.read_bytes()))
            _refuse_other_places([*state["files"], *state.get("packs", ())])
            return cls(
                index=state["index"],
                shape=None if state["shape"] is None else tuple(state["shape"]),
                rows=[LabelRow.from_json(row) for row in state["rows"]],
                positions=state["positions"],
                failures=[Failure(**failure) for failure in state["failures"]],
                files=state["files"],
                packs=state.get("packs", {}),
                extents=[(first, size) for first, size in state.get("extents", ())],
                origins={path: SourceFile(*origin) for path, origin in state.get("origins", {}).items()},
                scores=[scores_from_json(scores) for scores in state.get("scores", ())],
                rejected=[Rejected.from_json(each) for each in state.get("rejected", ())],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{path}: the shard's record cannot be read: {error}") from error


class StoredRun(NamedTuple):
    """Content of `run.json`: the run that a folder of records belongs to; `shards` is None where not known yet."""

    description: Mapping[str, Json]
    space: LabelSpace
    shards: int | None


class RecordFolder:
    """The records of one output and the run that they belong to.

    `work` is the folder of `run.json`, `shards/NNNNN.json` and unfinished files under `tmp/`.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self.root = work.parent
        self.shards = work / "shards"
        self.temporary = work / "tmp"

    def path(self, index: int) -> Path:
        """Return the path of a shard's record."""
        return self.shards / f"{index:05d}.json"

    def started(self) -> bool:
        """Return whether a run began to write here."""
        return (self.work / "run.json").exists()

    def open(
        self, output: Path, description: Mapping[str, object], space: LabelSpace, *, shards: int | None = None
    ) -> None:
        """Make the folders, or check that existing ones belong to the same run.

        Args:
            output: for messages.
            description: of the run, with its fingerprint.
            space: the label space of the codes.
            shards: their number, where it is known.

        Raises:
            OutputError: they belong to another plan, model or settings.
        """
        self.check(output, Identity.of(description))
        if not self.started() and self.shards.exists():
            remove_tree(self.shards)  # Nobody knows whose records they are.
        self.make_folders()
        if not self._says(shards):
            self.begin(description, space, shards=shards)
        for leftover in self.shards.glob(f"{TEMPORARY}*"):
            leftover.unlink(missing_ok=True)

    def staged(self) -> list[Path]:
        """Return the folders of unfinished shards, in order; what is not called by a shard's number stays."""
        return sorted(path for path in self.temporary.iterdir() if is_shard_number(path.name))

    def committed(self) -> list[Path]:
        """Return the records in order; what is not called by a shard's number is none."""
        found = (path for path in self.shards.glob("*.json") if is_shard_number(path.stem))
        return sorted(found, key=lambda path: int(path.stem))

    def make_folders(self) -> None:
        """Make the folders, or check that existing ones are no links."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (self.shards, self.temporary):
            make_folder(folder, below=self.root)

    def refuse_links(self) -> None:
        """Raise OutputError where one of the folders is a link, or is reached through one."""
        for folder in (self.shards, self.temporary):
            refuse_links(folder, below=self.root)

    def check(self, output: Path, identity: Identity) -> None:
        """Refuse records of another run, and links; changes nothing.

        Raises:
            OutputError: they belong to another plan, model or settings, or their folder is a link.
        """
        if not isinstance(self.work, RemotePath):
            self.refuse_links()
        found = read_identity(self.work / "run.json")
        if found is not None:
            refuse_other_run(output, found=found, expected=identity)

    def begin(self, description: Mapping[str, object], space: LabelSpace, *, shards: int | None = None) -> None:
        """Write `run.json` durably; the folder exists."""
        state = {
            **Identity.of(description)._asdict(),
            "label_space": space.to_json(),
            "schema_version": SCHEMA_VERSION,
            "description": dict(description),
            "shards": shards,
        }
        write_json(self.work / "run.json", {**state, "sha256": json_sha256(state)}, below=self.root)
        sync_folder(self.root)

    def read_run(self) -> StoredRun:
        """Read `run.json`.

        Raises:
            OutputError: it is missing, damaged, or of another version of augmentor.
        """
        path = self.work / "run.json"
        try:
            state: Any = checked_object(path.read_bytes())
            return StoredRun(state["description"], described_space(state), state["shards"])
        except FileNotFoundError:
            raise OutputError(f"{path.parent.parent}: no expand was begun here") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(
                f"{path}: cannot be read ({error}). Run the same expand again, without --shards"
            ) from error

    def _says(self, shards: int | None) -> bool:
        """Return whether `run.json` has this number of shards; after `clear` it has none."""
        try:
            return self.read_run().shards == shards
        except OutputError:
            return False

    def missing(self, shards: int) -> list[int]:
        """Return the numbers, below `shards`, without a record; one listing, reads no record."""
        there = {path.name for path in self.shards.iterdir()} if self.shards.is_dir() else set()
        return [index for index in range(shards) if self.path(index).name not in there]

    def get(self, index: int) -> ShardRecord | None:
        """Return a shard's record; None where it is missing or damaged, so that the shard is made again."""
        path = self.path(index)
        try:
            record = ShardRecord.read(path) if path.exists() else None
        except OutputError:
            return None
        return record if record is not None and record.index == index else None

    def commit(self, staged: Path, index: int) -> None:
        """Give a written record its final name, durably: from here on the shard counts."""
        with open_folder(self.shards, below=self.root) as folder:
            folder.receive(str(staged), self.path(index).name)
            folder.sync()

    def rewrite(self, record: ShardRecord) -> None:
        """Replace a committed record."""
        staged = self.shards / f"{TEMPORARY}{record.index:05d}.json"
        record.write(staged, below=self.root)
        self.commit(staged, record.index)

    def read_all(self, shards: int, *, first: int = 0) -> Iterator[ShardRecord]:
        """Yield the records from `first` on in order, one in memory at a time.

        Raises:
            OutputError: one is missing.
        """
        missing = next((index for index in self.missing(shards) if index >= first), None)
        if missing is not None:
            raise OutputError(
                f"{self.work.parent}: shard {missing} of {shards} is missing. Run the same expand again."
            )
        for index in range(first, shards):
            yield ShardRecord.read(self.path(index))


def is_shard_number(name: str) -> bool:
    """Return whether a name, without its suffix, is a shard's number."""
    return name.isascii() and name.isdigit()


def _with_checksum(text: bytes) -> bytes:
    """Return the bytes of a JSON object with their SHA-256 as its last entry."""
    return text[:-1] + _CHECKSUM + hashlib.sha256(text).hexdigest().encode() + b'"}\n'


def _checked(data: bytes) -> bytes:
    """Return a record's JSON without its checksum; raise ValueError where that is missing or does not match."""
    text, _, digest = data.rpartition(_CHECKSUM)
    whole = text + b"}"
    if digest != hashlib.sha256(whole).hexdigest().encode() + b'"}\n':
        raise ValueError("its bytes are not those that were written")
    return whole


def _refuse_other_places(names: Iterable[str]) -> None:
    """Raise ValueError for a file name that is not below a split's folder: named files are read and removed."""
    for name in names:
        split, *rest = name.split("/")
        if split not in SPLITS or not rest or "\\" in name or not {"", ".", ".."}.isdisjoint(rest):
            raise ValueError(f"{name!r} is no file of the output")
