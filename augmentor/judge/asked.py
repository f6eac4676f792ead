"""`augmentor judge`: a judge that is asked for by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from augmentor.data import NO_DESCRIPTION, ForeignDescription, open_model, read_model_manifest
from augmentor.data.manifest import Manifest, read_manifest
from augmentor.errors import AugmentorError
from augmentor.images import DEFAULT_SIDE, parse_size
from augmentor.judge.limits import Limits, TimeBudget
from augmentor.judge.reading import InputSettings
from augmentor.judge.runs import ASKED_SECONDS, checked, make_kept, model_looks
from augmentor.judge.stored import KeptJudge, save_judge
from augmentor.storage import MAX_PIXELS
from stargan.checkpoints import Model, find_checkpoint

_MOST_STEPS = 10_000
"""Where minutes are given."""


@dataclass(frozen=True, kw_only=True)
class JudgeRequest:
    """What judge is asked for.

    Args:
        manifest: the user's table.
        out: the folder to write; None is the model's newest checkpoint.
        model: the run folder, checkpoint or foreign file whose label space and images are the judge's; None takes
            those of the manifest.
        description: what a foreign file does not say of itself.
        attributes: the manifest's columns to use where there is no model; none takes all.
        image_column: the column of the images' paths, if it has an unusual name.
        size: of images where there is no model, "128" or WIDTHxHEIGHT; None is the default recipe's.
        crop: side of the centred square that is cut out first where there is no model, or None.
        flip: whether mirrored images keep their labels; a model's own setting forbids it, too.
        steps: optimisation steps, or None.
        minutes: about how long it may take, or None; with neither a minute, and 2,000 steps at most.
        max_pixels: images of more pixels (width x height) are not read.
        allow_outside: images may lie outside the manifest's folder.
    """

    manifest: Path
    out: Path | None = None
    model: Path | None = None
    description: ForeignDescription = NO_DESCRIPTION
    attributes: Sequence[str] = ()
    image_column: str | None = None
    size: str | None = None
    crop: int | None = None
    flip: bool = True
    steps: int | None = None
    minutes: float | None = None
    max_pixels: int = MAX_PIXELS
    allow_outside: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be asked for together.

        Raises:
            AugmentorError: naming the flags.
        """
        if self.steps is not None and self.minutes is not None:
            raise AugmentorError("--minutes and --steps exclude each other: give one of them")
        if self.model is None and self.out is None:
            raise AugmentorError("--out says where to write the judge; only with --model can it be left out")
        if self.model is not None and (self.size is not None or self.crop is not None):
            raise AugmentorError("--size and --crop are the model's; leave them out, or --model")
        if self.model is not None and self.out is None and self.model.is_file():
            raise AugmentorError(f"--model {self.model} is a file: say with --out where to write its judge")

    @property
    def limits(self) -> Limits:
        """How much it may cost."""
        if self.minutes is not None:
            return Limits(seconds=60 * self.minutes, most_steps=_MOST_STEPS)
        return Limits(steps=self.steps) if self.steps is not None else Limits(seconds=ASKED_SECONDS)


@dataclass(frozen=True, kw_only=True)
class JudgeResult:
    """A judge that was made, and the folder that it was written to."""

    out: Path
    kept: KeptJudge


def judge_manifest(
    request: JudgeRequest,
    *,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda _share: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> JudgeResult:
    """Make a judge and write it; one that is there is replaced when the new one is whole.

    Args:
        request: what is asked for.
        device: where to compute.
        on_progress: told the share that is done, in [0, 1].
        should_stop: asked often; True gives up.

    Raises:
        JudgingStopped: `should_stop` said so; nothing was written.
        AugmentorError: the manifest or the model cannot be used, or the judge cannot be written.
    """
    model = None if request.model is None else open_model(request.model, request.description)
    table = checked(_table(request, model), max_pixels=request.max_pixels, allow_outside=request.allow_outside)
    checkpoint = None
    if request.model is not None and not request.model.is_file():
        checkpoint = find_checkpoint(request.model)
    out = request.out or checkpoint
    if out is None or out.is_file():
        raise AugmentorError(f"--out {out}: a file; --out names the folder to write the judge to")
    limits = request.limits
    made = make_kept(
        checkpoint,
        model,
        table,
        looks=_looks(request, model),
        limits=limits,
        clock=TimeBudget(seconds=limits.seconds, on_progress=on_progress, should_stop=should_stop),
        device=device,
        share=1.0,
    )
    on_progress(1.0)
    return JudgeResult(out=out, kept=save_judge(out, made.kept))


def _table(request: JudgeRequest, model: Model | None) -> Manifest:
    if model is not None:
        return read_model_manifest(request.manifest, model, image_column=request.image_column)
    return read_manifest(
        request.manifest, attributes=tuple(request.attributes) or None, image_column=request.image_column
    )


def _looks(request: JudgeRequest, model: Model | None) -> InputSettings:
    if model is not None:
        looks = model_looks(model)
        return InputSettings(
            size=looks.size, channels=looks.channels, crop=looks.crop, flip=looks.flip and request.flip
        )
    size = (DEFAULT_SIDE, DEFAULT_SIDE) if request.size is None else parse_size(request.size, "--size")
    return InputSettings(size=size, crop=request.crop, flip=request.flip)
