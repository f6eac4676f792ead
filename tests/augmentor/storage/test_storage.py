"""URLs among paths, and what is read and written there: on fsspec's storage in memory, which is made to fail."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from augmentor.data.manifest import read_manifest, read_manifests
from augmentor.errors import AugmentorError, ImageError, ManifestError, MissingExtraError
from augmentor.images import decode
from augmentor.outputs.source_files import SourceFile
from augmentor.storage import filesystems
from augmentor.storage import urls as storage
from augmentor.storage.access import ANYWHERE, Access, OutsideError, is_there
from augmentor.storage.retrying import RetryPolicy
from augmentor.storage.urls import (
    RemotePath,
    content,
    located,
    parse_path,
    refuse_unusable,
    remove,
    upload,
    write_bytes,
)


def url(text: str) -> RemotePath:
    path = parse_path(text)
    assert isinstance(path, RemotePath)
    return path


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    made: list[float] = []
    monkeypatch.setattr(filesystems, "RETRIES", RetryPolicy(sleep=made.append))
    return made


@pytest.fixture(autouse=True)
def memory(pauses: list[float]) -> Iterator[MemoryFileSystem]:
    """An empty storage in memory."""
    files = MemoryFileSystem()
    files.store.clear()
    storage._forget()
    yield files
    files.store.clear()


def failing(times: int, error: Exception, do: Callable[..., object]) -> Callable[..., object]:
    """Return what fails so many times before it does what it should."""
    left = [times]

    def call(*args: object, **kwargs: object) -> object:
        if left[0]:
            left[0] -= 1
            raise error
        return do(*args, **kwargs)

    return call


def test_a_url_is_a_path_like_any_other() -> None:
    path = url("s3://bucket/data/manifest.csv")
    assert str(path) == f"{path}" == path.as_posix() == "s3://bucket/data/manifest.csv"
    assert (path.name, path.stem, path.suffix) == ("manifest.csv", "manifest", ".csv")
    assert str(path.parent) == "s3://bucket/data"
    assert str(path.parent / "images" / "a.png") == "s3://bucket/data/images/a.png"
    assert str(path.with_name("b.csv")) == "s3://bucket/data/b.csv"
    assert str(path.with_suffix(".tsv")) == "s3://bucket/data/manifest.tsv"
    for other in (path.parent, path / "x", path.with_name("y"), path.resolve(), path.absolute()):
        assert isinstance(other, RemotePath)
    again = pickle.loads(pickle.dumps(path))
    assert (type(again), str(again)) == (RemotePath, str(path))
    assert path == url("S3://bucket//data/./manifest.csv")
    assert len({path, again}) == 1


def test_what_is_no_url_stays_a_file() -> None:
    assert type(parse_path("data/manifest.csv")) is type(Path())
    assert parse_path("file:///data/manifest.csv") == Path("/data/manifest.csv")
    assert not isinstance(parse_path("C:/data"), RemotePath)
    with pytest.raises(OSError, match="no folders"):
        url("s3://bucket/out").mkdir(parents=True)


@pytest.mark.parametrize(
    ("root", "written", "expected"),
    [
        ("s3://b/data", "images/a.png", "s3://b/data/images/a.png"),
        ("s3://b/data", "../other/a.png", "s3://b/other/a.png"),
        ("s3://b/data", "s3://c/a.png", "s3://c/a.png"),
        ("s3://b/data", "/etc/passwd", "/etc/passwd"),
        ("s3://b/data", "file:///etc/passwd", "/etc/passwd"),
        ("data", "a.png", "data/a.png"),
        ("data", "gs://c/a.png", "gs://c/a.png"),
        ("data", "a:b.png", "data/a:b.png"),
    ],
)
def test_what_a_cell_names(root: str, written: str, expected: str) -> None:
    path = located(parse_path(root), written)
    assert str(path) == expected
    assert isinstance(path, RemotePath) == ("://" in expected)


@pytest.mark.parametrize(
    ("root", "written", "inside"),
    [
        ("memory://b/data", "images/a.png", True),
        ("memory://b/data", "x/../a.png", True),
        ("memory://b/data", "memory://b/data/a.png", True),
        ("memory://b/data", "../a.png", False),
        ("memory://b/data", "../data-too/a.png", False),
        ("memory://b/data", "memory://c/data/a.png", False),
        ("memory://b/data", "/etc/passwd", False),
        ("data", "memory://b/data/a.png", False),
    ],
)
def test_what_leads_out_is_read_only_where_all_may_be(root: str, written: str, inside: bool) -> None:
    folder = parse_path(root)
    path = located(folder, written)
    assert Access(folders=(folder,)).is_outside(path) != inside
    assert not ANYWHERE.is_outside(path)
    if not inside:
        with pytest.raises(OutsideError, match="--allow-outside"):
            Access(folders=(folder,)).open(path)
    elif isinstance(path, RemotePath):
        write_bytes(path, b"pixels")
        assert Access(folders=(folder,)).open(path).read() == b"pixels"


def test_what_is_written_is_there_whole_and_can_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = url("memory://bucket/out"), tmp_path / "file"
    assert not folder.exists()
    assert folder.listing() == {}
    for size in (3, 300):  # in one request, and in parts
        monkeypatch.setattr(storage, "_WHOLE_BYTES", 100)
        file.write_bytes(b"x" * size)
        upload(file, folder / f"{size}.bin")
    write_bytes(folder / "deep" / "a.txt", b"")
    assert {name: (status.kind, status.size) for name, status in folder.listing().items()} == {
        "3.bin": ("file", 3),
        "300.bin": ("file", 300),
        "deep": ("directory", 0),
    }
    assert sorted(map(str, folder.iterdir())) == [f"{folder}/{name}" for name in ("3.bin", "300.bin", "deep")]
    assert folder.is_dir()
    assert (folder / "3.bin").is_file()
    assert is_there(folder / "3.bin")
    assert not is_there(folder / "4.bin")
    remove(folder / "3.bin")
    remove(folder / "3.bin")  # a second time changes nothing
    assert not (folder / "3.bin").exists()


def test_what_passes_is_survived(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    path = url("memory://bucket/a")
    monkeypatch.setattr(
        MemoryFileSystem, "pipe_file", failing(3, ConnectionResetError("reset"), MemoryFileSystem.pipe_file)
    )
    write_bytes(path, b"all")
    assert len(pauses) == 3
    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing(5, TimeoutError("slow"), MemoryFileSystem.cat_file))
    assert path.read_bytes() == b"all"
    assert len(pauses) == 8


def test_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    path = url("memory://bucket/a")
    with pytest.raises(FileNotFoundError, match="there is no such object"):
        path.read_bytes()
    monkeypatch.setattr(
        MemoryFileSystem, "cat_file", failing(1, PermissionError("Forbidden"), MemoryFileSystem.cat_file)
    )
    with pytest.raises(PermissionError, match=r"access is refused: Forbidden.*environment"):
        path.read_bytes()
    assert pauses == []
    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing(9, TimeoutError("slow"), MemoryFileSystem.cat_file))
    with pytest.raises(OSError, match="the storage says: slow, asked 6 times"):
        path.read_bytes()
    assert len(pauses) == 5


def test_an_image_is_fetched_once_though_it_is_looked_at_several_times(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = url("memory://bucket/a.bin")
    write_bytes(path, b"pixels")
    asked: list[str] = []

    def cat_file(_self: MemoryFileSystem, url: str) -> object:
        asked.append(url)
        return cat(url)

    cat = memory.cat_file
    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    origin = SourceFile.of(path)
    assert content(path) == b"pixels"
    assert len(asked) == 1
    assert (origin.size, origin.change(path, by_content=False), origin.change(path, by_content=True)) == (
        6,
        None,
        None,
    )
    assert origin.modified > 0
    write_bytes(path, b"other pixels")
    assert origin.change(path, by_content=False) == "6 bytes before, 12 now"
    # As much as fits is kept, the last ones.
    monkeypatch.setattr(storage, "_KEPT_BYTES", 10)
    for name in "bcd":
        write_bytes(path.with_name(name), name.encode() * 6)
        assert content(path.with_name(name)) == name.encode() * 6
    assert list(storage._kept._contents) == ["memory://bucket/d"]


def test_a_broken_image_is_told_as_on_a_disk() -> None:
    path = url("memory://bucket/a.png")
    with pytest.raises(ImageError, match=r"memory://bucket/a\.png: the file does not exist"):
        decode(path, channels=3)
    write_bytes(path, b"")
    with pytest.raises(ImageError, match="the object is empty"):
        decode(path, channels=3)


def test_manifests_are_read_from_urls() -> None:
    text = b"path,hair\na.png,red\nb/c.png,black\n"
    for name in ("one/m.csv", "two/n.csv"):
        write_bytes(url(f"memory://bucket/{name}"), text)
    one, two = url("memory://bucket/one/m.csv"), url("memory://bucket/two/n.csv")
    manifest = read_manifest(one)
    assert [str(manifest.image_path(row)) for row in range(2)] == [
        "memory://bucket/one/a.png",
        "memory://bucket/one/b/c.png",
    ]
    both = read_manifests([one, two])
    assert [str(both.image_path(row)) for row in (0, 3)] == [
        "memory://bucket/one/a.png",
        "memory://bucket/two/b/c.png",
    ]
    assert not any(both.access.is_outside(both.image_path(row)) for row in range(4))
    with pytest.raises(ManifestError, match=r"memory://bucket/no\.csv: cannot be read \(there is no such object"):
        read_manifest(url("memory://bucket/no.csv"))
    write_bytes(one, b"path,hair\na.png,red\ns3://me:hush@bucket/b.png,black\n")
    with pytest.raises(ManifestError, match=r"m\.csv, row 3, column 'path': a URL with credentials") as told:
        read_manifest(one)
    assert "hush" not in str(told.value)


def test_urls_that_cannot_be_used_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (parse_path("s3://me:hush@bucket/data"), Path("s3://me:hush@bucket/data")):
        with pytest.raises(AugmentorError, match=r"s3://\*\*\*@bucket/data.*environment") as told:
            refuse_unusable(path)
        assert "hush" not in str(told.value)
    with pytest.raises(AugmentorError, match="s3://bucket/run: a place on a disk is wanted here"):
        refuse_unusable(Path("s3://bucket/run"))
    with pytest.raises(AugmentorError, match="nothing://bucket: Protocol not known"):
        refuse_unusable(parse_path("nothing://bucket/data"))
    with pytest.raises(AugmentorError, match="not a URL of a bucket"):
        refuse_unusable(parse_path("s3://"))
    refuse_unusable(url("memory://bucket/data"))
    refuse_unusable(tmp_path)
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    filesystems._filesystem.cache_clear()
    with pytest.raises(
        MissingExtraError, match=r"needs fsspec and s3fs: pip install 'stargan-augmentor\[remote\]'"
    ):
        refuse_unusable(parse_path("s3://bucket/data"))
    filesystems._filesystem.cache_clear()
