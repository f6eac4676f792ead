"""`augmentor evaluate`: train classifiers with and without an output's translations, and say whether they help."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from augmentor.errors import AugmentorError
from augmentor.evaluation.arms import TITLES, Arm, joined, main_arm, make_arms, make_sweep
from augmentor.evaluation.classifier import Evaluator, describe, predict, train_evaluator
from augmentor.evaluation.distances import Distances, Extract, inception, measure_distances
from augmentor.evaluation.material import Material, read_material
from augmentor.evaluation.output import read_output, side_file
from augmentor.evaluation.remake import Unmade, drawn_blindly, model_of, remake
from augmentor.evaluation.result import Evaluation
from augmentor.evaluation.runs import KeptRuns, Said, digest
from augmentor.evaluation.tell import tell
from augmentor.judge import LabelledImages
from augmentor.outputs import EVALUATION_RUNS, paths_of
from augmentor.storage import MAX_PIXELS, Json, locked, write_json
from stargan.checkpoints import json_sha256

STEPS = 800
"""Where the accuracy of real images alone begins to level off on val (emoji, 32 px; see BENCHMARKS.md)."""

_FIRST_SEED = 1000
"""Seeds begin here, far from the judge's."""

_TIMED_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How translations are evaluated.

    Args:
        seeds: classifiers of each arm.
        steps: optimisation steps of each classifier, of every arm alike.
        batch_size: images of each step.
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
        """Refuse settings that say nothing.

        Raises:
            AugmentorError: naming the flag.
        """
        for flag, value in (("--seeds", self.seeds), ("--steps", self.steps)):
            if value < 1:
                raise AugmentorError(f"{flag} must be at least 1, not {value}")
        if any(not 0 < ratio <= 100 for ratio in self.ratios):
            raise AugmentorError(
                f"--ratios must lie above 0 and up to 100, not {', '.join(map(str, self.ratios))}"
            )

    def to_json(self) -> dict[str, Json]:
        """Return plain JSON values."""
        return {
            "seeds": self.seeds,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "ratios": list(self.ratios),
            "flip": self.flip,
            "inception": self.inception,
        }


@dataclass(frozen=True, kw_only=True)
class Told:
    """How an evaluation tells the person where it is.

    Args:
        note: called with a remark, a sentence.
        steps: called with the optimisation steps that are done, those in all, and those that were there before.
    """

    note: Callable[[str], None] = lambda _words: None
    steps: Callable[[int, int, int], None] = lambda _done, _total, _before: None


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
    told: Told | None = None,
) -> Evaluation:
    """Say whether an output's translations make a classifier of real images better; write that down.

    It writes evaluation.json; to write the report anew is the caller's part.

    What is finished is kept beside the output: the same call goes on after a kill, and ends with the same bytes.

    Args:
        manifest: the table that the output was made from; its test rows score.
        out: the folder or FILE.h5 that expand wrote.
        settings: how.
        device: where to compute.
        model: what translated, to make again what the judge threw out; None looks where the output says it lay.
        image_column: the column of the images' paths, if it has an unusual name.
        allow_outside: images may lie outside the manifest's folder.
        max_pixels: images of more pixels (width x height) are not read.
        told: hears how far it is.

    Raises:
        AugmentorError: something cannot be used, or test rows were used before.
    """
    told = told or Told()
    extract = inception() if settings.inception else None
    output = read_output(out)
    material = read_material(
        manifest,
        output,
        most=settings.steps * settings.batch_size,
        image_column=image_column,
        allow_outside=allow_outside,
        max_pixels=max_pixels,
    )
    for note in material.notes:
        told.note(note)
    with locked(_lock(out), output=out):
        evaluation = _evaluate(material, settings, device=device, model=model, extract=extract, told=told)
        state = evaluation.to_json()
        write_json(side_file(out, "evaluation.json"), {**state, "sha256": json_sha256(state)})
    return evaluation


def _evaluate(
    material: Material,
    settings: EvaluateSettings,
    *,
    device: torch.device,
    model: Path | None,
    extract: Extract | None,
    told: Told,
) -> Evaluation:
    ungated, skipped = _ungated(material, model, device=device)
    for arm, reason in skipped.items():
        told.note(f"without '{TITLES[arm]}': {reason}")
    arms, sweep = make_arms(material, ungated=ungated), make_sweep(material, settings.ratios)
    runs = KeptRuns(
        _runs_folder(material.output.out),
        {
            "steps": settings.steps,
            "batch_size": settings.batch_size,
            "flip": settings.flip,
            "device": device.type,
            "test": digest(material.test),
            "val": digest(material.val),
        },
    )
    trainer = _Trainer(material, settings, device=device, told=told)
    said = trainer.all_runs([*arms, *sweep], runs)
    distances = _distances(material, ungated, runs, extract=extract, network=lambda: trainer.network_of(arms[0]))
    if distances.frechet is None:
        told.note("no Frechet and kernel distances: `pip install 'stargan-augmentor[evaluate]'` adds torchmetrics")
    evaluation = tell(
        material,
        arms=arms,
        sweep=sweep,
        said=said,
        seeds=settings.seeds,
        distances=distances,
        skipped=skipped,
        settings={**settings.to_json(), "size": list(material.output.size), "device": device.type},
    )
    return replace(evaluation, notes=material.notes)


def _distances(
    material: Material,
    ungated: LabelledImages | None,
    runs: KeptRuns,
    *,
    extract: Extract | None,
    network: Callable[[], Evaluator],
) -> Distances:
    """Return the distances, measured by a classifier of real images alone, or by what was given; kept, too."""
    features = "evaluator" if extract is None else "inception"
    sets = {"train": material.train, "test": material.test, "kept": material.kept, "ungated": ungated}
    known = runs.read_distances(sets, features)
    if known is not None:
        return known
    extract = extract or partial(describe, network())
    distances = measure_distances(material, ungated=ungated, extract=extract, features=features)
    runs.keep_distances(sets, features, distances)
    return distances


def _ungated(
    material: Material, model: Path | None, *, device: torch.device
) -> tuple[LabelledImages | None, dict[str, str]]:
    """Return translations as if nobody had judged them; or None, and why."""
    if main_arm(material) == "ungated":
        return None, {"gated": "the output was made without a gate"}
    if not len(material.rejected.rows):
        return None, {"ungated": "the gate threw nothing out, so both are the same"}
    kept, thrown = drawn_blindly(material)
    try:
        again = remake(material, thrown, model=model_of(material, model), device=device)
    except Unmade as error:
        return None, {"ungated": str(error)}
    chosen = torch.from_numpy(kept)
    of_kept = LabelledImages(images=material.kept.images[chosen], codes=material.kept.codes[chosen])
    return joined(of_kept, again), {}


class _Trainer:
    """Trains classifiers, and says how far it is."""

    def __init__(
        self, material: Material, settings: EvaluateSettings, *, device: torch.device, told: Told
    ) -> None:
        self._material, self._settings, self._device, self._told = material, settings, device, told
        self._first: Evaluator | None = None

    def all_runs(self, arms: Sequence[Arm], runs: KeptRuns) -> dict[str, list[Said]]:
        """Return what every arm's classifiers say; those that are kept are not trained again."""
        seeds, steps = range(self._settings.seeds), self._settings.steps
        jobs = [(arm, seed) for seed in seeds for arm in arms]
        found = {(arm.name, seed): runs.read(arm, seed) for arm, seed in jobs}
        missing = [(arm, seed) for arm, seed in jobs if found[arm.name, seed] is None]
        if missing:
            self._estimate(missing)
        before = (len(jobs) - len(missing)) * steps
        for number, (arm, seed) in enumerate(missing):
            done = before + number * steps
            network = self.train(arm, seed, on_step=partial(self._tell, done, len(jobs) * steps, before))
            if arm is arms[0] and seed == 0:
                self._first = network
            said = Said(test=self._says(network, self._material.test), val=self._says(network, self._material.val))
            runs.keep(arm, seed, said)
            found[arm.name, seed] = said
        return {arm.name: [each for seed in seeds if (each := found[arm.name, seed]) is not None] for arm in arms}

    def network_of(self, arm: Arm) -> Evaluator:
        """Return the first classifier of the first arm, trained again if its answers alone were kept."""
        return self._first or self.train(arm, 0)

    def train(self, arm: Arm, seed: int, *, on_step: Callable[[int], None] = lambda _step: None) -> Evaluator:
        """Train one classifier; those of one seed begin alike in every arm."""
        return self._fit(arm, seed, steps=self._settings.steps, on_step=on_step)

    def _fit(self, arm: Arm, seed: int, *, steps: int, on_step: Callable[[int], None]) -> Evaluator:
        settings, space = self._settings, self._material.output.space
        drawn = arm.batches(
            steps=settings.steps, batch_size=settings.batch_size, seed=_FIRST_SEED + seed, flip=settings.flip
        )
        return train_evaluator(
            islice(drawn, steps),
            steps=settings.steps,
            side=min(self._material.output.size),
            space=space,
            seed=_FIRST_SEED + seed,
            device=self._device,
            on_step=on_step,
        )

    def _tell(self, done: int, total: int, before: int, step: int) -> None:
        self._told.steps(done + step, total, before)

    def _says(self, network: Evaluator, data: LabelledImages) -> NDArray[np.int16]:
        said = predict(network, data.images, self._material.output.space)
        return said.numpy().astype(np.int16)

    def _estimate(self, missing: Sequence[tuple[Arm, int]]) -> None:
        """Say how long it will take, by a few steps of the first classifier that is thrown away."""
        moments: list[float] = []

        def note(_step: int) -> None:
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            moments.append(time.monotonic())

        arm, seed = missing[0]
        self._fit(arm, seed, steps=min(self._settings.steps, 1 + _TIMED_STEPS), on_step=note)
        # The first step is slow: it sets things up.
        each = (moments[-1] - moments[0]) / max(1, len(moments) - 1)
        minutes = len(missing) * self._settings.steps * each / 60
        about = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute or two"
        self._told.note(
            f"{len(missing)} classifiers of {self._settings.steps} steps are to be trained: about {about}"
        )


def _runs_folder(out: Path) -> Path:
    """Return where classifiers' answers are kept."""
    paths = paths_of(out)
    return paths.beside(EVALUATION_RUNS) if paths.one_file else paths.out_of_sight(EVALUATION_RUNS)


def _lock(out: Path) -> Path:
    return paths_of(out).out_of_sight("evaluation.lock")
