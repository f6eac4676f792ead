"""Findings of `augmentor verify`: counts of an output, and everything that is damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from augmentor.outputs.description import Counts

Mend = Literal["shard", "tables", "all", "nothing"]
"""What `--repair` can do: drop the shard; drop what was assembled; drop the whole file; leave it to a person."""

Told = Callable[[int, int], None]
"""Called with (images looked at, images in all)."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is damaged.

    Args:
        file: the damaged file's path inside the output, or its name.
        reason: what is wrong with it, in plain English.
        row: which row of it; "" for the whole file.
        shard: the number of the shard that it belongs to; None where it belongs to none.
        mend: what a repair can do about it.
    """

    file: str
    reason: str
    row: str = ""
    shard: int | None = None
    mend: Mend = "shard"

    def __str__(self) -> str:
        """The problem in one line."""
        return f"{self.file}{f', {self.row}' if self.row else ''}: {self.reason}"


@dataclass(kw_only=True)
class Findings:
    """What is known of an output so far.

    Args:
        out: the folder or file.
        finished: whether it was assembled; else shards are still to come.
        shards: how many are committed.
        counts: what they hold.
        size: bytes of the images that were read.
        problems: all that is damaged.
    """

    out: Path
    finished: bool
    shards: int = 0
    counts: Counts = field(default_factory=Counts)
    size: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing is damaged."""
        return not self.problems

    @property
    def damaged_shards(self) -> list[int]:
        """The numbers of the shards that must be made again."""
        return sorted({p.shard for p in self.problems if p.mend == "shard" and p.shard is not None})

    def mended_by(self, mend: Mend) -> list[Problem]:
        """Return the problems of one kind."""
        return [problem for problem in self.problems if problem.mend == mend]

    def to_json(self) -> dict[str, object]:
        """Return the findings as plain JSON values."""
        return {
            "ok": self.ok,
            "out": str(self.out),
            "finished": self.finished,
            "shards": self.shards,
            **self.counts.to_json(),
            "bytes": self.size,
            "damaged_shards": self.damaged_shards,
            "problems": [asdict(problem) for problem in self.problems],
        }
