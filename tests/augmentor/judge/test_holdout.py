"""Which rows a classifier that judges learns from, and which it is tried on."""

from __future__ import annotations

from pathlib import Path

from augmentor.data.manifest import Manifest, read_manifest
from augmentor.judge.data import judge_split


def table(tmp_path: Path, lines: list[str]) -> Manifest:
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(["path,split,group,glasses", *lines]) + "\n")
    return read_manifest(path)


def test_validation_rows_are_tried_on(tmp_path: Path) -> None:
    lines = [f"{i}.png,{('train', 'val', 'test')[i % 3]},,{'' if i >= 9 else i % 2}" for i in range(12)]
    training, validation, sources = judge_split(table(tmp_path, lines))
    assert sources == "val"
    assert sorted(training) == [0, 3, 6]  # row 9 has no label
    assert sorted(validation) == [1, 4, 7]


def test_without_them_whole_groups_are_held_out(tmp_path: Path) -> None:
    manifest = table(
        tmp_path, [f"{i}.png,train,{f'person{i // 4}' if i < 80 else ''},{i % 2}" for i in range(100)]
    )
    training, validation, sources = judge_split(manifest)
    assert sources == "held out of train"
    assert sorted([*training, *validation]) == list(range(100))
    assert 20 <= len(validation) < 24
    groups = [manifest.rows["group"].iat[row] for row in validation]
    assert all(groups.count(group) == 4 for group in set(groups) - {""})
    assert [list(part) for part in judge_split(manifest)[:2]] == [list(training), list(validation)]


def test_a_single_group_cannot_be_divided(tmp_path: Path) -> None:
    training, validation, _ = judge_split(table(tmp_path, [f"{i}.png,train,ann,{i % 2}" for i in range(5)]))
    assert (len(training), len(validation)) == (5, 0)


def test_rare_labels_come_early(tmp_path: Path) -> None:
    manifest = table(tmp_path, [f"{i}.png,train,,{int(i % 50 == 0)}" for i in range(500)])
    training, _, _ = judge_split(manifest)
    assert (manifest.codes[training[:50], 0] == 1).sum() >= 5
