"""Choice of the best checkpoint: scores of the average during training, and best.json, which names the choice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from augmentor.errors import OutputError
from augmentor.judge import (
    AttributeScore,
    InputSettings,
    JudgingStopped,
    Limits,
    ScoreSample,
    judge_of_training,
    judge_split,
)
from augmentor.storage import Json, read_declared, replacing_text
from stargan.checkpoints import BEST, Model, load_model
from stargan.config import TrainConfig
from stargan.distributed import Ranks
from stargan.inference import Translator
from stargan.networks import TranslatingGenerator
from stargan.training import PeriodicEvaluation, TrainState

if TYPE_CHECKING:
    from augmentor.training.run_folder import TrainingRun

_POINTS = 10

_FIRST = 0.4
"""Share of the run at which the first score is taken."""

_SHARE, _MOST_SECONDS = 0.004, 5.0
"""Time of a score: as a share of the training's, and at most."""

_BEAT_SECONDS = 1.0
"""Interval in which rank 0 reports to the other ranks while they wait."""

SHARES = (*(_FIRST + (1 - _FIRST) * point / (_POINTS - 1) for point in range(_POINTS - 1)), 1.0)
"""Shares of the run at which the averages are scored."""


@dataclass(frozen=True, kw_only=True)
class TrainingJudge:
    """The judge is built during the training; `done` is a share in [0, 1]."""

    done: float


@dataclass(frozen=True, kw_only=True)
class Point:
    """Score of the averages at a step.

    Args:
        elapsed: seconds trained.
        seconds: duration of scoring.
        error: standard error of the score.
        attributes: name -> its parts.
        average: the average that scored it: "long", or "short" where that is better by more than the error.
        other: the score of the other average; None without.
    """

    step: int
    elapsed: float
    seconds: float
    score: float
    error: float
    attributes: dict[str, AttributeScore]
    average: Literal["long", "short"] = "long"
    other: float | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointScores:
    """Scores of a run so far, as its checkpoints and best.json hold them.

    Args:
        judge: SHA-256 of the judge that scored.
        images: number of validation images that it read.
        translations: size of the sample.
        points: one for each scored step.
    """

    judge: str
    images: int
    translations: int
    points: tuple[Point, ...] = ()

    @property
    def chosen(self) -> int | None:
        """The step to translate with: the latest whose score is within its standard error of the highest.

        The sample cannot tell such scores apart, and later steps, at lower learning rates, draw finer. A score
        that is the highest so far is always chosen, so earlier checkpoints need not be kept for later scores.
        """
        step, top = None, -1.0
        for point in self.points:
            top = max(top, point.score)
            if point.score + point.error >= top:
                step = point.step
        return step

    def done(self, config: TrainConfig) -> float:
        """Return the share of a run at which the last score was taken; the run may be longer than it was."""
        if not self.points:
            return 0.0
        if config.steps is not None:
            return self.points[-1].step / config.steps
        assert config.minutes is not None
        return self.points[-1].elapsed / (60 * config.minutes)

    def to_json(self) -> dict[str, Json]:
        """Return everything as plain JSON values."""
        return cast(dict[str, Json], json.loads(json.dumps(asdict(self))))


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The average was scored; `best` says whether it is chosen so far."""

    point: Point
    best: bool


class BestCheckpoint:
    """Rank 0's choice of the best checkpoint of a run.

    Args:
        run: the run.
        state: the one to train from; scores are read from its checkpoint.
        on_event: called with the judge's progress and with every score.
        should_stop: True stops the training of the judge.
    """

    def __init__(
        self,
        run: TrainingRun,
        state: TrainState,
        *,
        on_event: Callable[[TrainingJudge | Scored], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._run, self._on_event, self._should_stop = run, on_event, should_stop
        self._sample: ScoreSample | None = None
        self._scores = _stored_scores(run.checkpoint(state.step)) if state.step else None
        self._reason: str | None = None
        self._unlogged: list[Point] = []
        done = 0.0 if self._scores is None else self._scores.done(run.config)
        wanted = scores_checkpoints(run)
        if run.recipe.judge.steps and not wanted:
            self._reason = "no labelled row has split val, so no checkpoint was scored"
        self._beat_at = 0.0
        done = cast(float, run.ranks.all_gather_object(done if wanted else 1.0)[0])
        self.evaluation = PeriodicEvaluation(shares=SHARES, evaluate=self._evaluate, done=done)

    @property
    def settings(self) -> dict[str, Json]:
        """The scores as settings of a checkpoint; empty where there are none."""
        return {} if self._scores is None else {"scores": self._scores.to_json()}

    def translates_short(self, step: int) -> bool:
        """Return whether the short average of a step is the better one."""
        points = () if self._scores is None else self._scores.points
        return any(point.step == step and point.average == "short" for point in points)

    @property
    def chosen(self) -> int | None:
        """The step of the best checkpoint; None for the newest."""
        return None if self._scores is None else self._scores.chosen

    def new_scores(self) -> list[dict[str, object]]:
        """Return the scores since the last call, for the log."""
        new, self._unlogged = [asdict(point) for point in self._unlogged], []
        return new

    def write(self, last: int) -> None:
        """Write best.json, atomically, when the checkpoint of step `last` was written; nothing without scores.

        Raises:
            OutputError: it cannot be written.
        """
        if self._scores is None and self._reason is None:
            return
        scores = {} if self._scores is None else self._scores.to_json()
        content = {"step": self.chosen, "last": last, "reason": self._reason, **scores}
        file = self._run.folder / BEST
        try:
            with replacing_text(file) as stream:
                stream.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise OutputError(f"{file} cannot be written ({error.strerror or error})") from None

    def _evaluate(self, state: TrainState, progress: float) -> bool:
        """Score a state; return whether its checkpoint is the best so far."""
        best = self._score(state, progress)
        self._run.ranks.all_gather_object(best)
        return best

    def _score(self, state: TrainState, progress: float) -> bool:
        try:
            sample = self._prepared(state, progress) if self._sample is None else self._sample
        except JudgingStopped:
            return False
        if not len(sample):
            self._scores = None
            self._reason = "the judge can be trusted with no attribute, so no checkpoint was scored"
            return False
        scores, start = self._scores, time.monotonic()
        assert scores is not None
        found, other = sample.score(self._translator(state.average)), None
        average: Literal["long", "short"] = "long"
        if state.short_average is not None:
            other = sample.score(self._translator(state.short_average))
            if other.score > found.score + found.error:
                found, other, average = other, found, "short"
        point = Point(
            step=state.step,
            elapsed=state.elapsed,
            seconds=round(time.monotonic() - start, 3),
            score=round(found.score, 6),
            error=round(found.error, 6),
            attributes=found.attributes,
            average=average,
            other=None if other is None else round(other.score, 6),
        )
        self._scores = scores = replace(scores, points=(*scores.points, point))
        self._unlogged.append(point)
        best = scores.chosen == state.step
        self._on_event(Scored(point=point, best=best))
        return best

    def _prepared(self, state: TrainState, progress: float) -> ScoreSample:
        """Return the sample, with the judge of the run: the one that is there, or a new one."""
        run, images, scores = self._run, self._run.recipe.images, self._scores
        minutes = run.config.minutes
        planned = state.elapsed / progress if minutes is None else 60 * minutes
        built = judge_of_training(
            run.folder,
            run.manifest,
            looks=InputSettings(
                size=images.height_width, channels=images.colours, crop=images.crop or None, flip=images.flip
            ),
            limits=Limits.after(planned, steps=run.recipe.judge.steps),
            device=run.device,
            validation=None if scores is None else scores.images,
            on_progress=self._report,
            should_stop=self._should_stop,
        )
        kept = built.kept
        kept.judge.network.to(run.device)
        sample = self._sample = ScoreSample(kept, built.validation, built.groups)
        if scores is None or scores.judge != kept.sha256:
            # Scores of another judge are not comparable.
            if len(sample):
                averages = 1 if state.short_average is None else 2
                seconds = min(_MOST_SECONDS, _SHARE * planned) / averages
                sample.fit(self._translator(state.average), seconds=seconds)
            images_read = len(built.validation)
            self._scores = CheckpointScores(judge=kept.sha256, images=images_read, translations=len(sample))
        else:
            sample.shorten(scores.translations)
        return sample

    def _report(self, done: float) -> None:
        self._on_event(TrainingJudge(done=done))
        if time.monotonic() - self._beat_at >= _BEAT_SECONDS:
            self._beat_at = time.monotonic()
            self._run.ranks.all_gather_object(None)  # the other ranks wait in `follow_evaluation`

    def _translator(self, average: TranslatingGenerator) -> Translator:
        run = self._run
        model = Model(
            generator=average,
            space=run.manifest.space,
            image_size=run.recipe.images.height_width,
            step=0,
            settings={},
            sha256="",
        )
        return Translator(model, device=run.device)


def scores_checkpoints(run: TrainingRun) -> bool:
    """Return whether the recipe has a judge, and the manifest validation rows to score checkpoints on."""
    return bool(run.recipe.judge.steps) and judge_split(run.manifest).has_val


def follow_evaluation(ranks: Ranks) -> PeriodicEvaluation:
    """Return the evaluation of all ranks but 0: they wait for rank 0's answer."""

    def wait(_state: TrainState, _progress: float) -> bool:
        answer = None
        while answer is None:
            answer = ranks.all_gather_object(None)[0]
        return bool(answer)

    return PeriodicEvaluation(shares=SHARES, evaluate=wait, done=cast(float, ranks.all_gather_object(None)[0]))


def _stored_scores(checkpoint: Path) -> CheckpointScores | None:
    """Return the scores that a checkpoint was saved with; None without."""
    stored = load_model(checkpoint).settings.get("scores")
    if not isinstance(stored, dict):
        return None
    return read_declared(CheckpointScores, stored)
