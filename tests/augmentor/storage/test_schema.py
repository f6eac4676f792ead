"""JSON objects become the dataclasses that declare them; damaged ones are refused, or read as far as they go."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pytest

from augmentor.storage import Json, read_declared


@dataclass(frozen=True)
class Part:
    value: float
    count: int


@dataclass(frozen=True)
class Whole:
    name: str
    right: bool
    kind: Literal["a", "b"]
    share: float | None
    part: Part | None
    parts: Sequence[Part]
    rows: tuple[tuple[int, ...], ...]
    by_name: Mapping[str, Part]
    settings: Mapping[str, Json]


WHOLE = Whole(
    name="x",
    right=True,
    kind="a",
    share=None,
    part=Part(0.5, 2),
    parts=(Part(0.25, 1),),
    rows=((1, 2), ()),
    by_name={"y": Part(1.0, 3)},
    settings={"sizes": [1, "two", None]},
)


def test_what_was_written_is_read() -> None:
    state = json.loads(json.dumps(asdict(WHOLE)))
    assert read_declared(Whole, state) == WHOLE
    assert read_declared(Whole, {**state, "another": 1}, lenient=True) == WHOLE


@pytest.mark.parametrize(
    ("damage", "error"),
    [({"name": 1}, TypeError), ({"part": {"value": 1.0}}, KeyError), ({"rows": ["12"]}, TypeError)],
)
def test_damage_is_refused(damage: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_declared(Whole, {**asdict(WHOLE), **damage})


def test_damage_is_read_as_empty_where_that_was_asked_for() -> None:
    nothing = read_declared(Whole, None, lenient=True)
    assert nothing == Whole("", False, "", None, None, (), (), {}, {})  # type: ignore[arg-type]
    damaged = {"part": {"value": "high"}, "parts": [{"count": 2}, 7], "share": "half", "by_name": {"y": None}}
    read = read_declared(Whole, damaged, lenient=True)
    assert read.part is not None
    assert math.isnan(read.part.value)
    assert [part.count for part in read.parts] == [2, 0]
    assert read.share is None
    assert math.isnan(read.by_name["y"].value)
