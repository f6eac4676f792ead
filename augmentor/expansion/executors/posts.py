"""How many workers a cluster has room for, and what each takes of its machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from augmentor.errors import AugmentorError

_CORES = 4
"""Of a worker without a GPU: more of them are busier with several workers than with one."""


class Node(NamedTuple):
    """What a machine of the cluster has for workers."""

    cpus: int
    gpus: int


class Posts(NamedTuple):
    """The workers that are wanted, and what each takes of its machine.

    Args:
        workers: how many.
        cpus: of each, which decode, encode and, without a GPU, translate.
        gpus: likewise, 0 or 1.
    """

    workers: int
    cpus: int
    gpus: int


def posts(nodes: Sequence[Node], *, device: str, workers: int | None) -> Posts:
    """Return which workers a cluster has room for.

    Args:
        nodes: its machines.
        device: "auto", "cpu" or "cuda".
        workers: how many are wanted; None for one per GPU, or per few cores where there are none.

    Raises:
        AugmentorError: there is no such device.
    """
    with_gpu = [node for node in nodes if node.gpus and node.cpus]
    if device == "cuda" and not with_gpu:
        raise AugmentorError("--device cuda: no node of the Ray cluster has a GPU. Try --device auto")
    if device != "cpu" and with_gpu:
        cpus = min(max(1, node.cpus // node.gpus) for node in with_gpu)
        return Posts(workers or sum(min(node.gpus, node.cpus // cpus) for node in with_gpu), cpus, 1)
    total = sum(node.cpus for node in nodes)
    if not total:
        raise AugmentorError("no node of the Ray cluster lends CPUs. See ray status")
    cpus = min(_CORES, max(node.cpus for node in nodes))
    if workers:
        cpus = max(1, min(cpus, total // workers))
    return Posts(workers or sum(node.cpus // cpus for node in nodes), cpus, 0)
