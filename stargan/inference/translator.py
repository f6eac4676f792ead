"""The Translator, which maps uint8 images and targets to uint8 translations in batches."""

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
from stargan.inference.batching import Stream, StreamJob
from stargan.inference.prepare import PreparedGenerator

_GPU_FLOPS = 2.6e12
"""Floating-point operations of one batch on a GPU: milliseconds, beside which launching its kernels is little."""

_GPU_MAPS = 32
"""Maps of the widest layer's size that a GPU holds for each pair, an upper estimate."""

_CPU_BYTES = 1 << 24
"""Size of a batch's map of the widest layer on a CPU: larger ones do not fit the cache."""


class Job(NamedTuple):
    """One image and all its targets.

    Args:
        image: (C, H, W) uint8 on the CPU, of the model's size and channels, in any memory layout; a view of an
            (H, W, C) array is copied fastest.
        targets: (M, A) int64 codes, -1 keeps that attribute; M may be 0.
        seeds: (M,) int64, of each translation's noise, where the generator reads noise; the lower 32 bits count.
            None for 0 throughout.
    """

    image: Tensor
    targets: Tensor
    seeds: Tensor | None = None


class Translator:
    """Translates images with a trained model.

    Args:
        model: is not changed.
        batch_size: images in a batch of the encoder stage, and (image, target) pairs in one of the decoder stage.
            None chooses by the model's and the device's size, not by free memory, so that runs are reproducible.
        precision: of the convolutions; "auto" is bfloat16 on CUDA devices that support it, else float32.
        compile: whether torch.compile fuses the generator, which takes minutes at the start.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: torch.device,
        batch_size: int | None = None,
        precision: Precision = "auto",
        compile: bool = False,  # noqa: A002 - torch's name
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self.model = model
        self._generator = PreparedGenerator(
            model.generator, device=device, bfloat16=translates_in_bfloat16(precision, device), compile=compile
        )
        self._stream = Stream(
            self._generator,
            encode=self._vectors,
            device=device,
            batch_size=_fitting_batch(model, device) if batch_size is None else batch_size,
            fixed_shapes=compile,
        )

    @property
    def batch_size(self) -> int:
        """Pairs in a batch; halved whenever the device's memory does not suffice."""
        return self._stream.batch_size

    def stream(self, jobs: Iterable[Job]) -> Iterator[Tensor]:
        """Translate each job's image into each of its targets; an image is uploaded and encoded once.

        Args:
            jobs: consumed a batch of images at once; on CUDA two blocks are queued while the next images are
                prepared.

        Yields:
            (n, C, H, W) uint8 on the CPU in channels-last layout: all pairs in the jobs' order, at most a batch
                each.

        Raises:
            ValueError: an image has not the model's size and channels, or the model does not support a target.
            TypeError: an image is not uint8.
            CompilationError: torch.compile failed.
            torch.OutOfMemoryError: the device's memory does not suffice for a single pair.
        """
        return self._stream.blocks(self._checked(jobs), self._generator.decoder_stage)

    def stream_changes(self, jobs: Iterable[Job]) -> Iterator[Tensor]:
        """Do as `stream`, but yield the differences to the images, unrounded float32 in the networks' range."""
        return self._stream.blocks(self._checked(jobs), self._generator.decoder_difference)

    def translate(self, images: Tensor, targets: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Translate each image into its target, on the CPU.

        Args:
            images: (N, C, H, W) uint8 on the CPU, of the model's size and channels.
            targets: (N, A) int64 codes, -1 keeps that attribute.
            seeds: (N,) int64, see `Job`: the same image, target and seed always have the same translation.

        Raises:
            ValueError: the numbers of images, targets and seeds differ; else see `stream`.
        """
        blocks = list(self.stream(_pairs(images, targets, seeds)))
        return torch.cat(blocks).contiguous() if blocks else images

    def changes(self, images: Tensor, targets: Tensor, seeds: Tensor | None = None) -> Tensor:
        """Do as `translate`, but return the differences, see `stream_changes`: (N, C, H, W) float32 on the CPU."""
        blocks = list(self.stream_changes(_pairs(images, targets, seeds)))
        return torch.cat(blocks).contiguous() if blocks else images.float()

    def _checked(self, jobs: Iterable[Job]) -> Iterator[StreamJob]:
        """Yield the jobs that have targets, with their seeds, after checking their images."""
        shape = (self.model.image_channels, *self.model.image_size)
        for job in jobs:
            if job.image.shape != shape:
                raise ValueError(f"the model translates images of shape {shape}, got {tuple(job.image.shape)}")
            if job.image.dtype != torch.uint8:
                raise TypeError(f"expected uint8 images, got {job.image.dtype}")
            if len(job.targets):
                seeds = torch.zeros(len(job.targets), dtype=torch.int64) if job.seeds is None else job.seeds
                yield job.image, job.targets, seeds

    def _vectors(self, targets: Tensor, seeds: Tensor) -> Tensor:
        if bool(self.model.unseen_unknowns(targets).any()):
            raise ValueError("a target leaves a label unknown, and the model has not learnt from unknown ones")
        if not bool(self.model.supports(targets).all()):
            only = self.model.space.attributes[0]
            raise ValueError(f"the model translates into {only.name}={only.values[-1]} only")
        vectors, noise = self.model.space.encode(self.model.completed(targets)), self.model.generator.noise
        return torch.cat([_seeded_noise(seeds, noise), vectors], dim=1) if noise else vectors


def _seeded_noise(seeds: Tensor, entries: int) -> Tensor:
    """Return normal noise, (N, entries) float32, of (N,) int64 seeds; each row depends on its seed alone."""
    random = torch.Generator()
    rows = [torch.randn(entries, generator=random.manual_seed(seed)) for seed in seeds.tolist()]
    return torch.stack(rows)


def _pairs(images: Tensor, targets: Tensor, seeds: Tensor | None) -> list[Job]:
    if len(targets) != len(images):
        raise ValueError(f"{len(images)} images but {len(targets)} targets")
    if seeds is not None and len(seeds) != len(images):
        raise ValueError(f"{len(images)} images but {len(seeds)} seeds")
    return [
        Job(image, targets[i : i + 1], None if seeds is None else seeds[i : i + 1])
        for i, image in enumerate(images)
    ]


@torch.no_grad()
def generator_flops(model: Model) -> float:
    """Return the floating-point operations of one forward pass of one image, of convolutions and linear layers.

    A multiply-add counts as two. The pass is run.
    """
    flops = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flops
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        # A kernel is applied once for each pixel of the output, or of a transposed convolution's input.
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
    """Return whether torch.compile has its requirements: a compiler, Python's headers, and Triton on CUDA."""
    if sys.platform == "win32":
        return False  # the compiler is available in a developer shell only
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
    """Return a power of two: on a GPU enough to use it fully within its memory, on a CPU what fits the cache."""
    h, w = model.image_size
    width = model.generator.arguments["width"]
    widest = 4 * width * h * w
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        bound = min(memory / 4 / (widest * _GPU_MAPS), _GPU_FLOPS / generator_flops(model))
        return max(8, _power_of_two(bound, at_most=256))
    return _power_of_two(_CPU_BYTES / widest, at_most=32)


def _power_of_two(bound: float, *, at_most: int) -> int:
    """Return the largest power of two up to `bound` and `at_most`, at least 1."""
    size = 1
    while 2 * size <= min(bound, at_most):
        size *= 2
    return size
