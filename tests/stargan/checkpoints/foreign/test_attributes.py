"""Label vectors in words."""

from __future__ import annotations

import pytest
import torch

from stargan.checkpoints.foreign import parse_attributes


def test_names_and_values_in_the_vectors_order() -> None:
    space = parse_attributes(" hair = black | blond|brown , male,young")
    assert [(a.name, a.kind, a.values) for a in space.attributes] == [
        ("hair", "categorical", ("black", "blond", "brown")),
        ("male", "binary", ("0", "1")),
        ("young", "binary", ("0", "1")),
    ]
    assert space.label_sets == ()
    assert space.encode(torch.tensor([[1, 0, 1]])).tolist() == [[0, 1, 0, 0, 1]]


def test_joint_vectors_end_in_the_mask() -> None:
    space = parse_attributes("hair=black|blond,male;mood=angry|happy|sad")
    assert space.label_sets == (("hair", "male"), ("mood",))
    assert space.encode(torch.tensor([[1, 1, -1], [-1, -1, 2]])).tolist() == [
        [0, 1, 1, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1, 0, 1],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an attribute without a name"),
        ("male,,young", "an attribute without a name"),
        ("male;", "an attribute without a name"),
        ("=a|b", "an attribute without a name"),
        ("black|blond", r"values but no name. Write NAME=black\|blond"),
        ("hair=", "empty value. Write hair=VALUE"),
        ("hair=black||brown", "empty value"),
        ("hair=black", "one value only, 'black'. Write black alone"),
        ("hair=black|black", "values must be unique"),
        ("male,male", "attribute names must be unique"),
        ("male;male", "attribute names must be unique"),
    ],
)
def test_what_does_not_read(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_attributes(text)
