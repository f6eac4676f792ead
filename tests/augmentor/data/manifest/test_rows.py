"""Rows: splits, ids, duplicates, groups, and the stems of their files."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.data.manifest import key_stems, read_manifest, refuse_split_leaks, split_leaks
from augmentor.errors import ManifestError
from tests.augmentor.data.manifest.tables import Write, assert_usable, refused

# ---- rows ----


@pytest.mark.parametrize(
    ("word", "split"),
    [
        *(("train", "train"), ("TRAINING", "train"), ("Valid", "val"), ("validation", "val"), ("val", "val")),
        *(("test", "test"), ("Testing", "test"), (" test ", "test")),
    ],
)
def test_split_words(write: Write, word: str, split: str) -> None:
    manifest = read_manifest(write(f"path,split,x\n1.png,{word},a\n"))
    assert list(manifest.rows["split"]) == [split]
    assert list(manifest.rows["split"].cat.categories) == ["train", "val", "test"]


def test_unusable_splits(write: Write) -> None:
    rows = "path,split,x\n1.png,train,a\n2.png,{0},a\n3.png,{0},a\n"
    message = refused(write(rows.format("tets")))
    assert "row 3, column 'split': 'tets' is not train, val or test. Did you mean 'test'?" in message
    assert "row 4" in message
    first = refused(write("path,split,x\n1.png,val,a\n2.png,tran,a\n3.png,,a\n4.png,dev,a\n"))
    assert "row 3, column 'split': 'tran' is not" in first
    assert "row 3, column 'split': blank" in refused(write(rows.format("")))


def test_without_splits_every_row_is_train(write: Write) -> None:
    manifest = read_manifest(write("path,x\n1.png,a\n2.png,b\n"))
    assert not manifest.has_splits
    assert list(manifest.rows["split"]) == ["train", "train"]


def test_ids_from_paths(write: Write) -> None:
    paths = ["a.png", "images/b.c.jpg", "./d.png", "../up/e.png", "/abs/f.png", "dir.x/g", "schön und gut.png"]
    manifest = read_manifest(write("path,x\n" + "".join(f"{path},a\n" for path in paths)))
    expected = ["a", "images-b.c", "d", "up-e", "abs-f", "dir.x-g", "sch_n_und_gut"]
    assert list(manifest.rows["id"]) == expected
    assert list(manifest.rows["path"]) == paths


def test_ids_from_paths_that_meet_get_a_digest(write: Write) -> None:
    manifest = read_manifest(write("path,x\na/b.png,1\na-b.png,0\nA/B.jpg,0\nc.png,1\n"))
    ids = list(manifest.rows["id"])
    assert ids[3] == "c"
    # printf 'a/b.png' | sha1sum
    assert ids[0] == "a-b-7f9c894b"
    assert all(re.fullmatch(r"[aA]-[bB]-[0-9a-f]{8}", text) for text in ids[:3])
    assert len({text.casefold() for text in ids}) == 4


def test_given_ids_are_kept(write: Write) -> None:
    ids = ["ann 1/x", "ÄÖ", "001", "nan"]
    manifest = read_manifest(write("path,id,x\n" + "".join(f"same.png,{text},a\n" for text in ids)))
    assert list(manifest.rows["id"]) == ids
    assert "row 3, column 'id': no id" in refused(write("path,id,x\n1.png,a,1\n2.png,,1\n"))


def test_duplicate_rows_are_dropped(write: Write) -> None:
    manifest = read_manifest(write("path,x\n1.png,a\n2.png,b\n1.png , a\nsub\\3.png,a\nsub/3.png,a\n1.png,a\n"))
    assert list(manifest.rows["path"]) == ["1.png", "2.png", "sub/3.png"]
    assert list(manifest.rows["line"]) == [2, 3, 5]
    assert len(manifest.codes) == 3
    assert any("dropped 3 duplicate rows (rows 4, 6, 7)" in note for note in manifest.notes)


def test_rows_that_contradict_each_other_are_refused(write: Write) -> None:
    message = refused(write("path,x\n1.png,a\n2.png,b\n1.png,b\n"))
    assert "rows 2 and 4, column 'path': both are '1.png'" in message
    message = refused(write("path,id,x\n1.png,p,a\n1.png,p,a\n2.png,p,a\n"))
    assert "rows 2 and 4, column 'id': both are 'p'" in message
    assert "rows 2 and 3" in refused(write("path,split,x\n1.png,train,a\n1.png,test,a\n"))
    same_image = read_manifest(write("path,id,x\n1.png,p,a\n1.png,q,b\n"))
    assert list(same_image.rows["id"]) == ["p", "q"]


def test_rows_that_differ_only_in_a_column_not_used_are_duplicates(write: Write) -> None:
    path = write("path,x,caption\n1.png,a,hello\n1.png,a,good day\n")
    assert len(read_manifest(path, attributes=["x"])) == 1
    assert "rows 2 and 3" in refused(path)


def test_select_and_split_mask(write: Write) -> None:
    path = write("path,split,x\n0.png,train,a\n1.png,val,b\n2.png,test,c\n3.png,train,b\n")
    manifest = read_manifest(path)
    assert manifest.split_mask(["train"]).tolist() == [True, False, False, True]
    assert manifest.split_mask(["val", "test"]).tolist() == [False, True, True, False]
    assert not manifest.split_mask([]).any()
    train = manifest.select(manifest.split_mask(["train"]))
    assert list(train.rows.index) == [0, 1]
    assert list(train.rows["path"]) == ["0.png", "3.png"]
    assert train.codes.tolist() == [[0], [1]]
    assert train.space == manifest.space
    assert list(manifest.select([2, 0]).rows["line"]) == [4, 2]
    assert len(manifest.select([])) == 0
    with pytest.raises(ManifestError, match="Did you mean 'train'"):
        manifest.split_mask(["trian"])


def test_groups_in_two_splits(write: Write) -> None:
    path = write(
        "path,split,group,x\n"
        "0.png,train,ann,a\n1.png,train,bob,a\n2.png,test,ann,b\n3.png,train,,b\n4.png,test,,b\n5.png,train,ann,b\n"
    )
    manifest = read_manifest(path)
    assert split_leaks(manifest) == ["group 'ann' is in train (rows 2, 7) and test (row 4)"]
    with pytest.raises(ManifestError, match=r"manifest\.csv, column 'group': group 'ann' is in train"):
        refuse_split_leaks(manifest)
    train = manifest.select(manifest.split_mask(["train"]))
    assert split_leaks(train) == []
    refuse_split_leaks(train)


# ---- stems of output files ----


def test_safe_ids_are_their_own_stems() -> None:
    ids = ["a", "A-1", "x_y.z", "-", "0" * 100]
    assert list(key_stems(pd.DataFrame({"id": ids}))) == ids


def test_unsafe_ids_get_a_digest() -> None:
    ids = ["a/b", "a b", "x__y", ".hidden", "tail_", "ä", "0" * 101, "Same", "same", "..", "fine"]
    stems = list(key_stems(pd.DataFrame({"id": ids})))
    # printf 'a/b' | sha1sum
    assert stems[0] == "a_b-3ec69c85"
    assert stems[-1] == "fine"
    assert all(re.fullmatch(r"[A-Za-z0-9_-].*-[0-9a-f]{8}|-[0-9a-f]{8}", stem) for stem in stems[:-1])
    assert_usable(ids, stems)


def test_a_digest_that_another_id_happens_to_end_in() -> None:
    ids = ["a/b", "a_b-3ec69c85"]
    stems = list(key_stems(pd.DataFrame({"id": ids})))
    assert stems[1] == ids[1]
    assert_usable(ids, stems)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=8, unique=True))
def test_stems_of_any_ids(ids: list[str]) -> None:
    ids = [text.encode("utf-8", "replace").decode() for text in ids]
    ids = list(dict.fromkeys(ids))
    assert_usable(ids, list(key_stems(pd.DataFrame({"id": ids}))))
