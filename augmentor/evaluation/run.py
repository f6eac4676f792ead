"""The run of `augmentor evaluate`: training every arm's classifiers and measuring them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from augmentor.data.manifest import AS_WRITTEN, TableReading
from augmentor.errors import AugmentorError, OutputError, did_you_mean
from augmentor.evaluation.arms import (
    DEFAULT_ARMS,
    TITLES,
    Pool,
    TrainingArm,
    batches,
    main_arm,
    make_arms,
    make_sweep,
)
from augmentor.evaluation.cache import EvaluationCache, Predictions, digest
from augmentor.evaluation.classifier import Evaluator, build_evaluator, describe, predict
from augmentor.evaluation.data import EvaluationData, read_data, read_output, some_rows
from augmentor.evaluation.distances import Extract, inception, measure_distances
from augmentor.evaluation.remake import CannotRemakeError, draw_ungated, load_output_model, remake
from augmentor.evaluation.result import Distances, Evaluation
from augmentor.evaluation.training import TrainedEvaluator, label_balance, train_evaluator
from augmentor.evaluation.verdict import summarize
from augmentor.judge import LabelledImages
from augmentor.outputs import evaluation_runs, paths_of
from augmentor.storage import MAX_PIXELS, Json, locked, refuse_links, write_json
from stargan.checkpoints import json_sha256

STEPS = 1200
"""At most: a classifier that has converged stops before (see BENCHMARKS.md)."""

_LOOKED_AT = 500
"""Val images that say whether a classifier has converged, always the same ones."""

_PRETRAINING = 1 / 3
"""Share of the steps of an arm that has two stages."""

_FIRST_SEED = 1000
_TIMED_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How translations are evaluated.

    Args:
        seeds: number of classifiers of each arm.
        steps: optimisation steps of each classifier at most, of every arm alike.
        arms: names from `augmentor.evaluation.arms.TITLES`; the output's own arm and "real" are always there.
        classifier: "small", "resnet18", or the path of a ResNet-18's weights to start from.
        ratios: synthetic images for each real one, of the sweep.
        flip: whether mirrored images keep their labels; None for what the model's training assumed.
        inception: measure distances with the Inception network instead of the evaluator's own features.
    """

    seeds: int = 3
    steps: int = STEPS
    batch_size: int = 32
    arms: tuple[str, ...] = DEFAULT_ARMS
    classifier: str = "small"
    ratios: tuple[float, ...] = ()
    flip: bool | None = None
    inception: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range, by the names of their flags."""
        for flag, value in (("--seeds", self.seeds), ("--steps", self.steps)):
            if value < 1:
                raise AugmentorError(f"{flag} must be at least 1, not {value}")
        for name in self.arms:
            if name not in TITLES:
                known = f"{did_you_mean(name, TITLES)} Arms: {', '.join(TITLES)}, or all"
                raise AugmentorError(f"--arms: there is no arm {name!r}.{known}")
        if any(not 0 < ratio <= 100 for ratio in self.ratios):
            raise AugmentorError(
                f"--ratios must lie above 0 and up to 100, not {', '.join(map(str, self.ratios))}"
            )

    def to_json(self) -> dict[str, Json]:
        """Return plain JSON values."""
        return {**asdict(self), "ratios": list(self.ratios), "arms": list(self.arms)}


def evaluate(
    manifest: Path,
    out: Path,
    *,
    settings: EvaluateSettings,
    device: torch.device,
    generators: Sequence[Path] = (),
    model: Path | None = None,
    reading: TableReading = AS_WRITTEN,
    allow_outside: bool = False,
    max_pixels: int = MAX_PIXELS,
    on_note: Callable[[str], None] = lambda _words: None,
    on_steps: Callable[[int, int, int], None] = lambda _done, _total, _before: None,
) -> Evaluation:
    """Evaluate whether an output's translations improve a classifier of real images; write evaluation.json.

    Finished classifiers are cached beside the output: the same call continues after an interruption, and ends with
    the same bytes. The report is not updated here.

    `manifest` is the table that the output was made from; its test rows score. `generators` are outputs of the
    same request by models of other seeds: what differs between generators is then part of the intervals. `model`
    is the output's, to make rejected translations again; None takes the path noted in the output. `on_note` is
    called with remarks, a sentence each; `on_steps` with the optimisation steps that are done, those in all, and
    those of earlier calls.

    Raises:
        AugmentorError: something cannot be used, or test rows were used before.
    """
    extract = inception() if settings.inception else None
    output = read_output(out)
    read = partial(
        read_data,
        manifest,
        most=settings.steps * settings.batch_size,
        reading=reading,
        allow_outside=allow_outside,
        max_pixels=max_pixels,
    )
    data = read(output)
    others = [_same_request(data, read(read_output(each)), each) for each in generators]
    for note in data.notes:
        on_note(note)
    paths = paths_of(out)
    refuse_links(evaluation_runs(paths), below=paths.root)
    with locked(paths.out_of_sight("evaluation.lock"), output=out):
        settings = _with_flip(settings, data, model, on_note=on_note)
        ungated, skipped = None, dict[str, str]()
        if "ungated" in settings.arms:
            ungated, skipped = _ungated(data, model, device=device)
        for name, reason in skipped.items():
            on_note(f"without '{TITLES[name]}': {reason}")
        arms, sweep = make_arms(data, ungated=ungated, wanted=settings.arms), make_sweep(data, settings.ratios)
        cache = EvaluationCache(
            evaluation_runs(paths),
            {
                "steps": settings.steps,
                "batch_size": settings.batch_size,
                "classifier": _classifier_state(settings.classifier),
                "flip": settings.flip,
                "device": device.type,
                "test": digest(data.test),
                "val": digest(data.val),
            },
        )
        trainer = _Trainer(data, settings, cache, device=device, on_note=on_note, on_steps=on_steps)
        # The arms of every further generator that its images are in; the ungated one is of the first alone.
        names = [
            arm.name for arm in (*arms, *sweep) if arm.synthetic and (arm.name != "ungated" or ungated is None)
        ]
        further = [
            arm
            for other in others
            for arm in (*make_arms(other, ungated=None, wanted=names), *make_sweep(other, settings.ratios))
            if arm.name in names
        ]
        predictions = dict[str, list[list[Predictions]]]()
        every = [*arms, *sweep, *further]
        for arm, found in zip(every, trainer.predictions(every), strict=True):
            predictions.setdefault(arm.name, []).append(found)
        runs = [run for rows in predictions.values() for row in rows for run in row]
        unfinished = sum(not run.converged for run in runs) if len(data.val) else 0
        if unfinished:
            note = (
                f"{unfinished} of {len(runs)} classifiers were still improving on val after {settings.steps} steps"
            )
            on_note(f"{note}: --steps {2 * settings.steps}")
            data = replace(data, notes=(*data.notes, note))
        distances = _distances(data, ungated, cache, extract=extract, network=lambda: trainer.first(arms[0]))
        if distances.frechet is None:
            on_note(
                "no Frechet and kernel distances: `pip install 'stargan-augmentor[evaluate]'` adds torchmetrics"
            )
        evaluation = summarize(
            data,
            arms=arms,
            sweep=sweep,
            predictions=predictions,
            seeds=settings.seeds,
            distances=distances,
            skipped=skipped,
            settings={
                **settings.to_json(),
                "generators": [str(each) for each in generators],
                "size": list(output.size),
                "device": device.type,
            },
        )
        state = evaluation.to_json()
        write_json(paths.beside("evaluation.json"), {**state, "sha256": json_sha256(state)})
    return evaluation


def _same_request(data: EvaluationData, other: EvaluationData, out: Path) -> EvaluationData:
    """Return the data of a further generator's output; OutputError if it is not the first's request and images."""
    for what, one, two in (
        ("other combinations of labels", data.filled, other.filled),
        ("other changed attributes", data.changed, other.changed),
        ("another gate", main_arm(data), main_arm(other)),
        ("other real images, such as of another size", digest(data.train), digest(other.train)),
    ):
        if one != two:
            raise OutputError(f"{out}: has {what} than {data.output.out}: --generators are outputs of one request")
    if other.output.model_sha256 == data.output.model_sha256:
        raise OutputError(f"{out}: is made by the same model as {data.output.out}: --generators have other seeds")
    return other


def _with_flip(
    settings: EvaluateSettings, data: EvaluationData, model: Path | None, *, on_note: Callable[[str], None]
) -> EvaluateSettings:
    """Return settings that say whether images are mirrored: as in the model's training, unless the user says."""
    if settings.flip is not None:
        return settings
    try:
        images = load_output_model(data, model).settings.get("images")
    except CannotRemakeError as error:
        on_note(f"images are mirrored; whether the model's training did so is not known: {error}")
        images = None
    return replace(settings, flip=bool(images.get("flip", True)) if isinstance(images, dict) else True)


def _classifier_state(classifier: str) -> Json:
    """Return what tells one classifier from another: its name, or the SHA-256 of its weights' file."""
    if classifier in ("small", "resnet18"):
        return classifier
    try:
        return hashlib.sha256(Path(classifier).read_bytes()).hexdigest()
    except OSError as error:
        raise AugmentorError(
            f"--classifier {classifier}: is neither small nor resnet18 nor a file of weights ({error.strerror})"
        ) from error


def _distances(
    data: EvaluationData,
    ungated: LabelledImages | None,
    cache: EvaluationCache,
    *,
    extract: Extract | None,
    network: Callable[[], Evaluator],
) -> Distances:
    """Return the distances of an earlier call, or measure them with `extract` or a classifier of real images."""
    features = "evaluator" if extract is None else "inception"
    sets = {"train": data.train, "test": data.test, "kept": data.kept, "ungated": ungated}
    known = cache.read_distances(sets, features)
    if known is not None:
        return known
    extract = extract or partial(describe, network())
    distances = measure_distances(data, ungated=ungated, extract=extract, features=features)
    cache.write_distances(sets, features, distances)
    return distances


def _ungated(
    data: EvaluationData, model: Path | None, *, device: torch.device
) -> tuple[LabelledImages | None, dict[str, str]]:
    """Return translations as without the gate; or None, and why by the name of the skipped arm."""
    if main_arm(data) == "ungated":
        return None, {"gated": "the output was made without a gate"}
    if not len(data.rejected.rows):
        return None, {"ungated": "the gate threw nothing out, so both are the same"}
    kept, rejected = draw_ungated(data)
    try:
        again = remake(data, rejected, model=load_output_model(data, model), device=device)
    except CannotRemakeError as error:
        return None, {"ungated": str(error)}
    chosen = torch.from_numpy(kept)
    images = torch.cat([data.kept.images[chosen], again.images])
    return LabelledImages(images=images, codes=torch.cat([data.kept.codes[chosen], again.codes])), {}


class _Trainer:
    """Trains the classifiers that are not in the cache, and reports progress."""

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
        self._data, self._settings, self._cache, self._device = data, settings, cache, device
        self._on_note, self._on_steps = on_note, on_steps
        self._first: Evaluator | None = None
        rows = torch.from_numpy(some_rows(np.arange(len(data.val)), _LOOKED_AT, np.random.default_rng(0)))
        self._looked_at = LabelledImages(images=data.val.images[rows], codes=data.val.codes[rows])
        self._balance = label_balance(data.train.codes, data.output.space, data.changed)

    def predictions(self, arms: Sequence[TrainingArm]) -> list[list[Predictions]]:
        """Return the predictions of every arm's classifiers, in the order of the arms and by seed."""
        seeds, steps, space = range(self._settings.seeds), self._settings.steps, self._data.output.space
        jobs = [(number, seed) for seed in seeds for number in range(len(arms))]
        found = {job: known for job in jobs if (known := self._cache.read(arms[job[0]], job[1])) is not None}
        missing = [job for job in jobs if job not in found]
        if missing:
            self._estimate(arms[missing[0][0]], missing[0][1], count=len(missing))
        before = len(found) * steps
        for number, (job, seed) in enumerate(missing):
            arm = arms[job]

            def report(step: int, done: int = before + number * steps) -> None:
                self._on_steps(done + step, len(jobs) * steps, before)

            network, steps_taken, converged = self._train(arm, seed, on_step=report)
            if job == seed == 0:
                self._first = network
            test, val = (
                predict(network, each.images, space).numpy().astype(np.int16)
                for each in (self._data.test, self._data.val)
            )
            found[job, seed] = Predictions(test=test, val=val, steps=steps_taken, converged=converged)
            self._cache.write(arm, seed, found[job, seed])
        return [[found[job, seed] for seed in seeds] for job in range(len(arms))]

    def first(self, arm: TrainingArm) -> Evaluator:
        """Return the first classifier of the first arm, trained again if only its predictions were cached."""
        return self._first or self._train(arm, 0).network

    def _train(
        self,
        arm: TrainingArm,
        seed: int,
        *,
        steps: int | None = None,
        on_step: Callable[[int], None] = lambda _step: None,
    ) -> TrainedEvaluator:
        """Train one classifier; those of one seed have the same initial weights in every arm."""
        settings, data, seed = self._settings, self._data, _FIRST_SEED + seed
        pretraining = round(settings.steps * _PRETRAINING) if arm.pretraining else 0

        def drawn(pools: Sequence[Pool], count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
            size, flip = settings.batch_size, bool(settings.flip)
            return batches(pools, steps=count, batch_size=size, seed=seed, flip=flip, augment=arm.augment)

        stages = (
            drawn(arm.pretraining, pretraining, seed + _FIRST_SEED),
            drawn(arm.pools, settings.steps - pretraining, seed),
        )
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            network = build_evaluator(
                settings.classifier, side=min(data.output.size), outputs=data.output.space.domain_size
            )
        return train_evaluator(
            network,
            islice(chain(*stages), steps),
            space=data.output.space,
            loss=arm.loss,
            balance=self._balance,
            validation=self._looked_at,
            # Before that the accuracy may stay at chance, which is no convergence.
            first_look=pretraining + (settings.steps - pretraining) // 2,
            device=self._device,
            on_step=on_step,
        )

    def _estimate(self, arm: TrainingArm, seed: int, *, count: int) -> None:
        """Report about how long it will take, from a few steps of the first classifier."""
        moments: list[float] = []

        def note(_step: int) -> None:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            moments.append(time.monotonic())

        steps = self._settings.steps
        self._train(arm, seed, steps=min(steps, 1 + _TIMED_STEPS), on_step=note)
        # The first step is slow: it initialises things.
        each = (moments[-1] - moments[0]) / max(1, len(moments) - 1)
        minutes = count * steps * each / 60
        about = f"{minutes:.0f} minutes at most" if minutes >= 1.5 else "a minute or two"
        self._on_note(f"{count} classifiers of {steps} steps are to be trained: about {about}")
