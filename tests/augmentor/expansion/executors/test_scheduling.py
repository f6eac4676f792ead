"""Scheduling of shards among workers of which some die."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from augmentor.expansion.executors.local import run_here
from augmentor.expansion.executors.scheduling import ShardScheduler
from augmentor.expansion.executors.work import Work
from augmentor.expansion.progress import Progress
from augmentor.storage import ProcessError

CPU = torch.device("cpu")


def make(work: Work, *numbers: int) -> None:
    run_here(
        work,
        work.networks(CPU),
        on_progress=lambda _progress: None,
        on_committed=lambda _index: None,
        numbers=iter(numbers),
    )


def test_every_shard_is_assigned_once_in_ever_smaller_turns(work: Work) -> None:
    scheduler = ShardScheduler(replace(work, shard_size=1), workers=2)
    assigned = []
    while numbers := scheduler.assign():
        assigned.append(numbers)
        scheduler.completed(numbers)
    assert [number for numbers in assigned for number in numbers] == list(range(32))
    sizes = [len(numbers) for numbers in assigned]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1], scheduler.open) == (4, 1, 0)


def test_shards_before_the_first_one_are_not_assigned(work: Work) -> None:
    scheduler = ShardScheduler(replace(work, first_shard=3), workers=1)
    assert (scheduler.assign(), scheduler.assign(), scheduler.open) == ((0,), (), 1)


def test_what_a_dead_worker_had_committed_counts_and_the_rest_is_assigned_one_by_one(work: Work) -> None:
    scheduler = ShardScheduler(work, workers=1)
    make(work, 0, 2)  # Row 4, whose image is broken, is in shard 1.
    assert scheduler.worker_died((0, 1, 2, 3), "killed") == ((2, 0), Progress(done=16))
    assert scheduler.open == 2
    assert [scheduler.assign() for _ in range(3)] == [(1,), (3,), (0,)]


def test_what_failed_in_a_committed_shard_is_told(work: Work) -> None:
    make(work, 1)
    assert ShardScheduler(work, workers=1).worker_died((1,), "killed") == ((1,), Progress(done=8, failed=1))


def test_a_shard_that_costs_worker_after_worker_ends_the_run(work: Work) -> None:
    scheduler = ShardScheduler(work, workers=1)
    scheduler.worker_died((0, 1), "killed")
    assert scheduler.assign() == (0,)
    scheduler.completed((0,))
    assert scheduler.assign() == (1,)
    scheduler.worker_died((1,), "killed")
    assert scheduler.assign() == (1,)
    said = r"^shard 1 of 4 \(items 8 to 15 of the plan\): 3 workers .*the last one so: killed\. .*run the same"
    with pytest.raises(ProcessError, match=said):
        scheduler.worker_died((1,), "killed")
