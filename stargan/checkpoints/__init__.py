"""Checkpoints: models and training states as safetensors and JSON, and the files of other implementations."""

from stargan.checkpoints.checkpoint import (
    BEST,
    Model,
    checkpoint_name,
    find_checkpoint,
    load_discriminator,
    load_model,
    load_state,
    newest_checkpoint,
    remove_checkpoint,
    remove_incomplete,
    save_checkpoint,
    save_model,
)
from stargan.checkpoints.files import (
    CheckpointError,
    Json,
    json_sha256,
    read_safetensors,
    safetensors_bytes,
    weights_of,
)
from stargan.checkpoints.initial import take_weights

__all__ = [
    "BEST",
    "CheckpointError",
    "Json",
    "Model",
    "checkpoint_name",
    "find_checkpoint",
    "json_sha256",
    "load_discriminator",
    "load_model",
    "load_state",
    "newest_checkpoint",
    "read_safetensors",
    "remove_checkpoint",
    "remove_incomplete",
    "safetensors_bytes",
    "save_checkpoint",
    "save_model",
    "take_weights",
    "weights_of",
]
