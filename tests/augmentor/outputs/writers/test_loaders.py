"""Values that loaders read otherwise than they were written, through every loader that the documents name."""

from __future__ import annotations

import csv
import gc
import importlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import mlcroissant
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from augmentor import open_dataset
from augmentor.outputs.label_table import LabelRow, columns, key, real_key
from augmentor.outputs.verify import verify_output
from augmentor.outputs.writers import FolderWriter, HDF5Writer, PackWriter, Writer, packing_of, split_table
from augmentor.report import write_report
from augmentor.storage import Json
from stargan.labels import UNKNOWN, Attribute, LabelSpace
from tests.augmentor.outputs.finishing import finish

Cells: TypeAlias = dict[str, str]
"""A row of the label table, as the user wrote it: blank is unknown."""

KINDS = {
    "leading zero": ("01", "1", "1+"),
    "blanked words": ("NA", "None", "null"),
    "blanked words in part": ("n/a", "<NA>", "word"),
    "booleans": ("True", "true", "False"),
    "dates": ("2020-01-01", "2021-02-03", "20220506"),
    "exponents": ("1e5", "1E5", "100000"),
    "signs": ("+90", "90", "-90"),
    "fractions": ("1.0", "1", "1.50"),
    "whole": ("1", "2", "30"),
    "infinite": ("inf", "-inf", "Infinity"),
    "quotes": ('a"b', "'", "it's; so"),
    "letters": ("\xe4", "a\u0308", "\u65e5\u672c"),
    "words": ("black", "blond", "red"),
}
"""Values of one attribute each. `train` has all of them, `val` the first one and `test` the second one."""

HOSTILE = LabelSpace(
    attributes=(
        *(Attribute(name=name, kind="categorical", values=values) for name, values in KINDS.items()),
        Attribute(name="smile"),
    )
)
IDS = ("01", "1", "007", "1e5", "NA", "None", "2020-01-01", "true", "+1", "a,b", 'say "so"', "x")
SPLITS = ("train", "train", "train", "train", "train", "train", "val", "val", "val", "test", "test", "test")
HUB_SPLITS = {"train": "train", "validation": "val", "test": "test"}

# Hugging Face leaves its own files for the garbage collector to close.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def hasty_and_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(scope="module", autouse=True)
def swept() -> Iterator[None]:
    yield
    gc.collect()


def rows_of(
    space: LabelSpace, names: Sequence[str] = IDS, unknown: Sequence[str] = HOSTILE.names
) -> list[LabelRow]:
    """Return a row for each name; the attributes `unknown` are so in val, and once in train."""
    rows = []
    for number, (name, split) in enumerate(zip(names, SPLITS, strict=True)):
        code = {"train": number % 3, "val": 0, "test": 1}[split]
        codes = tuple(
            UNKNOWN
            if each.name in unknown and (split == "val" or number == 5)
            else min(code, len(each.values) - 1)
            for each in space.attributes
        )
        synthetic = number in (2, 4)
        rows.append(
            LabelRow(
                file_name="",
                key=key(f"s{number}", space.domain(codes)) if synthetic else real_key(f"s{number}"),
                split=split,
                group=names[number // 3 * 3] if names is IDS and number != 3 else "",
                is_synthetic=synthetic,
                source_id=name,
                source_path=name,
                codes=codes,
                changed=(space.names[0],) if synthetic else (),
                agreement=0.5 if synthetic else None,
            )
        )
    return rows


def description(form: str, rows: list[LabelRow], space: LabelSpace) -> dict[str, Json]:
    said: dict[str, Json] = {
        "fingerprint": "abc",
        "made_of": {},
        "augmentor": "0.1.0",
        "manifest": "hostile.csv",
        "model": {"sha256": "a" * 64, "step": 1},
        "settings": {
            "output_format": "folder" if form == "classes" else form.partition(" ")[0],
            "image_format": "png",
            "class_folders": space.names[0] if form == "classes" else None,
            "size": "model",
        },
    }
    if form in ("folder", "classes"):
        codes = np.array([row.codes for row in rows])
        texts = ([getattr(row, name) for row in rows] for name in ("group", "source_id", "source_path"))
        said["split_table"] = split_table(space, codes, texts)
    return said


def write(
    form: str, out: Path, rows: list[LabelRow], space: LabelSpace = HOSTILE, *, brightness: int = 20
) -> Path:
    """Write an output with its page and card, as expand ends it; the images are brighter from row to row."""
    said = description(form, rows, space)
    writer: Writer
    if form == "hdf5 file":
        writer = HDF5Writer(out, space=space, description=said)
    elif form in ("folder", "classes"):
        folders = space.names[0] if form == "classes" else None
        writer = FolderWriter(out, space=space, description=said, class_folders=folders)
    else:
        packing = packing_of(form, space=space, encoding=None if form == "hdf5" else "png")  # type: ignore[arg-type]
        writer = PackWriter(out, space=space, description=said, packing=packing)
    writer.open()
    with writer.shard(0) as shard:
        for position, row in enumerate(rows):
            shard.add_all([(position, row, np.full((4, 4, 3), brightness * position, np.uint8))])
        shard.commit([])
    finish(writer, 1)
    write_report(out)
    return out


def written(row: LabelRow, space: LabelSpace = HOSTILE) -> Cells:
    """Return what the user wrote of a row: its values and names."""
    values = {
        each.name: "" if code == UNKNOWN else each.values[code]
        for each, code in zip(space.attributes, row.codes, strict=True)
    }
    lineage = {"split": row.split, "group": row.group, "source_id": row.source_id, "source_path": row.source_path}
    return {"key": row.key, **lineage, "changed": row.changed_text, **values}


def text(value: object) -> str:
    """Return the text of what a loader returned: a whole number may have become an int, a blank cell None."""
    return "" if value is None else str(value)


def loaded(item: dict[str, Any], names: Iterable[str]) -> Cells:
    cells = {name: text(item[name]) for name in names}
    # A 0/1 column with blank cells is read as floats from CSV.
    return {**cells, "smile": cells["smile"].removesuffix(".0")} if "smile" in cells else cells


def hugging_face(folder: Path, module: str, **where: object) -> dict[str, Any]:
    return dict(importlib.import_module("datasets").load_dataset(module, cache_dir=str(folder), **where).items())


def by_split(found: dict[str, Any], space: LabelSpace = HOSTILE) -> Iterator[Cells]:
    """Yield the rows of a DatasetDict; that of a split must be where it belongs."""
    names = [name for name in columns(space) if name in next(iter(found.values())).features]
    for name, rows in found.items():
        for item in rows:
            assert item["split"] == HUB_SPLITS[name]
            yield loaded(item, names)


def hf_folder(out: Path, folder: Path) -> Iterator[Cells]:
    return by_split(hugging_face(folder, "imagefolder", data_dir=str(out)))


def hf_card(out: Path, folder: Path) -> Iterator[Cells]:
    return by_split(hugging_face(folder, str(out)))


def with_codes(item: dict[str, Any]) -> Cells:
    """Return a row of HDF5, whose labels are codes."""
    codes = zip(HOSTILE.attributes, item["labels"], strict=True)
    values = {each.name: "" if code == UNKNOWN else each.values[code] for each, code in codes}
    return loaded({**item, **values}, columns(HOSTILE))


def hf_hdf5(out: Path, folder: Path) -> Iterator[Cells]:
    for name, rows in hugging_face(folder, "hdf5", data_dir=str(out)).items():
        for item in rows:
            assert item["split"] == HUB_SPLITS[name]
            yield with_codes(item)


def hf_hdf5_file(out: Path, folder: Path) -> Iterator[Cells]:
    """Split the rows as the documents show."""
    rows = hugging_face(folder, "hdf5", data_files=str(out))["train"]
    for name in HUB_SPLITS.values():
        for item in rows.filter(lambda split, name=name: split == name, input_columns="split"):
            assert item["split"] == name
            yield with_codes(item)


def hf_webdataset(out: Path, folder: Path) -> Iterator[Cells]:
    for name, rows in hugging_face(folder, "webdataset", data_dir=str(out)).items():
        for item in rows:
            assert item["json"]["split"] == HUB_SPLITS[name]
            yield loaded(item["json"], columns(HOSTILE))


def webdataset(out: Path, _cache: Path) -> Iterator[Cells]:
    library = importlib.import_module("webdataset")
    for split in HUB_SPLITS.values():
        urls = sorted(map(str, (out / split).glob("*.tar")))
        for item in library.WebDataset(urls, shardshuffle=False):
            yield loaded(json.loads(item["json"]), columns(HOSTILE))


def hf_parquet(out: Path, folder: Path) -> Iterator[Cells]:
    for rows in hugging_face(folder, "parquet", data_dir=str(out)).values():
        for item in rows:
            values = {
                name: "" if item[name] == UNKNOWN else rows.features[name].int2str(item[name])
                for name in HOSTILE.names
            }
            yield loaded({**item, **values}, columns(HOSTILE))


def ours(out: Path, _cache: Path) -> Iterator[Cells]:
    dataset = open_dataset(out)
    for place, row in dataset.labels.iterrows():
        codes = zip(HOSTILE.attributes, dataset[int(str(place))][1].tolist(), strict=True)
        assert all(row[each.name] == ("" if code == UNKNOWN else each.values[code]) for each, code in codes)
        yield loaded(dict(row), columns(HOSTILE))


def pandas(out: Path, _cache: Path) -> Iterator[Cells]:
    """Read the label table as the documents show."""
    table = pd.read_csv(out / "labels.csv", dtype=str, keep_default_na=False)
    for row in table.to_dict("records"):
        yield loaded({str(name): cell for name, cell in row.items()}, columns(HOSTILE))


LOADERS: list[tuple[str, Callable[[Path, Path], Iterable[Cells]]]] = [
    *((form, ours) for form in ("folder", "classes", "hdf5 file", "hdf5", "webdataset", "parquet")),
    *((form, pandas) for form in ("folder", "webdataset")),
    ("folder", hf_folder),
    ("folder", hf_card),
    ("classes", hf_folder),
    ("hdf5 file", hf_hdf5_file),
    ("hdf5", hf_hdf5),
    ("webdataset", hf_webdataset),
    ("webdataset", webdataset),
    ("parquet", hf_parquet),
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the output of a form, with hostile values."""
    folder = tmp_path_factory.mktemp("hostile")
    names = {form: form.replace(" ", "-") + (".h5" if form == "hdf5 file" else "") for form, _ in LOADERS}
    return cache(lambda form: write(form, folder / names[form], rows_of(HOSTILE)))


def same(found: Iterable[Cells], rows: Sequence[LabelRow], space: LabelSpace = HOSTILE) -> None:
    """Check that a loader found these rows."""
    cells = {row["key"]: {name: row[name] for name in written(rows[0], space)} for row in found}
    assert cells == {row.key: written(row, space) for row in rows}


@pytest.mark.parametrize(("form", "read"), LOADERS)
def test_every_value_comes_back_letter_for_letter(
    form: str, read: Callable[[Path, Path], Iterable[Cells]], outputs: Callable[[str], Path], tmp_path: Path
) -> None:
    same(read(outputs(form), tmp_path), rows_of(HOSTILE))


def test_tables_in_csv_come_back_letter_for_letter(tmp_path: Path) -> None:
    safe = ("whole", "quotes", "letters", "words", "smile")
    space = LabelSpace(attributes=tuple(each for each in HOSTILE.attributes if each.name in safe))
    rows = rows_of(space, names=[f"img {number}" for number in range(12)], unknown=("smile",))
    out = write("folder", tmp_path / "out", rows, space)
    assert sorted(path.name for path in (out / "val").glob("metadata.*")) == ["metadata.csv"]
    same(by_split(hugging_face(tmp_path / "cache", "imagefolder", data_dir=str(out)), space), rows, space)


@pytest.mark.parametrize("form", ["folder", "hdf5 file", "webdataset", "parquet"])
def test_what_is_written_is_what_verify_expects(form: str, outputs: Callable[[str], Path]) -> None:
    assert verify_output(outputs(form)).problems == []


def test_a_changed_cell_of_a_typed_table_is_found(tmp_path: Path) -> None:
    out = write("folder", tmp_path / "out", rows_of(HOSTILE))
    path = out / "val" / "metadata.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("group")
    changed = pa.array([table["group"][0].as_py(), "other", *table["group"].to_pylist()[2:]])
    pq.write_table(table.set_column(place, table.field(place), changed), path)
    found = [(each.file, each.row, each.reason) for each in verify_output(out).problems]
    assert found == [
        ("val/metadata.parquet", "row 3, column group (string)", "it is 'other', and was written as '2020-01-01'")
    ]


def test_croissant_reads_the_label_table_as_text(outputs: Callable[[str], Path]) -> None:
    found = mlcroissant.Dataset(jsonld=outputs("folder") / "croissant.json")
    rows = {bytes(row["labels/key"]).decode(): row for row in found.records("labels")}
    for row in rows_of(HOSTILE):
        cells = {name: rows[row.key][f"labels/{name.replace(' ', '_')}"] for name in KINDS}
        found_cells = {name: "" if cell is None else bytes(cell).decode() for name, cell in cells.items()}
        # mlcroissant goes through pandas, to which whole numbers beside blank cells are floats.
        found_cells["whole"] = found_cells["whole"].removesuffix(".0")
        assert found_cells == {name: written(row)[name] for name in KINDS}


# ---- identity ----


@pytest.mark.parametrize("form", ["folder", "hdf5", "webdataset", "parquet"])
def test_an_output_is_never_taken_for_another_one_of_its_name(form: str, tmp_path: Path) -> None:
    """All have one name, one fingerprint and one cache; the second has other labels, the third other pixels."""
    space = LabelSpace(attributes=(Attribute(name="hair", kind="categorical", values=KINDS["words"]),))
    rows = rows_of(space)
    others = [row._replace(source_id=f"other {row.source_id}") for row in rows]
    versions = set()
    for folder, written_rows, brightness in (("a", rows, 20), ("b", others, 20), ("b", others, 10)):
        out = tmp_path / folder / "expanded"
        shutil.rmtree(out, ignore_errors=True)
        write(form, out, written_rows, space, brightness=brightness)
        found = hugging_face(tmp_path / "cache", str(out))["train"]
        lineage = [item["json"] if form == "webdataset" else item for item in found]
        assert [item["source_id"] for item in lineage] == [row.source_id for row in written_rows[:6]]
        images = found["png" if form == "webdataset" else "image"]
        assert [np.asarray(image).max() for image in images] == [brightness * place for place in range(6)]
        versions.add(json.loads((out / "croissant.json").read_bytes())["version"])
    assert len(versions) == 3


# ---- the choice of the table per split ----


def space_of(values: Iterable[str]) -> LabelSpace:
    return LabelSpace(attributes=(Attribute(name="kind", kind="categorical", values=tuple(values)),))


def chosen(values: Iterable[str], *, unknown: bool = False, names: Iterable[str] = ("x1", "x2")) -> str:
    codes = np.array([[0], [UNKNOWN if unknown else 1]])
    return split_table(space_of(values), codes, [[*names]])


@pytest.mark.parametrize(("kind", "values"), KINDS.items())
def test_a_table_stays_csv_only_where_pandas_reads_it_as_it_is(kind: str, values: tuple[str, ...]) -> None:
    assert (chosen(values) == "metadata.csv") == (kind in ("whole", "quotes", "letters", "words"))
    assert chosen(values, unknown=True) == "metadata.parquet"
    # Ids are text, also where they look like whole numbers.
    assert (chosen(("a", "b"), names=values) == "metadata.csv") == (kind in ("quotes", "letters", "words"))
    assert chosen(("a", "b"), names=("", "")) == "metadata.csv"


def test_names_of_attributes_are_values_of_the_column_changed() -> None:
    codes = np.zeros((2, 1), int)
    for name, expected in (("hair", "metadata.csv"), ("NA", "metadata.parquet"), ("2", "metadata.parquet")):
        assert split_table(LabelSpace(attributes=(Attribute(name=name),)), codes, []) == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=6),
            st.text("0123456789+-.eE_ naNAultrueTRUEfinyIY<>#/", max_size=8),
            st.sampled_from(
                ["NULL", "nan", "-NaN", "#N/A N/A", "1.#QNAN", "TRUE", " 1", "1 ", "0x1f", "1_0", "\x0b"]
            ),
        ),
        min_size=2,
        max_size=4,
        unique=True,
    )
)
def test_csv_is_chosen_for_no_text_that_pandas_changes(values: list[str]) -> None:
    if chosen(("a", "b"), names=values) == "metadata.parquet":
        return
    for cells in ([value] for value in values):  # A split may have any of them, and that one alone.
        file = io.StringIO()
        csv.writer(file, lineterminator="\n").writerows([["cell", "key"], *([cell, "k"] for cell in cells)])
        file.seek(0)
        assert pd.read_csv(file)["cell"].tolist() == cells
