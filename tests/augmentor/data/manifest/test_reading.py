"""The file as a table: every spelling of one that people write, and a message for every mistake."""

from __future__ import annotations

import csv
import os
import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from augmentor.data.manifest import TableReading, key_stems, read_manifest, split_leaks
from augmentor.errors import ManifestError, MissingExtraError
from tests.augmentor.data.manifest.tables import Write, assert_usable, refused, values

# ---- the table ----


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
    assert list(rows.columns) == ["path", "id", "split", "group", "pair", "dataset", "line"]
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


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            "path,hair,male\na.png\nb.png,red,\n,\nc.png,red\n\nd.png,red,1\n",
            "2 rows with fewer cells than the header (rows 2, 5)",
        ),
        (
            '\npath,hair,male\n"a\nb.png",red\nb.png,"red",\nc.png,"",1\n',
            "1 row with fewer cells than the header (row 3)",
        ),
        ("path\thair\na.png\nb.png\t\n c.png\tx", "1 row with fewer cells than the header (row 2)"),
        ("path,hair,male\na.png,,\nb.png,red,1\n", None),
    ],
)
def test_rows_with_too_few_cells_are_counted(write: Write, text: str, rows: str | None) -> None:
    path = write(text)
    notes = [note for note in read_manifest(path, attributes=["hair"]).notes if "fewer cells" in note]
    assert notes == ([] if rows is None else [f"{path}: {rows}; what they lack is blank"])


@pytest.mark.parametrize("name", ["path", "file_name", "image"])
def test_image_columns(write: Write, name: str) -> None:
    manifest = read_manifest(write(f"hair,{name}\nred,a.png\n"))
    assert manifest.rows["path"][0] == "a.png"
    assert manifest.space.names == ("hair",)


def test_the_image_column_can_be_named_and_the_others_are_left_out(write: Write) -> None:
    path = write("path,image,photo,hair\na.png,b.png,c.png,red\n")
    manifest = read_manifest(path)
    assert manifest.rows["path"][0] == "a.png"
    manifest = read_manifest(path, reading=TableReading(image_column="photo"), attributes=["hair"])
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
        (b"path,hair\na.png,\nb.png, \n", "no attribute.*blank"),
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
    assert "no column 'fotos'" in refused(tmp_path / "faces.csv", reading=TableReading(image_column="fotos"))


# ---- any cells ----


CELL = st.text(st.characters(codec="utf-8", exclude_characters=",|=\0"), max_size=12)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cells=st.lists(CELL, min_size=1, max_size=12), tabs=st.booleans())
def test_any_cell_survives(tmp_path: Path, cells: list[str], tabs: bool) -> None:
    """What csv writes is what we read, stripped and composed; what is refused is refused with a message."""
    path = tmp_path / ("any.tsv" if tabs else "any.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_ALL)
        writer.writerow(["path", "group", "x"])
        writer.writerows([f"{i}.png", cell, "known"] for i, cell in enumerate(cells))
    manifest = read_manifest(path)
    stripped = [unicodedata.normalize("NFC", cell.strip()) for cell in cells]
    assert list(manifest.rows["group"]) == stripped
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if tabs else ",", quoting=csv.QUOTE_ALL)
        writer.writerow(["path", "x"])
        writer.writerows([f"{i}.png", f"v {cell}"] for i, cell in enumerate(cells))
    expected = [unicodedata.normalize("NFC", f"v {cell}".strip()) for cell in cells]
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


# ---- parquet ----


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


# ---- real tables ----


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
