"""Label spaces: domains to vectors and back, and targets drawn from a batch."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stargan.labels import UNKNOWN, Attribute, LabelSpace, merge_targets, permuted_targets, value_weights

TONE = Attribute(name="tone", kind="categorical", values=("dark", "light"))
STYLE = Attribute(name="style", kind="categorical", values=("3d", "flat", "line"))
WOMAN = Attribute(name="woman")
JOINT = LabelSpace(attributes=(TONE, STYLE, WOMAN), label_sets=(("tone",), ("style", "woman")))


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
    codes, space = torch.tensor(rows), LabelSpace(attributes=(STYLE, WOMAN))
    targets = permuted_targets(codes, space, generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    drawn = codes[order]
    known = drawn != UNKNOWN
    assert torch.equal(targets[known], drawn[known])
    assert torch.equal(targets[~known], codes[~known])
    assert torch.equal(permuted_targets(codes, space, generator=torch.Generator().manual_seed(seed)), targets)


def test_targets_of_a_known_batch_are_its_own_domains() -> None:
    codes = torch.arange(16)[:, None]
    number = Attribute(name="number", kind="categorical", values=tuple(map(str, range(16))))
    space, random = LabelSpace(attributes=(number,)), torch.Generator().manual_seed(3)
    first, second = (permuted_targets(codes, space, generator=random) for _ in range(2))
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


# ---- label sets ----


def test_label_sets_end_in_a_mask_by_hand() -> None:
    assert (JOINT.domain_size, JOINT.vector_size) == (6, 8)
    assert JOINT.slices == (slice(0, 2), slice(2, 5), slice(5, 6))
    codes = torch.tensor([[1, -1, -1], [-1, 2, 1], [-1, 0, -1], [-1, -1, 0], [-1, -1, -1]])
    assert JOINT.encode(codes).tolist() == [
        [0, 1, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 1, 0, 1],
        [0, 0, 1, 0, 0, 0.5, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert JOINT.encode_signed(codes).tolist() == [
        [-1, 1, 0, 0, 0, 0],
        [0, 0, -1, -1, 1, 1],
        [0, 0, 1, -1, -1, 0],
        [0, 0, 0, 0, 0, -1],
        [0, 0, 0, 0, 0, 0],
    ]
    assert torch.equal(JOINT.decode(JOINT.encode(codes)), codes)


def test_the_layout_is_that_of_the_original_joint_checkpoints() -> None:
    first, second = Attribute(name="a"), Attribute(name="b")
    faces = Attribute(name="emotion", kind="categorical", values=("angry", "happy", "sad"))
    space = LabelSpace(attributes=(first, second, faces), label_sets=(("a", "b"), ("emotion",)))
    # c_dim + c2_dim + 2 entries: the first data set's labels, the second's, then which of the two they are.
    assert space.vector_size == 2 + 3 + 2
    assert space.encode(torch.tensor([[1, 0, -1], [-1, -1, 2]])).tolist() == [
        [1, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 0, 1],
    ]


def test_a_domain_of_two_label_sets_has_no_vector() -> None:
    with pytest.raises(ValueError, match=r"domain 1, \{'tone': 'dark', 'woman': '1'\}, has .* two label sets"):
        JOINT.encode(torch.tensor([[0, -1, -1], [0, -1, 1]]))
    # D is told of both: it has no mask.
    assert JOINT.encode_signed(torch.tensor([[0, -1, 1]])).tolist() == [[1, -1, 0, 0, 0, 1]]


def test_decode_reads_logits_without_a_mask() -> None:
    assert JOINT.decode(torch.tensor([[0.9, 0.1, 0.2, 0.7, 0.1, 0.8]])).tolist() == [[0, 1, 1]]
    with pytest.raises(ValueError, match="vectors have 7 entries, the label space has 8"):
        JOINT.decode(torch.zeros(1, 7))


def test_label_sets_are_kept_as_json() -> None:
    state = json.loads(json.dumps(JOINT.to_json()))
    assert [item["label_set"] for item in state] == [0, 1, 1]
    assert LabelSpace.from_json(state) == JOINT
    plain = LabelSpace(attributes=JOINT.attributes)
    assert all("label_set" not in item for item in plain.to_json())
    assert LabelSpace.from_json(plain.to_json()) == plain != JOINT


@pytest.mark.parametrize("sets", [(("tone", "style", "woman"),), (("tone",), ("woman", "style")), (("tone",), ())])
def test_label_sets_are_the_attributes_in_order(sets: tuple[tuple[str, ...], ...]) -> None:
    with pytest.raises(ValueError, match="label sets"):
        LabelSpace(attributes=JOINT.attributes, label_sets=sets)


@pytest.mark.parametrize(
    ("target", "source", "asked"),
    [
        pytest.param([1, -1, -1], [0, -1, -1], [1, -1, -1], id="its own set's value"),
        pytest.param([0, 2, -1], [0, -1, -1], [-1, 2, -1], id="the other set's value"),
        pytest.param([0, 1, 1], [0, 2, 1], [-1, 1, 1], id="what stays, of the set that changes, is said again"),
        pytest.param([1, 1, 1], [0, 1, 1], [1, -1, -1], id="both sets known, the first one changes"),
        pytest.param([0, 1, 1], [0, 1, 1], [0, -1, -1], id="its own domain, both sets known"),
        pytest.param([-1, 1, 0], [-1, 1, 0], [-1, 1, 0], id="its own domain, one set known"),
        pytest.param([-1, 1, 0], [0, 1, 0], [-1, 1, 0], id="unknown asks for nothing"),
        pytest.param([-1, -1, -1], [-1, -1, -1], [-1, -1, -1], id="nothing at all"),
    ],
)
def test_what_a_joint_model_is_told(target: list[int], source: list[int], asked: list[int]) -> None:
    told = JOINT.to_one_label_set(torch.tensor([target]), torch.tensor([source]))
    assert told.tolist() == [asked]
    assert told.dtype == torch.int64
    JOINT.encode(told)
    plain = LabelSpace(attributes=JOINT.attributes)
    assert plain.to_one_label_set(torch.tensor([target]), torch.tensor([source])).tolist() == [target]


def test_a_change_in_two_label_sets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target 1, .*'style': 'flat'.* changes attributes of two label sets"):
        JOINT.to_one_label_set(torch.tensor([[0, 0, 0], [1, 1, 0]]), torch.tensor([[0, 0, 0], [0, 0, 0]]))


def test_targets_cross_from_one_label_set_to_the_other() -> None:
    own = torch.tensor([[0, -1, -1], [-1, 1, 1], [0, -1, -1], [-1, 1, 1], [-1, 2, -1]])
    drawn = torch.tensor([[-1, 0, -1], [1, -1, -1], [1, -1, -1], [-1, 0, -1], [-1, -1, -1]])
    assert merge_targets(drawn, own, JOINT).tolist() == [
        [-1, 0, -1],  # an image of the first set, asked for the second: its own set is not spoken of
        [1, -1, -1],
        [1, -1, -1],
        [-1, 0, 1],  # within one set, what the drawn domain does not know stays
        [-1, 2, -1],  # nothing drawn
    ]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(-1, 2), st.integers(-1, 1)), max_size=12))
def test_joint_targets_have_vectors(rows: list[tuple[bool, int, int, int]]) -> None:
    codes = torch.tensor([[a, -1, -1] if first else [-1, b, c] for first, a, b, c in rows]).reshape(-1, 3)
    targets = permuted_targets(codes, JOINT, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))
    drawn = codes[order]
    assert torch.equal(targets[drawn != UNKNOWN], drawn[drawn != UNKNOWN])
    assert JOINT.encode(targets).shape == (len(codes), 8)


def test_weights_of_values() -> None:
    """Of several values that a domain has, the first counts; an unknown label has none."""
    season = Attribute(name="season", kind="categorical", values=("summer", "winter"))
    space = LabelSpace(attributes=(season, Attribute(name="snow")))
    codes = torch.tensor([[0, 0], [1, 0], [1, 1], [-1, 1], [-1, -1]])
    weights = {"season=summer": 10.0, "snow=1": 3.0, "season=winter": 5.0}
    assert value_weights(codes, weights, space, default=1.0).tolist() == [10, 5, 3, 3, 1]
    assert value_weights(codes, {}, space, default=2.0).tolist() == [2] * 5
    for unknown in ("month=may", "season=spring", "season"):
        with pytest.raises(KeyError):
            value_weights(codes, {unknown: 1.0}, space, default=1.0)
