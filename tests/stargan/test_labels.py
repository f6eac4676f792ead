"""Label spaces: domains to vectors and back, and targets drawn from a batch."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stargan.labels import UNKNOWN, Attribute, LabelSpace, permuted_targets


def test_encode_by_hand(space: LabelSpace) -> None:
    codes = torch.tensor([[1, 0], [2, 1], [UNKNOWN, UNKNOWN]])
    expected = [
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 1.0],
        [0.0, 0.0, 0.0, 0.5],
    ]
    vectors = space.encode(codes)
    assert vectors.dtype == torch.float32
    assert vectors.tolist() == expected


def test_order_decides_the_slices() -> None:
    hair = Attribute(name="hair", kind="categorical", values=("black", "blond", "brown"))
    turned = LabelSpace(attributes=(Attribute(name="glasses"), hair))
    assert turned.slices == (slice(0, 1), slice(1, 4))
    assert turned.vector_size == 4
    assert turned.encode(torch.tensor([[1, 2]])).tolist() == [[1.0, 0.0, 0.0, 1.0]]


def test_decode_takes_the_nearest(space: LabelSpace) -> None:
    vectors = torch.tensor([[0.2, 0.1, 0.7, 0.4], [0.6, 0.3, 0.1, 0.51], [0.0, 0.0, 0.0, 0.5]])
    assert space.decode(vectors).tolist() == [[2, 0], [0, 1], [UNKNOWN, UNKNOWN]]


@st.composite
def spaces_and_codes(draw: st.DrawFn) -> tuple[LabelSpace, torch.Tensor]:
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    space = LabelSpace(
        attributes=tuple(
            Attribute(name=f"a{i}", kind="categorical", values=tuple(f"v{v}" for v in range(size)))
            if size
            else Attribute(name=f"a{i}")
            for i, size in enumerate(sizes)
        )
    )
    row = st.tuples(*(st.integers(UNKNOWN, (size or 2) - 1) for size in sizes))
    rows = draw(st.lists(row, max_size=6))
    return space, torch.tensor(rows, dtype=torch.int64).reshape(len(rows), len(sizes))


@given(spaces_and_codes())
def test_round_trips(drawn: tuple[LabelSpace, torch.Tensor]) -> None:
    space, codes = drawn
    vectors = space.encode(codes)
    assert vectors.shape == (len(codes), space.vector_size)
    assert torch.equal(space.decode(vectors), codes)
    for row in codes.tolist():
        assert space.codes(space.domain(row)) == row
    assert LabelSpace.from_json(json.loads(json.dumps(space.to_json()))) == space


def test_encode_refuses_what_it_cannot_mean(space: LabelSpace) -> None:
    with pytest.raises(ValueError, match="codes have 3 columns, the label space has 2 attributes"):
        space.encode(torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="hair: codes run from 0 to 3"):
        space.encode(torch.tensor([[0, 0], [3, 0]]))
    with pytest.raises(ValueError, match="glasses: codes run from -2 to 1"):
        space.encode(torch.tensor([[0, 1], [0, -2]]))


def test_names_and_values(space: LabelSpace) -> None:
    assert space.codes({"glasses": "1"}) == [UNKNOWN, 1]
    assert space.domain([1, UNKNOWN]) == {"hair": "blond"}
    assert space["hair"].code("brown") == 2
    assert space.index("glasses") == 1
    for bad in ({"hat": "1"}, {"hair": "red"}):
        with pytest.raises(KeyError, match=r"hat|red"):
            space.codes(bad)


def test_impossible_attributes_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        Attribute(name="")
    with pytest.raises(ValueError, match="male: a binary attribute has the values 0 and 1"):
        Attribute(name="male", values=("no", "yes"))
    with pytest.raises(ValueError, match="hair: values must be unique"):
        Attribute(name="hair", kind="categorical", values=("a", "b", "a"))
    with pytest.raises(ValueError, match="at least one"):
        Attribute(name="hair", kind="categorical", values=())
    with pytest.raises(ValueError, match="names must be unique, got a, a"):
        LabelSpace(attributes=(Attribute(name="a"), Attribute(name="a")))


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 1)), min_size=1, max_size=12), st.integers(0, 99))
def test_targets_are_a_permutation_that_loses_no_label(rows: list[tuple[int, int]], seed: int) -> None:
    codes = torch.tensor(rows)
    targets = permuted_targets(codes, generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    drawn = codes[order]
    known = drawn != UNKNOWN
    assert torch.equal(targets[known], drawn[known])
    assert torch.equal(targets[~known], codes[~known])
    assert torch.equal(permuted_targets(codes, generator=torch.Generator().manual_seed(seed)), targets)


def test_targets_of_a_known_batch_are_its_own_domains() -> None:
    codes = torch.arange(16)[:, None]
    random = torch.Generator().manual_seed(3)
    first, second = (permuted_targets(codes, generator=random) for _ in range(2))
    assert sorted(first[:, 0].tolist()) == list(range(16))
    assert first.tolist() != codes.tolist()
    assert first.tolist() != second.tolist()


def test_a_matching_discriminator_reads_yes_no_and_unknown_as_one_minus_one_and_zero() -> None:
    space = LabelSpace(
        attributes=(
            Attribute(name="hair", kind="categorical", values=("black", "blond", "red")),
            Attribute(name="smile"),
        )
    )
    codes = torch.tensor([[1, 0], [-1, 1], [2, -1]])
    expected = torch.tensor([[-1.0, 1.0, -1.0, -1.0], [0.0, 0.0, 0.0, 1.0], [-1.0, -1.0, 1.0, 0.0]])
    assert torch.equal(space.encode_signed(codes), expected)
