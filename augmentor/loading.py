"""Manifest rows -> training batches: decoded, cropped and mirrored in DataLoader workers, equal on every run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from augmentor.errors import ImageError
from augmentor.images import decode
from augmentor.recipe import ImageSettings
from stargan.training import Batch

_MOST_TRIES = 100
"""Broken images in a row after which something is wrong with the folder, not with the images."""


class Draw(NamedTuple):
    """One image of one batch: the row to show and the place in the run, which seeds its crop and mirroring."""

    row: int
    place: int


class Failure(NamedTuple):
    """A row whose image cannot be read, and why."""

    row: int
    reason: str


class Sample(NamedTuple):
    """One training image, uint8 (C, H, W), its codes, int64 (A,), and the broken rows met on the way to it."""

    image: Tensor
    codes: Tensor
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingImages(Dataset[Sample]):
    """The manifest's training rows as a Dataset that is indexed by `Draw`.

    A row whose image cannot be read is replaced by the next one that can, and reported.

    Args:
        paths: the images' files.
        codes: (N, A) domains, -1 unknown.
        settings: size, channels, crop and augmentation.
        seed: seeds crops and mirroring, together with the draw's place.
    """

    paths: tuple[Path, ...]
    codes: NDArray[np.int16]
    settings: ImageSettings
    seed: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, draw: Draw) -> Sample:
        """Return the draw's image, augmented.

        Raises:
            ImageError: so many images in a row cannot be read that going on makes no sense.
        """
        failures: list[Failure] = []
        for offset in range(min(_MOST_TRIES, len(self))):
            row = (draw.row + offset) % len(self)
            try:
                pixels = self._augmented(row, draw.place)
            except ImageError as error:
                failures.append(Failure(row, str(error)))
                continue
            codes = torch.from_numpy(self.codes[row].astype(np.int64))
            return Sample(torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), codes, tuple(failures))
        raise ImageError(f"{len(failures)} images in a row cannot be read; the first: {failures[0].reason}")

    def _augmented(self, row: int, place: int) -> NDArray[np.uint8]:
        settings, (height, width) = self.settings, self.settings.height_width
        random = np.random.default_rng((self.seed, place))
        enlarged = (round(height * settings.random_crop), round(width * settings.random_crop))
        pixels = decode(self.paths[row], size=enlarged, channels=settings.channels, crop=settings.crop or None)
        top = int(random.integers(enlarged[0] - height + 1))
        left = int(random.integers(enlarged[1] - width + 1))
        pixels = pixels[top : top + height, left : left + width]
        if settings.flip and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels)


@dataclass(frozen=True, kw_only=True)
class StepSampler(Sampler[list[Draw]]):
    """Batches of draws without end, each epoch in another order; any step can be the first.

    Args:
        rows: number of images, N.
        batch_size: draws in a batch.
        seed: seeds the orders.
        first_step: the step whose batch comes first, counted from 0.
    """

    rows: int
    batch_size: int
    seed: int
    first_step: int = 0

    def __iter__(self) -> Iterator[list[Draw]]:
        place = self.first_step * self.batch_size
        epoch, order = -1, np.empty(0, dtype=np.int64)
        while True:
            batch = []
            for _ in range(self.batch_size):
                if place // self.rows != epoch:
                    epoch = place // self.rows
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.rows)
                batch.append(Draw(int(order[place % self.rows]), place))
                place += 1
            yield batch


def training_batches(
    images: TrainingImages,
    *,
    batch_size: int,
    first_step: int,
    workers: int,
    pin_memory: bool,
    failures: dict[int, str],
) -> Iterator[Batch]:
    """Yield batches without end, from step `first_step` on.

    Args:
        images: the training rows.
        batch_size: images in a batch.
        first_step: the step whose batch comes first, counted from 0.
        workers: loading processes; -1 picks from the cores.
        pin_memory: whether batches go to a GPU.
        failures: filled with row -> reason for each image that cannot be read.
    """
    loader: DataLoader[Sample] = DataLoader(
        images,
        batch_sampler=StepSampler(
            rows=len(images), batch_size=batch_size, seed=images.seed, first_step=first_step
        ),
        num_workers=default_workers() if workers < 0 else workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        worker_init_fn=_leave_interrupts_to_the_trainer,
        prefetch_factor=None if workers == 0 else 4,
        generator=torch.Generator(),  # the loader draws a seed from it; without one, from the global state
    )
    try:
        for batch, broken in loader:
            failures.update(broken)
            yield batch
    except ImageError as error:
        # A worker's error arrives with its traceback in front: the person needs the last line alone.
        raise ImageError(
            str(error).strip().splitlines()[-1].removeprefix("augmentor.errors.ImageError: ")
        ) from None


def default_workers() -> int:
    """Return the number of loading processes that this machine's cores suggest: one core stays for training."""
    return max(1, min(8, len(os.sched_getaffinity(0)) - 1 if hasattr(os, "sched_getaffinity") else 4))


def _collate(samples: list[Sample]) -> tuple[Batch, dict[int, str]]:
    batch = Batch(torch.stack([s.image for s in samples]), torch.stack([s.codes for s in samples]))
    return batch, {failure.row: failure.reason for s in samples for failure in s.failures}


def _leave_interrupts_to_the_trainer(_worker: int) -> None:
    # Ctrl-C reaches the whole process group; the trainer finishes its step and ends the workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
