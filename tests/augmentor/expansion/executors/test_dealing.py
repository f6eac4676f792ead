"""Shards dealt among workers of which some die."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from augmentor.expansion.executors.dealing import Dealing
from augmentor.expansion.executors.local import State, Work, run_here
from augmentor.expansion.executors.processes import ProcessError

CPU = torch.device("cpu")


def make(work: Work, *numbers: int) -> None:
    translator = work.translator(CPU)
    run_here(
        work,
        translator,
        judges=None,
        on_state=lambda _state: None,
        on_committed=lambda _index: None,
        numbers=iter(numbers),
    )


def test_every_shard_is_dealt_once_in_ever_smaller_turns(work: Work) -> None:
    dealing = Dealing(replace(work, shard_size=1), workers=2)
    dealt = []
    while numbers := dealing.deal():
        dealt.append(numbers)
        dealing.made(numbers)
    assert [number for numbers in dealt for number in numbers] == list(range(32))
    sizes = [len(numbers) for numbers in dealt]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1], dealing.open) == (4, 1, 0)


def test_shards_before_the_first_one_are_not_dealt(work: Work) -> None:
    dealing = Dealing(replace(work, first_shard=3), workers=1)
    assert (dealing.deal(), dealing.deal(), dealing.open) == ((0,), (), 1)


def test_what_a_dead_worker_had_committed_counts_and_the_rest_is_dealt_one_by_one(work: Work) -> None:
    dealing = Dealing(work, workers=1)
    make(work, 0, 2)  # Row 4, whose image is broken, is in shard 1.
    assert dealing.died((0, 1, 2, 3), "killed") == ((2, 0), State(done=16))
    assert dealing.open == 2
    assert [dealing.deal() for _ in range(3)] == [(1,), (3,), (0,)]


def test_what_failed_in_a_committed_shard_is_told(work: Work) -> None:
    make(work, 1)
    assert Dealing(work, workers=1).died((1,), "killed") == ((1,), State(done=8, failed=1))


def test_a_shard_that_costs_worker_after_worker_ends_the_run(work: Work) -> None:
    dealing = Dealing(work, workers=1)
    dealing.died((0, 1), "killed")
    assert dealing.deal() == (0,)
    dealing.made((0,))
    assert dealing.deal() == (1,)
    dealing.died((1,), "killed")
    assert dealing.deal() == (1,)
    said = r"^shard 1 of 4 \(items 8 to 15 of the plan\): 3 workers .*the last one so: killed\. .*run the same"
    with pytest.raises(ProcessError, match=said):
        dealing.died((1,), "killed")
