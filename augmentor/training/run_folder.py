"""The run folder: log, samples, checkpoints and failures, and the events that report them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import torch

from augmentor.data import Failure, Samples, write_failures
from augmentor.data.manifest import Manifest
from augmentor.errors import MissingExtraError
from augmentor.images import preview_grid, write_grid
from augmentor.planning import parse_domains, preview_columns
from augmentor.storage import replacing_text
from augmentor.training.best import BestCheckpoint, Scored, TrainingJudge, follow_evaluation
from augmentor.training.recipe import Recipe
from stargan.checkpoints import Json, Model, checkpoint_name, remove_checkpoint, save_checkpoint
from stargan.config import TrainConfig
from stargan.distributed import Ranks
from stargan.inference import Translator
from stargan.training import CheckpointEvent, Event, LogEvent, SampleEvent, TrainState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True, kw_only=True)
class Started:
    """The run starts to train.

    Args:
        method: its name in text, "StarGAN".
        images: training rows.
        attributes: a description of each attribute.
        batch_size: images a step, of all ranks.
        steps: planned D steps; None where `minutes` are planned.
        device: its name.
        step: D steps done before.
        notes: remarks about the manifest.
    """

    method: str
    images: int
    attributes: tuple[str, ...]
    generator_parameters: int
    discriminator_parameters: int
    batch_size: int
    steps: int | None
    minutes: float | None
    device: str
    step: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A sample grid was written to `path`."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint was written to `path`."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class MeasuringAccuracy:
    """The training is finished and target accuracy is measured; `done` is a share in [0, 1]."""

    done: float


TrainEvent = Started | LogEvent | TrainingJudge | Scored | Sampled | Saved | MeasuringAccuracy


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """The parts of a training run that stay the same from start to end; `rows` are the training rows."""

    folder: Path
    manifest: Manifest
    rows: Manifest
    recipe: Recipe
    config: TrainConfig
    device: torch.device
    ranks: Ranks

    def checkpoint(self, step: int) -> Path:
        """Return the folder of the checkpoint of a step."""
        return self.folder / "checkpoints" / checkpoint_name(step)


class RankRecorder:
    """The recorder of all ranks but 0: sends rank 0 the rows that this rank could not read."""

    def __init__(self, ranks: Ranks) -> None:
        self.broken: dict[int, str] = {}
        self.failures: tuple[Failure, ...] = ()
        self.losses: dict[str, float] = {}
        self._ranks = ranks
        self.evaluation = follow_evaluation(ranks)

    def __enter__(self) -> RankRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def record(self, event: Event) -> None:
        """Take part in rank 0's collection at every checkpoint."""
        if isinstance(event, CheckpointEvent):
            self._ranks.all_gather_object(self.broken)


class Recorder:
    """Rank 0's recorder: writes a run's log, samples, checkpoints and failures at the loop's events.

    `state` is the one to train from; `on_event` is called with every event, after it was written; `should_stop`
    stops the training of the judge.
    """

    def __init__(
        self,
        run: TrainingRun,
        *,
        samples: Samples,
        state: TrainState,
        on_event: Callable[[TrainEvent], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self.broken: dict[int, str] = {}
        self.losses: dict[str, float] = {}
        self._run, self._samples, self._on_event = run, samples, on_event
        self._before = _read_failures(run.folder / "failures.csv")
        space = run.manifest.space
        self._columns = preview_columns(parse_domains(["each"], space), space)
        self._board = _tensorboard(run.folder) if run.recipe.training.tensorboard else None
        self._log = _open_log(run.folder / "log.jsonl", state.step)
        self._best = BestCheckpoint(run, state, on_event=on_event, should_stop=should_stop)
        self.evaluation = self._best.evaluation

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()
        if self._board is not None:
            self._board.close()

    def record(self, event: Event) -> None:
        """Write the files of an event, then report it."""
        match event:
            case LogEvent():
                self._write_log(event)
                self._on_event(event)
            case SampleEvent(state=state):
                self._on_event(Sampled(path=self._write_sample(state)))
            case CheckpointEvent(state=state):
                for broken in self._run.ranks.all_gather_object(self.broken):
                    self.broken.update(cast(dict[int, str], broken))
                self._on_event(Saved(path=self._write_checkpoint(state)))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The rows whose image could not be read, in this run and before it was resumed."""
        table = self._run.rows.rows
        now = [
            Failure(id=str(table["id"].iat[row]), path=str(table["path"].iat[row]), reason=reason)
            for row, reason in sorted(self.broken.items())
        ]
        return tuple({failure.id: failure for failure in (*self._before, *now)}.values())

    def _write_log(self, event: LogEvent) -> None:
        self.losses = event.losses
        scores = self._best.new_scores()
        self._log.write(json.dumps(asdict(event) | ({"scores": scores} if scores else {})) + "\n")
        self._log.flush()
        if self._board is not None:
            for name, value in event.losses.items():
                self._board.add_scalar(f"loss/{name}", value, event.step)
            self._board.add_scalar("speed/images_per_second", event.images_per_second, event.step)

    def _write_sample(self, state: TrainState) -> Path:
        run, samples = self._run, self._samples
        path = run.folder / "samples" / f"{state.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        model = Model(
            generator=state.average,
            space=run.manifest.space,
            image_size=run.recipe.images.height_width,
            step=state.step,
            settings={},
            sha256="",
        )
        translator = Translator(model, device=run.device)
        grid = preview_grid(translator, samples.images, samples.codes, self._columns, row_labels=samples.names)
        write_grid(path, grid)
        if self._board is not None:
            self._board.add_image("samples", grid, state.step, dataformats="HWC")
        return path

    def _write_checkpoint(self, state: TrainState) -> Path:
        run = self._run
        write_failures(run.folder / "failures.csv", self.failures)
        os.fsync(self._log.fileno())  # A power cut must not leave a checkpoint without the log of its steps.
        folder = run.checkpoint(state.step)
        if not folder.exists():
            recipe: dict[str, Json] = run.recipe.model_dump(mode="json", exclude_none=True)
            manifest = ", ".join(path.name for path in run.manifest.paths)
            save_checkpoint(
                folder,
                state=state,
                config=run.config,
                space=run.manifest.space,
                image_size=run.recipe.images.height_width,
                settings={
                    "manifest": manifest,
                    "images": recipe["images"],
                    "recipe": recipe,
                    **cast(dict[str, Json], self._best.settings),
                },
                translates_short=self._best.translates_short(state.step),
            )
            self._best.write(state.step)
            keep, best = run.recipe.training.keep_checkpoints, self._best.chosen
            whole = sorted(path for path in folder.parent.iterdir() if path.name.isdigit())
            for old in whole[:-keep] if keep else []:
                if best is None or old != run.checkpoint(best):
                    remove_checkpoint(old)
        return folder


def describe_attribute(name: str, values: tuple[str, ...]) -> str:
    """Return an attribute in one line, for example "hair: black | blond | red"."""
    return f"{name}: {' | '.join(values)}"


def _read_failures(path: Path) -> list[Failure]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [Failure(id=row["id"], path=row["path"], reason=row["reason"]) for row in csv.DictReader(file)]


def _open_log(path: Path, step: int) -> IO[str]:
    """Open log.jsonl to append, without the lines that a killed run wrote after its last checkpoint."""
    lines = path.read_text().splitlines() if path.exists() else []
    with replacing_text(path) as file:
        file.writelines(f"{line}\n" for line in lines if _logged_step(line) <= step)
    return path.open("a")


def _logged_step(line: str) -> float:
    try:
        return cast(int, json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # incomplete lines of a killed run are dropped, too


def _tensorboard(run: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra, imported only where used
    except ImportError as error:
        raise MissingExtraError(
            "training.tensorboard needs TensorBoard: pip install 'stargan-augmentor[tensorboard]'"
        ) from error
    return SummaryWriter(os.fspath(run / "tensorboard"))
