"""What a run of an expansion asks of whoever makes its shards."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

import torch

from augmentor.expansion.executors.local import State, Work


class Engine(Protocol):
    """Makes shards; used in a `with` block, in which it may run several times.

    A shard is committed by who makes it, by its record: what was made before an error, an interrupt or a kill is
    there, whichever engine made it, and any other one goes on with the rest.
    """

    def __enter__(self) -> Self:
        """Start what takes part in all runs."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do as `close`."""

    @property
    def device(self) -> torch.device:
        """Of the kind on which shards are made; in the `with` block."""

    def compiling_works(self) -> bool:
        """Return whether torch.compile finds what it needs where shards are made; in the `with` block."""

    def run(self, work: Work, *, on_state: Callable[[State], None], on_committed: Callable[[int], None]) -> None:
        """Make the shards that are missing.

        Args:
            work: what to do; each has the model of the one before.
            on_state: told several times a second how far it is.
            on_committed: told of each shard that is there, in any order, perhaps in a thread of its own.

        Raises:
            AugmentorError: what stops the run, in words for the user.
        """

    def close(self) -> None:
        """End what takes part, at once; nothing is run afterwards. A second call does nothing."""
