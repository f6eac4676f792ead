"""Saving and loading of models and training states.

A checkpoint is a folder of safetensors files and a `config.json`, which holds the SHA-256 of every file and of
itself. It is written under a temporary name and renamed, so that it is complete. Loading never unpickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from stargan.checkpoints.files import (
    FORMAT,
    CheckpointConfig,
    CheckpointError,
    Json,
    earlier_checkpoint,
    json_sha256,
    read_config,
    read_safetensors,
    safetensors_bytes,
    weights_of,
)
from stargan.config import TrainConfig
from stargan.labels import UNKNOWN, LabelSpace
from stargan.networks import Discriminator, TranslatingGenerator, build_discriminator, build_generator
from stargan.training import TrainState, new_state

_WRITING, _DELETING = ".part", ".old"
"""Name endings of incomplete checkpoints: being written, being deleted. Their names start with a dot."""

AVERAGE, SHORT_AVERAGE = "generator_ema", "generator_ema_short"
GENERATOR, DISCRIMINATOR = "generator", "discriminator"
GENERATOR_OPTIMIZER, DISCRIMINATOR_OPTIMIZER = "generator_optimizer", "discriminator_optimizer"
IMAGE_BUFFER = "image_buffer"

_DEPTHS = ("blocks", "depth", "downsamplings")
"""Arguments of networks that are numbers of layers, each with a weight at least."""

Network = TypeVar("Network", bound=nn.Module)

BEST = "best.json"
"""In a run folder: `step` is that of the checkpoint to translate with; the newest if null, or without the file."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained generator with its label space and image size.

    Args:
        generator: the moving average of G that translates, on the CPU, in eval mode.
        image_size: (height, width) in pixels.
        step: D steps it was trained for.
        settings: what was saved beside the weights, as plain JSON values.
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
        """The one target code of a generator that does not read labels; None for one that does."""
        return None if self.generator.reads_labels else len(self.space.attributes[0].values) - 1

    @property
    def learnt_unknown(self) -> bool:
        """Whether labels can be left unknown: in the training of other implementations none is."""
        return "foreign" not in self.settings or not self.generator.reads_labels

    @property
    def unlabelled(self) -> dict[str, str]:
        """The values that stand for unknown labels in the label vector, by attribute, of a converted model."""
        foreign = self.settings.get("foreign")
        named = foreign.get("unlabelled") if isinstance(foreign, dict) else None
        return {name: str(value) for name, value in named.items()} if isinstance(named, dict) else {}

    def completed(self, targets: Tensor) -> Tensor:
        """Return (N, A) int64 targets with the values of `unlabelled` in the place of unknown ones.

        Of joint training, this holds for the label sets of which a target has labels.
        """
        filled = targets.clone()
        for name, value in self.unlabelled.items():
            column = self.space.index(name)
            unknown = (targets[:, column] == UNKNOWN) & self._asked(targets)[:, column]
            filled[unknown, column] = self.space[name].code(value)
        return filled

    def unseen_unknowns(self, targets: Tensor) -> Tensor:
        """Return which labels of (N, A) int64 targets are unknown, and never were in training, (N, A) bool.

        Only without `learnt_unknown`. An unknown binary attribute is 0.5 in the label vector, and other
        implementations train with 0 and 1 alone. An unknown categorical attribute, all zero, is their way to say
        "none of the values".
        """
        if self.learnt_unknown:
            return torch.zeros_like(targets, dtype=torch.bool)
        binary = torch.tensor([each.kind == "binary" for each in self.space.attributes], device=targets.device)
        return (self.completed(targets) == UNKNOWN) & self._asked(targets) & binary

    def supports(self, targets: Tensor) -> Tensor:
        """Return which of (N, A) int64 targets the generator can translate into, (N,) bool."""
        if self.only_target is None:
            return ~self.unseen_unknowns(targets).any(dim=1)
        return targets[:, 0] == self.only_target

    def _asked(self, targets: Tensor) -> Tensor:
        """Return (N, A) bool: the attributes of label sets that a target has labels of; all of one data set."""
        if not self.space.label_sets:
            return torch.ones_like(targets, dtype=torch.bool)
        sets = torch.tensor(self.space.set_of_attribute, device=targets.device)
        return self.space.known_sets(targets)[:, sets]


def save_checkpoint(
    folder: Path,
    *,
    state: TrainState,
    config: TrainConfig,
    space: LabelSpace,
    image_size: tuple[int, int],
    settings: Mapping[str, Json],
    translates_short: bool = False,
) -> None:
    """Write a whole training state into `folder`, which must not exist and appears once everything is on the disk.

    `image_size` is (height, width) in pixels; `settings` are plain JSON values to keep beside the weights;
    `translates_short` makes the short average the model.
    """
    tensors = {
        AVERAGE: weights_of(state.average),
        GENERATOR: weights_of(state.generator),
        DISCRIMINATOR: weights_of(state.discriminator),
        GENERATOR_OPTIMIZER: _optimizer_tensors(state.generator_optimizer),
        DISCRIMINATOR_OPTIMIZER: _optimizer_tensors(state.discriminator_optimizer),
    }
    if state.short_average is not None:
        tensors[SHORT_AVERAGE] = weights_of(state.short_average)
    if state.buffer is not None:
        tensors[IMAGE_BUFFER] = {name: image.cpu() for name, image in state.buffer.state_dict().items()}
    values = {
        **({"translates": SHORT_AVERAGE} if translates_short else {}),
        **_config_values(state.average, space=space, image_size=image_size, step=state.step, settings=settings),
        "discriminator": state.discriminator.arguments,
        "train": asdict(config),
        "elapsed": state.elapsed,
        "augment_probability": state.augment_probability,
    }
    _write(folder, tensors, values)


def save_model(folder: Path, *, model: Model, half: bool = False) -> None:
    """Write a model without its training state into `folder`, which must not exist.

    With `half` the weights are stored as float16, at half the bytes; they are read back as float32.
    """
    weights = {name: tensor.half() if half else tensor for name, tensor in weights_of(model.generator).items()}
    values = _config_values(
        *(model.generator, model.space), image_size=model.image_size, step=model.step, settings=model.settings
    )
    _write(folder, {AVERAGE: weights}, values)


def load_model(path: Path) -> Model:
    """Load the model of a checkpoint folder, or of a run folder; see `find_checkpoint`.

    Raises:
        CheckpointError: nothing to load there, or a file is damaged.
    """
    folder = find_checkpoint(path)
    config = read_config(folder)
    average = config.get("translates", AVERAGE)
    if average not in (AVERAGE, SHORT_AVERAGE):
        raise CheckpointError(f"{folder / 'config.json'} translates with {average!r}, which is no average")
    generator = _load_network(build_generator, config["generator"], folder, average, config)
    with _building(folder):
        space = LabelSpace.from_json(config["label_space"])
        reads = generator.arguments["vector_size"] if generator.reads_labels else space.vector_size
        if not space or reads != space.vector_size:
            raise ValueError(f"its labels have {space.vector_size} entries, and the generator reads {reads}")
    return Model(
        generator=generator.requires_grad_(False).eval(),
        space=space,
        image_size=(config["image_size"][0], config["image_size"][1]),
        step=config["step"],
        settings=config["settings"],
        sha256=config["files"][f"{average}.safetensors"],
    )


def load_discriminator(path: Path) -> Discriminator | None:
    """Load the discriminator of a checkpoint, or of a run folder's one; None without a training state.

    It is on the CPU, in eval mode.

    Raises:
        CheckpointError: nothing to load there, or a file is damaged.
    """
    folder = find_checkpoint(path)
    config = read_config(folder)
    if "discriminator" not in config:
        return None
    discriminator = _load_network(build_discriminator, config["discriminator"], folder, DISCRIMINATOR, config)
    return discriminator.requires_grad_(False).eval()


def load_state(path: Path, *, config: TrainConfig, device: torch.device) -> TrainState:
    """Load a training state to resume from with `config`, of a checkpoint or of a run folder's newest one.

    Raises:
        CheckpointError: nothing to load there, a file is damaged, or it holds no training state.
    """
    folder = newest_checkpoint(path)
    saved = read_config(folder)
    if "discriminator" not in saved:
        raise CheckpointError(f"{folder} holds a model to translate with, not a training state to resume")
    generator = _load_network(build_generator, saved["generator"], folder, GENERATOR, saved)
    discriminator = _load_network(build_discriminator, saved["discriminator"], folder, DISCRIMINATOR, saved)
    state = new_state(
        generator=generator.to(device),
        discriminator=discriminator.to(device),
        config=config,
        with_short_average=f"{SHORT_AVERAGE}.safetensors" in saved["files"],
    )
    _load_weights(state.average, folder, AVERAGE, saved)
    if state.short_average is not None:
        _load_weights(state.short_average, folder, SHORT_AVERAGE, saved)
    _load_optimizer(state.generator_optimizer, _read(folder, GENERATOR_OPTIMIZER, saved))
    _load_optimizer(state.discriminator_optimizer, _read(folder, DISCRIMINATOR_OPTIMIZER, saved))
    if state.buffer is not None and f"{IMAGE_BUFFER}.safetensors" in saved["files"]:
        state.buffer.load_state_dict(_read(folder, IMAGE_BUFFER, saved), device)
    state.step, state.elapsed = saved["step"], saved.get("elapsed", 0.0)
    state.augment_probability = saved.get("augment_probability", state.augment_probability)
    return state


def remove_checkpoint(folder: Path) -> None:
    """Delete a checkpoint; a kill in between leaves nothing that could be taken for a complete one."""
    renamed = folder.with_name(f".{folder.name}{_DELETING}")
    folder.rename(renamed)
    # Files that are open somewhere on a network disk stay until they are closed, and go at the next start.
    shutil.rmtree(renamed, ignore_errors=True)


def remove_incomplete(checkpoints: Path) -> None:
    """Delete partly written and partly deleted checkpoints of a killed run."""
    for suffix in (_WRITING, _DELETING):
        for leftover in checkpoints.glob(f".*{suffix}"):
            shutil.rmtree(leftover, ignore_errors=True)


def find_checkpoint(path: Path) -> Path:
    """Return a checkpoint folder, or the one to translate with of a run folder: the best, or else the newest.

    Raises:
        CheckpointError: there is none, or best.json is damaged.
    """
    newest, file = newest_checkpoint(path), path / BEST
    if newest == path or not file.is_file():
        return newest
    try:
        step = json.loads(file.read_text(encoding="utf-8"))["step"]
        best = newest if step is None else newest.with_name(checkpoint_name(step))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} cannot be read ({error!r}). Delete it: the newest is used then") from None
    return best if (best / "config.json").is_file() else newest


def newest_checkpoint(path: Path) -> Path:
    """Return a checkpoint folder, or the newest one of a run folder; CheckpointError if there is none."""
    if (path / "config.json").is_file():
        return path
    if path.is_file():
        inside = (path.parent / "config.json").is_file()
        hint = f"a file of the checkpoint {path.parent}: give that folder" if inside else "a file, no folder"
        raise CheckpointError(f"{path} is {hint}")
    # An incomplete checkpoint, whose name starts with a dot, may hold a config.json already.
    found = [each for each in (path / "checkpoints").glob("[!.]*") if (each / "config.json").is_file()]
    if not found:
        raise CheckpointError(f"{path} is neither a run folder with a checkpoint nor a checkpoint")
    return max(found, key=lambda folder: folder.name)


def checkpoint_name(step: int) -> str:
    """Return the name of a step's folder in a run's `checkpoints`."""
    return f"{step:08d}"


def _config_values(
    generator: TranslatingGenerator,
    space: LabelSpace,
    *,
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


def _write(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, object]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}{_WRITING}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        hashes = {}
        for name, content in tensors.items():
            file, packed = draft / f"{name}.safetensors", safetensors_bytes(content)
            file.write_bytes(packed)
            hashes[file.name] = hashlib.sha256(packed).hexdigest()
            _sync(file)
        config = {**values, "files": hashes}
        config["sha256"] = json_sha256(config)
        (draft / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        _sync(draft / "config.json")
        _sync(draft)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)  # A full disk needs the room.
        raise
    _sync(folder.parent)


def _read(folder: Path, name: str, config: CheckpointConfig) -> dict[str, Tensor]:
    file = folder / f"{name}.safetensors"
    sha256 = config["files"].get(file.name)
    if sha256 is None:
        raise CheckpointError(f"{folder / 'config.json'} does not list {file.name}")
    return read_safetensors(file, sha256=sha256, remedy=earlier_checkpoint(folder))


@contextmanager
def _building(folder: Path) -> Iterator[None]:
    """Turn errors in config.json into CheckpointErrors, and restore the global random state."""
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'config.json'} does not describe a model: {error}") from error


def _load_network(
    build: Callable[[Mapping[str, object]], Network],
    arguments: Mapping[str, object],
    folder: Path,
    name: str,
    config: CheckpointConfig,
) -> Network:
    """Build a network and load its weights, whose shapes are compared before it takes any memory."""
    weights = _read(folder, name, config)
    with _building(folder):
        for depth in _DEPTHS:
            given = arguments.get(depth, 0)
            if isinstance(given, int) and given > len(weights):
                raise ValueError(f"{depth} = {given:,}, but there are {len(weights)} weights")
        with torch.device("meta"):
            unfilled = build(arguments)
    _refuse_unfitting(unfilled, weights, folder, name)
    with _building(folder):
        network = build(arguments)
    network.load_state_dict(weights)
    return network


def _load_weights(network: nn.Module, folder: Path, name: str, config: CheckpointConfig) -> None:
    weights = _read(folder, name, config)
    _refuse_unfitting(network, weights, folder, name)
    network.load_state_dict(weights)


def _refuse_unfitting(network: nn.Module, weights: Mapping[str, Tensor], folder: Path, name: str) -> None:
    """Raise CheckpointError where the names or shapes of weights are not those of the network."""
    expected = {key: value.shape for key, value in network.state_dict().items()}
    different = sorted(
        key for key in {*expected, *weights} if key not in weights or expected.get(key) != weights[key].shape
    )
    if different:
        raise CheckpointError(
            f"{folder / name}.safetensors does not fit the architecture: {', '.join(different[:3])}"
            + (f" and {len(different) - 3} others" if different[3:] else "")
        )


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
