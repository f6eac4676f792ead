"""Shards on this machine: which devices there are, and what one process makes of the numbers it is dealt."""

from __future__ import annotations

import pickle
from dataclasses import replace

import torch

from augmentor.expansion.executors.local import State, Work, run_here
from augmentor.outputs.writers import Writer

CPU = torch.device("cpu")


def run(work: Work, *, numbers: list[int] | None = None) -> tuple[list[State], list[int]]:
    """Run in this process; return what was told."""
    states: list[State] = []
    committed: list[int] = []
    run_here(
        work,
        work.translator(CPU),
        judges=work.judges(CPU),
        on_state=states.append,
        on_committed=committed.append,
        numbers=None if numbers is None else iter(numbers),
    )
    return states, committed


def there(writer: Writer) -> list[int]:
    return [index for index in range(4) if writer.record(index)]


def test_all_shards_are_made(work: Work) -> None:
    assert work.shards == 4
    states, committed = run(work)
    assert committed == there(work.writer) == [0, 1, 2, 3]
    assert (states[-1].done, states[-1].resumed, states[-1].failed) == (32, 0, 1)


def test_only_the_numbers_that_were_dealt_are_made_and_what_is_there_is_left(work: Work) -> None:
    run(work, numbers=[1])
    states, committed = run(work, numbers=[0, 1, 3, 4, 5])  # There are no 4 and 5: the numbers have no end.
    assert committed == [0, 1, 3]
    assert there(work.writer) == [0, 1, 3]
    assert (states[-1].done, states[-1].resumed) == (24, 8)


def test_shards_before_the_first_one_are_passed_over(work: Work) -> None:
    states, committed = run(replace(work, first_shard=2), numbers=[1, 2])
    assert committed == there(work.writer) == [3]
    assert (states[-1].done, states[-1].resumed) == (8, 0)
    run(replace(work, first_shard=1))
    assert there(work.writer) == [1, 2, 3]


def test_a_state_that_follows_another() -> None:
    first, second = State(done=5, resumed=2, failed=1, rejected=1), State(done=3, rejected=2)
    assert first.followed_by(second) == State(done=8, resumed=2, failed=1, rejected=3)


def test_states_of_several_that_work_side_by_side() -> None:
    states = (State(done=5, resumed=2, failed=1), State(done=3, rejected=2))
    assert State.together(states) == State(done=8, resumed=2, failed=1, rejected=2)
    assert State.together(()) == State()


def test_work_can_be_sent_to_a_process(work: Work) -> None:
    sent: Work = pickle.loads(pickle.dumps(replace(work, workers=1)))
    run(sent, numbers=[2])
    assert there(work.writer) == [2]
