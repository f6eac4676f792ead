"""One share of an expansion's shards: what a task of a job array makes, without knowing of the others."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from augmentor.errors import AugmentorError

SLURM = "slurm"
"""What `--shards` is where Slurm says which share it is."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """Every so many-th shard: those whose number leaves the same rest.

    Args:
        number: which share, counted from 1.
        of: how many there are.
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def has(self, index: int) -> bool:
        """Return whether a shard, counted from 0, is in this share."""
        return index % self.of == self.number - 1

    def lock(self, lock: Path) -> Path:
        """Return the file that says which process makes this share, beside the output's own."""
        return lock.with_name(f"{lock.name}.{self.number}-of-{self.of}")

    def others(self, lock: Path) -> list[Path]:
        """Return the lock files of shares of another division, whose shards this one's may be."""
        return [path for path, share in _locks(lock) if share.of != self.of]


def remove_left_locks(lock: Path) -> None:
    """Remove the lock files that killed shares have left.

    Args:
        lock: the output's own, which the caller holds alone, so that no share is being made.
    """
    for path, _ in _locks(lock):
        path.unlink(missing_ok=True)


def _locks(lock: Path) -> Iterator[tuple[Path, Share]]:
    for path in sorted(lock.parent.glob(f"{escape(lock.name)}.*-of-*")):
        match = re.fullmatch(r"(\d+)-of-(\d+)", path.name.removeprefix(f"{lock.name}."))
        if match:
            yield path, Share(number=int(match[1]), of=int(match[2]))


def parse_share(text: str, environment: Mapping[str, str] = os.environ) -> Share:
    """Return the share that `--shards` means.

    Args:
        text: "3/16", the third of sixteen; or "slurm", as the array's variables say.
        environment: where Slurm leaves SLURM_ARRAY_TASK_ID, _MIN, _STEP and _COUNT.

    Raises:
        AugmentorError: there is no such share, or Slurm runs no array.
    """
    if text == SLURM:
        try:
            place, first, step, count = (
                int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "STEP", "COUNT")
            )
        except (KeyError, ValueError):
            raise AugmentorError(
                "--shards slurm: this is no task of a job array (SLURM_ARRAY_TASK_ID and its like are not set). "
                "Start it with sbatch --array=1-16, or write for example --shards 3/16"
            ) from None
        return Share(number=(place - first) // step + 1, of=count)
    match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise AugmentorError(
            f"--shards {text!r}: not a share. Write which one of how many, counted from 1, for example 3/16; or "
            "slurm"
        )
    return Share(number=int(match[1]), of=int(match[2]))
