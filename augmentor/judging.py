"""Measures whether a model obeys: a classifier, a few hundred validation images, and a bound on the time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.access import MAX_PIXELS
from augmentor.domains import parse_domains
from augmentor.errors import ImageError, ManifestError, OutputError
from augmentor.expansion import model_crop, open_model, read_model_manifest
from augmentor.holdout import judging_rows
from augmentor.images import decode
from augmentor.manifest import Manifest, refuse_all_outside, refuse_split_leaks
from augmentor.models import OWN, Description
from augmentor.obedience import (
    Obedience,
    advice,
    read_obedience,
    score,
    write_obedience,
)
from augmentor.quality import (
    Judge,
    LabelledImages,
    Translations,
    requested,
    rounded,
    train_judge,
    translate_and_judge,
)
from stargan.checkpoint import Model, load_model
from stargan.translate import Translator

_MOST_STEPS = 400
_MOST_VALIDATION = 512
_MOST_TRAINING = 4096
_MOST_TRANSLATIONS = 4096
_MOST_BYTES = 256 << 20
"""Training images of the classifier lie in memory: so many bytes of them at most."""

_FEWEST_STEPS = 4
_FEWEST_IMAGES = 32
_BATCH = 32

_SHARE_OF_TRAINING = 0.1
_LEAST_SECONDS = 1.0
"""The time that judging may take: this share of the training's, and no less than this."""

_ASKED_SECONDS = 60.0
"""The time that it may take where it was asked for by itself."""

_TRAINING_READ, _VALIDATION_READ, _JUDGE_TRAINED = 0.15, 0.25, 0.7
"""Shares of the time after which one part ends and the next begins; translations have the rest."""


class JudgingStopped(Exception):  # noqa: N818 - no error: the person asked for it
    """The person does not want to wait for the verdict."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much judging may cost.

    Args:
        steps: optimisation steps of the classifier; None takes as many as the time allows, 400 at most.
        seconds: all in all, about; the least of work that says anything is done in any case.
    """

    steps: int | None = None
    seconds: float = math.inf

    @classmethod
    def after(cls, training_seconds: float, *, steps: int) -> Limits:
        """Return the limits after so much training: a tenth of its time, or the steps that were set (-1: none)."""
        if steps >= 0:
            return cls(steps=steps)
        return cls(seconds=max(_LEAST_SECONDS, _SHARE_OF_TRAINING * training_seconds))


def judge_run(
    run: Path,
    manifest: Manifest,
    *,
    limits: Limits,
    crop: int | None,
    flip: bool,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda _share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Obedience | None:
    """Measure a run's newest checkpoint and write obedience.json; what was measured before is only read.

    Args:
        run: the run folder.
        manifest: what it was trained on, in its label space.
        limits: how much it may cost.
        crop: side of the centred square that is cut out of each image first, or None.
        flip: whether mirrored images keep their labels.
        device: where to compute.
        on_progress: told the share that is done, in [0, 1].
        should_stop: asked often; True gives up.

    Returns:
        What was measured; None if it was stopped.

    Raises:
        AugmentorError: the file cannot be written.
    """
    model = load_model(run)
    try:
        known = read_obedience(run, model)
    except OutputError:
        known = None  # damaged: what is measured now takes its place
    if known is not None:
        return known
    try:
        obedience = measure_obedience(
            model,
            manifest,
            limits=limits,
            crop=crop,
            flip=flip,
            device=device,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    except JudgingStopped:
        return None
    write_obedience(run, obedience)
    return obedience


def judge_model(
    path: Path,
    manifest: Path,
    *,
    image_column: str | None,
    device: torch.device,
    description: Description = OWN,
    max_pixels: int = MAX_PIXELS,
    allow_outside: bool = False,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> Obedience:
    """Measure a model anew, and write obedience.json if it is a run folder's newest one.

    Args:
        path: a run folder, a checkpoint, or a foreign file.
        manifest: the user's table.
        image_column: the column of the images' paths, if it has an unusual name.
        device: where to compute.
        description: what a foreign file does not say of itself.
        max_pixels: images of more pixels (width x height) are not read.
        allow_outside: images may lie outside the manifest's folder.
        on_progress: told the share that is done, in [0, 1].

    Raises:
        AugmentorError: the model or the manifest cannot be used.
    """
    model = open_model(path, description)
    table = read_model_manifest(manifest, model, image_column=image_column)
    table = table.allowing(outside=allow_outside, max_pixels=max_pixels)
    refuse_split_leaks(table)
    refuse_all_outside(table)
    images, recipe = model.settings.get("images"), model.settings.get("recipe")
    judging = recipe.get("judge") if isinstance(recipe, dict) else None
    steps = judging.get("steps") if isinstance(judging, dict) else None
    obedience = measure_obedience(
        model,
        table,
        limits=Limits(steps=steps) if isinstance(steps, int) and steps > 0 else Limits(seconds=_ASKED_SECONDS),
        crop=model_crop(model),
        flip=bool(images.get("flip", True)) if isinstance(images, dict) else True,
        device=device,
        on_progress=on_progress,
    )
    if (path / "checkpoints").is_dir():
        write_obedience(path, obedience)
    return obedience


def measure_obedience(
    model: Model,
    manifest: Manifest,
    *,
    limits: Limits,
    crop: int | None = None,
    flip: bool = True,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda _share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Obedience:
    """Train a classifier on real training rows, translate validation rows, and count what the classifier sees.

    Without a val split a fifth of the training rows (whole groups, always the same) is kept from the classifier
    and takes its place; the generator has seen them.

    Args:
        model: what translates.
        manifest: the user's table, in the model's label space.
        limits: how much it may cost.
        crop: side of the centred square that is cut out of each image first, or None.
        flip: whether mirrored images keep their labels.
        device: where to compute.
        on_progress: told the share that is done, in [0, 1].
        should_stop: asked often; True gives up.

    Raises:
        JudgingStopped: `should_stop` said so.
        ManifestError: no training row has a label, or none of their images can be read.
    """
    clock = _Clock(seconds=limits.seconds, on_progress=on_progress, should_stop=should_stop)
    training, validation, sources = judging_rows(manifest)
    reader = _Reader(manifest=manifest, model=model, crop=crop, clock=clock)
    clock.part(0, _TRAINING_READ)
    bytes_each = math.prod(model.image_size) * model.image_channels
    most = min(_MOST_TRAINING, max(_FEWEST_IMAGES, _MOST_BYTES // bytes_each))
    learnt = reader.read(training, most=most)
    if not len(learnt):
        raise ManifestError(
            f"{manifest.path}: no row with split train has a label and an image that can be read, so there is "
            "nothing for the classifier to learn from"
        )
    clock.part(_TRAINING_READ, _VALIDATION_READ)
    shown = reader.read(validation, most=_MOST_VALIDATION)
    clock.part(_VALIDATION_READ, _JUDGE_TRAINED)
    judge, steps = _train(learnt, model, limits=limits, flip=flip, device=device, clock=clock)
    clock.part(_JUDGE_TRAINED, 1)
    translator = Translator(model, device=device, batch_size=_BATCH)

    def translate(rows: Tensor, targets: Tensor) -> Translations:
        def go_on(done: int) -> bool:
            clock.tell(done / len(rows))
            return not clock.over()

        return translate_and_judge(judge, translator, shown, rows, targets, batch_size=_BATCH, go_on=go_on)

    some = torch.arange(min(len(shown), 2 * _BATCH))
    some = some[model.reaches(shown.codes[some])]
    same = translate(some, shown.codes[some])
    each = parse_domains(["each"], model.space)
    rows, targets = requested(shown, each, model.space, most=_MOST_TRANSLATIONS)
    reached = model.reaches(targets)
    made = translate(rows[reached], targets[reached])
    on_progress(1.0)
    return Obedience(
        step=model.step,
        model_sha256=model.sha256,
        sources=sources,
        images=len(shown),
        translations=len(made),
        judge_steps=steps,
        judge_images=len(learnt),
        unreadable=reader.unreadable,
        seconds=round(clock.passed, 3),
        identity_change=rounded(float(same.change.mean())) if len(same) else None,
        attributes=score(judge.predict(shown.images), shown.codes, made, model.space),
        advice=advice(model),
    )


def _train(
    data: LabelledImages, model: Model, *, limits: Limits, flip: bool, device: torch.device, clock: _Clock
) -> tuple[Judge, int]:
    """Train the classifier; without set steps, for as many as two steps' speed says that there is time for."""
    steps = limits.steps
    if steps is None:
        moments: list[float] = []

        def note(_step: int) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            moments.append(time.monotonic())
            clock.check()

        train_judge(
            data, space=model.space, steps=2, seed=0, device=device, batch_size=_BATCH, flip=flip, on_step=note
        )
        # The first step is slow: it sets things up.
        possible = clock.left() / max(moments[1] - moments[0], 1e-6)
        steps = round(min(_MOST_STEPS, max(_FEWEST_STEPS, possible)))
    judge = train_judge(
        data,
        space=model.space,
        steps=steps,
        seed=0,
        device=device,
        batch_size=_BATCH,
        flip=flip,
        on_step=lambda step: clock.tell(step / steps),
    )
    return judge, steps


class _Clock:
    """Knows how much time is left, says how far it is, and hears whether to give up."""

    def __init__(
        self, *, seconds: float, on_progress: Callable[[float], None], should_stop: Callable[[], bool]
    ) -> None:
        self._seconds, self._on_progress, self._should_stop = seconds, on_progress, should_stop
        self._start = time.monotonic()
        self._part, self._end = (0.0, 1.0), self._start + seconds

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def part(self, start: float, end: float) -> None:
        """Begin the part that takes the progress from `start` to `end`.

        It has that share of the time, however late it begins, and what earlier parts left over.
        """
        shares = time.monotonic() + (end - start) * self._seconds, self._start + end * self._seconds
        self._part, self._end = (start, end), max(shares)
        self.tell(0.0)

    def left(self) -> float:
        """Return the seconds that the part still has; below 0 where it takes longer than it should."""
        return self._end - time.monotonic()

    def tell(self, done: float) -> None:
        """Say that this share of the part is done."""
        self.check()
        start, end = self._part
        self._on_progress(start + done * (end - start))

    def check(self) -> None:
        """Raise JudgingStopped if the person asked to stop."""
        if self._should_stop():
            raise JudgingStopped

    def over(self) -> bool:
        """Return whether the part has had its time."""
        return self.left() <= 0


class _Reader:
    """Reads rows as the model wants them; counts those that cannot be read."""

    def __init__(self, *, manifest: Manifest, model: Model, crop: int | None, clock: _Clock) -> None:
        self.unreadable = 0
        self._manifest, self._model, self._crop, self._clock = manifest, model, crop, clock

    def read(self, rows: Sequence[int] | NDArray[np.intp], *, most: int) -> LabelledImages:
        """Read the first `most` of `rows`, or as many as there is time for."""
        size, channels = self._model.image_size, self._model.image_channels
        images, kept = list[NDArray[np.uint8]](), list[int]()
        wanted = min(most, len(rows))
        for row in rows:
            if len(kept) == wanted or (self._clock.over() and len(kept) >= _FEWEST_IMAGES):
                break
            self._clock.tell(len(kept) / wanted)
            try:
                pixels = decode(
                    self._manifest.image_path(int(row)),
                    size=size,
                    channels=channels,
                    crop=self._crop,
                    access=self._manifest.access,
                )
            except ImageError:
                self.unreadable += 1
                continue
            images.append(pixels)
            kept.append(int(row))
        stacked = np.stack(images) if images else np.zeros((0, *size, channels), dtype=np.uint8)
        return LabelledImages(
            images=torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
            codes=torch.from_numpy(self._manifest.codes[kept].astype(np.int64)),
        )
