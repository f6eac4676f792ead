"""What a checkpoint's `config.json` says, read with care: it may be damaged, or anybody's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from stargan.labels import AttributeState
from stargan.networks import DiscriminatorArguments, GeneratorArguments

FORMAT = 1
"""The version of the checkpoint's layout."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_KINDS: dict[str, Callable[[object], bool]] = {
    "step": lambda value: isinstance(value, int),
    "label_space": lambda value: isinstance(value, list),
    "image_size": lambda value: (
        isinstance(value, list) and len(value) == 2 and all(isinstance(side, int) and side > 0 for side in value)
    ),
    "generator": lambda value: isinstance(value, dict),
    "settings": lambda value: isinstance(value, dict),
    "files": lambda value: isinstance(value, dict) and all(isinstance(digest, str) for digest in value.values()),
}
"""What the entries of a description must be, whoever wrote it."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another layout; the message names the file."""


class Description(TypedDict):
    """The entries of `config.json`."""

    format: int
    step: int
    label_space: list[AttributeState]
    image_size: tuple[int, int]
    generator: GeneratorArguments
    settings: dict[str, Json]
    files: dict[str, str]
    discriminator: NotRequired[DiscriminatorArguments]
    train: NotRequired[dict[str, Json]]
    elapsed: NotRequired[float]


def read_description(folder: Path) -> Description:
    """Read a checkpoint's description and compare it with its own SHA-256.

    Args:
        folder: the checkpoint.

    Raises:
        CheckpointError: the file is missing, damaged, edited, or of another layout.
    """
    file = folder / "config.json"
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}{instead_of(folder)}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise CheckpointError(f"{file} is not a checkpoint of format {FORMAT}")
    missing = _KINDS.keys() - description.keys()
    if missing:
        raise CheckpointError(f"{file} lacks {', '.join(sorted(missing))}{instead_of(folder)}")
    wanted = description.pop("sha256", None)  # Checkpoints of the first versions have none.
    found = json_sha256(description)
    if wanted not in (None, found):
        raise CheckpointError(
            f"{file} is damaged, or was edited: its content has the SHA-256 {found[:12]}..., not "
            f"{str(wanted)[:12]}...{instead_of(folder)}"
        )
    wrong = [key for key, fits in _KINDS.items() if not fits(description[key])]
    if wrong:
        raise CheckpointError(f"{file} does not describe a model: {', '.join(wrong)} has a value of another kind")
    return cast(Description, description)


def json_sha256(description: Mapping[str, object]) -> str:
    """Return the SHA-256 that a description has for its entry `sha256`, however its file is laid out."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def instead_of(folder: Path) -> str:
    """Return how to go on without a damaged checkpoint: with the one before it, if the run has one."""
    siblings = folder.parent.iterdir() if folder.name.isdigit() else ()
    earlier = [other.name for other in siblings if other.name.isdigit() and (other / "config.json").is_file()]
    before = max((name for name in earlier if name < folder.name), default=None)
    return "" if before is None else f". Delete {folder}: the checkpoint before it, {before}, is taken then"
