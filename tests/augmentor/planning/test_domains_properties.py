"""Any SPEC is read or refused in words, and what was read can be written again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmentor.errors import DomainError
from augmentor.planning.domains import MAX_TARGETS, DomainRequest, Spec, parse_domains
from augmentor.planning.plan import make_plan
from stargan.labels import Attribute, LabelSpace

quick = settings(max_examples=80, deadline=None, derandomize=True)

NAMES = ("hair", "male", "a b", "each", "all", "日本", "-", "<i>", "../x", "0")
VALUES = ("black", "blond", "0", "1", "yes", "each", "all", "x y", "ß", "-1")


@st.composite
def spaces(draw: st.DrawFn) -> LabelSpace:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    kinds = [draw(st.lists(st.sampled_from(VALUES), max_size=4, unique=True)) for _ in names]
    attributes = tuple(
        Attribute(name=name, kind="categorical", values=tuple(values)) if values else Attribute(name=name)
        for name, values in zip(names, kinds, strict=True)
    )
    cut = draw(st.integers(0, len(names) - 1))
    return LabelSpace(attributes=attributes, label_sets=(tuple(names[:cut]), tuple(names[cut:])) if cut else ())


pieces = st.sampled_from([*NAMES, *VALUES, *"=|,*~ ", "==", ",,", "=*", "=~", "\n", "\0", "'", "x" * 99])
texts = st.lists(pieces, max_size=9).map("".join) | st.text(max_size=8)


def written(spec: Spec, space: LabelSpace) -> str:
    """Return the SPEC that asks for these choices."""
    parts = []
    for choice in spec:
        attribute = space.attributes[choice.attribute]
        words = [attribute.values[code] for code in choice.values] + ["~"] * choice.others
        parts.append(f"{attribute.name}={'|'.join(words)}")
    return ",".join(parts)


def read_or_refuse(specs: list[str], space: LabelSpace) -> DomainRequest | DomainError:
    try:
        return parse_domains(specs, space)
    except DomainError as error:
        return error


@quick
@given(space=spaces(), specs=st.lists(texts, max_size=3))
def test_any_spec_is_read_or_refused(space: LabelSpace, specs: list[str]) -> None:
    request = read_or_refuse(specs, space)
    if isinstance(request, DomainRequest):
        check(request, space)
    else:
        assert "domains" in str(request)


@quick
@given(space=spaces(), data=st.data())
def test_a_request_survives_being_written(space: LabelSpace, data: st.DataObject) -> None:
    specs = []
    for _ in range(data.draw(st.integers(1, 3))):
        label_set = data.draw(st.sampled_from(space.label_sets or (space.names,)))
        parts = []
        for name in data.draw(st.lists(st.sampled_from(label_set), min_size=1, unique=True)):
            words = data.draw(st.lists(st.sampled_from([*space[name].values, "*", "~"]), min_size=1, max_size=4))
            parts.append(f" {name} = {' | '.join(words)} ")
        specs.append(",".join(parts))
    request = parse_domains([*specs, "each"], space)
    check(request, space)
    assert len(request.specs) >= len(space)


def check(request: DomainRequest, space: LabelSpace) -> None:
    """Hold a request to what a plan relies on; its choices, written in words, are the same request."""
    assert request.specs
    assert len(set(request.specs)) == len(request.specs)
    assert parse_domains([written(spec, space) for spec in request.specs], space) == request
    for spec in request.specs:
        assert [choice.attribute for choice in spec] == sorted({choice.attribute for choice in spec})
        assert len({space.set_of_attribute[choice.attribute] for choice in spec}) == 1
        for choice in spec:
            size = len(space.attributes[choice.attribute].values)
            assert set(choice.values) <= set(range(size))
            assert choice.values or choice.others
    codes = np.full((1, len(space)), -1, dtype=np.int16)
    plan = make_plan(codes, space=space, request=request, eligible=np.array([True]), with_real=False)
    assert 1 <= len(plan) <= MAX_TARGETS


@pytest.mark.parametrize("count", [17, 40, 1000])
def test_a_product_beyond_reason_is_refused_before_it_is_built(count: int) -> None:
    space = LabelSpace(attributes=tuple(Attribute(name=f"a{i}") for i in range(count)))
    with pytest.raises(DomainError, match="65,536 is the most"):
        parse_domains(["all"], space)
    with pytest.raises(DomainError, match="65,536 is the most"):
        parse_domains(["each", ",".join(f"a{i}=*" for i in range(count))], space)
