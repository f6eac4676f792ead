"""Manifest rows -> training batches: decoded, cropped and mirrored ahead of the loop, equal on every run.

Images that are kept in memory (`ImageCache`) are decoded and cut by threads of this process, for there is little
left to do once all have been seen; others by DataLoader's worker processes.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Lock, active_children
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from augmentor.errors import ImageError, no_shared_memory
from augmentor.images import Pixels, decode
from augmentor.storage import ANYWHERE, TURNS, Access, Workers, leave_behind, patience, stalled, usable_cores
from augmentor.training.cache import ImageCache
from augmentor.training.launched import launched, on_this_machine
from augmentor.training.order import Draw, StepSampler
from augmentor.training.recipe import ImageSettings, Joint
from stargan.distributed import SINGLE_RANK, Ranks
from stargan.labels import LabelSpace, merge_targets
from stargan.training import Batch

_MOST_TRIES = 100
"""Broken images in a row after which something is wrong with the folder, not with the images."""

_LONGEST = 16
"""Times the network's size that an image may be enlarged to along its longer side."""

_TIMED_OUT = "DataLoader timed out"
"""What torch says, in a plain RuntimeError, when no batch came in time."""

WITHOUT_PROCESSES = "use --set training.workers=0 or --cache on, which need none"
"""What trains where processes cannot share memory."""

_AHEAD = 4
"""Batches that are made ahead of the loop, for each worker."""


class Failure(NamedTuple):
    """A row whose image cannot be read, and why."""

    row: int
    reason: str


class Sample(NamedTuple):
    """One training image.

    Args:
        image: uint8 (C, H, W).
        codes: its domain, int64 (A,), -1 unknown.
        target: the domain it is asked for, int64 (A,), -1 unknown; None where the loop decides.
        failures: the broken rows met on the way to it.
    """

    image: Tensor
    codes: Tensor
    target: Tensor | None
    failures: tuple[Failure, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingImages(Dataset[Sample]):
    """The manifest's training rows as a Dataset that is indexed by `Draw`.

    A row whose image cannot be read is replaced by the next one of its label set that can, and reported.

    Args:
        paths: the images' files, N of them.
        codes: (N, A) domains, -1 unknown.
        space: what the codes mean.
        settings: size, channels, crop and augmentation.
        seed: seeds crops and mirroring, together with the draw's place.
        label_sets: (N,) the label set that each row knows; None without joint training.
        cache: where images of `enlarged` size are kept once they are decoded; None decodes them each time.
        access: where the files may lie, and how many pixels they may have.
    """

    paths: tuple[Path, ...]
    codes: NDArray[np.int16]
    space: LabelSpace
    settings: ImageSettings
    seed: int
    label_sets: NDArray[np.integer] | None = None
    cache: ImageCache | None = None
    access: Access = ANYWHERE

    @property
    def folder(self) -> Path:
        """The folder of the first image."""
        return self.paths[0].parent

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, draw: Draw) -> Sample:
        """Return the draw's image, augmented, with its domain and its target.

        Raises:
            ImageError: so many images in a row cannot be read that going on makes no sense.
        """
        failures: list[Failure] = []
        for row in itertools.islice(self._substitutes(draw.row), _MOST_TRIES):
            try:
                pixels = self._augmented(row, draw.place)
            except ImageError as error:
                failures.append(Failure(row, str(error)))
                continue
            codes = self._codes(row)
            target = None if draw.target is None else self._target(codes, draw.target)
            # numpy copies in this thread alone; torch would wake its own, which belong to the trainer.
            image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
            return Sample(image, codes, target, tuple(failures))
        raise ImageError(f"{len(failures)} images in a row cannot be read; the first: {failures[0].reason}")

    def _substitutes(self, row: int) -> Iterator[int]:
        """Yield the row and, in order, those that may stand in for it."""
        for other in itertools.chain(range(row, len(self)), range(row)):
            if self.label_sets is None or self.label_sets[row] == self.label_sets[other]:
                yield other

    def _codes(self, row: int) -> Tensor:
        return torch.from_numpy(self.codes[row].astype(np.int64))

    def _target(self, own: Tensor, drawn_row: int) -> Tensor:
        return merge_targets(self._codes(drawn_row)[None], own[None], self.space)[0]

    def _augmented(self, row: int, place: int) -> Pixels:
        settings, (height, width) = self.settings, self.settings.height_width
        random = np.random.default_rng((self.seed, place))
        if settings.sub_regions and random.random() < settings.sub_regions:
            pixels = self._at_full_resolution(row)
        else:
            pixels = self._enlarged(row)
        top = int(random.integers(pixels.shape[0] - height + 1))
        left = int(random.integers(pixels.shape[1] - width + 1))
        pixels = pixels[top : top + height, left : left + width]
        if settings.flip and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return pixels

    def _enlarged(self, row: int) -> Pixels:
        """Return an image at the size that crops are cut from, kept or decoded."""
        kept = None if self.cache is None else self.cache.get(row)
        if kept is not None:
            return kept
        settings = self.settings
        pixels = decode(
            self.paths[row],
            size=settings.enlarged,
            channels=settings.channels,
            crop=settings.crop or None,
            access=self.access,
        )
        if self.cache is not None:
            self.cache.keep(row, pixels)
        return pixels

    def _at_full_resolution(self, row: int) -> Pixels:
        """Return all that `crop` leaves of an image; one that does not cover the network's size is enlarged to."""
        path, channels, crop = self.paths[row], self.settings.channels, self.settings.crop or None
        height, width = self.settings.height_width
        pixels = decode(path, channels=channels, crop=crop, access=self.access)
        h, w, _ = pixels.shape
        scale = max(height / h, width / w)
        if scale <= 1:
            return pixels
        # Of an image of one row, enlarged, there would be no end: beyond so many times the size only the middle.
        tall, wide = min(round(h * scale), _LONGEST * height), min(round(w * scale), _LONGEST * width)
        covering = (max(height, tall), max(width, wide))
        return decode(path, size=covering, channels=channels, crop=crop, access=self.access)


def training_batches(
    images: TrainingImages,
    *,
    batch_size: int,
    first_step: int,
    workers: int,
    pin_memory: bool,
    failures: dict[int, str],
    ranks: Ranks = SINGLE_RANK,
    joint: Joint = "mixed",
    source_weights: NDArray[np.float64] | None = None,
    target_weights: NDArray[np.float64] | None = None,
) -> Iterator[Batch]:
    """Yield batches without end, from step `first_step` on.

    Args:
        images: the training rows; with a `cache` they are made by threads.
        batch_size: images in a batch, of this process.
        first_step: the step whose batch comes first, counted from 0.
        workers: loading processes, or threads; 0 loads when a batch is asked for, -1 picks from the cores.
        pin_memory: whether batches go to a GPU.
        failures: filled with row -> reason for each image that cannot be read.
        ranks: the ranks that train together: the batches are this one's share.
        joint: how the images' label sets share the batches; see `StepSampler`.
        source_weights: (N,) how often each row is to be shown; None goes through them in epochs.
        target_weights: (N,) how often each row's domain is to be asked for; None leaves `Batch.targets` out.
    """
    sampler = StepSampler(
        rows=len(images),
        batch_size=batch_size * ranks.world_size,
        seed=images.seed,
        first_step=first_step,
        rank=ranks.rank,
        processes=ranks.world_size,
        label_sets=images.label_sets,
        joint=joint,
        source_weights=source_weights,
        target_weights=target_weights,
    )
    workers = default_workers() if workers < 0 else workers
    make = _by_processes if images.cache is None else _by_threads
    try:
        for batch, broken in make(images, sampler, workers=workers, pin_memory=pin_memory):
            failures.update(broken)
            yield batch
    except ImageError as error:
        # A worker's error arrives with its traceback in front: the person needs the last line alone.
        raise ImageError(
            str(error).strip().splitlines()[-1].removeprefix("augmentor.errors.ImageError: ")
        ) from None


def default_workers() -> int:
    """Return the number of loading threads or processes that this machine's cores suggest: one stays for training.

    Where several processes train here, the cores are shared out.

    There is one at least: once images are kept, it has next to nothing to do.
    """
    return max(1, min(8, usable_cores() // on_this_machine() - 1))


_Made = tuple[Batch, dict[int, str]]
"""A batch, and the broken rows that were met on the way to it, with the reasons."""


def _by_processes(
    images: TrainingImages, sampler: StepSampler, *, workers: int, pin_memory: bool
) -> Iterator[_Made]:
    limit = patience().stalled
    before = set(active_children())
    loader = DataLoader(
        images,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate_shared,
        pin_memory=pin_memory,
        worker_init_fn=_leave_interrupts_to_the_trainer,
        prefetch_factor=None if workers == 0 else _AHEAD,
        timeout=0 if workers == 0 else limit / TURNS,
        generator=torch.Generator(),  # the loader draws a seed from it; without one, from the global state
    )
    try:
        if workers:
            Lock()  # What cannot be had is asked for first: a loader that was made by half prints a traceback.
        batches = iter(loader)
    except OSError as error:
        raise no_shared_memory(error, instead=WITHOUT_PROCESSES) or error from error
    ours, turns = set(active_children()) - before, 0
    while turns < TURNS:
        try:
            made = next(batches)
        except RuntimeError as error:
            short = no_shared_memory(error, instead=WITHOUT_PROCESSES)
            if short is not None:
                raise short from error
            if _TIMED_OUT not in str(error):
                raise
            turns += 1  # It can be asked again: nothing was taken.
        else:
            turns = 0
            yield made
    del batches  # It asks its processes to end, and does not wait for it.
    for process in ours:
        process.kill()
        process.join(patience().grace)
        leave_behind(process.is_alive)
    raise stalled([f"{len(ours)} processes read training images below {images.folder}"], limit)


def _by_threads(
    images: TrainingImages, sampler: StepSampler, *, workers: int, pin_memory: bool
) -> Iterator[_Made]:
    def make(draws: list[Draw]) -> _Made:
        batch, broken = _collate([images[draw] for draw in draws])
        return (batch._replace(images=batch.images.pin_memory()) if pin_memory else batch), broken

    if workers == 0:
        yield from map(make, sampler)
        return

    def reading(draws: list[Draw]) -> str:
        return f"reading {images.paths[draws[0].row]} or the others of its batch"

    with Workers(workers, name="training-images") as pool:
        yield from pool.map(reading, make, sampler, ahead=_AHEAD * workers + 1)


def _collate_shared(samples: list[Sample]) -> _Made:
    """Do as `_collate`, and in a loading process put the batch where the trainer can see it.

    Otherwise the thread that sends batches would do so; it prints an error and sends nothing, and the trainer
    would wait in vain.
    """
    batch, broken = _collate(samples)
    if get_worker_info() is not None:
        for tensor in batch:
            if tensor is not None:
                tensor.share_memory_()  # type: ignore[no-untyped-call]
    return batch, broken


def _collate(samples: list[Sample]) -> tuple[Batch, dict[int, str]]:
    targets = [sample.target for sample in samples if sample.target is not None]
    batch = Batch(
        images=torch.from_numpy(np.stack([sample.image.numpy() for sample in samples])),
        codes=torch.stack([sample.codes for sample in samples]),
        targets=torch.stack(targets) if targets else None,
    )
    return batch, {failure.row: failure.reason for sample in samples for failure in sample.failures}


def _leave_interrupts_to_the_trainer(_worker: int) -> None:
    # Ctrl-C reaches the whole process group; the trainer finishes its step and ends the workers itself. So does
    # SIGTERM where a launcher passes it on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL if launched() == 1 else signal.SIG_IGN)
