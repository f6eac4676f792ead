"""The label table's columns, cells and keys are what other people's scripts read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from augmentor.errors import AugmentorError, OutputError
from augmentor.outputs.label_table import (
    Keys,
    LabelRow,
    attribute_named,
    cells,
    changed_names,
    columns,
    key,
    read_label_table,
    real_key,
    seed_of,
)
from augmentor.storage import replacing_table
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond, light")),
        Attribute(name="male"),
    )
)
REAL = LabelRow(
    file_name="train/00000/a__real.png",
    key="a__real",
    split="train",
    group="anna",
    is_synthetic=False,
    source_id="a",
    source_path='images/"a" ä.png',
    codes=(0, -1),
)
SYNTHETIC = LabelRow(
    file_name="train/00000/a__x.png",
    key="a__x",
    split="train",
    group="anna",
    is_synthetic=True,
    source_id="a",
    source_path="images/a.png",
    codes=(1, 1),
    changed=("hair", "male"),
    agreement=0.98765,
    realism=-12.00004,
)


def write(path: Path, *rows: LabelRow) -> None:
    with replacing_table(path, columns(SPACE)) as table:
        table.writerows(cells(row, SPACE) for row in rows)


def test_table_is_the_contract_s_bytes(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write(path, REAL, SYNTHETIC)
    assert path.read_bytes().decode() == (
        "file_name,key,split,group,is_synthetic,source_id,source_path,hair,male,changed,agreement,realism\n"
        'train/00000/a__real.png,a__real,train,anna,0,a,"images/""a"" ä.png",black,,none,,\n'
        'train/00000/a__x.png,a__x,train,anna,1,a,images/a.png,"blond, light",1,hair;male,0.9877,-12.0000\n'
    )
    assert list(tmp_path.iterdir()) == [path]


def test_table_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write(path, REAL, SYNTHETIC)
    table = read_label_table(path, SPACE)
    assert list(table.columns) == columns(SPACE)
    assert table["is_synthetic"].tolist() == [False, True]
    assert table["male"].tolist() == ["", "1"]
    assert table["hair"].tolist() == ["black", "blond, light"]
    assert table["source_path"][0] == 'images/"a" ä.png'
    assert pd.isna(table["agreement"][0])
    assert table["agreement"][1] == 0.9877
    assert table["realism"].dtype == "float64"


def test_cells_that_look_like_row_ends_or_formulas_come_back_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    awkward = REAL._replace(
        group="one\rtwo", source_id="=HYPERLINK(1)", source_path="a\n\"b\"\r,'c' \U0001f469.png"
    )
    write(path, awkward, SYNTHETIC)
    table = read_label_table(path, SPACE)
    assert table[["group", "source_id", "source_path"]].to_numpy().tolist() == [
        [awkward.group, awkward.source_id, awkward.source_path],
        [SYNTHETIC.group, SYNTHETIC.source_id, SYNTHETIC.source_path],
    ]


def test_interrupted_table_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    write(path, REAL)
    before = path.read_bytes()

    def interrupted() -> None:
        with replacing_table(path, columns(SPACE)) as table:
            table.writerow(cells(SYNTHETIC, SPACE))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_wrong_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="missing"):
        read_label_table(tmp_path / "labels.csv", SPACE)
    (tmp_path / "labels.csv").write_text("file_name,key\n")
    with pytest.raises(OutputError, match="the columns are file_name, key"):
        read_label_table(tmp_path / "labels.csv", SPACE)


@pytest.mark.parametrize("row", [REAL, SYNTHETIC])
def test_rows_survive_json(row: LabelRow) -> None:
    back = LabelRow.from_json(json.loads(json.dumps(row.to_json())))
    assert back.to_json() == row.to_json()
    assert back.codes == row.codes
    assert back.changed == row.changed


def test_json_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="not a row"):
        LabelRow.from_json(["a", "b"])


def test_not_a_number_is_unknown() -> None:
    row = LabelRow.from_json([*SYNTHETIC.to_json()[:-2], None, None])
    assert row.agreement is None
    assert LabelRow.from_json([*SYNTHETIC.to_json()[:-2], 1, 0.5]).realism == 0.5
    assert LabelRow(**{**_fields(REAL), "realism": float("nan")}).to_json()[-1] is None  # type: ignore[arg-type]


def _fields(row: LabelRow) -> dict[str, object]:
    return row._asdict()


def test_key_is_readable() -> None:
    assert key("00012", {"hair": "blond", "male": "0"}) == "00012__hair-blond_male-0"
    assert key("a", {"Black_Hair": "1", "tone": "medium_dark"}) == "a__Black_Hair-1_tone-medium_dark"
    assert real_key("00012") == "00012__real"


def test_key_is_safe_short_and_unique() -> None:
    awkward = [
        key("a", {"hair": "blond/red"}),
        key("a", {"hair": "blond-red"}),
        key("a", {"hair": "blond red"}),
        key("a", {"hair": "x_b-2"}),
        key("a", {"hair": "x", "b": "2"}),
        key("a", {"hair-a": "b"}),
        key("a", {"hair": "a-b"}),
        key("a", {"größe": "klein"}),
        key("a", {f"attribute{number}": "value" for number in range(40)}),
        key("a", {f"attribute{number}": "value" for number in range(41)}),
    ]
    assert len({name.casefold() for name in awkward}) == len(awkward)
    for name in awkward:
        assert len(name) <= 180
        assert name.startswith("a__")
        assert name.isascii()
        assert not set(name) & set('/\\:*?"<>| ')
    assert awkward[1] == "a__hair-blond-red"


def test_changed_names() -> None:
    assert changed_names((0, -1), (1, -1), SPACE.names) == ("hair",)
    assert changed_names((0, -1), (0, 1), SPACE.names) == ("male",)
    assert changed_names((0, 1), (0, 1), SPACE.names) == ()


def test_keys_of_targets_are_those_of_their_domains() -> None:
    keys = Keys(SPACE)
    for stem in ("00012", "x" * 170):
        for target in ((0, 0), (1, -1), (-1, 1), (-1, -1), (0, 0)):
            assert keys.key(stem, target) == key(stem, SPACE.domain(target))


def test_keys_differ_also_where_case_does_not_count() -> None:
    values = ("Red", "red", "RED", "blond")
    space = LabelSpace(
        attributes=(Attribute(name="hair", kind="categorical", values=values), *SPACE.attributes[1:])
    )
    keys = Keys(space)
    made = [keys.key("a", (code, male)) for code in range(4) for male in (-1, 0, 1)]
    assert len({name.casefold() for name in made}) == len(made)
    assert all(name.startswith("a__") for name in made)
    assert keys.key("a", (-1, 1)) == "a__male-1"  # nothing here that could be mixed up


def test_further_looks_end_in_their_number() -> None:
    keys = Keys(SPACE)
    assert keys.key("00012", (0, 0), 1) == key("00012", SPACE.domain((0, 0)))
    assert keys.key("00012", (0, 0), 2) == f"{keys.key('00012', (0, 0))}__look-2"
    assert len(keys.key("x" * 170, (0, 0), 12)) <= 180


def test_looks_are_told_from_values_that_speak_of_them() -> None:
    looking = Attribute(name="hair", kind="categorical", values=("black", "black__Look-2", "black__look-3"))
    space = LabelSpace(attributes=(looking, Attribute(name="_look")))
    keys = Keys(space)
    made = [
        keys.key(stem, (hair, seen), look)
        for stem in ("a", "x" * 170)
        for hair in range(-1, 3)
        for seen in (-1, 0, 1)
        for look in range(1, 5)
    ]
    assert len({name.casefold() for name in made}) == len(made)
    assert keys.key("a", (1, -1)) == key("a", {"hair": "black__Look-2"})


def test_seeds_follow_from_keys_alone() -> None:
    seeds = [seed_of(f"a__hair-blond__look-{look}") for look in range(2, 100)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seed_of("00012__hair-blond_male-0") == 2_512_693_737


def test_unknown_attribute_names_the_nearest() -> None:
    assert attribute_named(SPACE, "male").kind == "binary"
    with pytest.raises(AugmentorError, match=r"no attribute 'hiar'; there are hair, male. Did you mean 'hair'?"):
        attribute_named(SPACE, "hiar")
