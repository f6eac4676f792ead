"""Progress of an expansion: items done, rows failed, and the load of each pipeline stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal, NamedTuple, get_args

Stage = Literal["decoding", "translating", "judging", "encoding", "writing"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class Queue(NamedTuple):
    """Fill level and capacity of a queue in front of, or behind, the translator, in entries."""

    filled: int
    room: int


@dataclass(frozen=True, kw_only=True)
class Loads:
    """Load of each pipeline stage; the one that takes most of the translating thread's time limits the speed.

    Args:
        seconds: of the translating thread, by stage: it translates, judges, or waits for another stage.
        queues: sources decoded ahead, images that wait for an encoder, and shards that wait for the disk.
    """

    seconds: Mapping[Stage, float]
    queues: Mapping[Stage, Queue]

    @property
    def slowest(self) -> Stage | None:
        """The stage that takes most of the time; None before anything was done."""
        stage = max(STAGES, key=lambda stage: self.seconds.get(stage, 0.0))
        return stage if self.seconds.get(stage, 0.0) > 0 else None

    @classmethod
    def total(cls, loads: Iterable[Loads]) -> Loads:
        """Return the summed loads of several processes."""
        many = list(loads)
        queues = {}
        for stage in STAGES:
            found = [each.queues[stage] for each in many if stage in each.queues]
            if found:
                queues[stage] = Queue(sum(queue.filled for queue in found), sum(queue.room for queue in found))
        return cls(
            seconds={stage: sum(each.seconds.get(stage, 0.0) for each in many) for stage in STAGES},
            queues=queues,
        )


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a pipeline, an executor, or a whole expansion.

    Args:
        done: items made, resumed or failed.
        total: items to be done; 0 where a pipeline reports, which reads its shards lazily.
        resumed: items made by an earlier run.
        failed: rows that could not be used in this run.
        rejected: translations that the judge rejected in this run.
        loads: of the pipeline's stages, all processes together; None before anything was done.
    """

    done: int = 0
    total: int = 0
    resumed: int = 0
    failed: int = 0
    rejected: int = 0
    loads: Loads | None = None

    def followed_by(self, later: Progress) -> Progress:
        """Return the sum of this progress and that of a later run, with the later one's total and loads."""
        return Progress(
            done=self.done + later.done,
            total=later.total,
            resumed=self.resumed + later.resumed,
            failed=self.failed + later.failed,
            rejected=self.rejected + later.rejected,
            loads=later.loads or self.loads,
        )

    @classmethod
    def combined(cls, parts: Iterable[Progress], *, total: int) -> Progress:
        """Return the sum of several processes' progress, with the total items of all of them."""
        many = list(parts)
        loads = [part.loads for part in many if part.loads is not None]
        added = reduce(cls.followed_by, many, cls())
        return replace(added, total=total, loads=Loads.total(loads) if loads else None)
