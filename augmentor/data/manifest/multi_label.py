"""Cells that hold several labels: `Mass|Edema`, `Mass;Edema`, or the JSON of label tools."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

_SEPARATORS = "|;,"
"""What stands between labels, the likeliest first; a column keeps to one of them."""

_LONGEST_JSON = 10_000


def labels_of_cells(values: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """Return the labels of each value of a column; None if no value looks like several.

    A list or an object in JSON (`["Mass"]`, `{"choices": ["Mass", "Edema"]}`), or one that Python printed, holds
    the texts in it. Other values are split at the first of "|", ";" and "," that is in one of them.
    """
    lists = {value: labels for value in values if (labels := _listed(value)) is not None}
    plain = [value for value in values if value not in lists]
    separator = next((sign for sign in _SEPARATORS if any(sign in value for value in plain)), None)
    if separator is None and not lists:
        return None
    pieces = {value: value.split(separator) if separator else [value] for value in plain}
    split = {value: tuple(piece.strip() for piece in pieces[value] if piece.strip()) for value in plain}
    return {value: tuple(dict.fromkeys({**split, **lists}[value])) for value in values}


def repeats_labels(values: Sequence[str]) -> bool:
    """Return whether the values look like several labels of few, and are neither a text nor each one label."""
    labels = labels_of_cells(values)
    if labels is None:
        return False
    each = [label for found in labels.values() for label in found]
    return len(set(each)) <= len(values) and len(set(each)) < len(each)


def _listed(text: str) -> tuple[str, ...] | None:
    """Return the texts in a list or an object; None for other text."""
    if text[:1] not in ("[", "{") or len(text) > _LONGEST_JSON:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    return tuple(_texts(value))


def _texts(value: object) -> list[str]:
    """Return the texts in lists and in the values of objects, "" left out."""
    if isinstance(value, dict):
        return [text for part in value.values() if isinstance(part, list | tuple | dict) for text in _texts(part)]
    if isinstance(value, list | tuple | set):
        return [text for part in value for text in _texts(part)]
    text = str(value).strip()
    return [text] if text else []
