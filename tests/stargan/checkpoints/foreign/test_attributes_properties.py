"""Any description of a foreign label vector is read or refused, and what was read can be written again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from stargan.checkpoints.foreign import parse_attributes
from stargan.labels import LabelSpace

PIECES = st.sampled_from(["hair", "male", "black", "blond", "=", "|", ",", ";", " ", "日本", "\n", "==", "", "é"])


def read_or_refuse(text: str) -> LabelSpace | ValueError:
    try:
        return parse_attributes(text)
    except ValueError as error:
        return error


def written(space: LabelSpace) -> str:
    parts = [a.name if a.kind == "binary" else f"{a.name}={'|'.join(a.values)}" for a in space.attributes]
    sets = space.label_sets or (space.names,)
    return ";".join(",".join(parts[space.index(name)] for name in names) for names in sets)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=st.lists(PIECES, max_size=9).map("".join) | st.text(max_size=12))
def test_any_description_is_read_or_refused(text: str) -> None:
    space = read_or_refuse(text)
    if isinstance(space, ValueError):
        assert str(space)
    else:
        assert len(space) >= 1
        assert parse_attributes(written(space)) == space
