"""Findings of `augmentor verify`: an output's counts and problems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from augmentor.outputs.description import Counts

Mend = Literal["shard", "tables", "all", "nothing"]
"""What `--repair` can do: drop the shard; drop what was assembled; drop the whole file; nothing."""

OnProgress = Callable[[int, int], None]
"""Called with (images checked, images in all)."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A damaged file or row.

    Args:
        file: its path inside the output, or its name.
        reason: in plain English.
        row: "" for the whole file.
        shard: its number; None where the file belongs to none.
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
    """Findings so far.

    Args:
        out: the folder or file.
        finished: whether it was assembled; else shards are missing.
        shards: number of committed ones.
        counts: of the committed shards.
        size: bytes of the images that were read.
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
        """Return plain JSON values."""
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
