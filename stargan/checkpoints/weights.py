"""Tensors as safetensors files that are compared with their SHA-256 before they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from stargan.checkpoints.description import CheckpointError


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's state as tensors on the CPU."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}


def safetensors_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file; equal tensors make equal bytes."""
    # Not safetensors' own save_file: it makes files that nobody but their owner may read.
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def read_safetensors(file: Path, *, sha256: str, remedy: str = "") -> dict[str, Tensor]:
    """Read a safetensors file that is what it was when it was written.

    Args:
        file: where it lies.
        sha256: of the file, as noted when it was written.
        remedy: ends the error's message: what to do.

    Raises:
        CheckpointError: it is missing, or damaged.
    """
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
