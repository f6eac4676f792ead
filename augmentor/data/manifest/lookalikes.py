"""Values that are probably not meant as they are read: words for unknown, and values that look alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from augmentor.errors import listing

NA_WORDS = (
    *("na", "n/a", "nan", "-nan", "none", "null", "<na>", "nat", "#na", "#n/a", "#n/a n/a"),
    *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "nil", "missing", "unknown", "?", "-", "--", "."),
)
"""Words in lower case that pandas, R, spreadsheets or people write for unknown; only `--na-values` blanks them."""

_NUMBER = re.compile(r"([+-]?)0*(\d*)(?:\.(\d*?)0*)?", re.ASCII)
_STARTS = frozenset("+-.0123456789")
_BLANKS = re.compile(r"[\s_-]+")
_SHOWN = 20


def unknown_words(values: Sequence[str]) -> list[str]:
    """Return the values that other tools may read as unknown."""
    return [value for value in values if value.casefold() in NA_WORDS]


def look_alikes(values: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the values that a reader takes for the same, together, such as ("01", "1") or ("Red", "red").

    They differ in case, in zeros or a plus of a number, in blanks, "_" and "-", or in compatible characters of
    Unicode.
    """
    alike: dict[str, list[str]] = {}
    for value in values:
        alike.setdefault(_look(value), []).append(value)
    return [tuple(each) for each in alike.values() if len(each) > 1]


def _look(text: str) -> str:
    plain = text.casefold()
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()
    number = _NUMBER.fullmatch(plain) if plain[:1] in _STARTS else None
    if number is None or not any(character.isdigit() for character in plain):
        return _BLANKS.sub(" ", plain)
    sign, whole, fraction = number.group(1).replace("+", ""), number.group(2) or "0", number.group(3)
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def doubts(path: Path | str, column: str, values: Sequence[str], *, what: str = "values") -> list[str]:
    """Return notes on the doubtful ones of a column's values, each of which is kept as it is.

    `what` they are, for messages: "values", "groups".
    """
    notes = []
    if words := unknown_words(values):
        named = ", ".join(f"'{word}'" for word in words)
        notes.append(
            f"{path}, column '{column}': kept as {what} of their own: {named}. Where unknown is meant, "
            f"--na-values {','.join(words)} reads them as blank"
        )
    if alike := look_alikes(values):
        pairs = listing([" and ".join(f"'{value}'" for value in each) for each in alike], _SHOWN)
        notes.append(f"{path}, column '{column}': look alike, and are different {what}: {pairs}")
    return notes
