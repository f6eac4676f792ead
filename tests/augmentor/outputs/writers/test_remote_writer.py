"""Outputs behind a URL: what a folder holds, upload before record, the same after any break and on any machine."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from augmentor.data import Failure
from augmentor.errors import AugmentorError, OutputError
from augmentor.expansion.settings import ExpandSettings
from augmentor.expansion.writer import make_writer
from augmentor.outputs.label_table import LabelRow, key, real_key
from augmentor.outputs.readers import FinishedOutput
from augmentor.outputs.writers import FolderWriter
from augmentor.outputs.writers.remote import RemoteWriter, on_disk, scratch
from augmentor.storage.urls import RemotePath, parse_path, remove, write_bytes
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.outputs.finishing import finish

SPACE = LabelSpace(attributes=(Attribute(name="hair", kind="categorical", values=("black", "red")),))
SHARDS, IMAGES = 3, 4
DROPPED = {1: "not among the best"}


@pytest.fixture(autouse=True)
def memory() -> Iterator[MemoryFileSystem]:
    """An empty storage in memory."""
    files = MemoryFileSystem()
    files.store.clear()
    yield files
    files.store.clear()


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemotePath:
    """The URL of an output; this machine's scratch folder is below tmp_path."""
    be_machine("one", tmp_path, monkeypatch)
    path = parse_path("memory://bucket/sets/out")
    assert isinstance(path, RemotePath)
    return path


def be_machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def folder_writer(out: Path, fingerprint: str = "abc") -> FolderWriter:
    return FolderWriter(out, space=SPACE, description={"fingerprint": fingerprint})


def remote_writer(out: RemotePath, fingerprint: str = "abc") -> RemoteWriter:
    here = folder_writer(on_disk(out, fingerprint), fingerprint)
    return RemoteWriter(out, here=here, there=folder_writer(out, fingerprint))


def write_shard(writer: FolderWriter | RemoteWriter, index: int) -> None:
    random = np.random.default_rng(index)
    with writer.shard(index) as shard:
        for position in range(IMAGES):
            stem, codes = f"{index}{position // 2}", (position % 2,)
            row = LabelRow(
                file_name="",
                key=key(stem, SPACE.domain(codes)) if position % 2 else real_key(stem),
                split="val" if position == 2 else "train",
                group="",
                is_synthetic=bool(position % 2),
                source_id=stem,
                source_path=f"{stem}.png",
                codes=codes,
            )
            shard.add_all([(position, row, random.integers(0, 256, (8, 8, 3), dtype=np.uint8))])
        shard.commit([Failure(id=f"x{index}", path="x.png", reason="cut")])


def make(writer: FolderWriter | RemoteWriter, *, drop: bool = False) -> None:
    """Make an output, or go on with it."""
    writer.open(shards=SHARDS)
    if writer.complete():
        return
    for index in range(SHARDS):
        if writer.record(index) is None:
            write_shard(writer, index)
    if drop:
        for index in range(SHARDS):
            writer.drop(index, DROPPED)
    finish(writer, SHARDS)


def expected(tmp_path: Path, *, drop: bool = False) -> dict[str, bytes]:
    """What the same holds as a folder."""
    folder = tmp_path / "expected" / "out"
    make(folder_writer(folder), drop=drop)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def there(out: RemotePath) -> dict[str, bytes]:
    """What the storage holds."""
    start = f"/{str(out).partition('://')[2]}/"
    store: Mapping[str, object] = MemoryFileSystem.store
    return {
        name.removeprefix(start): MemoryFileSystem().cat_file(name) for name in store if name.startswith(start)
    }


class BreaksOff(BaseException):
    """As a kill does, it is caught by nobody."""


def breaking(monkeypatch: pytest.MonkeyPatch, when: Callable[[str], bool]) -> list[str]:
    """Let the upload of a chosen object break off, and return the names of all that were begun."""
    begun: list[str] = []
    pipe = MemoryFileSystem.pipe_file

    def pipe_file(self: MemoryFileSystem, path: str, value: bytes, **flags: object) -> object:
        begun.append(path)
        if when(path):
            raise BreaksOff
        return pipe(self, path, value, **flags)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", pipe_file)
    return begun


def test_a_url_holds_what_a_folder_holds_and_this_disk_nothing(out: RemotePath, tmp_path: Path) -> None:
    writer = pickle.loads(pickle.dumps(remote_writer(out)))
    assert not writer.complete()
    make(writer)
    assert there(out) == expected(tmp_path)
    assert writer.complete()
    assert FinishedOutput.open(out).counts.synthetic == SHARDS * IMAGES // 2
    assert not any(scratch().rglob("*.png"))
    assert list(scratch().iterdir()) == []
    before = there(out)
    make(remote_writer(out))
    assert there(out) == before


def test_images_go_up_before_their_record_and_leave_the_disk(
    out: RemotePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = breaking(monkeypatch, lambda _path: False)
    writer = remote_writer(out)
    writer.open(shards=SHARDS)
    assert begun == [f"{out}/.augmentor/run.json"]
    write_shard(writer, 0)
    assert len(begun) == 1 + IMAGES + 1
    assert begun[-1] == f"{out}/.augmentor/shards/00000.json"
    assert not any(writer.here.out.rglob("*.png"))
    assert writer.missing(SHARDS) == [1, 2]


@pytest.mark.parametrize("place_of_break", ["00001/11__real", "shards/00001", "labels.csv", "dataset.json"])
@pytest.mark.parametrize("machine", ["one", "two"])
def test_an_upload_that_breaks_off_does_not_count_and_is_made_good(
    place_of_break: str, machine: str, out: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as breaks:
        breaking(breaks, lambda path: place_of_break in path)
        with pytest.raises(BreaksOff):
            make(remote_writer(out))
    be_machine(machine, tmp_path, monkeypatch)
    writer = remote_writer(out)
    assert not writer.complete()
    early = "0000" in place_of_break
    assert writer.missing(SHARDS) == ([1, 2] if early else [])
    begun = breaking(monkeypatch, lambda _path: False)
    writer.open(shards=SHARDS)
    # The disk that has the images still need not make them again.
    assert (writer.record(1) is None) == (early and machine == "two")
    make(writer)
    assert there(out) == expected(tmp_path)
    assert sum("00000/" in name for name in begun) == 0


def test_another_machine_finishes_what_others_have_committed(
    out: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, own in (("one", [2]), ("two", [1])):
        be_machine(name, tmp_path, monkeypatch)
        writer = remote_writer(out)
        writer.open(own.__contains__, shards=SHARDS)
        for index in own:
            write_shard(writer, index)
    # As Ray's workers do: the output was opened elsewhere.
    be_machine("four", tmp_path, monkeypatch)
    write_shard(remote_writer(out), 0)
    be_machine("three", tmp_path, monkeypatch)
    writer = remote_writer(out)
    assert writer.missing(SHARDS) == []
    assert writer.record(1) is not None
    assert finish(writer, SHARDS).failed == SHARDS
    assert there(out) == expected(tmp_path)


def test_two_machines_that_make_the_same_do_no_harm(
    out: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writers = []
    for name in ("one", "two"):
        be_machine(name, tmp_path, monkeypatch)
        writers.append(remote_writer(out))
        writers[-1].open(shards=SHARDS)
    for index in range(SHARDS):
        for writer in writers:
            write_shard(writer, index)
    for writer in writers:
        finish(writer, SHARDS)
    assert there(out) == expected(tmp_path)


def test_what_is_dropped_goes_from_the_storage_too_also_after_a_break(
    out: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = remote_writer(out)
    writer.open(shards=SHARDS)
    for index in range(SHARDS):
        write_shard(writer, index)
    with monkeypatch.context() as breaks:
        breaking(breaks, lambda path: "shards/00001" in path)
        writer.drop(0, DROPPED)
        with pytest.raises(BreaksOff):
            writer.drop(1, DROPPED)
    assert sum(name.endswith(".png") for name in there(out)) == SHARDS * IMAGES - 2
    make(remote_writer(out), drop=True)
    assert there(out) == expected(tmp_path, drop=True)


def test_damage_to_a_record_makes_its_shard_anew(out: RemotePath, tmp_path: Path) -> None:
    make(remote_writer(out))
    remove(out / "dataset.json")
    write_bytes(out / ".augmentor" / "shards" / "00001.json", b'{"index": 1')
    writer = remote_writer(out)
    writer.open(shards=SHARDS)
    assert writer.record(0) is not None
    assert writer.record(1) is None
    make(writer)
    assert there(out) == expected(tmp_path)


def test_overwrite_removes_what_expand_wrote_and_nothing_else(
    out: RemotePath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(remote_writer(out))
    write_bytes(out / "mine.txt", b"mine")
    other = remote_writer(out, "other")
    with pytest.raises(OutputError, match="another plan, model or settings"):
        other.check()
    with monkeypatch.context() as breaks:  # A kill in the midst of it leaves the rest to the next.
        remove_file = MemoryFileSystem.rm_file

        def rm_file(self: MemoryFileSystem, path: str) -> None:
            if "00001/" in path:
                raise BreaksOff
            remove_file(self, path)

        breaks.setattr(MemoryFileSystem, "rm_file", rm_file)
        with pytest.raises(BreaksOff):
            other.clear()
    assert not other.complete()
    other.clear()
    assert set(there(out)) == {"mine.txt", ".augmentor/run.json"}
    make(other)
    assert set(there(out)) == {*expected(tmp_path), "mine.txt"}


def test_one_hdf5_file_is_not_written_to_a_url(out: RemotePath) -> None:
    settings = ExpandSettings(domains=("each",), output_format="hdf5")
    with pytest.raises(AugmentorError, match=r"out\.h5: one HDF5 file cannot be written to a URL.* --format"):
        make_writer(out.with_name("out.h5"), settings=settings, space=SPACE, description={"fingerprint": "abc"})


def test_a_place_that_expand_did_not_write_is_refused(out: RemotePath) -> None:
    write_bytes(out / "photos.zip", b"mine")
    with pytest.raises(OutputError, match=r"already holds 'photos\.zip', which expand did not write"):
        remote_writer(out).check()
    write_bytes(out / "dataset.json", b'{"fingerprint": "abc"}')
    with pytest.raises(OutputError, match="the records of what expand wrote"):
        remote_writer(out).clear()
