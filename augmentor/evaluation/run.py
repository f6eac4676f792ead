"""The run of `augmentor evaluate`: training every arm's classifiers and measuring them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from augmentor.errors import AugmentorError
from augmentor.evaluation.arms import TITLES, TrainingArm, batches, main_arm, make_arms, make_sweep
from augmentor.evaluation.cache import EvaluationCache, Predictions, digest
from augmentor.evaluation.classifier import LEARNING_RATE, Evaluator, describe, predict
from augmentor.evaluation.data import EvaluationData, read_data, read_output
from augmentor.evaluation.distances import Extract, inception, measure_distances
from augmentor.evaluation.remake import CannotRemakeError, draw_ungated, load_output_model, remake
from augmentor.evaluation.result import Distances, Evaluation
from augmentor.evaluation.verdict import summarize
from augmentor.judge import LabelledImages, train_classifier
from augmentor.outputs import evaluation_runs, paths_of
from augmentor.storage import MAX_PIXELS, Json, locked, write_json
from stargan.checkpoints import json_sha256

STEPS = 800
"""Where the accuracy of real images alone begins to level off on val (emoji, 32 px; see BENCHMARKS.md)."""

_FIRST_SEED = 1000
_TIMED_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How translations are evaluated.

    Args:
        seeds: number of classifiers of each arm.
        steps: optimisation steps of each classifier, of every arm alike.
        ratios: synthetic images for each real one, of the sweep.
        flip: whether mirrored images keep their labels.
        inception: measure distances with the Inception network instead of the evaluator's own features.
    """

    seeds: int = 3
    steps: int = STEPS
    batch_size: int = 32
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    flip: bool = True
    inception: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range, by the names of their flags."""
        for flag, value in (("--seeds", self.seeds), ("--steps", self.steps)):
            if value < 1:
                raise AugmentorError(f"{flag} must be at least 1, not {value}")
        if any(not 0 < ratio <= 100 for ratio in self.ratios):
            raise AugmentorError(
                f"--ratios must lie above 0 and up to 100, not {', '.join(map(str, self.ratios))}"
            )

    def to_json(self) -> dict[str, Json]:
        """Return plain JSON values."""
        return {**asdict(self), "ratios": list(self.ratios)}


def evaluate(
    manifest: Path,
    out: Path,
    *,
    settings: EvaluateSettings,
    device: torch.device,
    model: Path | None = None,
    image_column: str | None = None,
    allow_outside: bool = False,
    max_pixels: int = MAX_PIXELS,
    on_note: Callable[[str], None] = lambda _words: None,
    on_steps: Callable[[int, int, int], None] = lambda _done, _total, _before: None,
) -> Evaluation:
    """Evaluate whether an output's translations improve a classifier of real images; write evaluation.json.

    Finished classifiers are cached beside the output: the same call continues after an interruption, and ends with
    the same bytes. The report is not updated here.

    `manifest` is the table that the output was made from; its test rows score. `model` is the output's, to make
    rejected translations again; None takes the path noted in the output. `on_note` is called with remarks, a
    sentence each; `on_steps` with the optimisation steps that are done, those in all, and those of earlier calls.

    Raises:
        AugmentorError: something cannot be used, or test rows were used before.
    """
    extract = inception() if settings.inception else None
    output = read_output(out)
    data = read_data(
        manifest,
        output,
        most=settings.steps * settings.batch_size,
        image_column=image_column,
        allow_outside=allow_outside,
        max_pixels=max_pixels,
    )
    for note in data.notes:
        on_note(note)
    paths = paths_of(out)
    with locked(paths.out_of_sight("evaluation.lock"), output=out):
        ungated, skipped = _ungated(data, model, device=device)
        for name, reason in skipped.items():
            on_note(f"without '{TITLES[name]}': {reason}")
        arms, sweep = make_arms(data, ungated=ungated), make_sweep(data, settings.ratios)
        cache = EvaluationCache(
            evaluation_runs(paths),
            {
                "steps": settings.steps,
                "batch_size": settings.batch_size,
                "flip": settings.flip,
                "device": device.type,
                "test": digest(data.test),
                "val": digest(data.val),
            },
        )
        trainer = _Trainer(data, settings, cache, device=device, on_note=on_note, on_steps=on_steps)
        predictions = trainer.predictions([*arms, *sweep])
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
            settings={**settings.to_json(), "size": list(output.size), "device": device.type},
        )
        state = evaluation.to_json()
        write_json(paths.beside("evaluation.json"), {**state, "sha256": json_sha256(state)})
    return evaluation


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

    def predictions(self, arms: Sequence[TrainingArm]) -> dict[str, list[Predictions]]:
        """Return the predictions of every arm's classifiers, by arm and seed."""
        seeds, steps, space = range(self._settings.seeds), self._settings.steps, self._data.output.space
        jobs = [(arm, seed) for seed in seeds for arm in arms]
        found = {
            (arm.name, seed): known for arm, seed in jobs if (known := self._cache.read(arm, seed)) is not None
        }
        missing = [(arm, seed) for arm, seed in jobs if (arm.name, seed) not in found]
        if missing:
            self._estimate(*missing[0], count=len(missing))
        before = len(found) * steps
        for number, (arm, seed) in enumerate(missing):

            def report(step: int, done: int = before + number * steps) -> None:
                self._on_steps(done + step, len(jobs) * steps, before)

            network = self._train(arm, seed, on_step=report)
            if arm is arms[0] and seed == 0:
                self._first = network
            test, val = (
                predict(network, each.images, space).numpy().astype(np.int16)
                for each in (self._data.test, self._data.val)
            )
            found[arm.name, seed] = Predictions(test=test, val=val)
            self._cache.write(arm, seed, found[arm.name, seed])
        return {arm.name: [found[arm.name, seed] for seed in seeds] for arm in arms}

    def first(self, arm: TrainingArm) -> Evaluator:
        """Return the first classifier of the first arm, trained again if only its predictions were cached."""
        return self._first or self._train(arm, 0)

    def _train(
        self,
        arm: TrainingArm,
        seed: int,
        *,
        steps: int | None = None,
        on_step: Callable[[int], None] = lambda _step: None,
    ) -> Evaluator:
        """Train one classifier; those of one seed have the same initial weights in every arm."""
        settings, data, seed = self._settings, self._data, _FIRST_SEED + seed
        drawn = batches(
            arm.pools,
            steps=settings.steps,
            batch_size=settings.batch_size,
            seed=seed,
            flip=settings.flip,
            trivial_augment=arm.augment,
        )
        network = train_classifier(
            lambda: Evaluator(side=min(data.output.size), outputs=data.output.space.domain_size),
            islice(drawn, steps),
            space=data.output.space,
            steps=settings.steps,
            seed=seed,
            device=self._device,
            learning_rate=LEARNING_RATE,
            on_step=on_step,
        )
        return network.eval()

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
        about = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute or two"
        self._on_note(f"{count} classifiers of {steps} steps are to be trained: about {about}")
