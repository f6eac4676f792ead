"""Which rows a classifier that judges learns from, and which it is tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from augmentor.data.manifest import Manifest, read_manifest
from augmentor.judge.data import assign_folds, judge_split
from stargan.labels import Attribute, LabelSpace


def table(tmp_path: Path, lines: list[str], columns: str = "glasses") -> Manifest:
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join([f"path,split,group,{columns}", *lines]) + "\n")
    return read_manifest(path)


def test_validation_rows_are_tried_on(tmp_path: Path) -> None:
    lines = [f"{i}.png,{('train', 'val', 'test')[i % 3]},,{'' if i >= 9 else i % 2}" for i in range(12)]
    training, validation, sources, _ = judge_split(table(tmp_path, lines))
    assert sources == "val"
    assert sorted(training) == [0, 3, 6]  # row 9 has no label
    assert sorted(validation) == [1, 4, 7]


def test_without_them_whole_groups_are_held_out(tmp_path: Path) -> None:
    manifest = table(
        tmp_path, [f"{i}.png,train,{f'person{i // 4}' if i < 80 else ''},{i % 2}" for i in range(100)]
    )
    training, validation, sources, _ = judge_split(manifest)
    assert sources == "held out of train"
    assert not judge_split(manifest).has_val
    assert sorted([*training, *validation]) == list(range(100))
    assert 16 <= len(validation) <= 28
    groups = [manifest.rows["group"].iat[row] for row in validation]
    assert all(groups.count(group) == 4 for group in set(groups) - {""})
    assert [list(part) for part in judge_split(manifest)[:2]] == [list(training), list(validation)]


def test_a_single_group_cannot_be_divided(tmp_path: Path) -> None:
    training, validation, _, rare = judge_split(table(tmp_path, [f"{i}.png,train,ann,{i % 2}" for i in range(5)]))
    assert (len(training), len(validation)) == (5, 0)
    assert rare == ("glasses=0 (3 images)", "glasses=1 (2 images)")


def test_rare_labels_come_early(tmp_path: Path) -> None:
    manifest = table(tmp_path, [f"{i}.png,train,,{int(i % 50 == 0)}" for i in range(500)])
    training = judge_split(manifest).training
    assert (manifest.codes[training[:50], 0] == 1).sum() >= 5


def test_rare_rows_are_on_both_sides(tmp_path: Path) -> None:
    cells = [f"{int(i < 4)},{int(i % 3 == 0)}" for i in range(60)]
    manifest = table(tmp_path, [f"{i}.png,train,,{cell}" for i, cell in enumerate(cells)], "hat,glasses")
    split = judge_split(manifest)
    for part in (split.training, split.validation):
        found = {tuple(codes) for codes in manifest.codes[part].tolist()}
        assert found == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert 10 <= len(split.validation) <= 15
    assert split.rare == ()


def test_what_val_lacks_is_held_out_of_train(tmp_path: Path) -> None:
    # Six people with a hat, two images each, none of them in val.
    lines = [f"{i}.png,train,person{i // 2},{int(i < 12)},{int(i >= 12)}" for i in range(60)]
    lines += [f"v{i}.png,val,,0,{i % 2}" for i in range(20)]
    manifest = table(tmp_path, lines, "hat,glasses")
    split = judge_split(manifest)
    assert split.sources == "val and held out of train"
    assert split.has_val
    extra = manifest.rows.iloc[split.validation].query("split == 'train'")
    assert len(extra) == 2 * extra["group"].nunique()
    assert {int(group.removeprefix("person")) for group in extra["group"]} <= set(range(6))
    assert 1 <= extra["group"].nunique() <= 2
    assert not set(split.training) & set(split.validation)


def test_folds_spread_subjects_of_every_combination() -> None:
    random = np.random.default_rng(0)
    space = LabelSpace(
        attributes=(Attribute(name="hat"), Attribute(name="hair", kind="categorical", values=("a", "b", "c")))
    )
    subjects = random.integers(100, size=400)
    codes = np.stack([(random.random(400) < 0.05).astype(int), random.choice(3, 400, p=(0.6, 0.37, 0.03))], axis=1)
    folds = assign_folds(codes, subjects, space=space, folds=3)
    assert all(len(set(folds[subjects == subject])) == 1 for subject in range(100))
    assert np.bincount(folds, minlength=3).min() > 100
    for combination in np.unique(codes, axis=0):
        there = (codes == combination).all(axis=1)
        assert len(set(folds[there])) >= min(3, len(set(subjects[there])), 2)
