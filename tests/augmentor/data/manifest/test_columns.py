"""What a column is: binary, categories, several one-hot columns, or refused with the fix."""

from __future__ import annotations

import time

import pytest

from augmentor.data.manifest import read_manifest
from stargan.labels import Attribute
from tests.augmentor.data.manifest.tables import Write, column_table, refused, values

# ---- kinds ----


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "1", "", "1"], ["0", "1", "", "1"]),
        (["0.0", "1.0", "", " "], ["0", "1", "", ""]),
        (["-1", "1", "", ""], ["0", "1", "", ""]),
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
    changed_targets = read_manifest(path, attributes=["age"])
    assert len(changed_targets.space["age"].values) == 57
    assert any("57 different numbers" in note for note in changed_targets.notes)


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


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "mask_file_name",
            "Hugging Face's loader takes a column whose name ends in file_name for paths of images",
        ),
        ("file_names", "Hugging Face's loader"),
        (
            "hair;male",
            "the column 'changed' of the label table names the attributes that differ, separated by ';'",
        ),
        ("None", "and is 'none' where none does"),
    ],
)
def test_names_that_readers_of_an_output_would_misread(write: Write, name: str, why: str) -> None:
    path = write(f"path,{name},hair\n1.png,x,red\n2.png,y,blond\n")
    message = refused(path)
    assert f"column '{name}': " in message
    assert why in message
    assert read_manifest(path, attributes=["hair"]).space.names == ("hair",)


@pytest.mark.parametrize(
    "name",
    ["key", "is_synthetic", "source_id", "changed", "agreement", "Realism", "Split", "preserved", "reason"],
)
def test_names_of_the_label_table_are_refused(write: Write, name: str) -> None:
    path = write(f"path,{name},hair\n1.png,x,red\n")
    message = refused(path)
    assert f"column '{name}'" in message
    assert "Rename it" in message
    assert read_manifest(path, attributes=["hair"]).space.names == ("hair",)


def test_notes_about_what_is_probably_not_meant(write: Write) -> None:
    path = write(
        "path,smile,pale,hair,tone,empty\n1.png,1,-1,Red,NA,\n2.png,1,1,red,light,\n3.png,,1,blond,dark, \n"
    )
    manifest = read_manifest(path)
    notes = "\n".join(manifest.notes)
    assert manifest.space.names == ("smile", "pale", "hair", "tone")
    assert "column 'smile': every known cell is 1" in notes
    assert "binary written as -1/1: pale" in notes
    assert "column 'hair': look alike, and are different values: 'Red' and 'red'" in notes
    assert "column 'tone': kept as values of their own: 'NA'" in notes
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


# ---- which columns ----


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
