"""JSON objects read into the dataclasses that declare them."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Declared = TypeVar("Declared")


def read_declared(declared: type[Declared], state: object, *, lenient: bool = False) -> Declared:
    """Return the instance of a dataclass that `asdict` and JSON wrote; other keys are ignored.

    Fields may be str, bool, int, float (null is NaN), Literal, `T | None`, tuples and sequences, mappings from
    str, and dataclasses; a union of several types is not checked.

    Args:
        declared: the dataclass.
        state: the JSON value.
        lenient: read a damaged file, too: missing and mistyped fields become "", False, 0, NaN, None or empty.

    Raises:
        KeyError: a field is missing.
        TypeError: a value is of another type.
    """
    read: Declared = _read(declared, state, lenient=lenient)
    return read


def _read(hint: Any, value: object, *, lenient: bool) -> Any:  # noqa: PLR0911 - one for each kind of hint
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _read_fields(hint, _of(Mapping, value, {}, lenient=lenient), lenient=lenient)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not type(None)]
        if len(kinds) > 1 or value is None:
            return value
        if lenient and not isinstance(value, Mapping):
            try:
                return _read(kinds[0], value, lenient=False)
            except (KeyError, TypeError):
                return None
        return _read(kinds[0], value, lenient=lenient)
    if origin is Literal:
        return _of(str, value, "", lenient=lenient)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        found = _of(Mapping, value, {}, lenient=lenient)
        return {str(name): _read(arguments[1], part, lenient=lenient) for name, part in found.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        found = () if isinstance(value, str) and lenient else _of(Sequence, value, (), lenient=lenient)
        if isinstance(found, str):
            raise TypeError(f"{found!r} is no list")
        return tuple(_read(arguments[0], part, lenient=lenient) for part in found)
    if hint is float:
        return math.nan if value is None else _number(value, math.nan, lenient=lenient)
    if hint is int:
        return int(_number(value, 0, lenient=lenient))
    return _of(hint, value, hint(), lenient=lenient)


def _read_fields(declared: Any, state: Mapping[str, object], *, lenient: bool) -> Any:
    hints = get_type_hints(declared)
    values = {}
    for field in fields(declared):
        if field.name not in state and (lenient or field.default is not MISSING):
            if field.default is MISSING:
                values[field.name] = _read(hints[field.name], None, lenient=True)
            continue
        values[field.name] = _read(hints[field.name], state[field.name], lenient=lenient)
    return declared(**values)


def _number(value: object, instead: float, *, lenient: bool) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and (math.isfinite(value) or not lenient):
        return value
    if lenient:
        return instead
    raise TypeError(f"{value!r} is no number")


def _of(kind: type, value: object, instead: Any, *, lenient: bool) -> Any:
    if isinstance(value, kind):
        return value
    if lenient:
        return instead
    raise TypeError(f"{value!r} is no {kind.__name__}")
