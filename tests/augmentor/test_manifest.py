"""The manifest: every spelling of a table that people write, and a message that helps for every mistake."""

from __future__ import annotations

import csv
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augmentor.errors import ManifestError, MissingExtraError
from augmentor.manifest import Manifest, key_stems, read_manifest, refuse_split_leaks, split_leaks
from stargan.labels import Attribute, LabelSpace

Write = Callable[..., Path]

HAIR = Attribute(name="hair", kind="categorical", values=("black", "blond", "brown"))
MODEL = LabelSpace(attributes=(HAIR, Attribute(name="male")))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(text: str | bytes, name: str = "manifest.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_text


def refused(path: Path, **options: object) -> str:
    """Read a manifest that must be refused and return the message, which names the file."""
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(str(path))
    return message


def values(manifest: Manifest, name: str) -> list[str]:
    """The values of one attribute, "" where unknown."""
    index = manifest.space.index(name)
    known = manifest.space[name].values
    return ["" if code < 0 else known[code] for code in manifest.codes[:, index]]


def column_table(cells: list[str], name: str = "x") -> str:
    return f"path,{name}\n" + "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells))


# The table


def test_a_plain_manifest(write: Write) -> None:
    path = write(
        "path,id,split,group,dataset,hair,male\n"
        "images/a.png,a,train,ann,faces,blond,0\n"
        "images/b.png,b,val,bob,,black,1\n"
        "images/c.png,c,test,,faces,,\n"
    )
    manifest = read_manifest(path)
    rows = manifest.rows
    assert len(manifest) == 3
    assert list(rows.columns) == ["path", "id", "split", "group", "dataset", "line"]
    assert list(rows.index) == [0, 1, 2]
    assert list(rows["path"]) == ["images/a.png", "images/b.png", "images/c.png"]
    assert list(rows["id"]) == ["a", "b", "c"]
    assert list(rows["split"]) == ["train", "val", "test"]
    assert list(rows["group"]) == ["ann", "bob", ""]
    assert list(rows["dataset"]) == ["faces", "", "faces"]
    assert list(rows["line"]) == [2, 3, 4]
    assert rows["line"].dtype == np.int32
    assert isinstance(rows["split"].dtype, pd.CategoricalDtype)
    assert isinstance(rows["dataset"].dtype, pd.CategoricalDtype)
    assert manifest.space.to_json() == [
        {"name": "hair", "kind": "categorical", "values": ["black", "blond"]},
        {"name": "male", "kind": "binary", "values": ["0", "1"]},
    ]
    assert manifest.codes.dtype == np.int16
    assert manifest.codes.tolist() == [[1, 0], [0, 1], [-1, -1]]
    assert manifest.has_splits
    assert manifest.notes == ()
    assert manifest.root == path.parent
    assert manifest.image_path(1) == path.parent / "images" / "b.png"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"\xef\xbb\xbfpath,hair\na.png,blond\nb.png,red\n", "bom.csv"),
        (b"path,hair\r\na.png,blond\r\nb.png,red\r\n", "crlf.csv"),
        (b"path,hair\ra.png,blond\rb.png,red\r", "old_mac.csv"),
        (b"path,hair\na.png,blond\nb.png,red", "no_last_newline.csv"),
        (b"path\thair\na.png\tblond\nb.png\tred\n", "tabs.tsv"),
        (b"path\thair\na.png\tblond\nb.png\tred\n", "tabs.tab"),
        (b"path\thair\na.png\tblond\nb.png\tred\n", "tabs_after_all.csv"),
        (b"path,hair\na.png,blond\nb.png,red\n", "commas_after_all.tsv"),
        (b"path,hair\na.png,blond\nb.png,red\n", "UPPER.CSV"),
        (b'"path","hair"\n"a.png","blond"\n"b.png","red"\n', "quotes.csv"),
        (b' path , hair \n a.png , blond \n b.png, "red" \n', "spaces.csv"),
        (b"\n\npath,hair\n\na.png,blond\n,\n\nb.png,red\n\n", "blank_lines.csv"),
    ],
)
def test_spellings_of_one_table(write: Write, text: bytes, name: str) -> None:
    manifest = read_manifest(write(text, name))
    assert list(manifest.rows["path"]) == ["a.png", "b.png"]
    assert values(manifest, "hair") == ["blond", "red"]


def test_lines_count_as_a_spreadsheet_does(write: Write) -> None:
    manifest = read_manifest(
        write('\npath,hair,note\n\na.png,red,"two\nlines"\nb.png,red,x\n'), attributes=["hair"]
    )
    assert list(manifest.rows["line"]) == [4, 5]
    assert any("1 blank row" in note for note in manifest.notes)


def test_quoted_cells_hold_separators_quotes_and_newlines(write: Write) -> None:
    path = write('path,group,hair\n"a, ""b"".png","two\nlines",red\n')
    manifest = read_manifest(path)
    assert manifest.rows["path"][0] == 'a, "b".png'
    assert manifest.rows["group"][0] == "two\nlines"


def test_backslashes_become_slashes(write: Write) -> None:
    manifest = read_manifest(write("path,hair\nimages\\ann\\1.png,red\n"))
    assert manifest.rows["path"][0] == "images/ann/1.png"
    assert manifest.rows["id"][0] == "images-ann-1"


def test_rows_that_end_early_are_unknown(write: Write) -> None:
    assert values(read_manifest(write("path,hair,male\na.png\nb.png,red\nc.png,red,1\n")), "male") == ["", "", "1"]


@pytest.mark.parametrize("name", ["path", "file_name", "image"])
def test_image_columns(write: Write, name: str) -> None:
    manifest = read_manifest(write(f"hair,{name}\nred,a.png\n"))
    assert manifest.rows["path"][0] == "a.png"
    assert manifest.space.names == ("hair",)


def test_the_image_column_can_be_named_and_the_others_are_left_out(write: Write) -> None:
    path = write("path,image,photo,hair\na.png,b.png,c.png,red\n")
    manifest = read_manifest(path)
    assert manifest.rows["path"][0] == "a.png"
    manifest = read_manifest(path, image_column="photo", attributes=["hair"])
    assert manifest.rows["path"][0] == "c.png"
    assert any("path" in note and "image" in note for note in manifest.notes)


def test_a_column_without_a_name_is_not_used(write: Write) -> None:
    manifest = read_manifest(write(",path,hair\n0,a.png,red\n1,b.png,red\n"))
    assert manifest.space.names == ("hair",)
    assert any("column 1" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "empty"),
        (b"\n  \n\n", "empty"),
        (b"path,hair\n", "no rows"),
        (b"path,hair\n,\n", "no rows"),
        (b"path,hair,hair\na.png,red,red\n", "column 'hair': the header has this name twice"),
        (b"path, hair,hair \na.png,red,red\n", "column 'hair': the header has this name twice"),
        (b"path,hair\na.png,red\nb.png,red,1\n", "row 3: 3 cells, but the header has 2"),
        (b"path,hair\na.png,red,1\n", "row 2: 3 cells, but the header has 2"),
        (b'\n\npath,hair\n\na.png,"x"\nb.png,red,1\n', "row 6: 3 cells"),
        (b'\npath,hair\na.png,red\nb.png,"red\n', "row 4: a quote is opened"),
        (b'path,hair\n\na.png,"x\ny"\nb.png,red,1\n', "row 4: 3 cells"),
        (b'path,hair\na.png,red\nb.png,"red\nc.png,red\n', "row 3: a quote is opened and never closed"),
        (b"Path,hair\na.png,red\n", "no column 'path'.*Its columns are Path, hair.*Did you mean 'Path'"),
        (b"filename,hair\na.png,red\n", "Did you mean 'filename'"),
        (b"path,hair\na.png,red\n,red\n", "row 3, column 'path': no path"),
        (b"path;hair\na.png;red\n", "semicolons.*commas"),
        (b"path,hair\na.png,red\nb.png,\xe9\n", "row 3: byte 0xe9 is not UTF-8"),
        (b"path,hair\na.png,red\nb.png,\xc3", "row 3: byte 0xc3 is not UTF-8"),
        (b"path,hair\na.png,red\nb.png,r\0ed\n", "row 3: a NUL byte"),
        ("path,hair\na.png,red\n".encode("utf-16"), "UTF-16"),
        (b"path\na.png\n", "no attribute"),
        (b"path,split,id\na.png,train,a\n", "no attribute"),
        (b"path,hair\na.png,\nb.png,nan\n", "no attribute.*blank"),
    ],
)
def test_unusable_tables(write: Write, text: bytes, said: str) -> None:
    assert re.search(said, refused(write(text)))


def test_a_broken_byte_is_found_behind_the_first_megabyte(write: Write) -> None:
    body = "".join(f"{i:0100d}.png,ä\n" for i in range(20_000))
    text = f"path,hair\n{body}".encode() + b"x.png,\xff\n"
    assert "row 20002: byte 0xff" in refused(write(text))


def test_files_that_are_not_there_or_no_tables(write: Write, tmp_path: Path) -> None:
    write("path,hair\na.png,red\n", "faces.csv")
    assert "no such file. Did you mean 'faces.csv'?" in refused(tmp_path / "face.csv")
    assert "no such file" in refused(tmp_path / "nowhere" / "face.csv")
    assert "folder" in refused(tmp_path)
    assert "Export it as CSV" in refused(write(b"PK", "table.xlsx"))
    os.mkfifo(tmp_path / "pipe.csv")  # opening it would wait for ever
    assert "not a regular file" in refused(tmp_path / "pipe.csv")
    assert "not a regular file" in refused(Path("/dev/zero"))
    assert "cannot be read (File name too long)" in refused(tmp_path / f"{'x' * 300}.csv")
    assert "no column 'fotos'" in refused(tmp_path / "faces.csv", image_column="fotos")


# Kinds


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "1", "", "1"], ["0", "1", "", "1"]),
        (["0.0", "1.0", "nan", "NaN"], ["0", "1", "", ""]),
        (["-1", "1", "NAN", ""], ["0", "1", "", ""]),
        (["-1.0", "1.0", "1"], ["0", "1", "1"]),
        (["true", "False", "TRUE"], ["1", "0", "1"]),
        (["yes", "No", "", "YES"], ["1", "0", "", "1"]),
        (["1", "1"], ["1", "1"]),
        (["-1", "-1"], ["0", "0"]),
    ],
)
def test_binary_spellings(write: Write, cells: list[str], expected: list[str]) -> None:
    manifest = read_manifest(write(column_table(cells)))
    assert manifest.space["x"] == Attribute(name="x")
    assert values(manifest, "x") == expected


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        (["0", "1", "yes"], ["'0' (row 2)", "'yes' (row 4)", "0/1", "yes/no"]),
        (["-1", "0", "1"], ["'-1' (row 2)", "'0' (row 3)", "0/1", "-1/1"]),
        (["true", "no"], ["'true' (row 2)", "'no' (row 3)", "true/false"]),
    ],
)
def test_mixed_binary_spellings_are_refused(write: Write, cells: list[str], shown: list[str]) -> None:
    message = refused(write(column_table(cells)))
    assert "column 'x': mixes" in message
    assert all(text in message for text in shown)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["red", "black", "", "Ash"], ("Ash", "black", "red")),
        (["10", "9", "2", "-3"], ("-3", "2", "9", "10")),
        (["level 10", "level 9", "level 010", "a"], ("a", "level 9", "level 010", "level 10")),
        (["3.0", "", "2.0", "10"], ("2", "3", "10")),
        (["yes", "no", "maybe"], ("maybe", "no", "yes")),
        (["0", "1", "2"], ("0", "1", "2")),
        (["007", "42"], ("007", "42")),
        (["only"], ("only",)),
    ],
)
def test_categories_in_natural_order(write: Write, cells: list[str], expected: tuple[str, ...]) -> None:
    assert read_manifest(write(column_table(cells))).space["x"].values == expected


@pytest.mark.parametrize("name", ["7", "1" * 400])
def test_a_header_that_is_a_number_leaves_the_cells_texts(write: Write, name: str) -> None:
    """pandas takes header and cells for one column of numbers, in which 007 is 7; of large ones, for objects."""
    space = read_manifest(write(column_table(["007", "42", "007"], name))).space
    assert space.names == (name,)
    assert space[name].values == ("007", "42")


def test_sixty_four_values_are_categories_and_sixty_five_are_not(write: Write) -> None:
    cells = [f"v{i % 64}" for i in range(200)]
    assert len(read_manifest(write(column_table(cells))).space["x"].values) == 64
    message = refused(write(column_table([f"v{i % 65}" for i in range(200)])))
    assert "column 'x': 65 different values in 200 rows" in message
    assert "identifier" in message


def test_mostly_different_cells_are_an_identifier(write: Write) -> None:
    few = column_table([f"name{i}" for i in range(19)])
    assert len(read_manifest(write(few)).space["x"].values) == 19
    half = column_table([f"name{i}" for i in range(10)] + ["same"] * 12)
    assert len(read_manifest(write(half)).space["x"].values) == 11
    assert "identifier" in refused(write(column_table([f"name{i}" for i in range(20)])))
    assert "identifier" in refused(write(column_table([f"name{i}" for i in range(20)])), attributes=["x"])


def test_measurements_are_refused_with_the_fix(write: Write) -> None:
    rows = [f"{i}.png,{18 + i % 57},{i % 2},red" for i in range(300)]
    path = write("path,age,male,hair\n" + "\n".join(rows) + "\n")
    message = refused(path)
    assert "column 'age': 57 different numbers, 18 to 74: looks like a measurement" in message
    assert "--attributes male,hair" in message
    assert read_manifest(path, attributes=["hair", "male"]).space.names == ("male", "hair")
    asked_for = read_manifest(path, attributes=["age"])
    assert len(asked_for.space["age"].values) == 57
    assert any("57 different numbers" in note for note in asked_for.notes)


def test_fractions_are_a_measurement_however_few(write: Write) -> None:
    assert "2 different numbers, 0.5 to 1" in refused(write(column_table(["0.5", "1", "0.5"])))
    assert read_manifest(write(column_table(["0.5", "1", "0.5"])), attributes=["x"]).space["x"].values == (
        "0.5",
        "1",
    )


def test_every_refused_column_is_named(write: Write) -> None:
    rows = [f"{i}.png,{i / 7:.3f},note {i},{i % 2}" for i in range(30)]
    message = refused(write("path,age,caption,male\n" + "\n".join(rows) + "\n"))
    assert "column 'age'" in message
    assert "column 'caption'" in message
    assert "--attributes male" in message


@pytest.mark.parametrize("cell", ["a|b", '"a,b"', "a=b", "*", "~", '"a\nb"', "a\tb"])
def test_values_that_no_request_could_spell(write: Write, cell: str) -> None:
    assert "row 3, column 'x': the value" in refused(write(f"path,x\n1.png,fine\n2.png,{cell}\n"))


@pytest.mark.parametrize("name", ["a|b", '"a,b"', "a=b", "*"])
def test_names_that_no_request_could_spell(write: Write, name: str) -> None:
    assert "the name" in refused(write(f"path,{name}\n1.png,red\n"))


@pytest.mark.parametrize("name", ["key", "is_synthetic", "source_id", "changed", "agreement", "Realism", "Split"])
def test_names_of_the_label_table_are_refused(write: Write, name: str) -> None:
    path = write(f"path,{name},hair\n1.png,x,red\n")
    message = refused(path)
    assert f"column '{name}'" in message
    assert "Rename it" in message
    assert read_manifest(path, attributes=["hair"]).space.names == ("hair",)


def test_notes_about_what_is_probably_not_meant(write: Write) -> None:
    path = write(
        "path,smile,pale,hair,tone,empty\n1.png,1,-1,Red,NA,\n2.png,1,1,red,light,\n3.png,,1,blond,dark,nan\n"
    )
    manifest = read_manifest(path)
    notes = "\n".join(manifest.notes)
    assert manifest.space.names == ("smile", "pale", "hair", "tone")
    assert "column 'smile': every known cell is 1" in notes
    assert "binary written as -1/1: pale" in notes
    assert "column 'hair': 'Red' and 'red' differ only in case" in notes
    assert "column 'tone': 'NA' is read as a value of its own" in notes
    assert "column 'empty': not used, every cell is blank" in notes
    assert all(note.startswith(str(path)) for note in manifest.notes)
    assert "column 'empty': every cell is blank" in refused(path, attributes=["empty", "hair"])


def test_too_many_columns(write: Write) -> None:
    names = [f"a{i}" for i in range(1001)]
    path = write(f"path,{','.join(names)}\n1.png,{','.join('01'[i % 2] for i in range(1001))}\n")
    message = refused(path)
    assert "1,001 attribute columns" in message
    assert "--attributes" in message
    assert len(read_manifest(path, attributes=names[:1000]).space) == 1000


def test_ten_thousand_columns_are_refused_unread(write: Write) -> None:
    names = [f"a{i}" for i in range(10_000)]
    rows = "".join(f"{row}.png,{','.join('01'[(i + row) % 2] for i in range(10_000))}\n" for row in range(4))
    path = write(f"path,{','.join(names)}\n{rows}")
    started = time.process_time()
    assert "10,001 columns, more than 4,096" in refused(path)
    assert "column 'a9': the header has this name twice" in refused(write(f"path,a9,{','.join(names[:4000])}\n"))
    assert time.process_time() - started < 2


# Which columns


def test_attributes_are_chosen_in_the_tables_order(write: Write) -> None:
    path = write("path,hair,male,mood\n1.png,red,0,calm\n2.png,red,1,wild\n")
    manifest = read_manifest(path, attributes=["mood", "hair"])
    assert manifest.space.names == ("hair", "mood")
    assert any("not used" in note and "male" in note for note in manifest.notes)
    assert "no attribute column 'hiar'. Did you mean 'hair'?" in refused(path, attributes=["hiar"])
    assert "fixed meaning" in refused(path, attributes=["split"])
    assert "no attribute" in refused(path, attributes=[])


HAIR_COLUMNS = {"hair": ["Black_Hair", "Blond_Hair", "Brown_Hair"]}


def test_one_hot_columns(write: Write) -> None:
    path = write(
        "path,male,Blond_Hair,smile,Black_Hair,Brown_Hair\n"
        "1.png,0,1,1,-1,-1\n"  # one
        "2.png,1,-1,1,-1,-1\n"  # none
        "3.png,0,1,0,1,-1\n"  # two
        "4.png,0,,0,,\n"  # not labelled
        "5.png,1,,0,,1\n"  # one, the others not labelled
        "6.png,1,1,0,1,1\n"  # three
    )
    manifest = read_manifest(path, one_hot=HAIR_COLUMNS)
    assert manifest.space.names == ("male", "hair", "smile")
    assert manifest.space["hair"].values == ("Black_Hair", "Blond_Hair", "Brown_Hair")
    assert values(manifest, "hair") == ["Blond_Hair", "", "", "", "Brown_Hair", ""]
    notes = "\n".join(manifest.notes)
    assert "unknown, with several of its columns set, in 2 rows (rows 4, 7)" in notes
    assert "unknown, with none of its columns set, in 1 row (row 3)" in notes
    assert read_manifest(path, one_hot=HAIR_COLUMNS, attributes=["hair"]).space.names == ("hair",)
    assert read_manifest(path, one_hot=HAIR_COLUMNS, attributes=["male"]).space.names == ("male",)
    assert "one column of 'hair'" in refused(path, one_hot=HAIR_COLUMNS, attributes=["Blond_Hair"])


def test_one_hot_declarations_that_cannot_work(write: Write) -> None:
    path = write("path,male,Black_Hair,Blond_Hair,mood\n1.png,0,1,0,calm\n2.png,1,0,1,wild\n")
    black, blond = "Black_Hair", "Blond_Hair"
    assert "Did you mean 'Blond_Hair'" in refused(path, one_hot={"hair": [black, "Blonde_Hair"]})
    assert "two columns at least" in refused(path, one_hot={"hair": [black]})
    assert "already one of 'hair'" in refused(path, one_hot={"hair": [black, blond], "other": [black, blond]})
    assert "column of this name already" in refused(path, one_hot={"male": [black, blond]})
    message = refused(path, one_hot={"hair": [black, "mood"]})
    assert "row 2, column 'mood': 'calm' is not binary" in message


def test_a_models_label_space_encodes_the_cells(write: Write) -> None:
    path = write("path,male,tail,hair\n1.png,yes,x,brown\n2.png,no,x,black\n3.png,,x,\n")
    manifest = read_manifest(path, space=MODEL)
    assert manifest.space is MODEL
    assert manifest.codes.tolist() == [[2, 1], [0, 0], [-1, -1]]
    assert any("not used" in note and "tail" in note for note in manifest.notes)


def test_values_that_the_model_does_not_know(write: Write) -> None:
    cells = ["brown", "blnd", "black", "rde", "blnd", "x", "y"]
    message = refused(write(column_table(cells, "hair")), space=MODEL)
    assert "row 3, column 'hair': 'blnd' is not one of black, blond, brown" in message
    assert "Did you mean 'blond'?" in message
    assert "Row 5: 'rde'. Row 6: 'blnd'. And 2 more rows" in message
    assert "row 2, column 'male': 'maybe' is not one of" in refused(write("path,male\n1.png,maybe\n"), space=MODEL)
    assert "mixes" in refused(write("path,male\n1.png,1\n2.png,no\n"), space=MODEL)


def test_an_attribute_that_the_table_lacks_is_unknown(write: Write) -> None:
    path = write("path,male\n1.png,1\n")
    manifest = read_manifest(path, space=MODEL)
    assert manifest.codes.tolist() == [[-1, 1]]
    assert any("unknown in every row" in note and "hair" in note for note in manifest.notes)
    assert read_manifest(write("path\n1.png\n"), space=MODEL).codes.tolist() == [[-1, -1]]


def test_a_models_values_as_one_hot_columns(write: Write) -> None:
    path = write("path,male,brown,black,blond\n1.png,1,0,0,1\n2.png,0,1,0,0\n3.png,0,1,1,0\n")
    manifest = read_manifest(path, space=MODEL)
    assert manifest.codes.tolist() == [[1, 1], [2, 0], [-1, 0]]
    declared = read_manifest(path, space=MODEL, one_hot={"hair": ["brown", "blond", "black"]})
    assert declared.codes.tolist() == manifest.codes.tolist()
    unfitting = write("path,red,blond\n1.png,1,0\n")
    assert "'red' is not one of black" in refused(unfitting, space=MODEL, one_hot={"hair": ["red", "blond"]})


def test_some_attributes_of_a_model(write: Write) -> None:
    path = write("path,male,hair\n1.png,1,purple\n")
    assert read_manifest(path, space=MODEL, attributes=["male"]).codes.tolist() == [[-1, 1]]
    assert "Did you mean 'male'?" in refused(path, space=MODEL, attributes=["mael"])


def test_whole_numbers_written_as_floats_meet_the_models_values(write: Write) -> None:
    space = LabelSpace(attributes=(Attribute(name="x", kind="categorical", values=("1", "2", "3")),))
    assert read_manifest(write(column_table(["3.0", "", "1.0"])), space=space).codes.tolist() == [[2], [-1], [0]]


# Rows


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
    assert split_leaks(manifest) == ["group 'ann' stands in train (rows 2, 7) and test (row 4)"]
    with pytest.raises(ManifestError, match=r"manifest\.csv, column 'group': group 'ann' stands in train"):
        refuse_split_leaks(manifest)
    train = manifest.select(manifest.split_mask(["train"]))
    assert split_leaks(train) == []
    refuse_split_leaks(train)


# Stems of output files


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


def assert_usable(ids: list[str], stems: list[str]) -> None:
    assert len({stem.casefold() for stem in stems}) == len(ids)
    for stem in stems:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", stem)
        assert "__" not in stem
        assert not stem.startswith(".")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=8, unique=True))
def test_stems_of_any_ids(ids: list[str]) -> None:
    ids = [text.encode("utf-8", "replace").decode() for text in ids]
    ids = list(dict.fromkeys(ids))
    assert_usable(ids, list(key_stems(pd.DataFrame({"id": ids}))))


# Any cells

CELL = st.text(st.characters(codec="utf-8", exclude_characters=",|=\0"), max_size=12)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cells=st.lists(CELL, min_size=1, max_size=12), tabs=st.booleans())
def test_any_cell_survives(tmp_path: Path, cells: list[str], tabs: bool) -> None:
    """What csv writes is what we read, stripped; what is refused is refused with a message."""
    path = tmp_path / ("any.tsv" if tabs else "any.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_ALL)
        writer.writerow(["path", "group", "x"])
        writer.writerows([f"{i}.png", cell, "known"] for i, cell in enumerate(cells))
    manifest = read_manifest(path)
    stripped = ["" if cell.strip().casefold() == "nan" else cell.strip() for cell in cells]
    assert list(manifest.rows["group"]) == stripped
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_ALL)
        writer.writerow(["path", "x"])
        writer.writerows([f"{i}.png", f"v {cell}"] for i, cell in enumerate(cells))
    expected = [f"v {cell}".strip() for cell in cells]
    if all(text.isprintable() for text in expected):
        assert values(read_manifest(path), "x") == expected
    else:
        with pytest.raises(ManifestError, match="does not print"):
            read_manifest(path)


WORDS = ("path", "id", "split", "x", "train", "1", "0", "nan", "a.png", "1e999", "inf", "\\", "\u2028", "ä")
SIGNS = (b",", b",", b"\n", b"\n", b"\r", b"\t", b'"', b" ", b";", b"\xff", b"\0")
PIECE = st.sampled_from([*(word.encode() for word in WORDS), *SIGNS])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECE, max_size=25), header=st.sampled_from([b"", b"path,x\n", b"path,id,split,x\n"]))
def test_any_bytes_read_or_are_refused(tmp_path: Path, pieces: list[bytes], header: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(header + b"".join(pieces))
    try:
        manifest = read_manifest(path)
    except ManifestError:
        assert refused(path)
        return
    assert manifest.codes.shape == (len(manifest.rows), len(manifest.space))
    assert manifest.rows["id"].is_unique
    assert_usable(list(manifest.rows["id"]), list(key_stems(manifest.rows)))


# Parquet


def test_parquet_reads_as_the_same_csv(tmp_path: Path, write: Write) -> None:
    frame = pd.DataFrame(
        {
            "path": ["a\\b.png", "c.png", "d.png"],
            "split": pd.Categorical(["train", "test", "val"]),
            "group": [7, 8, 9],
            "smile": [True, False, True],
            "male": [1.0, np.nan, 0.0],
            "tone": [3.0, np.nan, 10.0],
            "hair": ["red", None, " ash "],
        }
    )
    frame.to_parquet(tmp_path / "manifest.parquet")
    manifest = read_manifest(tmp_path / "manifest.parquet")
    twin = read_manifest(
        write(
            "path,split,group,smile,male,tone,hair\na/b.png,train,7,True,1,3,red\nc.png,test,8,False,,,\n"
            "d.png,val,9,True,0,10,ash\n"
        )
    )
    assert manifest.space == twin.space
    assert manifest.codes.tolist() == twin.codes.tolist() == [[1, 1, 0, 1], [0, -1, -1, -1], [1, 0, 1, 0]]
    pd.testing.assert_frame_equal(manifest.rows, twin.rows)


def test_parquet_that_cannot_be_used(tmp_path: Path, write: Write) -> None:
    pd.DataFrame({"image": [{"bytes": b"x"}], "hair": ["red"]}).to_parquet(tmp_path / "hf.parquet")
    assert "column 'image': holds no text" in refused(tmp_path / "hf.parquet")
    pd.DataFrame({"path": ["a.png"], "hair": ["red"], "box": [[1, 2]]}).to_parquet(tmp_path / "box.parquet")
    assert any("box" in note for note in read_manifest(tmp_path / "box.parquet").notes)
    assert "does not read" in refused(write(b"path,hair\n", "no.parquet"))


def test_parquet_without_pyarrow_names_the_extra(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet", "fastparquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"manifest\.parquet.*stargan-augmentor\[parquet\]"):
        read_manifest(write(b"PAR1", "manifest.parquet"))


# Real tables


@pytest.mark.skipif("AUGMENTOR_REAL_DATA" not in os.environ, reason="AUGMENTOR_REAL_DATA is not set")
def test_real_manifests() -> None:
    data = Path(os.environ["AUGMENTOR_REAL_DATA"])
    emoji = read_manifest(data / "emoji" / "manifest.csv")
    assert len(emoji) == 2892
    assert [(a.name, a.kind, len(a.values)) for a in emoji.space.attributes] == [
        ("tone", "categorical", 6),
        ("style", "categorical", 2),
        ("woman", "binary", 2),
    ]
    assert split_leaks(emoji) == []
    assert emoji.image_path(0).is_file()
    for name in ("joint_tone", "joint_style_woman", "lopsided"):
        manifest = read_manifest(data / "emoji" / f"{name}.csv", space=emoji.space)
        assert len(manifest.codes) == len(manifest.rows) > 0
    weather = read_manifest(data / "weather" / "manifest.csv")
    assert len(weather) == 1096
    assert weather.space["weather"].values == ("cloudy", "rain", "shine", "sunrise")
