"""What `--balance`, `--balance-to` and `--counts` mean: words, numbers, tables, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.utils import check_sampling_strategy

from augmentor.errors import DomainError
from augmentor.planning.balance import BalanceRequest
from augmentor.planning.combinations import LEFT_ALONE, CellState
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "red")),
        Attribute(name="male"),
        Attribute(name="smile"),
    )
)
WORDS = ("minority", "not minority", "not majority", "all", "auto")


def request(attributes: str = "hair", to: str | float = "auto", *, limit: int | None = None) -> BalanceRequest:
    return BalanceRequest.parse(attributes=attributes, to=to, max_per_source=limit, space=SPACE)


# ---- combinations ----


def test_combinations_are_numbered_with_the_last_attribute_fastest() -> None:
    cells = request("smile, hair").cells
    assert (cells.attributes, len(cells)) == ((0, 2), 6)
    assert cells.domain(3, SPACE) == {"hair": "blond", "smile": "1"}
    codes = np.array([[1, 0, 1], [1, -1, 1], [-1, 0, 1], [2, 1, 0]], dtype=np.int16)
    assert cells.of(codes).tolist() == [3, 3, -1, 4]
    assert cells.count(cells.of(codes)).tolist() == [0, 0, 0, 2, 1, 0]
    assert cells.number(cells.values).tolist() == list(range(6))


# ---- words and numbers ----


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("auto", [9, LEFT_ALONE, 9]),
        ("Not-Majority", [9, LEFT_ALONE, 9]),
        ("minority", [LEFT_ALONE, LEFT_ALONE, 9]),
        ("not minority", [9, 9, LEFT_ALONE]),
        ("all", [9, 9, 9]),
        ("7", [7, 7, 7]),
        (7, [7, 7, 7]),
        ("0.5", [4, LEFT_ALONE, 4]),
        (1.0, [9, LEFT_ALONE, 9]),
    ],
)
def test_words_and_numbers(to: str | float, expected: list[int]) -> None:
    assert request(to=to).wanted(np.array([4, 9, 2])).tolist() == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(1, 30), min_size=3, max_size=3), word=st.sampled_from(WORDS))
def test_the_words_are_those_of_imbalanced_learn(counts: list[int], word: str) -> None:
    """Where every combination has an image: imbalanced-learn does not know of those that have none."""
    labels = np.repeat(np.arange(3), counts)
    added = check_sampling_strategy(word, labels, "over-sampling")
    there = np.array(counts)
    wanted = request(to=word).wanted(there)
    ours = {cell: n - there[cell] for cell, n in enumerate(wanted.tolist()) if n != LEFT_ALONE}
    assert ours == {int(cell): int(n) for cell, n in added.items() if n or int(cell) in ours}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rare=st.integers(1, 30), more=st.integers(1, 30), share=st.floats(0.05, 1.0))
def test_a_share_is_that_of_imbalanced_learn(rare: int, more: int, share: float) -> None:
    labels = np.repeat([0, 1], [rare + more, rare])
    wanted = request("male", share).wanted(np.array([rare + more, rare]))
    try:
        added = check_sampling_strategy(share, labels, "over-sampling")
    except ValueError:  # It would have to take images away; ours leaves them.
        assert wanted[1] <= rare
        return
    assert wanted.tolist() == [LEFT_ALONE, rare + int(added[1])]


def test_a_combination_without_any_image_is_the_rarest() -> None:
    assert request("male", "minority").wanted(np.array([5, 0])).tolist() == [LEFT_ALONE, 5]


# ---- tables ----


def test_a_table_of_counts(tmp_path: Path) -> None:
    table = tmp_path / "wanted.csv"
    table.write_text("male,hair,count\nyes,red,40\n0,black,3\n", encoding="utf-8-sig")
    read = BalanceRequest.parse(counts=table, space=SPACE, max_per_source=2)
    assert (read.cells.attributes, read.max_per_source) == ((0, 1), 2)
    assert read.wanted(np.zeros(6, dtype=np.int64)).tolist() == [3, -1, -1, -1, -1, 40]
    assert BalanceRequest.parse(attributes="male,hair", counts=table, space=SPACE, max_per_source=2) == read
    tabs = tmp_path / "wanted.tsv"
    tabs.write_text("hair\tcount\nred\t4\n")
    assert BalanceRequest.parse(counts=tabs, space=SPACE).counts == ((2, 4),)


def test_a_table_that_pandas_wrote(tmp_path: Path) -> None:
    """Beside a blank cell, whole numbers become floats."""
    table = tmp_path / "wanted.csv"
    table.write_text("male,hair,count\n1.0,red,10.0\n0.0,black,3.\n")
    assert BalanceRequest.parse(counts=table, space=SPACE).counts == ((0, 3), (5, 10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hair,count\nred,10.5\n", "row 2: count is '10.5', not a number of images"),
        ("hair,male\nred,1\n", "needs a column per attribute and the column count; it has hair, male"),
        ("count\n3\n", "needs a column per attribute"),
        ("hiar,count\nred,3\n", "no attribute is called 'hiar'. Did you mean 'hair'"),
        ("hair,count\nred,3\nrad,3\n", "row 3: hair has no value 'rad'. Did you mean 'red'"),
        ("hair,count\nred,many\n", "row 2: count is 'many', not a number of images"),
        ("hair,count\nred,-3\n", "row 2: count is '-3'"),
        ("hair,count\nred\n", "row 2: count is ''"),
        ("hair,count\n,3\n", "row 2: a value of hair is empty. hair takes black, blond, red"),
        ("hair,count\nred,3\nblack,1\nred,4\n", "row 4: red has a row already"),
        ("", "is not a table"),
    ],
)
def test_tables_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    table = tmp_path / "wanted.csv"
    table.write_text(text)
    with pytest.raises(DomainError) as caught:
        BalanceRequest.parse(counts=table, space=SPACE)
    assert str(caught.value).startswith(f"--counts {table}")
    assert message in str(caught.value)


def test_a_table_and_other_words(tmp_path: Path) -> None:
    table = tmp_path / "wanted.csv"
    with pytest.raises(DomainError, match=r"wanted\.csv: cannot be read \(No such file"):
        BalanceRequest.parse(counts=table, space=SPACE)
    table.write_text("hair,count\nred,3\n")
    with pytest.raises(DomainError, match="--balance-to all: --counts says how many"):
        BalanceRequest.parse(counts=table, to="all", space=SPACE)
    with pytest.raises(DomainError, match="has columns for hair, and --balance names male"):
        BalanceRequest.parse(counts=table, attributes="male", space=SPACE)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("attributes", "to", "message"),
    [
        ("hiar", "auto", "--balance: no attribute is called 'hiar'. Did you mean 'hair'"),
        ("", "auto", "--balance: name the attributes"),
        ("hair,hair", "auto", "--balance: hair is named twice"),
        ("hair,", "auto", "--balance: no attribute is called ''"),
        ("hair", "majority", "--balance-to 'majority': write auto, minority"),
        ("hair", "minorty", "Did you mean 'minority'"),
        ("hair", "0", "--balance-to '0'"),
        ("hair", "-5", "--balance-to '-5'"),
        ("hair", "1.5", "above 0 and up to 1.0"),
        ("hair", "0.0", "above 0 and up to 1.0"),
    ],
)
def test_requests_that_cannot_be_read(attributes: str, to: str, message: str) -> None:
    with pytest.raises(DomainError) as caught:
        request(attributes, to)
    assert message in str(caught.value)


def test_other_requests_that_cannot_work() -> None:
    with pytest.raises(DomainError, match="--max-per-source must be at least 1, not 0"):
        request(limit=0)
    with pytest.raises(DomainError, match="no row that may be translated knows all"):
        request().wanted(np.zeros(3, dtype=np.int64))
    many = LabelSpace(attributes=tuple(Attribute(name=f"a{i}") for i in range(13)))
    with pytest.raises(DomainError, match="has 8,192 combinations, and 4,096 is the most"):
        BalanceRequest.parse(attributes=many.names, space=many)
    joint = LabelSpace(attributes=SPACE.attributes, label_sets=(("hair",), ("male", "smile")))
    with pytest.raises(DomainError, match=r"labels of different data sets.* hair \| male, smile"):
        BalanceRequest.parse(attributes="hair,male", space=joint)
    assert len(BalanceRequest.parse(attributes="male,smile", space=joint).cells) == 4


def test_a_combination_says_how_it_stands() -> None:
    state = CellState({"hair": "red"}, before=2, wanted=5, after=4)
    assert state.to_json() == {
        "domain": {"hair": "red"},
        "before": 2,
        "wanted": 5,
        "after": 4,
        "sources_used_up": True,
        "given_up": False,
        "why": "",
    }
    assert not CellState({}, before=2, wanted=None, after=2).sources_used_up
