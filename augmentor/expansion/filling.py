"""Makes the rounds that fill up rare combinations, one after the other, until nothing more can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from augmentor.errors import OutputError
from augmentor.expansion.executors.local import Work
from augmentor.expansion.tally import DropSurplus, Tally
from augmentor.planning import CellState, Filling


class Filled(NamedTuple):
    """What came of it.

    Args:
        work: with the plan of all rounds, each of whose shards is committed.
        surplus: the rule that drops what is too much.
        states: how every combination then stands.
    """

    work: Work
    surplus: DropSurplus
    states: list[CellState]


def fill(work: Work, run: Callable[[Work], None]) -> Filled:
    """Make all rounds.

    Args:
        work: with the plan that `augmentor.planning.rounds.balanced` returned, which has the first one.
        run: makes the shards that are missing, from `Work.first_shard` on.

    Raises:
        OutputError: a shard is missing after all, or holds what its round does not ask for.
    """
    plan, size = work.plan, work.shard_size
    filling = Filling(plan)
    tally = Tally(plan, work.sources.manifest.rows["id"].astype(str).tolist(), size)
    first = 0
    while True:
        work = replace(work, plan=plan, first_shard=first)
        run(work)
        for index in range(first, work.shards):
            record = work.writer.record(index)
            if record is None:
                raise OutputError(f"shard {index} of {work.shards} is missing. Run the same expand again.")
            tally.take(plan, record)
        segment = filling.next_round(
            plan, there=tally.there, kept=tally.kept, failed=tally.failed, uses=tally.uses
        )
        if segment is None:
            return Filled(replace(work, first_shard=0), tally.surplus, tally.states())
        first, plan = work.shards, plan.extended(segment)
