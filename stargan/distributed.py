"""Peers: the processes that train one model together; each has its share of every batch, all the same weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist


class PeerLostError(RuntimeError):
    """Another process has ended, or does not answer."""


@dataclass(frozen=True, kw_only=True)
class Peers:
    """What a process needs of the others. By itself it is alone, and everything below returns what it was given.

    The loop takes it as DistributedDataParallel would be taken, but averages the gradients itself: DDP hooks the
    backward pass, and a gradient penalty goes through D twice in one.

    What is exchanged raises PeerLostError where another process is gone.

    Args:
        rank: this process's number, counted from 0; 0 leads: it keeps the time, and writes.
        size: how many they are.
        host: the group for what lies on the CPU; None where there is one process.
        device: the group for what lies where the networks lie; None where there is one process.
    """

    rank: int = 0
    size: int = 1
    host: dist.ProcessGroup | None = None
    device: dist.ProcessGroup | None = None

    @property
    def leads(self) -> bool:
        """Whether this process keeps the time and writes."""
        return self.rank == 0

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of their ranks.

        Args:
            rows: (N, ...) on the CPU, of one shape in all of them.

        Returns:
            (size * N, ...).
        """
        if self.host is None:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        with _answering():
            dist.all_gather(parts, rows.contiguous(), group=self.host)
        return torch.cat(parts)

    def share(self, whole: Tensor, *, dim: int = 0) -> Tensor:
        """Return this process's part of what all processes have or have drawn alike.

        Args:
            whole: size * N entries along `dim`.
            dim: the dimension that counts images.
        """
        return whole if self.size == 1 else whole.chunk(self.size, dim=dim)[self.rank]

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, in one exchange.

        Args:
            tensors: on the networks' device, of the same shapes in all processes.
        """
        if self.device is None or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        with _answering():
            dist.all_reduce(flat, group=self.device)
        flat /= self.size
        means = torch.split(flat, [tensor.numel() for tensor in tensors])
        shaped = [mean.view_as(tensor) for mean, tensor in zip(means, tensors, strict=True)]
        torch._foreach_copy_(list(tensors), shaped)

    def agree(self, *, elapsed: float, stopping: bool) -> tuple[float, bool]:
        """Return the leader's clock, and whether any process wants to stop: the same in all of them.

        Args:
            elapsed: seconds trained, by this process's clock.
            stopping: whether it was asked to stop.
        """
        if self.host is None:
            return elapsed, stopping
        said = self.gather(torch.tensor([[elapsed, float(stopping)]], dtype=torch.float64))
        return float(said[0, 0]), bool(said[:, 1].any())

    def hear(self, word: object) -> list[object]:
        """Return what every process says, in the order of their ranks.

        Args:
            word: what this one says; small, and of plain types.
        """
        if self.host is None:
            return [word]
        words: list[object] = [None] * self.size
        with _answering():
            dist.all_gather_object(words, word, group=self.host)
        return words


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of gloo, of NCCL, and of the store behind them
        raise PeerLostError(str(error)) from error


ALONE = Peers()
"""The one process of a training that has no others."""
