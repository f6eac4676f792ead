"""Every kind of damage is named; after a repair the same work again gives the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from augmentor.errors import OutputError
from augmentor.images import ImageFormat, Pixels, encode
from augmentor.labeltable import LabelRow, key, real_key
from augmentor.lock import locked
from augmentor.verify import Findings, repair_output, verify_output
from augmentor.writers import Failure, FolderWriter, HDF5Writer, Json, ShardRecord, Writer
from augmentor.writers.places import lock_of_folder
from stargan.description import seal
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "rötlich")),
        Attribute(name="male"),
    )
)
SHARDS = 4
DESCRIPTION: dict[str, Json] = {
    "fingerprint": "abc",
    "made_of": {"settings": {"splits": ["train"]}},
    "settings": {"splits": ["train"], "real": "processed"},
}
FAILED = Failure(id="broken", path="images/broken.png", reason="it is cut short")
Damage = Callable[[Path], object]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes most of the time, and its order is tested with the writers."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def make_row(stem: str, codes: tuple[int, ...], split: str, *, synthetic: bool, group: str = "") -> LabelRow:
    return LabelRow(
        file_name="",
        key=key(stem, SPACE.domain(codes)) if synthetic else real_key(stem),
        split=split,
        group=group,
        is_synthetic=synthetic,
        source_id=stem,
        source_path=f"images/{stem}.png",
        codes=codes,
        changed=("hair",) if synthetic else (),
        agreement=0.123456 if synthetic else None,
        realism=-1234.5678 if synthetic else None,
    )


def items(shard: int) -> Iterator[tuple[int, LabelRow, Pixels]]:
    """Three sources, of which the last is not translated: in shard 0 it is of val, in shard 1 of test."""
    random = np.random.default_rng(shard)
    position = 0
    for number in range(3):
        stem = f"face{shard}{number}"
        split = ("val", "test", "train", "train")[shard] if number == 2 else "train"
        for hair in range(1 if number == 2 else 3):
            row = make_row(stem, (hair, -1 if number else 1), split, synthetic=hair > 0, group=f"g{stem}")
            yield position, row, random.integers(0, 256, (8, 6, 3), dtype=np.uint8)
            position += 2  # every other item failed


def make(writer: Writer, *, shards: int = SHARDS, finish: bool = True) -> None:
    """Do what the same expand does: make the shards that are not there."""
    writer.open()
    if writer.complete():
        return
    for index in range(shards):
        if writer.record(index) is None:
            with writer.shard(index) as shard:
                for item in items(index):
                    shard.add(*item)
                shard.commit([FAILED] if index == 2 else [])
    if finish:
        writer.finish(shards)


def folder_writer(out: Path) -> FolderWriter:
    return FolderWriter(out, space=SPACE, description=DESCRIPTION)


def hdf5_writer(out: Path, encoding: ImageFormat | None = None) -> HDF5Writer:
    return HDF5Writer(out, space=SPACE, description=DESCRIPTION, encoding=encoding)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def said(found: Findings) -> str:
    return "\n".join(map(str, found.problems))


def write(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def flipped(data: bytes, place: int | None = None) -> bytes:
    place = len(data) // 2 if place is None else place
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def work_folder(out: Path) -> Path:
    """Where an output's records are."""
    return out.with_name(f"{out.name}.parts") if out.suffix else out / ".augmentor"


def resealed(out: Path, shard: int, change: Callable[[ShardRecord], ShardRecord]) -> None:
    """Change a record as somebody would who knows how to seal it."""
    path = work_folder(out) / f"shards/{shard:05d}.json"
    change(ShardRecord.read(path)).write(path)


def with_row(record: ShardRecord, place: int, **changes: object) -> ShardRecord:
    rows = [*record.rows]
    rows[place] = rows[place]._replace(**changes)  # type: ignore[arg-type]
    names = [row.file_name for row in rows]
    return dataclasses.replace(record, rows=rows, files=dict(zip(names, record.files.values(), strict=True)))


# ---- what is whole ----


@pytest.mark.parametrize("finish", [True, False])
def test_a_whole_folder(finish: bool, tmp_path: Path) -> None:
    make(folder_writer(tmp_path / "out"), shards=3, finish=finish)
    before = content(tmp_path)
    told: list[tuple[int, int]] = []
    found = verify_output(tmp_path / "out", workers=3, told=lambda done, total: told.append((done, total)))
    assert said(found) == ""
    assert (found.ok, found.finished, found.shards) == (True, finish, 3)
    assert (found.counts.real, found.counts.synthetic, found.counts.failed) == (9, 12, 1)
    assert found.size == sum(len(data) for name, data in before.items() if name.endswith(".png"))
    assert told[0] == (0, 21)
    assert told[-1] == (21, 21)
    assert told == sorted(told)
    assert json.loads(json.dumps(found.to_json()))["splits"]["val"] == {"real": 1, "synthetic": 0}
    repaired = repair_output(found)
    assert (repaired.dropped, repaired.left, repaired.unfinished) == ([], [], not finish)
    assert content(tmp_path) == before


@pytest.mark.parametrize("encoding", [None, "png", "jpg"])
@pytest.mark.parametrize("finish", [True, False])
def test_a_whole_file(finish: bool, encoding: ImageFormat | None, tmp_path: Path) -> None:
    make(hdf5_writer(tmp_path / "out.h5", encoding), finish=finish)
    before = content(tmp_path)
    found = verify_output(tmp_path / "out.h5", workers=2)
    assert said(found) == ""
    assert (found.finished, found.shards, found.counts.failed) == (finish, SHARDS, 1)
    assert (found.counts.real, found.counts.synthetic) == (12, 16)
    assert found.size == 28 * 8 * 6 * 3 if encoding is None else found.size > 28 * 50
    assert content(tmp_path) == before


@pytest.mark.parametrize("encoding", [None, "png"])
def test_outputs_without_images(encoding: ImageFormat | None, tmp_path: Path) -> None:
    for out in (tmp_path / "out", tmp_path / "out.h5"):
        writer = hdf5_writer(out, encoding) if out.suffix else folder_writer(out)
        writer.open()
        for index in range(2):
            with writer.shard(index) as shard:
                shard.commit([FAILED])
        writer.finish(2)
        found = verify_output(out)
        assert said(found) == ""
        assert (found.shards, found.counts.real, found.counts.failed) == (2, 0, 1)


def test_what_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "table.csv").write_text("path\n")
    for name, reason in (
        ("mine", "is a folder that expand did not write"),
        ("table.csv", "is not what expand wrote"),
        ("gone.h5", "there is nothing"),
    ):
        with pytest.raises(OutputError, match=rf"{name}: {reason}"):
            verify_output(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = [1, 2, 3]
    with pytest.raises(OutputError, match=r"other\.h5: is not what expand wrote"):
        verify_output(tmp_path / "other.h5")


# ---- damage of a folder ----


def image(shard: int, which: int = 0) -> str:
    """The name of one of a shard's training images."""
    rows = [row for _, row, _ in items(shard) if row.split == "train"]
    return f"train/{shard:05d}/{rows[which].key}.png"


def damaged(name: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda out: write(out / name, change)


def removed(name: str) -> Damage:
    return lambda out: (out / name).unlink()


def linked(out: Path) -> None:
    copy = out.parent / "elsewhere.png"
    (out / image(1)).rename(copy)
    (out / image(1)).symlink_to(copy)


RECORD = ".augmentor/shards/0000{}.json"

FOLDER_DAMAGE: dict[str, tuple[Damage, str, list[int]]] = {
    "a flipped bit": (damaged(image(1), flipped), rf"^{image(1)}, face10__real: its bytes are not .*SHA-256", [1]),
    "a cut image": (damaged(image(2), lambda d: d[:50]), rf"^{image(2)}, .*not those that were written.*; ", [2]),
    "an empty image": (damaged(image(2), lambda _: b""), rf"^{image(2)}, ", [2]),
    "a missing image": (removed(image(0, 1)), rf"^{image(0, 1)}, .*: the file is missing", [0]),
    "a link": (linked, rf"^{image(1)}, .*: it is not a regular file any more", [1]),
    "another image": (
        lambda out: (out / image(1)).write_bytes((out / image(3)).read_bytes()),
        rf"^{image(1)}, .*not those",
        [1],
    ),
    "a cut record": (damaged(RECORD.format(2), lambda d: d[:-30]), r"00002\.json: .*record is damaged", [2]),
    "a flipped record": (
        damaged(RECORD.format(1), lambda d: d.replace(b'"face10", "images', b'"face11", "images', 1)),
        r"00001\.json: .*record is damaged: its bytes are not those that were written",
        [1],
    ),
    "a missing record": (removed(RECORD.format(1)), r"00001\.json: the shard's record is missing", [1]),
    "the last record missing": (
        removed(RECORD.format(3)),
        r"dataset\.json: it counts 12 real, 16 syn",
        [],
    ),
    "a changed label": (
        damaged("labels.csv", lambda d: d.replace(b",black,1,none", b",blond,1,none", 1)),
        r"^labels\.csv, row 2, column hair: it is 'blond', and was written as 'black'",
        [],
    ),
    "a changed split's table": (
        damaged("val/metadata.csv", lambda d: d.replace(b"black", b"")),
        r"^val/metadata\.csv, row 2, column hair: it is '', and was",
        [],
    ),
    "a cut table": (damaged("labels.csv", lambda d: d[: len(d) // 2]), r"^labels\.csv, row \d+", []),
    "a longer table": (
        damaged("labels.csv", lambda d: d + d.splitlines(keepends=True)[-1]),
        r"^labels\.csv, row 30: there are more rows than images",
        [],
    ),
    "other line ends": (
        damaged("labels.csv", lambda d: d.replace(b"\n", b"\r\n")),
        r"^labels\.csv: its bytes are not .*they say the same",
        [],
    ),
    "no text": (damaged("labels.csv", lambda d: b"\xff\0" + d), r"^labels\.csv: it cannot be read", []),
    "a missing table": (removed("test/metadata.csv"), r"^test/metadata\.csv: the file is missing", []),
    "a changed failure": (
        damaged("failures.csv", lambda d: d.replace(b"cut short", b"fine")),
        r"^failures\.csv, row 2, column reason: it is 'it is fine'",
        [],
    ),
    "no description": (damaged("dataset.json", lambda d: d[:-40]), r"^dataset\.json: it is damaged", []),
    "a changed description": (
        damaged("dataset.json", lambda d: d.replace(b'"failed": 1', b'"failed": 7')),
        r"^dataset\.json: it is damaged, or was edited \(it is not what its SHA-256 says\)",
        [],
    ),
    "other counts": (
        damaged("dataset.json", lambda d: d.replace(b'"synthetic": 16', b'"synthetic": 17')),
        r"^dataset\.json: it is damaged, or was edited \(it is not what its SHA-256 says\)",
        [],
    ),
    "other names of values": (
        damaged("dataset.json", lambda d: d.replace(b'"blond"', b'"blont"')),
        r"^dataset\.json: it is damaged, or was edited \(it is not what its SHA-256 says\)",
        [],
    ),
    "a missing run.json": (removed(".augmentor/run.json"), r"^\.augmentor/run\.json: the file is missing", []),
    "a cut run.json": (
        damaged(".augmentor/run.json", lambda d: d[:9]),
        r"^\.augmentor/run\.json: it is damaged",
        [],
    ),
}


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole") / "out"
    make(folder_writer(out))
    return content(out)


def restore(out: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)


@pytest.mark.parametrize("kind", FOLDER_DAMAGE)
def test_damage_of_a_folder_is_named_and_mended(kind: str, whole_folder: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore(out, whole_folder)
    damage, message, shards = FOLDER_DAMAGE[kind]
    damage(out)
    found = verify_output(out, workers=2)
    assert not found.ok
    assert found.damaged_shards == shards
    assert re.search(message, said(found), flags=re.MULTILINE), said(found)
    repaired = repair_output(found)
    assert (repaired.dropped, repaired.left) == (shards, [])
    assert not (out / "dataset.json").exists()
    untouched = {name for name in content(out) if name.endswith(".png") and int(name.split("/")[1]) not in shards}
    times = {name: (out / name).stat().st_mtime_ns for name in untouched}
    make(folder_writer(out))
    assert content(out) == whole_folder
    lost = [3] if kind == "the last record missing" else []
    kept = {name: when for name, when in times.items() if int(name.split("/")[1]) not in lost}
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert verify_output(out, workers=2).ok


def test_damage_of_an_unfinished_folder(tmp_path: Path, whole_folder: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=3, finish=False)
    write(out / image(0), flipped)
    (out / image(2)).unlink()
    found = verify_output(out)
    assert (found.finished, found.damaged_shards) == (False, [0, 2])
    repaired = repair_output(found)
    assert (repaired.dropped, repaired.unfinished) == ([0, 2], True)
    assert verify_output(out).shards == 1
    assert not list(out.glob("train/00000/*"))
    make(folder_writer(out))
    assert content(out) == whole_folder


def test_much_damage_at_once(whole_folder: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore(out, whole_folder)
    for path in sorted(out.glob("train/0000[13]/*.png")):
        write(path, flipped)
    write(out / RECORD.format(2), lambda data: data[:100])
    (out / "labels.csv").unlink()
    (out / "dataset.json").write_text("{}")
    found = verify_output(out)
    assert found.damaged_shards == [1, 2, 3]
    assert len(found.problems) == 13 + 1 + 1
    assert repair_output(found).left == []
    make(folder_writer(out))
    assert content(out) == whole_folder


def test_files_that_expand_did_not_write_are_left(whole_folder: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out"
    restore(out, whole_folder)
    for name in ("train/00001/mine.JPG", "train/00001/notes.txt", "train/.hidden.png", "preview.png"):
        (out / name).write_bytes(b"mine")
    found = verify_output(out)
    assert said(found) == "train/00001/mine.JPG: no row of the label table names it; move it away"
    repaired = repair_output(found)
    assert repaired.left == found.problems
    assert (out / "dataset.json").exists()
    assert (out / "train/00001/mine.JPG").read_bytes() == b"mine"


def test_nobody_can_mend_what_says_whose_it_is_but_a_new_start(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), finish=False)
    (out / ".augmentor/run.json").write_text("{")
    found = verify_output(out)
    assert said(found).startswith(".augmentor/run.json: it is damaged, or was edited (")
    assert said(found).endswith("); start anew: the same expand with --overwrite")
    assert repair_output(found).left == found.problems
    make(folder_writer(tmp_path / "other"))
    write(tmp_path / "other/.augmentor/run.json", lambda data: data.replace(b'"abc"', b'"abd"'))
    found = verify_output(tmp_path / "other")
    assert "run.json: it is damaged, or was edited (it is not what its SHA-256 says)" in said(found)
    assert repair_output(found).left == []
    stranger = FolderWriter(tmp_path / "stranger", space=SPACE, description={**DESCRIPTION, "fingerprint": "abd"})
    make(stranger)
    (tmp_path / "stranger/dataset.json").replace(tmp_path / "other/dataset.json")
    found = verify_output(tmp_path / "other")
    assert "run.json: it is not of the run that dataset.json describes" in said(found)
    assert repair_output(found).left == found.problems


# ---- rows that cannot be, however well they are sealed ----


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        (1, {"codes": (7, 1)}, "its hair has the code 7, and there are 3 values"),
        (1, {"codes": (1, -2)}, "its male has the code -2"),
        (1, {"codes": (1,)}, "it has 1 labels, and the label space 2 attributes"),
        (1, {"codes": (2, 1)}, "its labels belong to the key 'face10__hair-r-tlich_male-1-"),
        (1, {"changed": ("hiar",)}, "changed names 'hiar', which is no attribute"),
        (0, {"changed": ("hair",)}, "it is real, and yet hair changed"),
        (1, {"agreement": 1.5}, "its agreement is 1.5, not a probability"),
        (1, {"split": "trian"}, "its split is 'trian', not one of train, val, test"),
        (1, {"split": "val"}, r"face10__hair-blond_male-1\.png' does not lie in a folder of val"),
        (1, {"key": "face10__real"}, "its key 'face10__real' is there twice"),
        (0, {"key": "face10"}, "is not called as its key 'face10'"),
    ],
)
def test_rows_that_cannot_be(place: int, changes: dict[str, object], message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=2)
    whole = content(out)
    resealed(out, 1, lambda record: with_row(record, place, **changes))
    found = verify_output(out)
    assert re.search(message, said(found)), said(found)
    assert 1 in found.damaged_shards
    repair_output(found)
    make(folder_writer(out), shards=2)
    assert content(out) == whole


@pytest.mark.parametrize("name", ["out", "out.h5"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": (7, 1)}, "its hair has the code 7, and there are 3 values"),
        ({"codes": (1,)}, "it has 1 labels, and the label space 2 attributes"),
        ({"codes": (2, 1)}, "its labels belong to the key 'face10__hair-r-tlich_male-1-"),
        ({"changed": ("hiar",)}, "changed names 'hiar', which is no attribute"),
    ],
)
def test_labels_that_cannot_be_of_an_output_on_its_way(
    changes: dict[str, object], message: str, name: str, tmp_path: Path
) -> None:
    """What the codes mean is known from the first shard on."""
    writer = hdf5_writer if name == "out.h5" else folder_writer
    out, whole = tmp_path / "made" / name, tmp_path / "whole" / name
    make(writer(whole))
    make(writer(out), shards=2, finish=False)
    resealed(out, 1, lambda record: with_row(record, 1, **changes))
    found = verify_output(out)
    assert (found.finished, found.damaged_shards) == (False, [1])
    assert re.search(message, said(found)), said(found)
    repair_output(found)
    assert verify_output(out).ok
    make(writer(out))
    assert content(out.parent) == content(whole.parent)


def test_the_first_outputs_did_not_say_what_their_codes_mean(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=2, finish=False)
    path = out / ".augmentor/run.json"
    state = {
        key: value for key, value in json.loads(path.read_bytes()).items() if key not in ("label_space", "sha256")
    }
    path.write_text(json.dumps({**state, "sha256": seal(state)}))
    assert verify_output(out).ok
    make(folder_writer(out))
    assert verify_output(out).ok


def test_images_of_another_size_or_kind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=2)
    for data, words in (
        (encode(np.zeros((8, 6, 1), np.uint8), "png"), "it is 6 x 8 px of 1 channels, not 6 x 8 px of 3 channels"),
        (encode(np.zeros((6, 8, 3), np.uint8), "png"), "it is 8 x 6 px of 3 channels, not 6 x 8 px of 3 channels"),
        (b"no image", "it is not an image in a format that can be read"),
    ):
        (out / image(1)).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        resealed(out, 1, lambda r, new=digest: dataclasses.replace(r, files={**r.files, image(1): new}))  # type: ignore[misc]
        found = verify_output(out)
        assert f"{image(1)}, face10__real: {words}" in said(found)
        assert found.damaged_shards == [1]
    part = tmp_path / "out.h5.parts"
    make(hdf5_writer(tmp_path / "out.h5"), shards=2, finish=False)
    record = part / "shards/00001.json"
    dataclasses.replace(ShardRecord.read(record), shape=(8, 6, 1)).write(record)
    assert "face10__real: " in said(verify_output(tmp_path / "out.h5"))


def test_linked_originals_may_have_any_size(tmp_path: Path) -> None:
    description: dict[str, Json] = {**DESCRIPTION, "settings": {"splits": ["train"], "real": "original"}}
    writer = FolderWriter(tmp_path / "out", space=SPACE, description=description)
    source = tmp_path / "photo.JPG"
    source.write_bytes(encode(np.zeros((33, 20, 1), np.uint8), "jpg"))
    writer.open()
    with writer.shard(0) as shard:
        shard.link(0, make_row("a", (0, 0), "train", synthetic=False), source)
        shard.add(1, make_row("a", (1, 0), "train", synthetic=True), np.zeros((8, 6, 3), np.uint8))
        shard.commit([])
    writer.finish(1)
    assert said(verify_output(tmp_path / "out")) == ""
    source.write_bytes(source.read_bytes()[:200])  # the same file, by another name
    assert re.search(r"a__real\.jpe?g, a__real: its bytes are not", said(verify_output(tmp_path / "out")))


def leaking(out: Path, rows: list[LabelRow], *, writer: Callable[[Path], Writer]) -> Findings:
    made = writer(out)
    made.open()
    with made.shard(0) as shard:
        for position, row in enumerate(rows):
            shard.add(position, row, np.zeros((4, 4, 3), np.uint8))
        shard.commit([])
    made.finish(1)
    return verify_output(out)


@pytest.mark.parametrize("name", ["out", "out.h5"])
def test_the_split_guard(name: str, tmp_path: Path) -> None:
    writer: Callable[[Path], Writer] = hdf5_writer if name == "out.h5" else folder_writer
    train = make_row("a", (0, 0), "train", synthetic=False, group="ann")
    rows = [train, make_row("a", (1, 0), "train", synthetic=True, group="ann")]
    assert leaking(tmp_path / "fine" / name, rows, writer=writer).ok
    for number, (row, message) in enumerate(
        (
            (
                make_row("b", (1, 0), "test", synthetic=True),
                "it descends from a test row, and only train was to be",
            ),
            (make_row("a", (1, 0), "val", synthetic=True), "a translation in val, whose real image 'a' stands in"),
            (
                make_row("c", (0, 0), "val", synthetic=False, group="ann"),
                r"group 'ann' stands in train \(a__real\) and val \(c__real\): the splits leak",
            ),
        )
    ):
        found = leaking(tmp_path / str(number) / name, [train, row], writer=writer)
        assert re.search(message, said(found)), said(found)
    # In the other order, too.
    after = leaking(
        tmp_path / "after" / name,
        [make_row("a", (1, 0), "train", synthetic=True), train._replace(split="test", group="")],
        writer=writer,
    )
    assert "the real image in test, whose translation 'a' stands in train: the splits leak" in said(after)


def test_sealed_records_never_name_files_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"precious")
    out = tmp_path / "out"
    make(folder_writer(out), shards=2)
    for name in ("../victim.png", str(victim), "train/../../victim.png", "train//x.png", "C:/victim.png", "a\\b"):
        resealed(out, 1, lambda record, name=name: with_row(record, 0, file_name=name))  # type: ignore[misc]
        found = verify_output(out)
        assert "00001.json: the shard's record is damaged: " in said(found)
        assert "is no file of the output" in said(found)
        repair_output(found)
        make(folder_writer(out), shards=2)
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_became_a_link_is_not_followed_in_repairing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=2)
    (out / "train/00001").rename(tmp_path / "elsewhere")
    (out / "train/00001").symlink_to(tmp_path / "elsewhere")
    write(out / image(1), flipped)
    before = content(tmp_path / "elsewhere")
    assert repair_output(verify_output(out)).dropped == [1]
    assert content(tmp_path / "elsewhere") == before


# ---- HDF5 ----


def at_pixels(out: Path) -> None:
    """Flip a byte of image 9, which is the third one of shard 1, wherever it lies."""
    with h5py.File(out) as file:
        encoded = "image_encoding" in file.attrs
        place = 0 if encoded else file["image"].id.get_chunk_info(9).byte_offset
        data = file["image"][9].tobytes()
    place = out.read_bytes().index(data) if encoded else place
    write(out, lambda whole: flipped(whole, place + len(data) // 2))


def at_text(out: Path) -> None:
    write(out, lambda whole: whole.replace(b"face21__real", b"face99__real", 1))


def changed_label(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file["labels"][16, 1] = 0


def changed_score(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file["realism"][27] = 3.5


def changed_attribute(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file.attrs["attribute_values"] = json.dumps([["black", "brown", "rötlich"], ["0", "1"]])


def damaged_description(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file.attrs["dataset_json"] = file.attrs["dataset_json"].replace("abc", "abd")


def beside(suffix: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda out: write(out.with_suffix(suffix), change)


FILE_DAMAGE: dict[str, tuple[Damage, str, list[int]]] = {
    "a flipped bit of an image": (at_pixels, r"^out\.h5, (row 9 \(face10__hair-r|rows 7 to 13: their)", [1]),
    "a changed key": (at_text, r"^out\.h5, row \d+ \(face21__real\): its file 'face99__real\.png' is not", [2]),
    "a changed label": (
        changed_label,
        r"^out\.h5, row 16 \(.*\): its labels belong to the key|^out\.h5, rows",
        [2],
    ),
    "a changed score": (
        changed_score,
        r"^out\.h5, rows 21 to 27: their labels, pixels, scores or failures are",
        [3],
    ),
    "a damaged description": (damaged_description, r"^out\.h5: its description \(dataset_json\) is damaged", []),
    "a changed attribute": (changed_attribute, r"^out\.h5: its attributes are not those of its description", []),
    "a missing companion": (
        lambda out: out.with_suffix(".failures.csv").unlink(),
        r"^out\.failures\.csv: the file is missing",
        [],
    ),
    "a changed companion": (
        beside(".dataset.json", lambda data: data.replace(b'"real": 12', b'"real": 13')),
        r"^out\.dataset\.json, entry counts: ",
        [],
    ),
    "a cut file": (
        lambda out: write(out, lambda data: data[:2000]),
        r"^out\.h5: it cannot be read as an HDF5",
        [],
    ),
    "no HDF5": (lambda out: write(out, lambda data: b"\0" * 64 + data[64:]), r"^out\.h5: it cannot be read", []),
}


@pytest.mark.parametrize("encoding", [None, "png"])
@pytest.mark.parametrize("kind", FILE_DAMAGE)
def test_damage_of_a_file_is_named_and_mended(kind: str, encoding: ImageFormat | None, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    make(hdf5_writer(out, encoding))
    whole = content(tmp_path)
    damage, message, shards = FILE_DAMAGE[kind]
    damage(out)
    found = verify_output(out, workers=2)
    assert not found.ok
    assert re.search(message, said(found), flags=re.MULTILINE), said(found)
    assert found.damaged_shards == shards
    repaired = repair_output(found)
    assert (repaired.dropped, repaired.left) == (shards, [])
    assert repaired.unfinished == ("companion" not in kind)
    if repaired.unfinished and not found.mended_by("all"):
        assert not out.exists()
        assert verify_output(out).ok
        assert verify_output(out).shards == SHARDS - len(shards)
        writer = hdf5_writer(out, encoding)
        assert writer.missing(SHARDS) == sorted(shards)
    make(hdf5_writer(out, encoding))
    set_aside = {"out.h5.damaged"} if found.mended_by("all") else set()
    assert content(tmp_path).keys() - whole.keys() == set_aside
    assert {name: data for name, data in content(tmp_path).items() if name in whole} == whole
    assert verify_output(out).ok


@pytest.mark.parametrize("encoding", [None, "png"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda part: write(part, flipped), "its bytes are not those that were written"),
        (lambda part: write(part, lambda data: data[:-9]), r"the part ends after [\d,]+ of its [\d,]+ bytes"),
        (lambda part: part.unlink(), r"the part 00001\.part is missing"),
    ],
)
def test_damage_of_a_file_on_its_way(
    encoding: ImageFormat | None, damage: Damage, message: str, tmp_path: Path
) -> None:
    make(hdf5_writer(tmp_path / "whole" / "out.h5", encoding))
    out = tmp_path / "mine" / "out.h5"
    make(hdf5_writer(out, encoding), finish=False)
    damage(out.with_name("out.h5.parts") / "00001.part")
    found = verify_output(out)
    assert (found.finished, found.damaged_shards) == (False, [1])
    assert re.search(message, said(found)), said(found)
    assert repair_output(found).dropped == [1]
    assert verify_output(out).ok
    make(hdf5_writer(out, encoding))
    assert content(out.parent) == content(tmp_path / "whole")


def test_a_repair_for_which_there_is_no_room_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.h5"
    make(hdf5_writer(out))
    changed_score(out)
    before = content(tmp_path)
    found = verify_output(out)
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(ShardRecord, "write", full)
        with pytest.raises(OutputError, match=r"out\.h5: cannot be repaired \(No space left on device\)"):
            repair_output(found)
    assert content(tmp_path) == before
    assert repair_output(found).dropped == [3]


def test_nothing_is_repaired_under_somebody_s_feet(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out))
    write(out / image(1), flipped)
    found = verify_output(out)
    with (
        locked(lock_of_folder(out), output=out),
        pytest.raises(OutputError, match=rf"process {os.getpid()} on .* has been writing to it"),
    ):
        repair_output(found)
    assert verify_output(out).damaged_shards == [1]
