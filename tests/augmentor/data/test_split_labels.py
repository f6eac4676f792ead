"""Several labels in a cell: how they are found, what is advised, and the table that is written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from augmentor.data import split_labels
from augmentor.data.manifest import TableReading, read_manifest
from augmentor.data.manifest.multi_label import labels_of_cells, repeats_labels
from augmentor.errors import ManifestError, OutputError

FORMS = {
    "bars": ["Mass|Edema", "Mass", "Edema | Mass", ""],
    "semicolons": ["Mass; Edema", "Mass", "Edema;Mass", ""],
    "commas": ["Mass,Edema", "Mass", "Edema,Mass,", ""],
    "label tool": ['{"choices":["Mass","Edema"]}', "Mass", '{"choices": ["Edema", "Mass"]}', ""],
    "list": ['["Mass", "Edema"]', '["Mass"]', '["Edema", "Mass"]', ""],
    "Python": ["['Mass', 'Edema']", "['Mass']", "['Edema', 'Mass']", ""],
}


def table(folder: Path, cells: list[str], name: str = "manifest.csv", **more: list[str]) -> Path:
    path = folder / name
    frame = pd.DataFrame({"path": [f"{i}.png" for i in range(len(cells))], "finding": cells, **more})
    frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_becomes_a_column_for_each_label(form: str, tmp_path: Path) -> None:
    path = table(tmp_path, FORMS[form], view=["a", "b", "a", "b"])
    written = split_labels(path, "finding")
    assert written.path == tmp_path / "manifest-finding.csv"
    assert written.counts == {"Edema": 2, "Mass": 3}
    manifest = read_manifest(written.path)
    assert list(manifest.rows["path"]) == list(read_manifest(path, attributes=["view"]).rows["path"])
    assert manifest.space.names == ("Edema", "Mass", "view")
    assert {attribute.kind for attribute in manifest.space.attributes[:2]} == {"binary"}
    assert manifest.codes[:, :2].tolist() == [[1, 1], [0, 1], [1, 1], [-1, -1]]


@pytest.mark.parametrize("form", FORMS)
def test_check_offers_the_table(form: str, tmp_path: Path) -> None:
    path = table(tmp_path, FORMS[form])
    advice = f"augmentor check {path} --split-labels finding writes that table"
    if form == "semicolons":  # which `--domains` can spell
        assert any(advice in note for note in read_manifest(path).notes)
    else:
        with pytest.raises(ManifestError) as caught:
            read_manifest(path)
        assert advice in str(caught.value)


def test_many_combinations_are_no_identifier(tmp_path: Path) -> None:
    cells = ["|".join(f"L{bit}" for bit in range(6) if i >> bit & 1) for i in range(1, 64)]
    with pytest.raises(ManifestError, match=r"63 different values in 63 rows.*--split-labels finding"):
        read_manifest(table(tmp_path, cells))
    captions = [f"a man, number {i}, smiles" for i in range(63)]
    with pytest.raises(ManifestError, match="identifier or free text") as caught:
        read_manifest(table(tmp_path, captions))
    assert "--split-labels" not in str(caught.value)


@pytest.mark.parametrize(
    "values", [["red", "light brown"], ["a=b", "c"], ["x;y", "z"], ['{"x": 1}'], ["[open", "a"]]
)
def test_what_is_one_label(values: list[str]) -> None:
    assert not repeats_labels(values)


def test_a_separator_within_a_label_stays(tmp_path: Path) -> None:
    labels = labels_of_cells(["Mass, left|Edema", "Mass, left", "[]", '{"choices": []}'])
    assert labels == {
        "Mass, left|Edema": ("Mass, left", "Edema"),
        "Mass, left": ("Mass, left",),
        "[]": (),
        '{"choices": []}': (),
    }
    written = split_labels(table(tmp_path, ["Mass, left|Edema", "Mass, left", "[]"]), "finding")
    assert written.counts == {"Edema": 1, "Mass- left": 2}
    assert read_manifest(written.path).codes.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_names_that_are_taken(tmp_path: Path) -> None:
    path = table(tmp_path, ["View|split|*", "View"], view=["0", "1"], finding_split=["0", "1"])
    written = split_labels(path, "finding")
    assert written.counts == {"finding": 1, "finding_View": 2, "finding_split_2": 1}
    assert len(read_manifest(written.path).space) == 5


def test_ids_groups_and_the_reading_are_kept(tmp_path: Path) -> None:
    path = table(tmp_path, ["A|B", "NA"], "t.tsv", id=["x", "y"], group=["g", ""], split=["train", "val"])
    written = split_labels(path, "finding", reading=TableReading(na_values=("NA",)))
    assert written.path.name == "t-finding.tsv"
    manifest = read_manifest(written.path)
    assert manifest.rows[["id", "group", "split"]].to_numpy().tolist() == [["x", "g", "train"], ["y", "", "val"]]
    assert manifest.codes.tolist() == [[1, 1], [-1, -1]]


def test_what_cannot_be_split(tmp_path: Path) -> None:
    path = table(tmp_path, ["red", "blond"])
    with pytest.raises(ManifestError, match="column 'finding': no cell holds several labels"):
        split_labels(path, "finding")
    with pytest.raises(ManifestError, match="Did you mean 'finding'"):
        split_labels(path, "findings")
    path = table(tmp_path, ["A|B", "A"])
    split_labels(path, "finding")
    with pytest.raises(OutputError, match=r"manifest-finding\.csv exists already"):
        split_labels(path, "finding")
