"""Failed rows, and the table `failures.csv` that lists them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from augmentor.storage import replacing_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A manifest row that could not be used: its id, its path as written, and the reason in plain English."""

    id: str
    path: str
    reason: str


def write_failures(path: Path, failures: Iterable[Failure]) -> int:
    """Write `failures.csv`, the first failure of every id, in order, and return how many rows it has."""
    seen: set[str] = set()
    with replacing_table(path, ["id", "path", "reason"]) as table:
        for failure in failures:
            if failure.id not in seen:
                seen.add(failure.id)
                table.writerow([failure.id, failure.path, failure.reason])
    return len(seen)
