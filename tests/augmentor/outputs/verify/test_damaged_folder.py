"""Damage of a folder is named and mended."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from augmentor.outputs.verify import repair_output, verify_output
from augmentor.outputs.writers import FolderWriter
from tests.augmentor.outputs.verify.outputs import (
    DESCRIPTION,
    SPACE,
    Damage,
    content,
    damaged,
    flipped,
    folder_writer,
    image,
    make,
    said,
    write,
)


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
