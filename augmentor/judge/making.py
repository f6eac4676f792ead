"""A judge is made: trained on real training rows, tried on real validation rows."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from augmentor.data.manifest import Manifest
from augmentor.errors import ManifestError
from augmentor.judge.appraisal import appraise, with_realism
from augmentor.judge.classifier import Judge, LabelledImages, train_judge
from augmentor.judge.holdout import judge_split
from augmentor.judge.limits import Limits, TimeBudget
from augmentor.judge.reading import FEWEST_IMAGES, ImageReader, InputSettings, RealImages
from augmentor.judge.stored import KeptJudge
from augmentor.judge.translations import requested_targets
from augmentor.planning import parse_domains
from stargan.checkpoints import Model
from stargan.inference import Translator
from stargan.labels import LabelSpace
from stargan.networks import Discriminator

MOST_VALIDATION = 512
_MOST_TRAINING = 4096
_MOST_BYTES = 256 << 20
"""Training images of the classifier lie in memory: so many bytes of them at most."""

_FEWEST_STEPS = 4
BATCH = 32

_LEAST_TRANSLATIONS, _MOST_TRANSLATIONS = 32, 128
"""Of validation images, to see what D makes of this model's pictures."""

_TRAINING_READ, _VALIDATION_READ, _TRAINED = 0.2, 0.33, 0.92
"""Shares of the making's time after which one part ends and the next begins."""


@dataclass(frozen=True, kw_only=True)
class BuiltJudge:
    """A judge, newly made.

    Args:
        kept: the judge and what is known of it.
        shown: the real validation images that it was tried on.
        unreadable: images passed over because they cannot be read.
    """

    kept: KeptJudge
    shown: LabelledImages
    unreadable: int


def make_judge(
    manifest: Manifest,
    *,
    looks: InputSettings,
    limits: Limits,
    clock: TimeBudget,
    device: torch.device,
    share: float = 1.0,
    model: Model | None = None,
    discriminator: Discriminator | None = None,
) -> BuiltJudge:
    """Train a classifier on real training rows, try it on real validation rows, and read thresholds from these.

    Without a val split a fifth of the training rows (whole groups, always the same) is kept from the classifier
    and takes its place.

    Args:
        manifest: the user's table; its label space is the judge's.
        looks: what images it looks at.
        limits: how much it may cost.
        clock: says how much time is left.
        device: where to compute.
        share: of the clock's time, for this.
        model: what the judge is to belong to, or None.
        discriminator: the model's, or None; computes where it lies.

    Raises:
        JudgingStopped: the clock was told to stop.
        ManifestError: no training row has a label, or none of their images can be read.
    """
    training, validation, sources = judge_split(manifest)
    reader = ImageReader(manifest=manifest, looks=looks, clock=clock)
    clock.part(0, _TRAINING_READ * share)
    bytes_each = math.prod(looks.size) * looks.channels
    learnt = reader.read(training, most=min(_MOST_TRAINING, max(FEWEST_IMAGES, _MOST_BYTES // bytes_each))).data
    if not len(learnt):
        raise ManifestError(
            f"{manifest.path}: no row with split train has a label and an image that can be read, so there is "
            "nothing for the classifier to learn from"
        )
    clock.part(_TRAINING_READ * share, _VALIDATION_READ * share)
    shown = reader.read(validation, most=MOST_VALIDATION)
    clock.part(_VALIDATION_READ * share, _TRAINED * share)
    judge, steps = _train(learnt, manifest.space, limits=limits, flip=looks.flip, device=device, clock=clock)
    kept = appraise(
        judge,
        shown.data,
        groups=shown.groups,
        steps=steps,
        images=len(learnt),
        validation_from=sources,
        crop=looks.crop,
        discriminator=discriminator,
        model_sha256=None if model is None else model.sha256,
    )
    clock.part(_TRAINED * share, share)
    if model is not None and discriminator is not None:
        kept = with_realism(kept, _some_translations(model, shown.data, device=device, clock=clock), discriminator)
    return BuiltJudge(kept=kept, shown=shown.data, unreadable=reader.unreadable)


def read_shown(manifest: Manifest, *, looks: InputSettings, clock: TimeBudget) -> tuple[RealImages, int]:
    """Return the real validation images that a judge is tried on, and how many could not be read."""
    reader = ImageReader(manifest=manifest, looks=looks, clock=clock)
    return reader.read(judge_split(manifest)[1], most=MOST_VALIDATION), reader.unreadable


def _some_translations(
    model: Model, shown: LabelledImages, *, device: torch.device, clock: TimeBudget
) -> LabelledImages:
    """Translate real images, each attribute in turn, and return the pictures with what D is asked of them."""
    rows, targets = requested_targets(shown, parse_domains(["each"], model.space), model.space)
    reached = model.supports(targets)
    rows, targets = rows[reached], targets[reached]
    some = torch.linspace(0, max(0, len(rows) - 1), min(len(rows), _MOST_TRANSLATIONS)).round().long()
    order = some[torch.randperm(len(some), generator=torch.Generator().manual_seed(0))]
    asked = model.space.to_one_label_set(targets[order], shown.codes[rows[order]])
    translator, pictures = Translator(model, device=device, batch_size=BATCH), list[Tensor]()
    for start in range(0, len(order), BATCH):
        if start >= _LEAST_TRANSLATIONS and clock.over():
            break
        sources = shown.images[rows[order[start : start + BATCH]]]
        pictures.append(translator.translate(sources, asked[start : start + BATCH]))
        clock.tell(start / len(order))
    images = torch.cat(pictures) if pictures else shown.images[:0]
    return LabelledImages(images=images, codes=asked[: len(images)])


def _train(
    data: LabelledImages, space: LabelSpace, *, limits: Limits, flip: bool, device: torch.device, clock: TimeBudget
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

        train_judge(data, space=space, steps=2, seed=0, device=device, batch_size=BATCH, flip=flip, on_step=note)
        # The first step is slow: it sets things up.
        possible = clock.left() / max(moments[1] - moments[0], 1e-6)
        steps = round(min(limits.most_steps, max(_FEWEST_STEPS, possible)))
    judge = train_judge(
        data,
        space=space,
        steps=steps,
        seed=0,
        device=device,
        batch_size=BATCH,
        flip=flip,
        on_step=lambda step: clock.tell(step / steps),
    )
    return judge, steps
