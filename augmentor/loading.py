"""Manifest rows -> training batches: decoded, cropped and mirrored in DataLoader workers, equal on every run."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from augmentor.errors import ImageError
from augmentor.images import Pixels, decode
from augmentor.recipe import ImageSettings, Joint
from stargan.labels import LabelSpace, merge_targets
from stargan.training import Batch

_MOST_TRIES = 100
"""Broken images in a row after which something is wrong with the folder, not with the images."""

_ROUNDS, _SOURCES, _TARGETS = range(3)
"""What a stream of random numbers is for."""


class Draw(NamedTuple):
    """One image of one batch.

    Args:
        row: the row to show.
        place: the place in the run, which seeds the image's crop and mirroring.
        target: the row whose domain the image is asked for; None leaves the target to the loop.
    """

    row: int
    place: int
    target: int | None = None


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
    """

    paths: tuple[Path, ...]
    codes: NDArray[np.int16]
    space: LabelSpace
    settings: ImageSettings
    seed: int
    label_sets: NDArray[np.integer] | None = None

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
            image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
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
            enlarged = (round(height * settings.random_crop), round(width * settings.random_crop))
            pixels = decode(self.paths[row], size=enlarged, channels=settings.channels, crop=settings.crop or None)
        top = int(random.integers(pixels.shape[0] - height + 1))
        left = int(random.integers(pixels.shape[1] - width + 1))
        pixels = pixels[top : top + height, left : left + width]
        if settings.flip and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels)

    def _at_full_resolution(self, row: int) -> Pixels:
        """Return all that `crop` leaves of an image; one that does not cover the network's size is enlarged to."""
        path, channels, crop = self.paths[row], self.settings.channels, self.settings.crop or None
        height, width = self.settings.height_width
        pixels = decode(path, channels=channels, crop=crop)
        h, w, _ = pixels.shape
        scale = max(height / h, width / w)
        if scale <= 1:
            return pixels
        covering = (max(height, round(h * scale)), max(width, round(w * scale)))
        return decode(path, size=covering, channels=channels, crop=crop)


@dataclass(frozen=True, kw_only=True)
class StepSampler(Sampler[list[Draw]]):
    """Batches of draws without end, each epoch in another order; any step can be the first.

    With several label sets each has epochs of its own. "mixed" batches take one row of each set in turn;
    "alternating" ones take all their rows from one set, and in every round of as many batches as there are sets
    each set has one. Where a batch does not hold all sets, the order within a round is random: in a fixed one,
    a G step or a penalty that is due every other step would never see the other set.

    Args:
        rows: number of images, N.
        batch_size: draws in a batch.
        seed: seeds the orders and the draws.
        first_step: the step whose batch comes first, counted from 0.
        label_sets: (N,) the label set of each row; None means that there is one.
        joint: how the label sets share the batches.
        source_weights: (N,) rows are drawn with replacement and these weights (within their label set) instead of
            in epochs.
        target_weights: (N,) each draw also names a target row, drawn with these weights: of any set, all equally
            often, in mixed batches, of the batch's own set in alternating ones. None names none.

    Source: alternating between the data sets: StarGAN, section 3.3 (arXiv 1711.09020).
    """

    rows: int
    batch_size: int
    seed: int
    first_step: int = 0
    label_sets: NDArray[np.integer] | None = None
    joint: Joint = "mixed"
    source_weights: NDArray[np.float64] | None = None
    target_weights: NDArray[np.float64] | None = None

    def __iter__(self) -> Iterator[list[Draw]]:
        members = self._members()
        epochs = [_Epochs(rows, (self.seed, number)) for number, rows in enumerate(members)]
        sources, targets = _urns(members, self.source_weights), _urns(members, self.target_weights)
        for step in itertools.count(self.first_step):
            turns = self._turns(step, len(members))
            if sources is None:
                rows = [epochs[turn.label_set].row(turn.position) for turn in turns]
            else:
                chances = self._random(_SOURCES, step).random(self.batch_size)
                rows = [sources[turn.label_set].row(x) for turn, x in zip(turns, chances, strict=True)]
            wanted: list[int | None] = [None] * self.batch_size
            if targets is not None:
                random = self._random(_TARGETS, step)
                asked = random.integers(len(members), size=self.batch_size).tolist()
                if self.joint == "alternating":
                    asked = [turn.label_set for turn in turns]
                chances = random.random(self.batch_size)
                wanted = [targets[label_set].row(x) for label_set, x in zip(asked, chances, strict=True)]
            first = step * self.batch_size
            yield [Draw(row, first + i, target) for i, (row, target) in enumerate(zip(rows, wanted, strict=True))]

    def _members(self) -> list[NDArray[np.int64]]:
        """Return the rows of each label set that has any."""
        if self.label_sets is None:
            return [np.arange(self.rows)]
        return [np.flatnonzero(self.label_sets == label_set) for label_set in np.unique(self.label_sets)]

    def _turns(self, step: int, sets: int) -> list[_Turn]:
        first = step * self.batch_size
        if self.joint == "alternating":
            done, turn = divmod(step, sets)
            label_set = self._round(done, sets)[turn]
            return [_Turn(label_set, done * self.batch_size + i) for i in range(self.batch_size)]
        rounds = [divmod(place, sets) for place in range(first, first + self.batch_size)]
        if self.batch_size >= sets:
            return [_Turn(turn, done) for done, turn in rounds]
        return [_Turn(self._round(done, sets)[turn], done) for done, turn in rounds]

    def _round(self, number: int, sets: int) -> list[int]:
        """Return the order in which the label sets have their turns in a round."""
        order: list[int] = self._random(_ROUNDS, number).permutation(sets).tolist()
        return order

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence((self.seed, number), spawn_key=(purpose,)))


def training_batches(
    images: TrainingImages,
    *,
    batch_size: int,
    first_step: int,
    workers: int,
    pin_memory: bool,
    failures: dict[int, str],
    joint: Joint = "mixed",
    source_weights: NDArray[np.float64] | None = None,
    target_weights: NDArray[np.float64] | None = None,
) -> Iterator[Batch]:
    """Yield batches without end, from step `first_step` on.

    Args:
        images: the training rows.
        batch_size: images in a batch.
        first_step: the step whose batch comes first, counted from 0.
        workers: loading processes; -1 picks from the cores.
        pin_memory: whether batches go to a GPU.
        failures: filled with row -> reason for each image that cannot be read.
        joint: how the images' label sets share the batches; see `StepSampler`.
        source_weights: (N,) how often each row is to be shown; None goes through them in epochs.
        target_weights: (N,) how often each row's domain is to be asked for; None leaves `Batch.targets` out.
    """
    loader: DataLoader[Sample] = DataLoader(
        images,
        batch_sampler=StepSampler(
            rows=len(images),
            batch_size=batch_size,
            seed=images.seed,
            first_step=first_step,
            label_sets=images.label_sets,
            joint=joint,
            source_weights=source_weights,
            target_weights=target_weights,
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


class _Turn(NamedTuple):
    """Whose turn it is: a label set, and how many of its rows were shown before."""

    label_set: int
    position: int


@dataclass
class _Epochs:
    """A label set's rows, all of them once an epoch, each epoch in another order."""

    rows: NDArray[np.int64]
    seeds: tuple[int, int]
    _epoch: int = -1
    _order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def row(self, position: int) -> int:
        """Return the row at a position of the endless order."""
        epoch, index = divmod(position, len(self.rows))
        if epoch != self._epoch:
            seed, number = self.seeds
            self._epoch = epoch
            self._order = np.random.default_rng((seed, epoch, number)).permutation(self.rows)
        return int(self._order[index])


@dataclass(frozen=True)
class _Urn:
    """A label set's rows, drawn with replacement."""

    rows: NDArray[np.int64]
    edges: NDArray[np.float64]

    def row(self, chance: float) -> int:
        """Return the row that a number in [0, 1) falls on."""
        return int(self.rows[np.searchsorted(self.edges, chance, side="right")])


def _urns(members: list[NDArray[np.int64]], weights: NDArray[np.float64] | None) -> list[_Urn] | None:
    if weights is None:
        return None
    sums = [np.cumsum(weights[rows]) for rows in members]
    return [_Urn(rows, edges / edges[-1]) for rows, edges in zip(members, sums, strict=True)]


def _collate(samples: list[Sample]) -> tuple[Batch, dict[int, str]]:
    targets = [sample.target for sample in samples if sample.target is not None]
    batch = Batch(
        images=torch.stack([sample.image for sample in samples]),
        codes=torch.stack([sample.codes for sample in samples]),
        targets=torch.stack(targets) if targets else None,
    )
    return batch, {failure.row: failure.reason for sample in samples for failure in sample.failures}


def _leave_interrupts_to_the_trainer(_worker: int) -> None:
    # Ctrl-C reaches the whole process group; the trainer finishes its step and ends the workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
