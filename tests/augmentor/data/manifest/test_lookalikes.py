"""Words for unknown, and values that look alike: what is kept, joined, blanked and noted."""

from __future__ import annotations

import unicodedata
from importlib import import_module

import pandas as pd
import pytest

from augmentor.data.manifest import TableReading, read_manifest, read_manifests, split_leaks
from augmentor.data.manifest.lookalikes import look_alikes, unknown_words
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.data.manifest.tables import Write, column_table, refused, values

PANDAS_BLANKS = sorted(word for word in import_module("pandas._libs.parsers").STR_NA_VALUES if word)
COMPOSED = "café"
SPLIT_UP = unicodedata.normalize("NFD", COMPOSED)


def rows(*lines: str) -> str:
    return "\n".join(["path,split,group,tone", *lines]) + "\n"


# ---- words for unknown ----


@pytest.mark.parametrize("word", [*PANDAS_BLANKS, "NAN", "Nan", "unknown", "?"])
def test_a_word_that_pandas_blanks_is_kept_and_noted(write: Write, word: str) -> None:
    path = write(rows(f"1.png,train,{word},dark", f"2.png,train,ann,{word}", "3.png,train,,"))
    manifest = read_manifest(path)
    assert list(manifest.rows["group"]) == [word, "ann", ""]
    assert values(manifest, "tone") == ["dark", word, ""]
    for column, what in (("group", "groups"), ("tone", "values")):
        assert (
            f"{path}, column '{column}': kept as {what} of their own: '{word}'. Where unknown is meant, "
            f"--na-values {word} reads them as blank"
        ) in manifest.notes


def test_several_words_are_all_named(write: Write) -> None:
    notes = read_manifest(write(column_table(["NA", "red", "None", "n/a"]))).notes
    assert any("'n/a', 'NA', 'None'" in note and "--na-values n/a,NA,None" in note for note in notes)


def test_a_subject_called_nan_leaks_visibly(write: Write) -> None:
    manifest = read_manifest(write(rows("1.png,train,Nan,dark", "2.png,test,Nan,light")))
    assert split_leaks(manifest) == ["group 'Nan' is in train (row 2) and test (row 3)"]


@pytest.mark.parametrize("name", ["manifest.csv", "manifest.parquet"])
def test_named_words_are_blank_and_counted(write: Write, name: str) -> None:
    text = rows("NA,train,NA,dark", "2.png,train,ann,NA", "3.png,train,NA,-", "4.png,train,bob,nan")
    path = write(text)
    if name.endswith("parquet"):
        path = path.with_name(name)
        pd.read_csv(path.with_name("manifest.csv"), keep_default_na=False).to_parquet(path)
    manifest = read_manifest(path, reading=TableReading(na_values=("NA", "-", "absent")))
    assert list(manifest.rows["path"]) == ["NA", "2.png", "3.png", "4.png"]
    assert list(manifest.rows["group"]) == ["", "ann", "", "bob"]
    assert values(manifest, "tone") == ["dark", "", "", "nan"]
    assert f"{path}, column 'group': 2 cells read as blank, as --na-values says: 'NA' (2)" in manifest.notes
    assert (
        f"{path}, column 'tone': 2 cells read as blank, as --na-values says: 'NA' (1), '-' (1)" in manifest.notes
    )


def test_a_column_of_yes_and_no_stays_binary_with_na_values(write: Write) -> None:
    path = write(column_table(["0", "1", "nan", "NaN"]))
    manifest = read_manifest(path, reading=TableReading(na_values=("nan", "NaN")))
    assert manifest.space["x"] == Attribute(name="x")
    assert values(manifest, "x") == ["0", "1", "", ""]
    kept = read_manifest(path)
    assert kept.space["x"].values == ("0", "1", "NaN", "nan")
    assert any("categorical because of them, and would be binary without" in note for note in kept.notes)


def test_a_model_that_does_not_know_the_word(write: Write) -> None:
    space = LabelSpace(attributes=(Attribute(name="x", kind="categorical", values=("dark", "light")),))
    path = write(column_table(["dark", "nan", "NA"]))
    assert "Where unknown is meant: --na-values NA,nan." in refused(path, space=space)
    manifest = read_manifest(path, space=space, reading=TableReading(na_values=("nan", "NA")))
    assert manifest.codes.tolist() == [[0], [-1], [-1]]


def test_a_null_of_parquet_is_blank(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("nulls") / "manifest.parquet"
    pd.DataFrame({"path": ["a", "b", "c"], "x": ["nan", None, "red"], "n": [1.0, float("nan"), 0.0]}).to_parquet(
        path
    )
    manifest = read_manifest(path)
    assert values(manifest, "x") == ["nan", "", "red"]
    assert values(manifest, "n") == ["1", "", "0"]


# ---- values that look alike ----


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Red", "red"),
        ("01", "1"),
        ("+90", "90"),
        ("007", "7.0"),
        ("0.50", "0.5"),
        ("light brown", "light_brown"),
        ("light brown", "light  brown"),
        ("Straße", "STRASSE"),
        ("ﬁne", "fine"),
        ("\uff11", "1"),
    ],
)
def test_values_that_look_alike_are_named_in_pairs(write: Write, one: str, other: str) -> None:
    path = write(rows(f"1.png,train,{one},{one}", f"2.png,train,{other},{other}", "3.png,train,plain,plain"))
    manifest = read_manifest(path, attributes=["tone"])
    assert len(set(manifest.rows["group"])) == 3
    for column, what in (("group", "groups"), ("tone", "values")):
        (note,) = [note for note in manifest.notes if f"'{column}': look alike, and are different {what}" in note]
        assert f"'{one}'" in note
        assert "plain" not in note


@pytest.mark.parametrize("texts", [("1", "2"), ("-1", "1"), ("A", "A+"), ("a", "b c"), ("1.5", "15"), ("10", "1")])
def test_values_that_do_not_look_alike(texts: tuple[str, ...]) -> None:
    assert look_alikes(texts) == []
    assert unknown_words(texts) == []


@pytest.mark.parametrize("other", [SPLIT_UP, f" {COMPOSED}", f"{COMPOSED}\u00a0", f" {SPLIT_UP} "])
def test_unicode_forms_and_blanks_at_the_ends_are_one_value(write: Write, other: str) -> None:
    text = rows(f"1.png,train,{COMPOSED},{COMPOSED}", f"2.png,test,{other},{other}", "3.png,train,,plain")
    manifest = read_manifest(write(text))
    assert manifest.space["tone"].values == (COMPOSED, "plain")
    assert values(manifest, "tone") == [COMPOSED, COMPOSED, "plain"]
    assert split_leaks(manifest) == [f"group '{COMPOSED}' is in train (row 2) and test (row 3)"]


def test_unicode_forms_of_names(write: Write) -> None:
    assert "has this name twice" in refused(write(f"path,{COMPOSED},{SPLIT_UP}\n1.png,0,1\n"))
    path = write(f"path,{SPLIT_UP},{SPLIT_UP}2\n1.png,a,1\n2.png,b,0\n")
    assert read_manifest(path, attributes=[COMPOSED]).space.names == (COMPOSED,)
    assert read_manifest(path, attributes=[SPLIT_UP]).space.names == (COMPOSED,)


def test_a_model_of_the_other_unicode_form_reads_the_table(write: Write) -> None:
    """Earlier versions kept the form of the manifest in the model."""
    attribute = Attribute(name=SPLIT_UP, kind="categorical", values=("plain", SPLIT_UP))
    path = write(f"path,{COMPOSED}\n1.png,{COMPOSED}\n2.png,{SPLIT_UP}\n3.png,plain\n")
    assert read_manifest(path, space=LabelSpace(attributes=(attribute,))).codes.tolist() == [[1], [1], [0]]


def test_ids_and_paths_of_two_unicode_forms_are_one(write: Write) -> None:
    text = f"path,x\n{COMPOSED}.png,a\n{SPLIT_UP}.png,{{}}\n"
    assert len(read_manifest(write(text.format("a")))) == 1
    assert "rows 2 and 3, column 'path': both are" in refused(write(text.format("b")))
    with_ids = f"path,id,x\n1.png,{COMPOSED},a\n2.png,{SPLIT_UP},b\n"
    assert "rows 2 and 3, column 'id': both are" in refused(write(with_ids))


def test_whole_numbers_that_are_renamed_are_noted(write: Write) -> None:
    path = write(column_table(["1.0", "2.0", "3"]))
    manifest = read_manifest(path)
    assert manifest.space["x"].values == ("1", "2", "3")
    assert f"{path}, column 'x': whole numbers are read without .0: '1.0' as '1', '2.0' as '2'" in manifest.notes


def test_values_of_two_tables_are_compared(write: Write) -> None:
    one = write("path,x\n1.png,Red\n2.png,blond\n", "one.csv")
    two = write("path,x\n3.png,red\n4.png,blond\n", "two.csv")
    notes = read_manifests([one, two]).notes
    assert f"{one}, {two}, column 'x': look alike, and are different values: 'Red' and 'red'" in notes
    forms = write(f"path,x\n5.png,{SPLIT_UP}\n6.png,red\n", "three.csv")
    others = write(f"path,x\n7.png,{COMPOSED}\n8.png,red\n", "four.csv")
    assert read_manifests([forms, others]).space["x"].values == (COMPOSED, "red")
