"""Shards made in this process, by number."""

from __future__ import annotations

import pickle
from dataclasses import replace

import torch

from augmentor.expansion.executors.local import run_here
from augmentor.expansion.executors.work import Work
from augmentor.expansion.progress import Progress
from augmentor.outputs.writers import Writer

CPU = torch.device("cpu")


def run(work: Work, *, numbers: list[int] | None = None) -> tuple[list[Progress], list[int]]:
    """Run in this process; return what was told."""
    reports: list[Progress] = []
    committed: list[int] = []
    run_here(
        work,
        work.networks(CPU),
        on_progress=reports.append,
        on_committed=committed.append,
        numbers=None if numbers is None else iter(numbers),
    )
    return reports, committed


def there(writer: Writer) -> list[int]:
    return [index for index in range(4) if writer.record(index)]


def test_all_shards_are_made(work: Work) -> None:
    assert work.shards == 4
    reports, committed = run(work)
    assert committed == there(work.writer) == [0, 1, 2, 3]
    assert (reports[-1].done, reports[-1].resumed, reports[-1].failed) == (32, 0, 1)


def test_only_the_numbers_that_were_dealt_are_made_and_what_is_there_is_left(work: Work) -> None:
    run(work, numbers=[1])
    reports, committed = run(work, numbers=[0, 1, 3, 4, 5])  # There are no 4 and 5: the numbers have no end.
    assert committed == [0, 1, 3]
    assert there(work.writer) == [0, 1, 3]
    assert (reports[-1].done, reports[-1].resumed) == (24, 8)


def test_shards_before_the_first_one_are_passed_over(work: Work) -> None:
    reports, committed = run(replace(work, first_shard=2), numbers=[1, 2])
    assert committed == there(work.writer) == [3]
    assert (reports[-1].done, reports[-1].resumed) == (8, 0)
    run(replace(work, first_shard=1))
    assert there(work.writer) == [1, 2, 3]


def test_progress_that_follows_another() -> None:
    first = Progress(done=5, total=6, resumed=2, failed=1, rejected=1)
    second = Progress(done=3, total=9, rejected=2)
    assert first.followed_by(second) == Progress(done=8, total=9, resumed=2, failed=1, rejected=3)


def test_progress_of_several_processes() -> None:
    parts = (Progress(done=5, total=9, resumed=2, failed=1), Progress(done=3, total=9, rejected=2))
    assert Progress.combined(parts, total=9) == Progress(done=8, total=9, resumed=2, failed=1, rejected=2)
    assert Progress.combined((), total=9) == Progress(total=9)


def test_work_can_be_sent_to_a_process(work: Work) -> None:
    sent: Work = pickle.loads(pickle.dumps(replace(work, workers=1)))
    run(sent, numbers=[2])
    assert there(work.writer) == [2]
