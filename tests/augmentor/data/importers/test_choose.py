"""Which rows, columns and splits of a data set a manifest gets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from augmentor.data.importers.base import DatasetError, Listing
from augmentor.data.importers.choose import Selection, Shares, choose, parse_constants, parse_values, split_of

ROWS = {
    "path": ["a.png", "b.png", "c.png", "d.png"],
    "id": ["a", "b", "c", "d"],
    "split": ["train", "train", "val", "test"],
    "hair": ["black", "gray", "", "black"],
    "male": ["1", "0", "1", "0"],
}


def listing(rows: dict[str, list[str]] | None = None, *, default: tuple[str, ...] = ("hair", "male")) -> Listing:
    return Listing(frame=pd.DataFrame(rows or ROWS, dtype=str), default=default)


def test_columns_and_their_order() -> None:
    frame, attributes, notes = choose(listing(default=("male",)), Selection(), dataset="faces")
    assert list(frame.columns) == ["path", "id", "split", "dataset", "male"]
    assert (attributes, notes) == (("male",), [])
    assert set(frame["dataset"]) == {"faces"}
    frame, attributes, _ = choose(listing(), Selection(attributes=("male", "hair")), dataset="faces")
    assert attributes == ("male", "hair")
    assert choose(listing(default=("male",)), Selection(attributes=("all",)), dataset="f")[1] == ("hair", "male")
    with pytest.raises(DatasetError, match=r"no attribute 'hiar'. Did you mean 'hair'\? There are hair, male"):
        choose(listing(), Selection(attributes=("hiar",)), dataset="faces")


def test_values_keep_rows_that_have_them_or_are_unknown() -> None:
    frame, _, _ = choose(listing(), Selection(values={"hair": ("black",)}), dataset="faces")
    assert frame.index.tolist() == [0, 2, 3]
    assert list(frame["hair"]) == ["black", "", "black"]
    # Also by an attribute that is not written.
    frame, attributes, _ = choose(listing(default=("hair",)), Selection(values={"male": ("0",)}), dataset="faces")
    assert (frame.index.tolist(), attributes) == ([1, 3], ("hair",))
    with pytest.raises(DatasetError, match=r"no image has 'grey'. Did you mean 'gray'\? There are black, gray"):
        choose(listing(), Selection(values={"hair": ("grey",)}), dataset="faces")
    with pytest.raises(DatasetError, match=r"--values mael: no such attribute. Did you mean 'male'\?"):
        choose(listing(), Selection(values={"mael": ("1",)}), dataset="faces")


def test_no_row_has_all_values() -> None:
    rows = {"path": ["a", "b"], "hair": ["black", "gray"], "male": ["0", "1"]}
    with pytest.raises(DatasetError, match="no image has all of these values together"):
        choose(listing(rows), Selection(values={"hair": ("black",), "male": ("1",)}), dataset="faces")


def test_suggested_values_give_way_to_asked_ones() -> None:
    scenes = ["street", "street", "abbey", "beach", "abbey"]
    frame = pd.DataFrame({"path": [f"{i}.jpg" for i in range(5)], "scene": scenes}, dtype=str)
    found = Listing(frame=frame, default=("scene",), suggested={"scene": ("street", "abbey")})
    kept, _, notes = choose(found, Selection(), dataset="ade20k")
    assert kept.index.tolist() == [0, 1, 2, 4]
    assert notes == [
        "kept the 2 most frequent of 3 values of scene: street, abbey. Choose others with --values scene=A,B"
    ]
    kept, _, notes = choose(found, Selection(values={"scene": ("beach",)}), dataset="ade20k")
    assert (kept.index.tolist(), notes) == ([3], [])
    kept, attributes, _ = choose(found, Selection(label="place"), dataset="ade20k")
    assert (kept.index.tolist(), attributes) == ([0, 1, 2, 4], ("place",))


def test_more_values_than_a_model_can_tell() -> None:
    rows = {"path": [f"{i}.jpg" for i in range(65)], "label": [f"c{i:02d}" for i in range(65)]}
    with pytest.raises(DatasetError, match=r"label has 65 values, more than 64: c00, .*--values label=c00,c01"):
        choose(listing(rows, default=("label",)), Selection(), dataset="images")
    kept, _, _ = choose(
        listing(rows, default=("label",)), Selection(values={"label": ("c00", "c64")}), dataset="images"
    )
    assert kept.index.tolist() == [0, 64]


def test_another_name_for_the_one_attribute() -> None:
    frame, attributes, _ = choose(listing(default=("hair",)), Selection(label="colour"), dataset="faces")
    assert attributes == ("colour",)
    assert list(frame["colour"]) == ["black", "gray", "", "black"]
    for label, said in (("male", "a column 'male' already"), ("split", "a column 'split' already")):
        with pytest.raises(DatasetError, match=said):
            choose(listing(default=("hair",)), Selection(label=label), dataset="faces")
    with pytest.raises(DatasetError, match="several attributes, hair, male"):
        choose(listing(), Selection(label="colour"), dataset="faces")


def test_constants() -> None:
    selection = Selection(attributes=("male",), constants={"domain": "photo", "dataset": "mine"})
    frame, attributes, _ = choose(listing(), selection, dataset="faces")
    assert attributes == ("male", "domain")
    assert list(frame.columns) == ["path", "id", "split", "dataset", "male", "domain"]
    assert (set(frame["domain"]), set(frame["dataset"])) == ({"photo"}, {"mine"})
    for name in ("male", "id"):
        with pytest.raises(DatasetError, match=f"there is a column '{name}' already"):
            choose(listing(), Selection(constants={name: "x"}), dataset="faces")


def test_splits() -> None:
    assert "split" not in choose(listing(), Selection(split="none"), dataset="faces")[0].columns
    own = choose(listing(), Selection(), dataset="faces")[0]
    assert list(own["split"]) == ROWS["split"]
    without = {name: cells for name, cells in ROWS.items() if name != "split"}
    assert "split" not in choose(listing(without), Selection(), dataset="faces")[0].columns
    frame, _, notes = choose(listing(without), Selection(split="50/25/25"), dataset="faces")
    assert sorted(frame["split"]) == ["test", "train", "train", "val"]
    assert notes == ["split images at random: train 2, val 1, test 1"]


def test_subjects_stay_together() -> None:
    rows = {
        "path": [f"{i}.png" for i in range(400)],
        "group": [f"g{i % 40}" if i < 390 else "" for i in range(400)],
        "smile": ["0", "1"] * 200,
    }
    found = Listing(frame=pd.DataFrame(rows, dtype=str), default=("smile",), shares=(80, 10, 10))
    frame, _, notes = choose(found, Selection(), dataset="faces")
    assert frame[frame["group"] != ""].groupby("group")["split"].nunique().max() == 1
    # 40 groups, and 10 images that are groups of their own.
    drawn = frame.assign(key=frame["group"].where(frame["group"] != "", frame["path"]))
    assert drawn.groupby("split")["key"].nunique().to_dict() == {"train": 40, "val": 5, "test": 5}
    assert notes[0].startswith("split groups at random: train ")
    again = choose(found, Selection(), dataset="faces")[0]
    assert again["split"].equals(frame["split"])


@pytest.mark.parametrize(
    ("count", "shares", "sizes"),
    [
        (67, (80, 10, 10), (53, 7, 7)),
        (3, (80, 10, 10), (1, 1, 1)),
        (2, (80, 10, 10), (2, 0, 0)),
        (10, (1, 0, 1), (5, 0, 5)),
        (10, (1, 0, 0), (10, 0, 0)),
        (4, (98, 1, 1), (2, 1, 1)),
    ],
)
def test_sizes_of_drawn_splits(count: int, shares: Shares, sizes: tuple[int, ...]) -> None:
    keys = [f"key{i}" for i in range(count)]
    drawn = split_of(keys, shares)
    found = list(drawn.values())
    assert tuple(found.count(split) for split in ("train", "val", "test")) == sizes
    assert split_of(keys[::-1], shares) == drawn
    assert count < 67 or drawn != dict(zip(keys, np.sort(found).tolist(), strict=True))


@pytest.mark.parametrize("text", ["80/20", "0/1/1", "a/b/c", "80/-1/1", "nan/1/1", "inf/1/1", "automatic", ""])
def test_splits_that_are_none(text: str) -> None:
    with pytest.raises(DatasetError, match=f"--split {text}: is not auto, none, or the parts"):
        choose(listing(), Selection(split=text), dataset="faces")


def test_words_of_the_command_line() -> None:
    assert parse_values(["scene=street, bedroom", "scene=beach", "hair=red"]) == {
        "scene": ("street", "bedroom", "beach"),
        "hair": ("red",),
    }
    assert parse_constants(["domain=mnist", "note=a=b"]) == {"domain": "mnist", "note": "a=b"}
    for text in ("scene", "scene=", "=street"):
        with pytest.raises(DatasetError, match="is not of the form scene=street,bedroom"):
            parse_values([text])
    with pytest.raises(DatasetError, match="domain is 'mnist' already"):
        parse_constants(["domain=mnist", "domain=usps"])
