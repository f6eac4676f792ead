"""Is a column binary, categorical, or no attribute at all? Read from its different texts alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from augmentor.data.manifest.choice import check_text
from augmentor.data.manifest.table import Column, Table
from augmentor.errors import ManifestError, listing, short
from stargan.labels import Attribute

BINARY_FAMILIES: Mapping[str, Mapping[str, int]] = {
    "0/1": {"0": 0, "0.0": 0, "1": 1, "1.0": 1},
    "-1/1": {"-1": 0, "-1.0": 0, "1": 1, "1.0": 1},
    "true/false": {"false": 0, "true": 1},
    "yes/no": {"no": 0, "yes": 1},
}
"""The spellings of no and yes; all cells of a column keep to one of them."""

MAX_VALUES = 64
MAX_NUMBERS = 20
FEW_CELLS = 20
"""Below so many known cells, most of them being different says nothing."""

ALMOST_UNKNOWN = ("na", "n/a", "none", "null", "unknown", "?", "-")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d+(\.0+)?", re.ASCII)


def binary_family(table: Table, column: Column) -> str | None:
    """Return the name of the spelling that all known cells keep to; None where they are not binary.

    Raises:
        ManifestError: every cell is binary, but they mix spellings.
    """
    folded = {text.casefold(): text for text in column.known}
    for name, spelling in BINARY_FAMILIES.items():
        if folded and all(text in spelling for text in folded):
            return name
    found = {
        name: next(folded[text] for text in folded if text in spelling)
        for name, spelling in BINARY_FAMILIES.items()
        if any(text in spelling for text in folded)
    }
    anywhere = {text for spelling in BINARY_FAMILIES.values() for text in spelling}
    if folded and all(text in anywhere for text in folded):
        first, second = _two_spellings(folded)
        raise ManifestError(
            f"{table.path}, column '{column.name}': mixes '{first}' (row {table.line_of(column, first)}) with "
            f"'{second}' (row {table.line_of(column, second)}). Keep to one of {listing(list(found))}; "
            "leave a cell blank where it is not known"
        )
    return None


def _two_spellings(folded: Mapping[str, str]) -> tuple[str, str]:
    """Return two texts that no one spelling holds."""
    for text, first in folded.items():
        for other, second in folded.items():
            if not any(text in spelling and other in spelling for spelling in BINARY_FAMILIES.values()):
                return first, second
    raise AssertionError("one spelling holds every text")


def binary_value(family: str, text: str) -> int:
    """Return 0 or 1 for a known text of `family`."""
    return BINARY_FAMILIES[family][text.casefold()]


def whole_numbers(texts: tuple[str, ...]) -> dict[str, str]:
    """Return how each text is spelt as a value.

    A spreadsheet or pandas that met a blank cell writes 3 as 3.0: where every text is a whole number, that
    ending is dropped. Anything else stays as it is.
    """
    if texts and all(_WHOLE.fullmatch(text) for text in texts):
        return {text: text.partition(".")[0] for text in texts}
    return {text: text for text in texts}


def refusal(column: Column, *, requested: bool) -> str | None:
    """Say why a column that is not binary is no attribute; None where it is one.

    Args:
        column: the cells.
        requested: the person asked for it by name, so that numbers are taken for the categories that they name.
    """
    values = set(whole_numbers(column.known).values())
    cells = len(column.codes) - len(column.rows_with(""))
    if not requested and all(_NUMBER.fullmatch(value) for value in values):
        fractions = any(not float(value).is_integer() for value in values)
        if fractions or len(values) > MAX_NUMBERS:
            low, high = min(values, key=float), max(values, key=float)
            return (
                f"{len(values):,} different numbers, {low} to {high}: looks like a measurement, not an attribute"
            )
    if len(values) > MAX_VALUES or (cells >= FEW_CELLS and 2 * len(values) > cells):
        return (
            f"{len(values):,} different values in {cells:,} rows, for example '{short(column.known[0])}': "
            "looks like an identifier or free text, not an attribute"
        )
    return None


def categorical(table: Table, column: Column) -> tuple[Attribute, dict[str, int]]:
    """Return the attribute and the code of each known text.

    Raises:
        ManifestError: a value that `--domains` could not spell.
    """
    spelling = whole_numbers(column.known)
    for text, value in spelling.items():
        check_text(table.path, column.name, value, what="value", row=table.line_of(column, text))
    values = natural_order(set(spelling.values()))
    position = {value: code for code, value in enumerate(values)}
    attribute = Attribute(name=column.name, kind="categorical", values=tuple(values))
    return attribute, {text: position[value] for text, value in spelling.items()}


def natural_order(values: set[str]) -> list[str]:
    """Sort values as a person would: numbers by size, also inside a text ("level 2" before "level 10")."""
    if all(_NUMBER.fullmatch(value) for value in values):
        return sorted(values, key=lambda value: (float(value), value))
    return sorted(values, key=lambda value: (_pieces(value), value))


def _pieces(value: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"([0-9]+)", value.casefold())
    # Digits compare by length, then as text: that is their size, however many there are.
    digits = [piece.lstrip("0") for piece in pieces]
    return [(0, len(digits[i]), digits[i]) if i % 2 else (1, 0, piece) for i, piece in enumerate(pieces)]


def value_notes(path: Path, attribute: Attribute, used: set[int]) -> list[str]:
    """Remark on what is allowed but probably not meant.

    Args:
        path: the manifest, for the message.
        attribute: the attribute.
        used: the codes that some row has.
    """
    name, notes = attribute.name, []
    if len(used) == 1:
        notes.append(f"{path}, column '{name}': every known cell is {attribute.values[next(iter(used))]}")
    if attribute.kind == "binary":
        return notes
    if len(attribute.values) > MAX_NUMBERS and all(_NUMBER.fullmatch(value) for value in attribute.values):
        notes.append(
            f"{path}, column '{name}': {len(attribute.values)} different numbers, each a category of its own"
        )
    unsure = [value for value in attribute.values if value.casefold() in ALMOST_UNKNOWN]
    if unsure:
        notes.append(
            f"{path}, column '{name}': '{unsure[0]}' is read as a value of its own. "
            "Leave a cell blank where it is not known"
        )
    folded: dict[str, str] = {}
    for value in attribute.values:
        twin = folded.setdefault(value.casefold(), value)
        if twin != value:
            notes.append(f"{path}, column '{name}': '{twin}' and '{value}' differ only in case")
    return notes
