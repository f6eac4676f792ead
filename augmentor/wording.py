"""The phrases that messages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def nearest(word: str, options: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the option closest to `word`, ignoring case, or "" where none is close."""
    folded = {option.casefold(): option for option in options}
    matches = get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return f" Did you mean '{folded[matches[0]]}'?" if matches else ""


def short(text: str, limit: int = 60) -> str:
    """Return `text`, cut where it is so long that a message would drown in it."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def listing(items: Sequence[object], limit: int = 8) -> str:
    """Return "a, b, c and 4 more"."""
    shown = ", ".join(short(str(item)) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def counted(count: int, noun: str) -> str:
    """Return "1 row" or "12,000 rows"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def row_list(lines: Sequence[int], limit: int = 3) -> str:
    """Return "row 4", or "rows 4, 7, 9 and 12 more"."""
    return f"{'row' if len(lines) == 1 else 'rows'} {listing(lines, limit)}"
