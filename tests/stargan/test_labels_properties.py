"""Label spaces of every kind: domains to vectors and back, through JSON, and with label sets."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stargan.labels import UNKNOWN, Attribute, LabelSpace

quick = settings(max_examples=80, deadline=None, derandomize=True)

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@st.composite
def spaces(draw: st.DrawFn) -> LabelSpace:
    names = draw(st.lists(WORDS, min_size=1, max_size=5, unique=True))
    kinds = [draw(st.lists(WORDS, max_size=4, unique=True)) for _ in names]
    attributes = tuple(
        Attribute(name=name, kind="categorical", values=tuple(values)) if values else Attribute(name=name)
        for name, values in zip(names, kinds, strict=True)
    )
    cuts = sorted(draw(st.sets(st.integers(1, len(names)), max_size=2)) - {len(names)})
    bounds = [0, *cuts, len(names)]
    sets = tuple(tuple(names[a:b]) for a, b in itertools.pairwise(bounds))
    return LabelSpace(attributes=attributes, label_sets=sets if cuts else ())


def drawn_codes(data: st.DataObject, space: LabelSpace) -> torch.Tensor:
    """Draw domains, each of one label set."""
    rows = []
    for _ in range(data.draw(st.integers(0, 4))):
        label_set = data.draw(st.sampled_from(sorted(set(space.set_of_attribute))))
        rows.append(
            [
                data.draw(st.integers(UNKNOWN, len(attribute.values) - 1)) if place == label_set else UNKNOWN
                for attribute, place in zip(space.attributes, space.set_of_attribute, strict=True)
            ]
        )
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), len(space))


@quick
@given(space=spaces(), data=st.data())
def test_domains_survive_vectors_words_and_json(space: LabelSpace, data: st.DataObject) -> None:
    codes = drawn_codes(data, space)
    vectors = space.encode(codes)
    assert vectors.shape == (len(codes), space.vector_size)
    assert vectors.dtype == torch.float32
    assert torch.equal(space.decode(vectors), codes)
    assert bool(((vectors >= 0) & (vectors <= 1)).all())
    assert [space.codes(space.domain(row)) for row in codes.tolist()] == codes.tolist()
    assert LabelSpace.from_json(json.loads(json.dumps(space.to_json()))) == space
    for attribute, run in zip(space.attributes, space.slices, strict=True):
        known = codes[:, space.index(attribute.name)] != UNKNOWN
        if attribute.kind == "categorical":
            assert vectors[:, run].sum(dim=1).tolist() == known.float().tolist()
    if space.label_sets:
        knows = (codes != UNKNOWN).any(dim=1).float()
        assert vectors[:, space.domain_size :].sum(dim=1).tolist() == knows.tolist()


@quick
@given(space=spaces(), data=st.data())
def test_what_a_joint_model_is_asked_is_one_whole_label_set(space: LabelSpace, data: st.DataObject) -> None:
    targets = drawn_codes(data, space)
    asked = space.to_one_label_set(targets, torch.full_like(targets, UNKNOWN))
    assert torch.equal(asked, targets)
    assert space.encode(space.to_one_label_set(targets, targets)).shape == (len(targets), space.vector_size)


@quick
@given(space=spaces(), data=st.data())
def test_codes_without_a_value_never_become_a_vector(space: LabelSpace, data: st.DataObject) -> None:
    codes = torch.full((2, len(space)), UNKNOWN)
    column = data.draw(st.integers(0, len(space) - 1))
    size = len(space.attributes[column].values)
    codes[1, column] = data.draw(st.integers(size, 2**40) | st.integers(-(2**40), -2))
    with pytest.raises(ValueError, match="codes run from"):
        space.encode(codes)
