"""Training of all arms' classifiers: from the cache where they are finished, side by side on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.errors import SharedMemoryError
from augmentor.evaluation.arms import Pool, TrainingArm, batches
from augmentor.evaluation.cache import EvaluationCache, Predictions
from augmentor.evaluation.classifier import Evaluator, build_evaluator, predict
from augmentor.evaluation.data import EvaluationData, some_rows
from augmentor.evaluation.settings import EvaluateSettings
from augmentor.evaluation.training import LabelBalance, TrainedEvaluator, label_balance, train_evaluator
from augmentor.judge import LabelledImages
from augmentor.storage import Send, run_processes, usable_cores
from stargan.labels import LabelSpace

_LOOKED_AT = 500
"""Val images that say whether a classifier has converged, always the same ones."""

_PRETRAINING = 1 / 3
"""Share of the steps of an arm that has two stages."""

_FIRST_SEED = 1000
_TIMED_STEPS = 3

_SHORT_SECONDS = 30.0
"""A training that takes less in all is not worth the start of processes."""


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """Classifiers to train, and what their trainings have in common; it can be sent to another process.

    Args:
        jobs: the arm, by its place in `arms`, and the seed of each classifier.
        validation: some val images, which say whether a classifier has converged.
        side: shorter side of the images, in pixels.
        threads: of torch on a CPU; how many decides the last digits of the weights.
    """

    arms: Sequence[TrainingArm]
    jobs: Sequence[tuple[int, int]]
    settings: EvaluateSettings
    space: LabelSpace
    balance: LabelBalance
    validation: LabelledImages
    val: Tensor
    test: Tensor
    side: int
    device: torch.device
    threads: int

    def train(
        self,
        arm: TrainingArm,
        seed: int,
        *,
        steps: int | None = None,
        on_step: Callable[[int], None] = lambda _step: None,
    ) -> TrainedEvaluator:
        """Train one classifier; those of one seed have the same initial weights in every arm."""
        settings, seed = self.settings, _FIRST_SEED + seed
        pretraining = round(settings.steps * _PRETRAINING) if arm.pretraining else 0

        def drawn(pools: Sequence[Pool], number: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
            size, flip = settings.batch_size, bool(settings.flip)
            return batches(pools, steps=number, batch_size=size, seed=seed, flip=flip, augment=arm.augment)

        stages = (
            drawn(arm.pretraining, pretraining, seed + _FIRST_SEED),
            drawn(arm.pools, settings.steps - pretraining, seed),
        )
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())), _torch_threads(self.threads):
            torch.manual_seed(seed)
            return train_evaluator(
                self.untrained(),
                islice(chain(*stages), steps),
                space=self.space,
                loss=arm.loss,
                balance=self.balance,
                validation=self.validation,
                # Before that the accuracy may stay at chance, which is no convergence.
                first_look=pretraining + (settings.steps - pretraining) // 2,
                device=self.device,
                on_step=on_step,
            )

    def untrained(self) -> Evaluator:
        """Return a classifier with weights from torch's generator, or from the file of the settings."""
        return build_evaluator(self.settings.classifier, side=self.side, outputs=self.space.domain_size)


@dataclass(frozen=True, kw_only=True)
class _Finished:
    """A classifier that was trained: its place in the jobs, and the first one's weights.

    They are arrays: a tensor would go through shared memory, which ends with the process that sends it.
    """

    job: int
    predictions: Predictions
    weights: Mapping[str, NDArray[Any]] | None


def _train_jobs(task: TrainingTask, _place: int, numbers: Iterator[int], send: Send[int | _Finished]) -> None:
    """Train the classifiers with these numbers; send the steps of each one's training, and what it predicts."""
    for number in numbers:
        if number >= len(task.jobs):
            return
        arm, seed = task.jobs[number]
        network, steps, converged = task.train(task.arms[arm], seed, on_step=send)
        with _torch_threads(task.threads):
            test, val = (
                predict(network, images, task.space).numpy().astype(np.int16) for images in (task.test, task.val)
            )
        weights = {name: weight.cpu().numpy() for name, weight in network.state_dict().items()}
        send(
            _Finished(
                job=number,
                predictions=Predictions(test=test, val=val, steps=steps, converged=converged),
                weights=weights if arm == seed == 0 else None,
            )
        )


class Trainer:
    """Trains the classifiers that are not in the cache, and reports progress.

    On a CPU they are trained side by side in processes, with as many threads each as there are cores for all
    classifiers of the evaluation: one that goes on after an interruption ends with the same bytes.
    """

    def __init__(
        self,
        data: EvaluationData,
        settings: EvaluateSettings,
        cache: EvaluationCache,
        *,
        device: torch.device,
        on_note: Callable[[str], None],
        on_steps: Callable[[int, int, int], None],
    ) -> None:
        self._cache, self._on_note, self._on_steps = cache, on_note, on_steps
        self._first: Mapping[str, NDArray[Any]] | None = None
        rows = torch.from_numpy(some_rows(np.arange(len(data.val)), _LOOKED_AT, np.random.default_rng(0)))
        self._task = TrainingTask(
            arms=(),
            jobs=(),
            settings=settings,
            space=data.output.space,
            balance=label_balance(data.train.codes, data.output.space, data.changed),
            validation=LabelledImages(images=data.val.images[rows], codes=data.val.codes[rows]),
            val=data.val.images,
            test=data.test.images,
            side=min(data.output.size),
            device=device,
            threads=1,
        )

    def predictions(self, arms: Sequence[TrainingArm]) -> list[list[Predictions]]:
        """Return the predictions of every arm's classifiers, in the order of the arms and by seed."""
        seeds, steps = range(self._task.settings.seeds), self._task.settings.steps
        jobs = [(number, seed) for seed in seeds for number in range(len(arms))]
        found = {job: known for job in jobs if (known := self._cache.read(arms[job[0]], job[1])) is not None}
        missing = [job for job in jobs if job not in found]
        before, total, running = len(found) * steps, len(jobs) * steps, dict[int, int]()
        cores = min(usable_cores(), torch.get_num_threads())
        side_by_side = min(cores, len(jobs)) if self._task.device.type == "cpu" else 1
        self._task = replace(self._task, arms=arms, jobs=missing, threads=cores // side_by_side)

        def on_message(place: int, message: int | _Finished) -> None:
            running[place] = message if isinstance(message, int) else 0
            if isinstance(message, _Finished):
                arm, seed = missing[message.job]
                found[arm, seed] = message.predictions
                self._cache.write(arms[arm], seed, message.predictions)
                self._first = message.weights or self._first
            self._on_steps(len(found) * steps + sum(running.values()), total, before)

        if missing:
            workers, seconds = min(len(missing), side_by_side), self._seconds()
            minutes = seconds / workers / 60
            about = f"{minutes:.0f} minutes at most" if minutes >= 1.5 else "a minute or two"
            self._on_note(f"{len(missing)} classifiers of {steps} steps are to be trained: about {about}")
            self._train(workers if seconds > _SHORT_SECONDS else 1, on_message)
        return [[found[job, seed] for seed in seeds] for job in range(len(arms))]

    def first(self, arm: TrainingArm) -> Evaluator:
        """Return the first classifier of the first arm, trained again if only its predictions were cached."""
        if self._first is None:
            return self._task.train(arm, 0).network
        network = self._task.untrained()
        network.load_state_dict({name: torch.from_numpy(weight) for name, weight in self._first.items()})
        return network.to(self._task.device).eval()

    def _train(self, workers: int, on_message: Callable[[int, int | _Finished], None]) -> None:
        if workers > 1:
            names = [f"classifiers {number}" for number in range(1, workers + 1)]
            try:
                run_processes(_train_jobs, self._task, names=names, on_message=on_message)
            except SharedMemoryError as error:
                self._on_note(f"the classifiers are trained one after the other: {error}")
            else:
                return
        _train_jobs(self._task, 0, count(), lambda message: on_message(0, message))

    def _seconds(self) -> float:
        """Return about how long all steps take one after the other, from a few of the first classifier."""
        task, moments = self._task, list[float]()

        def note(_step: int) -> None:
            if task.device.type == "cuda":
                torch.cuda.synchronize(task.device)
            moments.append(time.monotonic())

        (arm, seed), steps = task.jobs[0], task.settings.steps
        task.train(task.arms[arm], seed, steps=min(steps, 1 + _TIMED_STEPS), on_step=note)
        # The first step is slow: it initialises things.
        each = (moments[-1] - moments[0]) / max(1, len(moments) - 1)
        return len(task.jobs) * steps * each


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
