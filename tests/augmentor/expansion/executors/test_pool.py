"""Number and size of Ray workers that a cluster has room for."""

from __future__ import annotations

import pytest

from augmentor.errors import AugmentorError
from augmentor.expansion.executors.pool import Node, WorkerResources, plan_workers


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "expected"),
    [
        ([(2, 0)], "auto", None, WorkerResources(1, 2, 0)),
        ([(64, 0)], "auto", None, WorkerResources(16, 4, 0)),
        ([(2, 0), (16, 0)], "auto", None, WorkerResources(4, 4, 0)),  # the small node has no room
        ([(2, 0), (2, 0), (0, 0)], "auto", None, WorkerResources(2, 2, 0)),  # a worker cannot have two nodes
        ([(2, 0)], "cpu", 2, WorkerResources(2, 1, 0)),
        ([(64, 0)], "cpu", 2, WorkerResources(2, 4, 0)),
        ([(2, 0)], "cpu", 9, WorkerResources(9, 1, 0)),  # the rest waits until the cluster grows
        ([(32, 8)], "auto", None, WorkerResources(8, 4, 1)),
        ([(4, 0), (32, 8), (12, 2)], "cuda", None, WorkerResources(10, 4, 1)),
        ([(32, 8)], "auto", 3, WorkerResources(3, 4, 1)),
        ([(2, 8)], "auto", None, WorkerResources(2, 1, 1)),  # too few CPUs for all its GPUs
        ([(32, 8)], "cpu", None, WorkerResources(8, 4, 0)),
    ],
)
def test_resources(
    nodes: list[tuple[int, int]], device: str, workers: int | None, expected: WorkerResources
) -> None:
    assert plan_workers([Node(*node) for node in nodes], device=device, workers=workers) == expected


def test_devices_that_are_not_there() -> None:
    with pytest.raises(AugmentorError, match="no node of the Ray cluster has a GPU"):
        plan_workers([Node(8, 0)], device="cuda", workers=None)
    with pytest.raises(AugmentorError, match="no node of the Ray cluster lends CPUs"):
        plan_workers([Node(0, 0)], device="auto", workers=None)
