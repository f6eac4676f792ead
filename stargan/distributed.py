"""Collective operations among the ranks of one training; each has the same weights and its share of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist


class RankLostError(RuntimeError):
    """Another rank has ended, or does not answer."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The ranks that train one model together; with one rank every method returns its input.

    The training loop averages the gradients itself: DistributedDataParallel would hook the backward pass, in which
    a gradient penalty passes through D twice. Collective operations raise RankLostError where another rank is
    gone.

    Args:
        rank: this process's rank. Rank 0 keeps the time and writes files.
        world_size: number of ranks.
        cpu_group: the process group for tensors on the CPU; None with one rank.
        device_group: the process group for tensors on the networks' device; None with one rank.
    """

    rank: int = 0
    world_size: int = 1
    cpu_group: dist.ProcessGroup | None = None
    device_group: dist.ProcessGroup | None = None

    @property
    def is_rank_0(self) -> bool:
        """Whether this process keeps the time and writes files."""
        return self.rank == 0

    def all_gather(self, rows: Tensor) -> Tensor:
        """Return (world_size * N, ...) rows of all ranks, in their order, of (N, ...) rows.

        They are on the CPU, or on the networks' device.
        """
        group = self.cpu_group if rows.device.type == "cpu" else self.device_group
        if group is None:
            return rows
        rows = rows.contiguous()
        parts = [torch.empty_like(rows) for _ in range(self.world_size)]
        with _rank_lost():
            dist.all_gather(parts, rows, group=group)
        return torch.cat(parts)

    def local_share(self, whole: Tensor, *, dim: int = 0) -> Tensor:
        """Return this rank's part of a tensor that is equal on all ranks: world_size * N entries along `dim`."""
        return whole if self.world_size == 1 else whole.chunk(self.world_size, dim=dim)[self.rank]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, on the networks' device, by its mean over all ranks, in one all-reduce."""
        if self.device_group is None or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        with _rank_lost():
            dist.all_reduce(flat, group=self.device_group)
        flat /= self.world_size
        means = torch.split(flat, [tensor.numel() for tensor in tensors])
        shaped = [mean.view_as(tensor) for mean, tensor in zip(means, tensors, strict=True)]
        torch._foreach_copy_(list(tensors), shaped)

    def synchronize(self, *, elapsed: float, stopping: bool) -> tuple[float, bool]:
        """Return rank 0's seconds trained, and whether any rank is to stop: equal on all ranks."""
        if self.cpu_group is None:
            return elapsed, stopping
        rows = self.all_gather(torch.tensor([[elapsed, float(stopping)]], dtype=torch.float64))
        return float(rows[0, 0]), bool(rows[:, 1].any())

    def all_gather_object(self, value: object) -> list[object]:
        """Return the values of all ranks, small and of plain types, in their order."""
        if self.cpu_group is None:
            return [value]
        values: list[object] = [None] * self.world_size
        with _rank_lost():
            dist.all_gather_object(values, value, group=self.cpu_group)
        return values


@contextmanager
def _rank_lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo, of NCCL, and of the store behind them
        raise RankLostError(str(error)) from error


SINGLE_RANK = Ranks()
"""The only rank of a training in one process."""
