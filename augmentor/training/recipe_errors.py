"""Messages for recipes that cannot be used: which key, which value, what is allowed there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from augmentor.errors import did_you_mean, short

Schema = Mapping[str, Any]
"""A JSON schema, or a part of one."""

_BOUNDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "more than"),
    ("gt", "more than"),  # Where a validator stands between the type and its bound.
    ("maximum", "at most"),
    ("exclusiveMaximum", "less than"),
)


def explain(
    problems: Sequence[ErrorDetails],
    *,
    where: str,
    content: Mapping[str, Any],
    overrides: Mapping[tuple[str, ...], str],
    schema: Schema,
) -> str:
    """Return a line for every problem of a recipe.

    Args:
        problems: what pydantic found.
        where: the recipe's file.
        content: the recipe as it was read.
        overrides: keys that `--set` gave, each with its text, which is named in the place of the file.
        schema: the recipe's JSON schema.
    """
    lines = []
    for problem in problems:
        keys, value, field = _find(problem["loc"], content, schema)
        unknown = problem["type"] == "extra_forbidden"
        full = (*keys, str(problem["loc"][-1])) if unknown else keys
        key = ".".join(full)
        of_set = [text for given, text in overrides.items() if full and given[: len(full)] == full[: len(given)]]
        place = f"--set {short(of_set[-1])}" if of_set else where
        if unknown:
            known = list(_properties(field, schema))
            hint = did_you_mean(full[-1], known) or f" Known: {', '.join(known)}."
            lines.append(f"{place}: unknown key '{key}'.{hint}")
        elif problem["type"] == "value_error":  # Of our own validators.
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{place}: {key}: {message}" if key else f"{place}: {message}")
        elif problem["type"] == "missing":
            lines.append(f"{place}: {key} is missing; it must be {allowed(field, schema)}")
        else:
            lines.append(f"{place}: {key} must be {allowed(field, schema)}, not {_shown(value)}")
    return "\n".join(dict.fromkeys(lines))


def _find(
    location: Sequence[str | int], content: object, schema: Schema
) -> tuple[tuple[str, ...], object, Schema]:
    """Return the keys of the setting at a location, its value as given, and its schema.

    A location also has the branches of unions and the positions in lists; both are left out.
    """
    keys: list[str] = []
    field = schema
    for part in map(str, location):
        properties = _properties(field, schema)
        inner = properties.get(part) or field.get("additionalProperties")
        if not inner:
            break
        keys.append(part)
        field = _resolved(inner, schema)
        content = content.get(part) if isinstance(content, Mapping) else None
    return tuple(keys), content, field


def _resolved(field: Schema, schema: Schema) -> Schema:
    reference = field.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else field


def _properties(field: Schema, schema: Schema) -> Schema:
    """Return the keys of a section: name -> schema."""
    properties: Schema = _resolved(field, schema).get("properties", {})
    return properties


def allowed(field: Schema, schema: Schema) -> str:
    """Return what a setting may be, as in "a whole number, at least 1"."""
    match field:
        case {"anyOf": branches}:
            described = field.get("description")
            return described or " or ".join(allowed(each, schema) for each in branches if each != {"type": "null"})
        case {"enum": _} | {"const": _}:
            *others, last = map(repr, field.get("enum") or [field["const"]])
            return f"{', '.join(others)} or {last}" if others else last
        case {"type": "integer" | "number" as kind}:
            bounds = " and ".join(f"{words} {_number(field[name])}" for name, words in _BOUNDS if name in field)
            return ("a whole number" if kind == "integer" else "a number") + (f", {bounds}" if bounds else "")
        case {"type": "array"}:
            exact, least = len(field.get("prefixItems", ())), field.get("minItems")
            count = f" of {exact}" if exact else f" of at least {least}" if least else ""
            return f"a list{count}, each {allowed(field['prefixItems'][0] if exact else field['items'], schema)}"
        case {"type": "boolean" | "string" as kind}:
            return "true or false" if kind == "boolean" else "text"
        case _:
            known = ", ".join(_properties(field, schema))
            return f"a section with keys of its own{f' ({known})' if known else ''}"


def _number(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def _shown(value: object) -> str:
    """Return a value as Python writes it, except whole numbers of thousands of digits, which it does not write."""
    try:
        return short(repr(value))
    except ValueError:
        return "a number of thousands of digits"
