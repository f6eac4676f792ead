"""Translator: uint8 images and targets in, uint8 images out, at the speed of the device."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stargan.checkpoints import Model
from stargan.config import Precision, translates_in_bfloat16
from stargan.inference.batching import Stream
from stargan.inference.prepare import Halves

_GPU_FLOPS = 2.6e12
"""What one batch should cost a GPU: some milliseconds, beside which starting its kernels is little."""

_GPU_MAPS = 32
"""Maps of the widest layer's size that a GPU must hold for each pair, generously guessed."""

_CPU_BYTES = 1 << 24
"""What a batch's map of the widest layer may take on a CPU. Larger ones leave the cache, and beyond 32 MiB the C
library takes fresh memory from the system for every layer."""


class Job(NamedTuple):
    """One source and all that is asked of it.

    Args:
        image: (C, H, W) uint8 on the CPU, of the model's size and channels. Any memory layout does; a view of an
            (H, W, C) array is copied fastest.
        targets: (M, A) int64 codes, -1 leaves that attribute alone; M may be 0.
    """

    image: Tensor
    targets: Tensor


class Translator:
    """Translates with a trained model, which stays as it is.

    Args:
        model: what `load_model` returned.
        device: where to compute.
        batch_size: pairs that pass the generator's second half at once, and images that pass the first. None
            chooses by the sizes of the model and the device alone, never by what is free: runs can be repeated.
        precision: what convolutions compute in; "auto" is bfloat16 on CUDA, where it has instructions for it, and
            float32 elsewhere.
        compile: whether torch.compile fuses the generator: minutes at the start, then faster.

    Attributes:
        model: what translates.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: torch.device,
        batch_size: int | None = None,
        precision: Precision = "auto",
        compile: bool = False,  # noqa: A002 - the flag's name
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.model = model
        half = translates_in_bfloat16(precision, device)
        self._halves = Halves(model.generator, device=device, half=half, compile=compile)
        self._stream = Stream(
            self._halves,
            encode=self._vectors,
            device=device,
            batch_size=_fitting_batch(model, device) if batch_size is None else batch_size,
            # Code is compiled for one shape, and anew for any other.
            fixed_shapes=compile,
        )

    @property
    def batch_size(self) -> int:
        """Pairs that are decoded at once; halved whenever the device's memory did not suffice."""
        return self._stream.batch_size

    def stream(self, jobs: Iterable[Job]) -> Iterator[Tensor]:
        """Translate each job's image into each of its targets; an image is uploaded and encoded once.

        Args:
            jobs: pulled when they are needed, a batch of images at once; on CUDA so early that two blocks are
                under way while the next images are pulled.

        Yields:
            (n, C, H, W) uint8 on the CPU, channels last in memory: all pairs in the jobs' order, in blocks of at
            most a batch. They are the caller's to keep.

        Raises:
            ValueError: an image is not of the model's size and channels, or the model translates in one
                direction and another is asked for.
            TypeError: an image is not uint8.
            CompilationError: torch.compile was asked for and failed.
            torch.OutOfMemoryError: the device's memory does not even suffice for one pair.
        """
        return self._stream.blocks(self._asked(jobs), self._halves.finish)

    def stream_changes(self, jobs: Iterable[Job]) -> Iterator[Tensor]:
        """Do as `stream`, but yield what translating adds to each image, unrounded, for `blend`.

        Yields:
            (n, C, H, W) float32 on the CPU. Only `blend` knows the unit.
        """
        return self._stream.blocks(self._asked(jobs), self._halves.change)

    def translate(self, images: Tensor, targets: Tensor) -> Tensor:
        """Translate each image into its target.

        Args:
            images: (N, C, H, W) uint8 on the CPU, of the model's size and channels.
            targets: (N, A) int64 codes, -1 leaves that attribute alone.

        Returns:
            (N, C, H, W) uint8 on the CPU.

        Raises:
            ValueError: the images are not of the model's size and channels, the counts differ, or the model
                translates in one direction and another is asked for.
        """
        blocks = list(self.stream(_pairs(images, targets)))
        return torch.cat(blocks).contiguous() if blocks else images

    def changes(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return what translating adds to each image, unrounded, for `blend` to add it to a larger original.

        Args:
            images: (N, C, H, W) uint8 on the CPU, of the model's size and channels.
            targets: (N, A) int64 codes, -1 leaves that attribute alone.

        Returns:
            (N, C, H, W) float32 on the CPU. Only `blend` knows the unit.

        Raises:
            ValueError: the images are not of the model's size and channels, the counts differ, or the model
                translates in one direction and another is asked for.
        """
        blocks = list(self.stream_changes(_pairs(images, targets)))
        return torch.cat(blocks).contiguous() if blocks else images.float()

    def _asked(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Yield the jobs that ask for something, once they are found to fit."""
        want = (self.model.image_channels, *self.model.image_size)
        for job in jobs:
            if job.image.shape != want:
                raise ValueError(f"the model translates images of shape {want}, got {tuple(job.image.shape)}")
            if job.image.dtype != torch.uint8:
                raise TypeError(f"expected uint8 images, got {job.image.dtype}")
            if len(job.targets):
                yield job

    def _vectors(self, targets: Tensor) -> Tensor:
        if not bool(self.model.supports(targets).all()):
            only = self.model.space.attributes[0]
            raise ValueError(f"the model translates into {only.name}={only.values[-1]} only")
        return self.model.space.encode(targets)


def _pairs(images: Tensor, targets: Tensor) -> list[Job]:
    if len(targets) != len(images):
        raise ValueError(f"{len(images)} images but {len(targets)} targets")
    return [Job(image, targets[i : i + 1]) for i, image in enumerate(images)]


@torch.no_grad()
def generator_flops(model: Model) -> float:
    """Return the floating-point operations of one translation by a plain pass; a multiply-add counts as two.

    Only convolutions and linear layers are counted: the rest is little. One image is translated for it.
    """
    flops = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flops
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        # What a kernel makes of each place of the smaller side: of a transposed convolution that is its input.
        kernel = layer.weight[0].numel()
        flops += 2 * kernel * (inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output).numel()

    generator = model.generator
    layers = [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        device = next(generator.parameters()).device
        images = torch.zeros(1, model.image_channels, *model.image_size, device=device)
        generator(images, torch.zeros(1, model.space.vector_size, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    return float(flops)


def compiling_works(device: torch.device) -> bool:
    """Return whether torch.compile finds what it needs: a compiler, Python's headers, and Triton on CUDA."""
    if sys.platform == "win32":
        return False  # its compiler is only there in a shell of its own
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if device.type == "cuda":
        compilers = [os.environ.get("CC", "gcc"), "clang"]
        ready = importlib.util.find_spec("triton") is not None
        ready = ready and torch.cuda.get_device_capability(device) >= (7, 0)
    else:
        compilers = [os.environ.get("CXX", "g++" if sys.platform == "linux" else "clang++")]
        ready = device.type == "cpu"
    return ready and headers.is_file() and any(shutil.which(compiler) for compiler in compilers)


def _fitting_batch(model: Model, device: torch.device) -> int:
    """Return a power of two: on a GPU enough to keep it busy and within its memory, on a CPU what caches hold."""
    h, w = model.image_size
    width = model.generator.arguments["width"]
    widest = 4 * width * h * w
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        room = min(memory / 4 / (widest * _GPU_MAPS), _GPU_FLOPS / generator_flops(model))
        return max(8, _power_of_two(room, at_most=256))
    return _power_of_two(_CPU_BYTES / widest, at_most=32)


def _power_of_two(room: float, *, at_most: int) -> int:
    """Return the largest power of two within `room` and `at_most`, 1 at least."""
    size = 1
    while 2 * size <= min(room, at_most):
        size *= 2
    return size
