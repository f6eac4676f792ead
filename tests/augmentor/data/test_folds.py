"""Folds over subjects: who is dealt where, and the tables that are written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from augmentor.data.folds import deal, write_folds
from augmentor.data.manifest import read_manifest, split_leaks
from augmentor.errors import ManifestError, OutputError


def people(folder: Path, name: str = "people.csv") -> Path:
    """40 subjects of 1 to 3 images, 6 images without a subject; redheads that smile are 5 subjects."""
    random = np.random.default_rng(0)
    rows = []
    for subject in range(40):
        hair = "red" if subject < 10 else ("black", "blond")[subject % 2]
        for image in range(int(random.integers(1, 4))):
            smile = subject < 5 or (subject >= 10 and image % 2)
            rows.append((f"{subject}-{image}.png", f"s{subject}", "train", hair, int(smile), "front left"))
    rows += [(f"alone{i}.png", "", "test", "black", 1, "") for i in range(6)]
    frame = pd.DataFrame(rows, columns=["path", "group", "split", "hair", "smile", "camera"])
    frame.to_csv(folder / name, index=False, sep="\t" if name.endswith(".tsv") else ",")
    return folder / name


@pytest.mark.parametrize("name", ["people.csv", "people.tsv"])
def test_every_subject_is_in_test_once_and_nothing_else_changes(name: str, tmp_path: Path) -> None:
    path = people(tmp_path, name)
    suffix = Path(name).suffix
    folds = write_folds(path, 5)
    assert [fold.path.name for fold in folds.written] == [f"people-fold{i}{suffix}" for i in range(1, 6)]
    assert folds.subjects == 46
    original = read_manifest(path).rows.drop(columns="split")
    tested = np.zeros(len(original), dtype=int)
    validated = tested.copy()
    for fold in folds.written:
        table = read_manifest(fold.path)
        pd.testing.assert_frame_equal(table.rows.drop(columns="split"), original)
        assert np.array_equal(table.codes, read_manifest(path).codes)
        assert split_leaks(table) == []
        tested += table.split_mask(["test"])
        validated += table.split_mask(["val"])
        counts = [int(table.split_mask([split]).sum()) for split in ("train", "val", "test")]
        assert counts == [fold.train, fold.val, fold.test]
    assert set(tested) == set(validated) == {1}
    # The text but for the split is the same, too.
    texts = {re.sub(r"\b(train|val|test)\b", "", fold.path.read_text()) for fold in folds.written}
    assert texts == {re.sub(r"\b(train|val|test)\b", "", path.read_text())}


def test_a_table_without_splits_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("image,smile\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(12)))
    folds = write_folds(path, 3)
    assert folds.written[0].path.read_text().splitlines()[0] == "image,smile,split"
    assert [(fold.train, fold.val, fold.test) for fold in folds.written] == [(4, 4, 4)] * 3


def test_parts_are_alike_in_every_combination() -> None:
    random = np.random.default_rng(0)
    codes = np.stack([random.choice(3, size=400, p=(0.6, 0.35, 0.05)), random.integers(0, 2, size=400)], axis=1)
    parts = deal(codes, np.arange(400), 5)
    for combination in np.unique(codes, axis=0):
        counts = np.bincount(parts[(codes == combination).all(axis=1)], minlength=5)
        assert np.ptp(counts) <= 1  # as even as single images can be
    assert np.ptp(np.bincount(parts)) <= 2
    assert np.array_equal(parts, deal(codes, np.arange(400), 5))


def test_where_no_combination_repeats_single_labels_are_dealt_evenly() -> None:
    codes = np.array([[i >> bit & 1 for bit in range(8)] for i in range(256)])
    parts = deal(codes, np.arange(256), 4)
    for column in codes.T:
        assert np.ptp(np.bincount(parts[column == 1], minlength=4)) <= 4  # of 128
    assert np.ptp(np.bincount(parts)) <= 2


def test_large_subjects_stay_whole() -> None:
    sizes = [30, 20, 10, 5, 5, 3, 2, 2, 2, 1]
    subjects = np.repeat(np.arange(len(sizes)), sizes)
    parts = deal(np.zeros((len(subjects), 1), dtype=int), subjects, 3)
    assert all(len(set(parts[subjects == subject])) == 1 for subject in range(len(sizes)))
    assert sorted(np.bincount(parts)) == [25, 25, 30]


def test_what_some_test_parts_lack_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    rows = [*("red,1",) * 2, *("red,0",) * 6, *("black,1",) * 7, *("black,0",) * 3]
    path.write_text("path,hair,smile\n" + "".join(f"{i}.png,{row}\n" for i, row in enumerate(rows)))
    folds = write_folds(path, 4)
    assert list(folds.lacking) == ["hair=red, smile=1", "hair=black, smile=0"]
    having = {
        number
        for number, fold in enumerate(folds.written, start=1)
        for row in read_manifest(fold.path).rows.iloc[:2]["split"]
        if row == "test"
    }
    assert len(having) == 2
    assert set(folds.lacking["hair=red, smile=1"]) == {1, 2, 3, 4} - having


def test_repeated_rows_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("path,smile\n" + "".join(f"{i % 9}.png,{i % 9 % 2}\n" for i in range(12)))
    folds = write_folds(path, 3)
    assert any("dropped 3 duplicate rows" in note for note in folds.notes)
    assert [len(read_manifest(fold.path).rows) for fold in folds.written] == [9, 9, 9]


def test_what_cannot_be_folded(tmp_path: Path) -> None:
    path = people(tmp_path)
    for folds, words in ((2, "from 3 to 20, not 2"), (21, "from 3 to 20")):
        with pytest.raises(ManifestError, match=words):
            write_folds(path, folds)
    few = tmp_path / "few.csv"
    few.write_text("path,group,smile\n" + "".join(f"{i}.png,g{i % 4},{i % 2}\n" for i in range(12)))
    with pytest.raises(ManifestError, match=r"4 subjects .* fewer than --folds 5"):
        write_folds(few, 5)
    (tmp_path / "people-fold3.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"people-fold3\.csv exists already"):
        write_folds(path, 5)
    assert not (tmp_path / "people-fold1.csv").exists()
