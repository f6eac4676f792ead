"""Checkpoints: models and training states as safetensors and JSON, and the files of other implementations."""

from stargan.checkpoints.checkpoint import (
    Model,
    find_checkpoint,
    load_discriminator,
    load_model,
    load_state,
    remove_checkpoint,
    remove_drafts,
    save_checkpoint,
    save_model,
)
from stargan.checkpoints.description import CheckpointError, Json, seal
from stargan.checkpoints.weights import pack, unpack, weights_of

__all__ = [
    "CheckpointError",
    "Json",
    "Model",
    "find_checkpoint",
    "load_discriminator",
    "load_model",
    "load_state",
    "pack",
    "remove_checkpoint",
    "remove_drafts",
    "save_checkpoint",
    "save_model",
    "seal",
    "unpack",
    "weights_of",
]
