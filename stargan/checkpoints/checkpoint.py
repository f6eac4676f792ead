"""Save and load: weights, optimizers, step, configuration and label space, as safetensors and JSON.

A checkpoint is a folder. It is written beside its place and renamed into it, so a folder that exists is
whole; `config.json` holds the SHA-256 of every other file and of itself, which are compared before a file is
used. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stargan.checkpoints.description import (
    FORMAT,
    CheckpointError,
    Description,
    Json,
    instead_of,
    json_sha256,
    read_description,
)
from stargan.checkpoints.weights import read_safetensors, safetensors_bytes, weights_of
from stargan.config import TrainConfig
from stargan.labels import LabelSpace
from stargan.networks import Discriminator, TranslatingGenerator, build_discriminator, build_generator
from stargan.training import TrainState, new_state

_DRAFT, _DOOMED = ".part", ".old"
"""How the names of checkpoints end that are being written, or deleted; they start with a dot."""

AVERAGE, GENERATOR, DISCRIMINATOR = "generator_ema", "generator", "discriminator"
GENERATOR_OPTIMIZER, DISCRIMINATOR_OPTIMIZER = "generator_optimizer", "discriminator_optimizer"


@dataclass(frozen=True, kw_only=True)
class Model:
    """What translates: the average of G, and what it must be told.

    Args:
        generator: the average of G, on the CPU, in eval mode.
        space: the label space.
        image_size: (height, width) in pixels.
        step: D steps it was trained for.
        settings: what the trainer stored beside the weights (crop, recipe), as plain JSON values.
        sha256: of the weights' file.
    """

    generator: TranslatingGenerator
    space: LabelSpace
    image_size: tuple[int, int]
    step: int
    settings: dict[str, Json]
    sha256: str

    @property
    def image_channels(self) -> int:
        """Channels of the images: 1 or 3."""
        return self.generator.image_channels

    @property
    def only_target(self) -> int | None:
        """The code of its one attribute that a generator which reads no labels makes; None if it reads them."""
        return None if self.generator.reads_labels else len(self.space.attributes[0].values) - 1

    def supports(self, targets: Tensor) -> Tensor:
        """Say which targets the generator can be asked for: all, or those of its one direction.

        Args:
            targets: (N, A) int64 codes.

        Returns:
            (N,) bool.
        """
        if self.only_target is None:
            return torch.ones(len(targets), dtype=torch.bool, device=targets.device)
        return targets[:, 0] == self.only_target


def save_checkpoint(
    folder: Path,
    *,
    state: TrainState,
    config: TrainConfig,
    space: LabelSpace,
    image_size: tuple[int, int],
    settings: Mapping[str, Json],
) -> None:
    """Write all of a training state into `folder`, which appears only when everything is on the disk.

    Args:
        folder: must not exist.
        state: what to save.
        config: the run's numbers.
        space: the label space.
        image_size: (height, width) in pixels.
        settings: plain JSON values to keep beside the weights.
    """
    tensors = {
        AVERAGE: weights_of(state.average),
        GENERATOR: weights_of(state.generator),
        DISCRIMINATOR: weights_of(state.discriminator),
        GENERATOR_OPTIMIZER: _optimizer_tensors(state.generator_optimizer),
        DISCRIMINATOR_OPTIMIZER: _optimizer_tensors(state.discriminator_optimizer),
    }
    description = {
        **_description(state.average, space=space, image_size=image_size, step=state.step, settings=settings),
        "discriminator": state.discriminator.arguments,
        "train": asdict(config),
        "elapsed": state.elapsed,
    }
    _write(folder, tensors, description)


def save_model(folder: Path, *, model: Model, half: bool = False) -> None:
    """Write only what translates, for shipping: the average of G and its description.

    Args:
        folder: must not exist.
        model: what to save.
        half: store the weights as float16, at half the bytes; they are read back as float32.
    """
    weights = {name: tensor.half() if half else tensor for name, tensor in weights_of(model.generator).items()}
    description = _description(
        model.generator,
        space=model.space,
        image_size=model.image_size,
        step=model.step,
        settings=model.settings,
    )
    _write(folder, {AVERAGE: weights}, description)


def load_model(path: Path) -> Model:
    """Load what translates from a run folder or one checkpoint.

    Args:
        path: a run folder (its newest whole checkpoint is taken) or a checkpoint folder.

    Raises:
        CheckpointError: nothing to load there, or a file is damaged.
    """
    folder = find_checkpoint(path)
    description = read_description(folder)
    with _building(folder):
        generator = build_generator(description["generator"])
        space = LabelSpace.from_json(description["label_space"])
    _load_weights(generator, folder, AVERAGE, description)
    return Model(
        generator=generator.requires_grad_(False).eval(),
        space=space,
        image_size=(description["image_size"][0], description["image_size"][1]),
        step=description["step"],
        settings=description["settings"],
        sha256=description["files"][f"{AVERAGE}.safetensors"],
    )


def load_discriminator(path: Path) -> Discriminator | None:
    """Load the discriminator from a run folder or one checkpoint.

    Args:
        path: a run folder (its newest whole checkpoint is taken) or a checkpoint folder.

    Returns:
        On the CPU, in eval mode; None if the checkpoint holds only what translates.

    Raises:
        CheckpointError: nothing to load there, or a file is damaged.
    """
    folder = find_checkpoint(path)
    description = read_description(folder)
    if "discriminator" not in description:
        return None
    with _building(folder):
        discriminator = build_discriminator(description["discriminator"])
    _load_weights(discriminator, folder, DISCRIMINATOR, description)
    return discriminator.requires_grad_(False).eval()


def load_state(path: Path, *, config: TrainConfig, device: torch.device) -> TrainState:
    """Load all of a training state, to go on from.

    Args:
        path: a run folder or a checkpoint folder.
        config: the numbers of the run that goes on.
        device: where the networks shall lie.

    Raises:
        CheckpointError: nothing to load there, a file is damaged, or it holds no training state.
    """
    folder = find_checkpoint(path)
    description = read_description(folder)
    if "discriminator" not in description:
        raise CheckpointError(f"{folder} holds a model to translate with, not a training state to resume")
    with _building(folder):
        generator = build_generator(description["generator"])
        discriminator = build_discriminator(description["discriminator"])
    _load_weights(generator, folder, GENERATOR, description)
    _load_weights(discriminator, folder, DISCRIMINATOR, description)
    state = new_state(generator=generator.to(device), discriminator=discriminator.to(device), config=config)
    _load_weights(state.average, folder, AVERAGE, description)
    _load_optimizer(state.generator_optimizer, _read(folder, GENERATOR_OPTIMIZER, description))
    _load_optimizer(state.discriminator_optimizer, _read(folder, DISCRIMINATOR_OPTIMIZER, description))
    state.step, state.elapsed = description["step"], description.get("elapsed", 0.0)
    return state


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint; a kill in between leaves none that only looks whole."""
    doomed = folder.with_name(f".{folder.name}{_DOOMED}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_incomplete(checkpoints: Path) -> None:
    """Delete what a killed run left half written, or half deleted, among a run's checkpoints."""
    for suffix in (_DRAFT, _DOOMED):
        for leftover in checkpoints.glob(f".*{suffix}"):
            shutil.rmtree(leftover)


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint folder that `path` means: itself, or the newest one of a run folder.

    Raises:
        CheckpointError: there is none.
    """
    if (path / "config.json").is_file():
        return path
    if path.is_file():
        inside = (path.parent / "config.json").is_file()
        hint = f"a file of the checkpoint {path.parent}: give that folder" if inside else "a file, no folder"
        raise CheckpointError(f"{path} is {hint}")
    found = sorted(
        (
            folder
            for folder in (path / "checkpoints").glob("*")
            # A kill while writing leaves a hidden draft, which may hold a config.json already.
            if (folder / "config.json").is_file() and not folder.name.startswith(".")
        ),
        key=lambda folder: folder.name,
    )
    if not found:
        raise CheckpointError(f"{path} is neither a run folder with a checkpoint nor a checkpoint")
    return found[-1]


def _description(
    generator: TranslatingGenerator,
    *,
    space: LabelSpace,
    image_size: tuple[int, int],
    step: int,
    settings: Mapping[str, Json],
) -> dict[str, object]:
    return {
        "format": FORMAT,
        "step": step,
        "label_space": space.to_json(),
        "image_size": list(image_size),
        "generator": generator.arguments,
        "settings": dict(settings),
    }


def _write(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], description: Mapping[str, object]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}{_DRAFT}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        _fill(draft, tensors, description)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)  # A full disk needs the room.
        raise
    _sync(folder.parent)


def _fill(draft: Path, tensors: Mapping[str, Mapping[str, Tensor]], description: Mapping[str, object]) -> None:
    hashes = {}
    for name, content in tensors.items():
        file, packed = draft / f"{name}.safetensors", safetensors_bytes(content)
        file.write_bytes(packed)
        hashes[file.name] = hashlib.sha256(packed).hexdigest()
        _sync(file)
    described = {**description, "files": hashes}
    described["sha256"] = json_sha256(described)
    (draft / "config.json").write_text(json.dumps(described, indent=2) + "\n")
    _sync(draft / "config.json")
    _sync(draft)


def _read(folder: Path, name: str, description: Description) -> dict[str, Tensor]:
    file = folder / f"{name}.safetensors"
    wanted = description["files"].get(file.name)
    if wanted is None:
        raise CheckpointError(f"{folder / 'config.json'} does not list {file.name}")
    return read_safetensors(file, sha256=wanted, remedy=instead_of(folder))


@contextmanager
def _building(folder: Path) -> Iterator[None]:
    """Turn mistakes of config.json into CheckpointErrors, and leave the global random state as it is."""
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a model: {error}") from error


def _load_weights(network: nn.Module, folder: Path, name: str, description: Description) -> None:
    weights = _read(folder, name, description)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{folder / name}.safetensors does not fit the architecture: {error}") from error


def _optimizer_tensors(optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": value.detach().cpu()
        for index, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
    }


def _load_optimizer(optimizer: torch.optim.Adam, tensors: Mapping[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
