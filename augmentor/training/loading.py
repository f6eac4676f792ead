"""Training batches from manifest rows: decoded, cropped and mirrored ahead of the loop, the same on every run.

With an `ImageCache` threads prepare images, for which little is left to do once all have been decoded; without
one DataLoader's worker processes do.
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

from augmentor.data.manifest import Partners
from augmentor.errors import ImageError, shared_memory_error
from augmentor.images import Pixels, decode
from augmentor.storage import ANYWHERE, TURNS, Access, Workers, leave_behind, stalled, usable_cores, wait_limits
from augmentor.training.cache import ImageCache
from augmentor.training.faults import NO_WORKERS
from augmentor.training.launch import local_world_size, world_size
from augmentor.training.sampler import Draw, StepSampler
from augmentor.training.settings import ImageSettings
from augmentor.training.targets import TargetPolicy
from stargan.labels import LabelSpace, merge_targets
from stargan.training import Batch

_MOST_TRIES = 100
"""Unreadable images in a row that end the training: the folder is at fault then, not single images."""

_LONGEST = 16
"""Longer side of an enlarged image, in multiples of the network's size."""

_TIMED_OUT = "DataLoader timed out"
"""In torch's plain RuntimeError when no batch came in time."""

_TARGET, _PARTNER = 1, 2
"""Spawn keys of the random streams of target policies and of partners; crops and mirroring have the plain one."""

_AHEAD = 4
"""Batches that each worker prepares ahead of the loop."""


class TrainingSample(NamedTuple):
    """One training image, uint8 (C, H, W); its domain `codes` and its target, int64 (A,), -1 unknown.

    Without a target the loop chooses one. `partner` is the true image of the target, uint8 (C, H, W), where it is
    known. `failures`, row -> reason, are unreadable rows that the image replaces, or that would be its partner.
    """

    image: Tensor
    codes: Tensor
    target: Tensor | None
    failures: dict[int, str]
    partner: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingImages(Dataset[TrainingSample]):
    """The manifest's training rows as a Dataset that is indexed by `Draw`.

    A row whose image cannot be read is replaced by the next readable one of its label set, and reported. A partner
    is cropped and mirrored as its image is; where it cannot be read, it is reported, and the image has none.

    Args:
        paths: N image files.
        codes: (N, A) domains, -1 unknown.
        seed: seeds crops and mirroring, together with the draw's position.
        label_sets: (N,) the label set that each row knows; None without joint training.
        policy: makes targets of the drawn rows' domains; None takes these as they are.
        cache: for images of `enlarged` size; None decodes them each time.
        access: allowed folders of the files, and the most pixels that they may have.
        partners: the rows that show the same picture; None leaves pairs unused.
        paired_share: how often a row that has partners gets the labels of one of them as target, in [0, 1].
        only_paired: rows without a readable partner are replaced like unreadable ones; for a share of 1.
    """

    paths: tuple[Path, ...]
    codes: NDArray[np.int16]
    space: LabelSpace
    settings: ImageSettings
    seed: int
    label_sets: NDArray[np.integer] | None = None
    policy: TargetPolicy | None = None
    cache: ImageCache | None = None
    access: Access = ANYWHERE
    partners: Partners | None = None
    paired_share: float = 0.5
    only_paired: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the first image."""
        return self.paths[0].parent

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, draw: Draw) -> TrainingSample:
        """Return the draw's image, augmented, with domain and target; ImageError: 100 images cannot be read."""
        failures: dict[int, str] = {}
        for row in itertools.islice(self._substitutes(draw.row), _MOST_TRIES):
            partner = self.partner(row, draw)
            try:
                pixels, true = self._augmented(row, partner, draw.position, failures)
            except ImageError as error:
                failures[row] = str(error)
                continue
            if true is None and self.only_paired:
                continue
            target = self.target(row, draw, None if true is None else partner)
            return TrainingSample(
                image=_tensor(pixels),
                codes=self.domain(row),
                target=target,
                failures=failures,
                partner=None if true is None else _tensor(true),
            )
        reasons = list(failures.values())
        raise ImageError(f"{len(reasons)} images in a row cannot be read; the first: {reasons[0]}")

    def _substitutes(self, row: int) -> Iterator[int]:
        """Yield the row, then those that may replace it, in order."""
        for other in itertools.chain(range(row, len(self)), range(row)):
            if self.only_paired and not self._partners_of(other):
                continue
            if self.label_sets is None or self.label_sets[row] == self.label_sets[other]:
                yield other

    def _partners_of(self, row: int) -> list[int]:
        partners: list[int] = [] if self.partners is None else self.partners.of_row(row).tolist()
        return partners

    def domain(self, row: int) -> Tensor:
        """Return a row's domain, int64 (A,), -1 unknown."""
        return torch.from_numpy(self.codes[row].astype(np.int64))

    def partner(self, row: int, draw: Draw) -> int | None:
        """Return the row whose labels become the draw's target for a row; None where no partner's do."""
        rows = self._partners_of(row)
        if not rows:
            return None
        random = self._random(draw.position, _PARTNER)
        return int(random.choice(rows)) if random.random() < self.paired_share else None

    def target(self, row: int, draw: Draw, partner: int | None) -> Tensor | None:
        """Return the draw's target for a row, int64 (A,), -1 unknown; None where the loop chooses it.

        A `partner`'s labels are the target; without one it is what the draw and the policy say.
        """
        if partner is not None:
            return merge_targets(self.domain(partner)[None], self.domain(row)[None], self.space)[0]
        if draw.target is None:
            return None
        own, drawn = self.domain(row), self.domain(draw.target)
        if self.policy is not None:
            drawn = torch.from_numpy(self.policy(own.numpy(), drawn.numpy(), self._random(draw.position, _TARGET)))
        return merge_targets(drawn[None], own[None], self.space)[0]

    def _random(self, position: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence((self.seed, position), spawn_key=(purpose,)))

    def _augmented(
        self, row: int, partner: int | None, position: int, failures: dict[int, str]
    ) -> tuple[Pixels, Pixels | None]:
        """Return an image and its partner, cropped and mirrored alike; `failures` gets a partner that fails."""
        settings, (height, width) = self.settings, self.settings.height_width
        random = np.random.default_rng((self.seed, position))
        cut_out = bool(settings.sub_regions) and random.random() < settings.sub_regions
        read = self._at_full_resolution if cut_out else self._enlarged
        images = [read(row)]
        if partner is not None:
            try:
                images.append(self._aligned(read(partner), images[0], partner, row))
            except ImageError as error:
                failures[partner] = str(error)
        top = int(random.integers(images[0].shape[0] - height + 1))
        left = int(random.integers(images[0].shape[1] - width + 1))
        images = [pixels[top : top + height, left : left + width] for pixels in images]
        if settings.flip and random.random() < 0.5:
            images = [pixels[:, ::-1] for pixels in images]
        return images[0], images[1] if len(images) > 1 else None

    def _aligned(self, pixels: Pixels, others: Pixels, partner: int, row: int) -> Pixels:
        """Return a partner's pixels; ImageError if the image of the row has another size."""
        if pixels.shape == others.shape:
            return pixels
        sizes = [f"{shape[1]}x{shape[0]} px" for shape in (pixels.shape, others.shape)]
        raise ImageError(f"{self.paths[partner]}: {sizes[0]}, but its partner {self.paths[row]} is {sizes[1]}")

    def _enlarged(self, row: int) -> Pixels:
        """Return an image at the size that crops are cut from, cached or decoded."""
        kept = None if self.cache is None else self.cache.get(row)
        if kept is not None:
            return kept
        settings = self.settings
        pixels = decode(
            self.paths[row],
            size=settings.enlarged,
            channels=settings.colours,
            crop=settings.crop or None,
            access=self.access,
        )
        if self.cache is not None:
            self.cache.keep(row, pixels)
        return pixels

    def _at_full_resolution(self, row: int) -> Pixels:
        """Return an image after `crop` at the file's resolution, enlarged where it is too small."""
        path, channels, crop = self.paths[row], self.settings.colours, self.settings.crop or None
        height, width = self.settings.height_width
        pixels = decode(path, channels=channels, crop=crop, access=self.access)
        h, w, _ = pixels.shape
        scale = max(height / h, width / w)
        if scale <= 1:
            return pixels
        # An image of one row of pixels would become very long: only its middle is used.
        tall, wide = min(round(h * scale), _LONGEST * height), min(round(w * scale), _LONGEST * width)
        covering = (max(height, tall), max(width, wide))
        return decode(path, size=covering, channels=channels, crop=crop, access=self.access)


def training_batches(
    images: TrainingImages,
    sampler: StepSampler,
    *,
    workers: int,
    pin_memory: bool,
    failures: dict[int, str],
) -> Iterator[Batch]:
    """Yield the sampler's endless batches, this rank's share of each.

    Args:
        images: the training rows; with a `cache` threads prepare them, else processes.
        sampler: the rows and targets of each batch; without target rows `Batch.targets` is None.
        workers: loading processes, or threads; 0 loads in the training loop, -1 chooses by the cores.
        pin_memory: whether batches go to a GPU.
        failures: filled with row -> reason for each image that cannot be read.
    """
    workers = default_workers() if workers < 0 else workers
    make = _by_processes if images.cache is None else _by_threads
    try:
        for batch, broken in make(images, sampler, workers=workers, pin_memory=pin_memory):
            failures.update(broken)
            yield batch
    except ImageError as error:
        # A worker's error arrives with its traceback in front: only the last line is the message.
        raise ImageError(
            str(error).strip().splitlines()[-1].removeprefix("augmentor.errors.ImageError: ")
        ) from None


def drawn_targets(images: TrainingImages, sampler: StepSampler, *, most: int) -> Tensor:
    """Return the targets of the first `most` draws of a sampler with targets, (N, A) int64, -1 unknown."""
    draws = itertools.islice(itertools.chain.from_iterable(sampler), most)
    found = [images.target(draw.row, draw, images.partner(draw.row, draw)) for draw in draws]
    return torch.stack([target for target in found if target is not None])


def default_workers() -> int:
    """Return the number of loading threads or processes: from 1 to 8, one less than the cores of each rank."""
    return max(1, min(8, usable_cores() // local_world_size() - 1))


_Made = tuple[Batch, dict[int, str]]
"""A batch, and row -> reason of the rows that could not be read for it."""


def _by_processes(
    images: TrainingImages, sampler: StepSampler, *, workers: int, pin_memory: bool
) -> Iterator[_Made]:
    limit = wait_limits().stalled
    before = set(active_children())
    loader = DataLoader(
        images,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_collate_shared,
        pin_memory=pin_memory,
        worker_init_fn=_ignore_interrupts,
        prefetch_factor=None if workers == 0 else _AHEAD,
        timeout=0 if workers == 0 else limit / TURNS,
        generator=torch.Generator(),  # for the loader's seed, which else comes from the global state
    )
    try:
        if workers:
            Lock()  # Fails first where shared memory is missing: a half-built loader would print a traceback.
        batches = iter(loader)
    except OSError as error:
        raise shared_memory_error(error, instead=NO_WORKERS) or error from error
    ours, turns = set(active_children()) - before, 0
    while turns < TURNS:
        try:
            made = next(batches)
        except RuntimeError as error:
            short = shared_memory_error(error, instead=NO_WORKERS)
            if short is not None:
                raise short from error
            if _TIMED_OUT not in str(error):
                raise
            turns += 1  # The loader can be tried again: no batch was lost.
        else:
            turns = 0
            yield made
    del batches  # This tells its processes to end, without waiting for them.
    for process in ours:
        process.kill()
        process.join(wait_limits().grace)
        leave_behind(process.is_alive)
    raise stalled([f"{len(ours)} processes read training images below {images.folder}"], limit)


def _by_threads(
    images: TrainingImages, sampler: StepSampler, *, workers: int, pin_memory: bool
) -> Iterator[_Made]:
    def make(draws: list[Draw]) -> _Made:
        batch, broken = _collate([images[draw] for draw in draws])
        if pin_memory:
            partners = None if batch.partners is None else batch.partners.pin_memory()
            batch = batch._replace(images=batch.images.pin_memory(), partners=partners)
        return batch, broken

    if workers == 0:
        yield from map(make, sampler)
        return

    def reading(draws: list[Draw]) -> str:
        return f"reading {images.paths[draws[0].row]} or the others of its batch"

    with Workers(workers, name="training-images") as pool:
        yield from pool.map(reading, make, sampler, ahead=_AHEAD * workers + 1)


def _collate_shared(samples: list[TrainingSample]) -> _Made:
    """Collate, and in a loading process copy the batch to shared memory.

    DataLoader's sending thread would do the same, but only print an error, and the training process would wait.
    """
    batch, broken = _collate(samples)
    if get_worker_info() is not None:
        for tensor in batch:
            if tensor is not None:
                tensor.share_memory_()  # type: ignore[no-untyped-call]
    return batch, broken


def _collate(samples: list[TrainingSample]) -> _Made:
    targets = [sample.target for sample in samples if sample.target is not None]
    batch = Batch(
        images=_stacked([sample.image for sample in samples]),
        codes=torch.stack([sample.codes for sample in samples]),
        targets=torch.stack(targets) if targets else None,
    )
    if any(sample.partner is not None for sample in samples):
        blank = torch.zeros_like(samples[0].image)
        batch = batch._replace(
            partners=_stacked([blank if sample.partner is None else sample.partner for sample in samples]),
            paired=torch.tensor([sample.partner is not None for sample in samples]),
        )
    return batch, {row: reason for sample in samples for row, reason in sample.failures.items()}


def _tensor(pixels: Pixels) -> Tensor:
    """Return (H, W, C) pixels as (C, H, W)."""
    # numpy copies in this thread alone; torch would wake its own, which belong to the trainer.
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _stacked(images: list[Tensor]) -> Tensor:
    return torch.from_numpy(np.stack([image.numpy() for image in images]))


def _ignore_interrupts(_worker: int) -> None:
    # Ctrl-C reaches the whole process group; the training process finishes its step and ends the workers. So does
    # SIGTERM where a launcher passes it on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL if world_size() == 1 else signal.SIG_IGN)
