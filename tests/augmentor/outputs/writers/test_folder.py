"""Folders: the contract's tree, equal bytes after a kill at any moment, and what other libraries make of it."""

from __future__ import annotations

import csv
import errno
import gc
import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augmentor.data import Failure
from augmentor.errors import AugmentorError, ImageError, OutputError
from augmentor.images import Pixels, decode
from augmentor.outputs.label_table import LabelRow, key, real_key
from augmentor.outputs.readers import FinishedOutput
from augmentor.outputs.writers import FolderWriter, Writer
from augmentor.outputs.writers.staged import FolderShard
from augmentor.storage import Json
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.outputs.finishing import finish

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond/grey", "unknown")),
        Attribute(name="male"),
    )
)
DESCRIPTION = {"fingerprint": "abc", "settings": {"seed": 1}}
FAILURES = {0: [], 1: [Failure(id="x", path="x.png", reason="gone"), Failure(id="y", path="y.png", reason="cut")]}


def make_row(stem: str, codes: tuple[int, ...], split: str = "train", *, synthetic: bool = False) -> LabelRow:
    return LabelRow(
        file_name="",
        key=key(stem, SPACE.domain(codes)) if synthetic else real_key(stem),
        split=split,
        group="",
        is_synthetic=synthetic,
        source_id=stem,
        source_path=f"images/{stem}.png",
        codes=codes,
        changed=("hair",) if synthetic else (),
        agreement=0.75 if synthetic else None,
        realism=-1.5 if synthetic else None,
    )


def items(shard: int) -> Iterator[tuple[int, LabelRow, Pixels]]:
    """Real and synthetic images of six sources; every label is known in val and test, not so in train."""
    rng = np.random.default_rng(shard)
    position = 0
    for number in range(6):
        stem = f"{shard}{number:04d}"
        split = ("train", "train", "train", "val", "test", "train")[number]
        male = -1 if number == 0 else number % 2
        targets = (0, 1, 2) if split == "train" else (0,)
        for hair in targets:
            row = make_row(stem, (hair, male), split, synthetic=hair > 0)
            yield position, row, rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            position += 2  # every other item failed


def write_shard(writer: Writer, index: int) -> None:
    with writer.shard(index) as shard:
        for position, row, pixels in items(index):
            shard.add_all([(position, row, pixels)])
        shard.commit(FAILURES[index])


def expand(writer: Writer, shards: int = 2) -> None:
    writer.open()
    for index in range(shards):
        if writer.record(index) is None:
            write_shard(writer, index)
    finish(writer, shards)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def folder_writer(out: Path, **settings: object) -> FolderWriter:
    return FolderWriter(out, space=SPACE, description=DESCRIPTION, **settings)  # type: ignore[arg-type]


def test_tree_tables_and_counts(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    expand(folder_writer(out))
    rows = table(out / "labels.csv")
    expected = [(row, pixels) for shard in range(2) for _, row, pixels in items(shard)]
    assert len(rows) == len(expected) == 28
    for cells, (row, pixels) in zip(rows, expected, strict=True):
        assert cells["file_name"] == f"{row.split}/0000{row.source_id[0]}/{row.key}.png"
        np.testing.assert_array_equal(decode(out / cells["file_name"], channels=3), pixels)
        assert cells["male"] == ("" if row.codes[1] == -1 else str(row.codes[1]))
        assert cells["is_synthetic"] == str(int(row.is_synthetic))
        assert cells["changed"] == ("hair" if row.is_synthetic else "none")
    for split in ("train", "val", "test"):
        part = table(out / split / "metadata.csv")
        whole = [cells for cells in rows if cells["split"] == split]
        assert [f"{split}/{cells['file_name']}" for cells in part] == [cells["file_name"] for cells in whole]
        for column in ("key", "hair", "changed", "agreement", "source_id"):
            assert [cells[column] for cells in part] == [cells[column] for cells in whole]
    assert (out / "failures.csv").read_text() == "id,path,reason\nx,x.png,gone\ny,y.png,cut\n"
    text = (out / "dataset.json").read_text()
    described = json.loads(text)
    assert described["counts"] == {
        "real": 12,
        "synthetic": 16,
        "failed": 2,
        "rejected": 0,
        "splits": {
            "train": {"real": 8, "synthetic": 16},
            "val": {"real": 2, "synthetic": 0},
            "test": {"real": 2, "synthetic": 0},
        },
    }
    assert described["settings"] == {"seed": 1}
    assert described["image_shape"] == [8, 8, 3]
    assert LabelSpace.from_json(described["label_space"]) == SPACE
    assert text == json.dumps(described, sort_keys=True, indent=2) + "\n"
    record = json.loads((out / ".augmentor/shards/00001.json").read_bytes())
    for name, digest in record["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert not [name for name in tree(out) if "tmp" in name]


def test_threads_and_order_do_not_matter(tmp_path: Path) -> None:
    expand(folder_writer(tmp_path / "a"))
    writer = folder_writer(tmp_path / "b")
    writer.open()
    for index in (1, 0):
        with writer.shard(index) as shard, ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item, shard=shard: shard.add_all([item]), reversed(list(items(index)))))
            shard.commit(FAILURES[index])
    finish(writer, 2)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    writer = folder_writer(tmp_path)
    expand(writer)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    content = tree(tmp_path)
    again = folder_writer(tmp_path)
    assert again.complete()
    expand(again)
    assert tree(tmp_path) == content
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == before


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs, not even clean-up."""


def kill_at(call: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the n-th rename raise, and every clean-up after it do nothing."""
    made = 0
    rename, undo = os.replace, FolderWriter.undo

    def dying(source: str | Path, target: str | Path, **folders: int | None) -> None:
        nonlocal made
        made += 1
        if made >= call:
            raise Killed
        rename(source, target, **folders)

    def revive() -> None:
        monkeypatch.setattr(os, "replace", rename)
        monkeypatch.setattr(FolderWriter, "undo", undo)

    monkeypatch.setattr(os, "replace", dying)
    monkeypatch.setattr(FolderShard, "__exit__", lambda *_: None)
    return revive


@pytest.mark.parametrize("class_folders", [None, "hair"])
def test_kill_at_any_rename_then_again_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, class_folders: str | None
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # it takes most of the time; its order is tested below
    expand(folder_writer(tmp_path / "whole", class_folders=class_folders))
    whole = tree(tmp_path / "whole")
    for call in range(1, 40, 3):
        out = tmp_path / f"killed{call}"
        with monkeypatch.context() as patch:
            revive = kill_at(call, patch)
            with pytest.raises(Killed):
                expand(folder_writer(out, class_folders=class_folders))
            revive()
        assert not folder_writer(out).complete()
        expand(folder_writer(out, class_folders=class_folders))
        assert tree(out) == whole, f"killed at rename {call}"


def test_record_is_renamed_after_everything_was_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    rename, fsync = os.replace, os.fsync

    def noting_fsync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def checking_rename(source: str | Path, target: str | Path, **folders: int | None) -> None:
        node = os.stat(source, dir_fd=folders.get("src_dir_fd")).st_ino
        assert node in synced, f"{source} was renamed before it was synced"
        if target == "00000.json":
            images = list(tmp_path.glob("*/00000/*.png"))
            assert len(images) == 14
            for path in (*images, tmp_path / "train/00000", tmp_path / "train", tmp_path):
                assert path.stat().st_ino in synced, f"{path} was not synced before the record counted"
        rename(source, target, **folders)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", checking_rename)
    expand(folder_writer(tmp_path))
    assert (tmp_path / ".augmentor/shards").stat().st_ino in synced


def test_rows_that_fail_the_second_time_leave_no_stray_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = folder_writer(tmp_path)
    writer.open()
    with monkeypatch.context() as patch:
        revive = kill_at(3, patch)  # two images in place, no record
        with pytest.raises(Killed):
            write_shard(writer, 0)
        revive()
    assert len(list(tmp_path.glob("train/*/*.png"))) == 2
    assert writer.record(0) is None
    writer = folder_writer(tmp_path)
    writer.open()
    with writer.shard(0) as shard:
        shard.commit([Failure(id="a", path="a", reason="gone")])
    finish(writer, 1)
    assert not list(tmp_path.rglob("*.png"))
    assert table(tmp_path / "labels.csv") == []


def test_damaged_or_missing_record_does_not_count(tmp_path: Path) -> None:
    writer = folder_writer(tmp_path)
    expand(writer)
    before = tree(tmp_path)
    record = tmp_path / ".augmentor/shards/00000.json"
    record.write_bytes(record.read_bytes()[:100])
    assert writer.record(0) is None
    assert writer.record(1) is not None
    write_shard(writer, 0)
    finish(writer, 2)
    assert tree(tmp_path) == before
    record.unlink()
    with pytest.raises(OutputError, match=r"shard 0 of 2 is missing. Run the same expand again"):
        finish(writer, 2)


def test_other_runs_and_other_people_s_files_are_refused(tmp_path: Path) -> None:
    expand(folder_writer(tmp_path / "out"))
    other = FolderWriter(tmp_path / "out", space=SPACE, description={"fingerprint": "other"})
    assert not other.complete()
    with pytest.raises(OutputError, match="another plan, model or settings"):
        other.open()
    (tmp_path / "out/dataset.json").unlink()  # not finished: the run's own note tells
    with pytest.raises(OutputError, match="another plan, model or settings"):
        other.open()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    with pytest.raises(OutputError, match=r"already holds 'thesis.tex'"):
        folder_writer(tmp_path / "mine").open()
    with pytest.raises(OutputError, match="is a file"):
        folder_writer(tmp_path / "mine/thesis.tex").open()
    (tmp_path / "empty").mkdir()
    folder_writer(tmp_path / "empty").open()


@pytest.mark.parametrize("linkable", [True, False])
def test_original_files_are_linked_or_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linkable: bool
) -> None:
    source = tmp_path / "photo.JPG"
    Image.new("RGB", (30, 20), (1, 2, 3)).save(source)
    (tmp_path / "alias.jpg").symlink_to(source)
    if not linkable:

        def refuse(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
    writer = folder_writer(tmp_path / "out", image_format="webp")
    writer.open()
    with writer.shard(0) as shard:
        shard.link(0, make_row("a", (0, 0)), source)
        shard.link(1, make_row("b", (0, 0)), tmp_path / "alias.jpg")
        with pytest.raises(ImageError, match=r"gone.png: cannot be linked or copied: No such file"):
            shard.link(2, make_row("c", (0, 0)), tmp_path / "gone.png")
        shard.commit([])
    finish(writer, 1)
    linked = tmp_path / "out/train/00000/a__real.jpg"
    assert linked.read_bytes() == source.read_bytes()
    assert linked.samefile(source) == linkable
    alias = tmp_path / "out/train/00000/b__real.jpg"
    assert not alias.is_symlink()
    assert [row["file_name"] for row in table(tmp_path / "out/labels.csv")] == [
        "train/00000/a__real.jpg",
        "train/00000/b__real.jpg",
    ]
    # Again, over the same links: renaming one link of a file onto another does nothing, and must leave nothing.
    (tmp_path / "out/.augmentor/shards/00000.json").unlink()
    with writer.shard(0) as shard:
        shard.link(0, make_row("a", (0, 0)), source)
        shard.commit([])
    assert not list((tmp_path / "out/.augmentor/tmp").iterdir())


def test_an_original_never_brings_a_suffix_of_its_own(tmp_path: Path) -> None:
    for name in ("page.html", f"long.{'x' * 200}", "line.p\nng", "bare"):
        Image.new("RGB", (3, 2), (1, 2, 3)).save(tmp_path / name, format="PNG")
    (tmp_path / "text.exe").write_text("no image")
    writer = folder_writer(tmp_path / "out")
    writer.open()
    with writer.shard(0) as shard:
        for position, name in enumerate(("page.html", f"long.{'x' * 200}", "line.p\nng", "bare")):
            shard.link(position, make_row("abcd"[position], (0, 0)), tmp_path / name)
        with pytest.raises(ImageError, match="not an image"):
            shard.link(4, make_row("e", (0, 0)), tmp_path / "text.exe")
        shard.commit([])
    finish(writer, 1)
    assert sorted(path.name for path in (tmp_path / "out/train/00000").iterdir()) == [
        f"{name}__real.png" for name in "abcd"
    ]


def test_class_folders_are_safe_and_torchvision_reads_them(tmp_path: Path) -> None:
    datasets = importlib.import_module("torchvision.datasets")
    writer = folder_writer(tmp_path, class_folders="hair")
    writer.open()
    write_shard(writer, 0)
    with writer.shard(1) as shard:
        shard.add_all([(0, make_row("z", (-1, 0)), np.zeros((8, 8, 3), np.uint8))])
        shard.commit([])
    finish(writer, 2)
    folders = sorted(path.name for path in (tmp_path / "train").iterdir() if path.is_dir())
    assert [name.split("-")[0] for name in folders] == ["black", "blond", "unknown", "unknown"]
    assert folders[2] == "unknown"  # of the image whose value is not known; the value "unknown" gave way
    assert (tmp_path / "train/unknown/z__real.png").exists()
    loaded = datasets.ImageFolder(str(tmp_path / "train"))
    assert loaded.classes == folders
    assert len(loaded) == 13
    with pytest.raises(AugmentorError, match="Did you mean 'hair'"):
        folder_writer(tmp_path, class_folders="hairs")


def test_classes_have_one_number_in_all_splits(tmp_path: Path) -> None:
    """As the documents show: a split that lacks a class has the numbers of train."""
    datasets = importlib.import_module("torchvision.datasets")
    description: dict[str, Json] = {"fingerprint": "abc", "settings": {"class_folders": "hair"}}
    writer = FolderWriter(tmp_path, space=SPACE, description=description, class_folders="hair")
    writer.open()
    rows = [make_row("a", (0, 0)), make_row("b", (1, 0)), make_row("c", (2, 0)), make_row("d", (1, 0), "val")]
    with writer.shard(0) as shard:
        for position, row in enumerate(rows):
            shard.add_all([(position, row, np.zeros((8, 8, 3), np.uint8))])
        shard.commit([])
    finish(writer, 1)
    train, val = (datasets.ImageFolder(str(tmp_path / split)) for split in ("train", "val"))
    assert (tmp_path / "classes.txt").read_text(encoding="utf-8").splitlines() == train.classes
    assert train.class_to_idx[val.classes[0]] == 1
    assert val[0][1] == 0  # the fault: another number
    classes = train.classes
    val = datasets.ImageFolder(
        str(tmp_path / "val"), target_transform=lambda number: classes.index(val.classes[number])
    )
    assert val[0][1] == 1
    output = FinishedOutput.open(tmp_path)
    assert output.description["missing_classes"] == {"val": [train.classes[0], train.classes[2]]}
    assert f"val lacks {train.classes[0]}, {train.classes[2]}." in output.class_note
    writer.clear()
    assert not (tmp_path / "classes.txt").exists()


def test_webp_and_grey(tmp_path: Path) -> None:
    writer = folder_writer(tmp_path, image_format="webp")
    writer.open()
    with writer.shard(0) as shard:
        shard.add_all([(0, make_row("a", (0, 0)), np.full((8, 8, 1), 50, np.uint8))])
        shard.commit([])
    finish(writer, 1)
    assert json.loads((tmp_path / "dataset.json").read_bytes())["image_shape"] == [8, 8, 1]
    assert decode(tmp_path / "train/00000/a__real.webp", channels=1).shape == (8, 8, 1)


# The library leaves its own files for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_hugging_face_finds_splits_and_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    hugging_face = importlib.import_module("datasets")
    out = tmp_path / "out"
    expand(folder_writer(out))
    Image.new("RGB", (4, 4)).save(out / "preview.png")
    (out / "report.html").write_text("<p>report")
    loaded = hugging_face.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 24, "validation": 2, "test": 2}
    for name, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = [row for row in table(out / "labels.csv") if row["split"] == split]
        for item, row in zip(loaded[name], rows, strict=True):
            np.testing.assert_array_equal(np.asarray(item["image"]), decode(out / row["file_name"], channels=3))
            assert item["hair"] == row["hair"]
            assert item["key"] == row["key"]
            assert item["male"] == (float(row["male"]) if row["male"] else None)
            assert item["changed"] == row["changed"]
            assert item["agreement"] == (float(row["agreement"]) if row["agreement"] else None)
    gc.collect()


# The library leaves its own files for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_hugging_face_joins_splits_that_know_different_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hugging_face = importlib.import_module("datasets")
    writer = folder_writer(tmp_path / "out")
    writer.open()
    with writer.shard(0) as shard:
        known: Mapping[str, tuple[int, int]] = {"train": (1, -1), "val": (-1, 1), "test": (0, 0)}
        for position, (split, codes) in enumerate(known.items()):
            shard.add_all([(position, make_row(f"{position}", codes, split), np.zeros((8, 8, 3), np.uint8))])
        shard.commit([])
    finish(writer, 1)
    assert [row["male"] for row in table(tmp_path / "out/labels.csv")] == ["", "1", "0"]
    loaded = hugging_face.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache")
    )
    assert [loaded[split][0]["male"] for split in ("train", "validation", "test")] == [None, 1.0, 0.0]
    assert [loaded[split][0]["hair"] for split in ("train", "test")] == ["blond/grey", "black"]
    gc.collect()


def test_files_that_a_network_disk_holds_in_a_staged_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expand(folder_writer(tmp_path / "whole"))
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        revive = kill_at(5, patch)
        with pytest.raises(Killed):
            expand(folder_writer(out))
        revive()
    (staged,) = (out / ".augmentor" / "tmp").iterdir()
    (staged / ".nfs0000123").write_text("x")
    (staged / ".DS_Store").write_text("x")
    unlink = os.unlink

    def held(path: str | Path, *, dir_fd: int | None = None) -> None:
        if str(path).endswith(".nfs0000123"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", held)
    expand(folder_writer(out))
    assert [path.name for path in staged.iterdir()] == [".nfs0000123"]
    left = str((staged / ".nfs0000123").relative_to(out))
    assert {name: data for name, data in tree(out).items() if name != left} == tree(tmp_path / "whole")
    folder_writer(out).clear()
    assert not list(out.glob("*/*/*.png"))
