"""Links in the place of any file or folder of an output: no command changes what they lead to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from augmentor.errors import OutputError
from augmentor.outputs.verify import repair_output, verify_output
from augmentor.outputs.writers import FolderWriter, HDF5Writer, PackWriter, packing_of
from augmentor.report import write_report
from augmentor.storage import Json, locked
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.outputs.verify.outputs import flipped, write
from tests.augmentor.report.conftest import HAIR, judged, picture, rows_of

SPACE = LabelSpace(attributes=(Attribute(name="hair", kind="categorical", values=HAIR), Attribute(name="glasses")))
SHARDS = 2

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a right there")


def make_writer(form: str, folder: Path) -> FolderWriter | HDF5Writer:
    settings: dict[str, Json] = {"domains": ["each"], "splits": ["train"], "output_format": form}
    description: dict[str, Json] = {"fingerprint": "f" * 64, "made_of": {}, "settings": settings}
    match form:
        case "hdf5":
            return HDF5Writer(folder / "out.h5", space=SPACE, description=description)
        case "folder":
            return FolderWriter(folder / "out", space=SPACE, description=description)
    packing = packing_of("webdataset", space=SPACE, encoding="png")
    return PackWriter(folder / "out", space=SPACE, description=description, packing=packing)


def write_shards(writer: FolderWriter | HDF5Writer) -> None:
    for index in range(SHARDS):
        if writer.record(index) is None:
            rows = rows_of(SPACE, 5, scored=True)[index::SHARDS]
            rejected = {next(row.key for row in rows[1:] if row.is_synthetic)}
            with writer.shard(index) as shard:
                for position, row in enumerate(rows):
                    if row.key not in rejected:
                        shard.add_all([(position, row, picture(position))])
                shard.commit([], None, judged(rows, rejected, SPACE))


def write_pages(out: Path, description: object, images: Path) -> None:
    assert isinstance(description, dict)
    write_report(out, description, images)


def expand(writer: FolderWriter | HDF5Writer, *, overwrite: bool) -> None:
    """Do what the command does."""
    if not overwrite:
        writer.check()
    with locked(writer.lock, output=writer.out):
        if overwrite:
            writer.clear()
        writer.open(shards=SHARDS)
        if not writer.complete():
            write_shards(writer)
            writer.drop(1, {0: "surplus"})
            with writer.assembly(SHARDS) as assembly:
                assembly.finish(partial(write_pages, writer.out))


def interrupt(writer: FolderWriter | HDF5Writer) -> None:
    """Leave a committed shard, and one that a kill left half moved."""
    writer.open(shards=SHARDS)
    write_shards(writer)
    record = writer.records.path(1)
    if isinstance(writer, HDF5Writer):
        record.rename(writer.records.temporary / record.name)
        shutil.copy(writer.parts.path(1), writer.records.temporary)
        (writer.records.temporary / "merged.h5").write_bytes(b"unfinished")
    else:
        (writer.records.temporary / record.stem).mkdir()
        record.rename(writer.records.temporary / record.stem / "record.json")


def damage(out: Path) -> None:
    """Flip a bit of a shard's images, and add a line to a table."""
    name = {".h5": "out.h5", "": "train/00001*"}[out.suffix]
    victim = next((out if out.is_dir() else out.parent).glob(name))
    write(next(victim.iterdir()) if victim.is_dir() else victim, flipped)
    write(out / "labels.csv" if out.is_dir() else out.with_suffix(".scores.csv"), lambda data: data + b"x\n")


def places(out: Path) -> Iterator[list[Path]]:
    """Yield paths that are made links together: each folder of an output, its lock, and all its files."""
    folder = out.parent
    inside = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path != out]
    yield from ([path] for path in inside if (folder / path).is_dir() and path.parts[-2:-1] != ("val",))
    yield [Path(".out.h5.lock" if out.suffix else "out/.augmentor.lock")]
    files = [path for path in inside if (folder / path).is_file()]
    yield [*files, *(path.with_name(f".tmp-{path.name}") for path in files)]


def content(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("form", ["folder", "hdf5", "webdataset"])
@pytest.mark.parametrize("action", ["resume", "overwrite", "report", "repair"])
def test_nothing_outside_is_changed(form: str, action: str, tmp_path: Path) -> None:
    template, work, outside = tmp_path / "template", tmp_path / "work", tmp_path / "outside"
    template.mkdir()
    if action == "resume":
        interrupt(make_writer(form, template))
    else:
        expand(make_writer(form, template), overwrite=False)
    if action == "repair":
        damage(make_writer(form, template).out)
    shutil.copytree(template, outside)
    (outside / "precious").write_text("precious")
    before = content(outside)
    refused = False
    for together in places(make_writer(form, template).out):
        shutil.copytree(template, work)
        for place in together:
            link, target = work / place, outside / place
            shutil.rmtree(link) if link.is_dir() else link.unlink(missing_ok=True)
            link.symlink_to(target if target.exists() else outside / "precious")
        refused = True
        with suppress(OutputError):
            run(action, make_writer(form, work))
            refused = False
        assert content(outside) == before, together
        shutil.rmtree(work)
    assert not refused, "files that are links are replaced"


def run(action: str, writer: FolderWriter | HDF5Writer) -> None:
    match action:
        case "report":
            write_report(writer.out)
        case "repair":
            repair_output(verify_output(writer.out))
        case _:
            expand(writer, overwrite=action == "overwrite")


@pytest.mark.parametrize(
    ("name", "sealed"),
    [
        ("notes/mine.txt", True),
        ("../out/notes/mine.txt", True),
        ("train/../notes/mine.txt", True),
        ("train/00001/mine.txt", False),
    ],
)
def test_records_remove_files_of_splits_alone_and_only_if_sealed(name: str, sealed: bool, tmp_path: Path) -> None:
    writer = make_writer("folder", tmp_path)
    interrupt(writer)
    mine = (tmp_path / "out" / name).resolve()
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    staged = tmp_path / "out" / ".augmentor" / "tmp"
    record = staged / "00001" / "record.json"
    state = {**json.loads(record.read_bytes()), "files": {name: "0" * 64}}
    del state["sha256"]
    text = json.dumps(state)
    seal = f', "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"' if sealed else ""
    record.write_text(f"{text[:-1]}{seal}}}\n")
    writer.open(shards=SHARDS)
    assert mine.read_text() == "mine"
    assert list(staged.iterdir()) == []


@pytest.mark.parametrize("form", ["folder", "hdf5"])
def test_pages_are_on_the_disk_before_the_output_is_finished(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a file that was not synced is empty."""
    synced: set[int] = set()
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        synced.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", noting)
    writer = make_writer(form, tmp_path)
    expand(writer, overwrite=False)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    pictures = [path for path in files if path.parent.name.endswith("report")]
    assert len(pictures) > 5
    assert [path for path in files if path.stat().st_ino not in synced] == []
    assert verify_output(writer.out).ok
    page = writer.paths.beside("report.html")
    for path in (page, pictures[0]):
        path.write_bytes(b"")
    assert [problem.file for problem in verify_output(writer.out).problems] == [
        path.relative_to(writer.paths.root).as_posix() for path in (page, pictures[0])
    ]
