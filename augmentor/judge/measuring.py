"""Measures whether a model obeys: what its judge sees in translations of validation images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from augmentor.data.manifest import Manifest
from augmentor.judge.limits import Limits, TimeBudget
from augmentor.judge.making import BATCH, BuiltJudge, make_judge
from augmentor.judge.measures import rounded
from augmentor.judge.obedience import TargetAccuracy, advice, score
from augmentor.judge.reading import InputSettings
from augmentor.judge.translations import JudgedTranslations, requested_targets, translate_and_judge
from augmentor.planning import parse_domains
from stargan.checkpoints import Model
from stargan.inference import Translator

_MOST_TRANSLATIONS = 4096

JUDGE_MADE = 0.7
"""Share of the time after which the judge is there; translations have the rest."""


def measure_target_accuracy(
    model: Model,
    manifest: Manifest,
    *,
    limits: Limits,
    crop: int | None = None,
    flip: bool = True,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda _share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TargetAccuracy:
    """Train a judge, see `make_judge`, translate validation rows, and count what it sees; keep nothing of it.

    Args:
        model: what translates; where the validation rows are held out of train, it has seen them.
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
    clock = TimeBudget(seconds=limits.seconds, on_progress=on_progress, should_stop=should_stop)
    looks = InputSettings(size=model.image_size, channels=model.image_channels, crop=crop, flip=flip)
    made = make_judge(manifest, looks=looks, limits=limits, clock=clock, device=device, share=JUDGE_MADE)
    return target_accuracy_of(model, made, device=device, clock=clock)


def target_accuracy_of(
    model: Model, made: BuiltJudge, *, device: torch.device, clock: TimeBudget
) -> TargetAccuracy:
    """Translate the images that a judge was tried on, and count what it sees; the clock's last part is spent.

    Args:
        model: what translates.
        made: its judge.
        device: where to compute.
        clock: says how much time is left.

    Raises:
        JudgingStopped: the clock was told to stop.
    """
    clock.part(JUDGE_MADE, 1)
    judge, shown, report = made.kept.judge, made.shown, made.kept.report
    judge.network.to(device)
    translator = Translator(model, device=device, batch_size=BATCH)

    def translate(rows: Tensor, targets: Tensor) -> JudgedTranslations:
        def go_on(done: int) -> bool:
            clock.tell(done / len(rows))
            return not clock.over()

        return translate_and_judge(judge, translator, shown, rows, targets, batch_size=BATCH, go_on=go_on)

    some = torch.arange(min(len(shown), 2 * BATCH))
    some = some[model.supports(shown.codes[some])]
    same = translate(some, shown.codes[some])
    each = parse_domains(["each"], model.space)
    rows, targets = requested_targets(shown, each, model.space, most=_MOST_TRANSLATIONS)
    reached = model.supports(targets)
    translated = translate(rows[reached], targets[reached])
    clock.tell(1.0)
    return TargetAccuracy(
        step=model.step,
        model_sha256=model.sha256,
        sources=report.validation,
        images=len(shown),
        translations=len(translated),
        judge_steps=report.steps,
        judge_images=report.images,
        unreadable=made.unreadable,
        seconds=round(clock.passed, 3),
        identity_change=rounded(float(same.change.mean())) if len(same) else None,
        attributes=score(judge.predict(shown.images), shown.codes, translated, model.space),
        advice=advice(model),
    )
