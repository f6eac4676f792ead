"""Copies between the host and a device, beside the work that the device does; on a CPU there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Upload:
    """Tensors on their way to a device."""

    tensors: tuple[Tensor, ...]
    done: torch.cuda.Event | None

    def arrive(self) -> tuple[Tensor, ...]:
        """Return the tensors, for work that is queued from now on; the device waits for them, not the host."""
        if self.done is not None:
            stream = torch.cuda.current_stream(self.tensors[0].device)
            stream.wait_event(self.done)
            for tensor in self.tensors:
                # They were allocated for the stream that copies: their memory is in use on this one too.
                tensor.record_stream(stream)
        return self.tensors


@dataclass(frozen=True)
class Download:
    """A tensor on its way to the host."""

    tensor: Tensor
    done: torch.cuda.Event | None

    def wait(self) -> Tensor:
        """Return the tensor on the CPU, once it is there."""
        if self.done is not None:
            self.done.synchronize()
        return self.tensor


class Transfer:
    """Copies to and from a device; on CUDA from and to pinned memory, each way on a stream of its own.

    Args:
        device: the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        cuda = device.type == "cuda"
        self._up = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        self._down = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]

    @property
    def overlaps(self) -> bool:
        """Whether copies and work go on beside the host, which should copy from pinned memory then."""
        return self._up is not None

    def upload(self, tensors: Sequence[Tensor]) -> Upload:
        """Begin to copy CPU tensors to the device; those in pinned memory are not waited for."""
        if self._up is None:
            return Upload(tuple(tensor.to(self._device) for tensor in tensors), None)
        with torch.cuda.stream(self._up):
            moved = tuple(
                (tensor if tensor.is_pinned() else tensor.pin_memory()).to(self._device, non_blocking=True)
                for tensor in tensors
            )
            return Upload(moved, self._up.record_event())

    def download(self, tensor: Tensor) -> Download:
        """Begin to copy what the current stream is about to make, into memory of its own with the same layout."""
        if self._down is None:
            return Download(tensor.cpu(), None)
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._down):
            host = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, pin_memory=True)
            host.copy_(tensor, non_blocking=True)
            tensor.record_stream(self._down)
            return Download(host, self._down.record_event())
