"""The run folder: what training writes while it goes, and what is told to who watches."""

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
from augmentor.training.recipe import Recipe
from stargan.checkpoints import Json, Model, remove_checkpoint, save_checkpoint
from stargan.config import TrainConfig
from stargan.distributed import SINGLE_RANK, Ranks
from stargan.inference import Translator
from stargan.training import CheckpointEvent, Event, LogEvent, SampleEvent, TrainState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True, kw_only=True)
class Started:
    """The run is about to train.

    Args:
        images: training rows.
        attributes: the label space in words, one line an attribute.
        generator_parameters: weights of G.
        discriminator_parameters: weights of D.
        device: in words.
        step: D steps done before.
        notes: remarks about the manifest.
    """

    images: int
    attributes: tuple[str, ...]
    generator_parameters: int
    discriminator_parameters: int
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
class Judging:
    """The training is over, and it is measured whether the generator obeys; `done` is a share in [0, 1]."""

    done: float


TrainEvent = Started | LogEvent | Sampled | Saved | Judging


class Follower:
    """Stands in for the recorder where another process leads: hands it the rows that this one could not read."""

    def __init__(self, ranks: Ranks) -> None:
        self.broken: dict[int, str] = {}
        self.failures: tuple[Failure, ...] = ()
        self.losses: dict[str, float] = {}
        self._ranks = ranks

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def record(self, event: Event) -> None:
        """Answer where the leader asks."""
        if isinstance(event, CheckpointEvent):
            self._ranks.all_gather_object(self.broken)


class Recorder:
    """Writes a run's log, samples, checkpoints and failures as the loop's events come in."""

    def __init__(
        self,
        run: Path,
        manifest: Manifest,
        recipe: Recipe,
        config: TrainConfig,
        *,
        rows: Manifest,
        shown: Samples,
        device: torch.device,
        step: int,
        on_event: Callable[[TrainEvent], None],
        ranks: Ranks = SINGLE_RANK,
    ) -> None:
        self.broken: dict[int, str] = {}
        self._ranks = ranks
        self.losses: dict[str, float] = {}
        self._run, self._manifest, self._recipe, self._config = run, manifest, recipe, config
        self._device, self._on_event = device, on_event
        self._rows, self._shown = rows, shown
        self._before = _read_failures(run / "failures.csv")
        self._columns = preview_columns(parse_domains(["each"], manifest.space), manifest.space)
        self._board = _tensorboard(run) if recipe.training.tensorboard else None
        self._log = _open_log(run / "log.jsonl", step)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()
        if self._board is not None:
            self._board.close()

    def record(self, event: Event) -> None:
        """Write what the event is about, then pass the news on."""
        match event:
            case LogEvent():
                self._write_log(event)
                self._on_event(event)
            case SampleEvent(state=state):
                self._on_event(Sampled(path=self._write_sample(state)))
            case CheckpointEvent(state=state):
                for broken in self._ranks.all_gather_object(self.broken):
                    self.broken.update(cast(dict[int, str], broken))
                self._on_event(Saved(path=self._write_checkpoint(state)))

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The rows whose image could not be read, in this run and before it was resumed."""
        table = self._rows.rows
        now = [
            Failure(id=str(table["id"].iat[row]), path=str(table["path"].iat[row]), reason=reason)
            for row, reason in sorted(self.broken.items())
        ]
        return tuple({failure.id: failure for failure in (*self._before, *now)}.values())

    def _write_log(self, event: LogEvent) -> None:
        self.losses = event.losses
        self._log.write(json.dumps(asdict(event)) + "\n")
        self._log.flush()
        if self._board is not None:
            for name, value in event.losses.items():
                self._board.add_scalar(f"loss/{name}", value, event.step)
            self._board.add_scalar("speed/images_per_second", event.images_per_second, event.step)

    def _write_sample(self, state: TrainState) -> Path:
        path = self._run / "samples" / f"{state.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        shown, translator = self._shown, Translator(self._model(state), device=self._device)
        grid = preview_grid(translator, shown.images, shown.codes, self._columns, row_labels=shown.names)
        write_grid(path, grid)
        if self._board is not None:
            self._board.add_image("samples", grid, state.step, dataformats="HWC")
        return path

    def _write_checkpoint(self, state: TrainState) -> Path:
        write_failures(self._run / "failures.csv", self.failures)
        folder = checkpoint_folder(self._run, state.step)
        if not folder.exists():
            save_checkpoint(
                folder,
                state=state,
                config=self._config,
                space=self._manifest.space,
                image_size=self._recipe.images.height_width,
                settings=self._settings(),
            )
            self._prune(folder.parent)
        return folder

    def _prune(self, checkpoints: Path) -> None:
        keep = self._recipe.training.keep_checkpoints
        whole = sorted(path for path in checkpoints.iterdir() if path.name.isdigit())
        for old in whole[:-keep] if keep else []:
            remove_checkpoint(old)

    def _settings(self) -> dict[str, Json]:
        recipe = self._recipe.model_dump(mode="json", exclude_none=True)
        manifest = ", ".join(path.name for path in self._manifest.paths)
        return {"manifest": manifest, "images": recipe["images"], "recipe": recipe}

    def _model(self, state: TrainState) -> Model:
        return Model(
            generator=state.average,
            space=self._manifest.space,
            image_size=self._recipe.images.height_width,
            step=state.step,
            settings={},
            sha256="",
        )


def checkpoint_folder(run: Path, step: int) -> Path:
    """Return where a run keeps the checkpoint of a step."""
    return run / "checkpoints" / f"{step:08d}"


def _read_failures(path: Path) -> list[Failure]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [Failure(id=row["id"], path=row["path"], reason=row["reason"]) for row in csv.DictReader(file)]


def _open_log(path: Path, step: int) -> IO[str]:
    """Open log.jsonl to append, without what a killed run logged after its last checkpoint."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if _logged_step(line) <= step]
        draft = path.with_suffix(".part")
        draft.write_text("".join(f"{line}\n" for line in kept))
        draft.replace(path)
    return path.open("a")


def _logged_step(line: str) -> float:
    try:
        return cast(int, json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a line that a kill cut short goes, too


def _tensorboard(run: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra, imported only where used
    except ImportError as error:
        raise MissingExtraError(
            "training.tensorboard needs TensorBoard: pip install 'stargan-augmentor[tensorboard]'"
        ) from error
    return SummaryWriter(os.fspath(run / "tensorboard"))
