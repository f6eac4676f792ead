"""Reading JSON that somebody else wrote: what is not there, or is something else, is None or empty."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from augmentor.storage import Json


def mapping(value: Json) -> Mapping[str, Json]:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def items(value: Json) -> Sequence[Json]:
    """Return a JSON array; an empty one for anything else."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def number(value: Json) -> float | None:
    """Return a finite number; None for anything else."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and isinstance(value, int | float) else None


def text(value: Json) -> str:
    """Return a text; an empty one for anything else."""
    return value if isinstance(value, str) else ""


def read_json(path: Path) -> Mapping[str, Json]:
    """Return the JSON object in a file; an empty one where there is none, or it is damaged."""
    try:
        value: Json = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return mapping(value)
