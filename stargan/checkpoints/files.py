"""The files of a checkpoint, config.json and safetensors, each verified by its SHA-256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from stargan.labels import AttributeState

FORMAT = 1
"""The version of the checkpoint's layout."""

_LONGEST_SIDE = 1 << 14
"""Pixels of a side of a model's images."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_VALID: dict[str, Callable[[object], bool]] = {
    "step": lambda value: isinstance(value, int),
    "label_space": lambda value: isinstance(value, list),
    "image_size": lambda value: (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(side, int) and 0 < side <= _LONGEST_SIDE for side in value)
    ),
    "generator": lambda value: isinstance(value, dict),
    "settings": lambda value: isinstance(value, dict),
    "files": lambda value: isinstance(value, dict) and all(isinstance(digest, str) for digest in value.values()),
}
"""Required entry of config.json -> whether its value has the right type."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another layout; the message names the file."""


class CheckpointConfig(TypedDict):
    """The entries of config.json."""

    format: int
    step: int
    label_space: list[AttributeState]
    image_size: tuple[int, int]
    generator: dict[str, Any]
    settings: dict[str, Json]
    files: dict[str, str]
    discriminator: NotRequired[dict[str, Any]]
    train: NotRequired[dict[str, Json]]
    elapsed: NotRequired[float]
    augment_probability: NotRequired[float]
    translates: NotRequired[str]


def read_config(folder: Path) -> CheckpointConfig:
    """Read a checkpoint's config.json, and verify its types and its own SHA-256."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}{earlier_checkpoint(folder)}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not a checkpoint of format {FORMAT}")
    missing = _VALID.keys() - config.keys()
    if missing:
        raise CheckpointError(f"{file} lacks {', '.join(sorted(missing))}{earlier_checkpoint(folder)}")
    expected = config.pop("sha256", None)  # Checkpoints of the first versions have none.
    found = json_sha256(config)
    if expected not in (None, found):
        raise CheckpointError(
            f"{file} is damaged, or was edited: its content has the SHA-256 {found[:12]}..., not "
            f"{str(expected)[:12]}...{earlier_checkpoint(folder)}"
        )
    wrong = [key for key, valid in _VALID.items() if not valid(config[key])]
    if wrong:
        raise CheckpointError(
            f"{file} does not describe a model: {', '.join(wrong)} has a value of the wrong type"
        )
    return cast(CheckpointConfig, config)


def json_sha256(values: Mapping[str, object]) -> str:
    """Return the SHA-256 of JSON values, whatever the order of their keys and the layout of their file."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def earlier_checkpoint(folder: Path) -> str:
    """Return the end of a message on a damaged checkpoint: the run's one that replaces it, or "" without."""
    siblings = folder.parent.iterdir() if folder.name.isdigit() else ()
    others = [other.name for other in siblings if other.name.isdigit() and (other / "config.json").is_file()]
    newest = max((name for name in others if name != folder.name), default=None)
    if newest is None:
        return ""
    which = "the newest one" if newest > folder.name else "the checkpoint before it"
    return f". Delete {folder}: {which}, {newest}, is taken then"


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's state as tensors on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def safetensors_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file; equal tensors make equal bytes."""
    # safetensors' own save_file makes files that only their owner can read.
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def read_safetensors(file: Path, *, sha256: str, remedy: str = "") -> dict[str, Tensor]:
    """Read a safetensors file and verify its SHA-256; `remedy` ends the message of a CheckpointError."""
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256:
            raise CheckpointError(
                f"{file} is damaged: its SHA-256 is {found[:12]}..., not {sha256[:12]}...{remedy}"
            )
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}{remedy}") from error
