"""A model's label space encodes the cells of another table."""

from __future__ import annotations

from augmentor.data.manifest import read_manifest
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.data.manifest.tables import Write, column_table, refused

HAIR = Attribute(name="hair", kind="categorical", values=("black", "blond", "brown"))

MODEL = LabelSpace(attributes=(HAIR, Attribute(name="male")))


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
