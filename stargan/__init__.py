"""StarGAN as a library: label spaces, networks, losses, the training loop, checkpoints and a fast translator.

Imports torch, safetensors and the standard library, nothing else.

Source: Choi et al., "StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image
Translation", arXiv 1711.09020.
"""

from stargan import losses
from stargan.checkpoints import (
    CheckpointError,
    Model,
    find_checkpoint,
    load_discriminator,
    load_model,
    load_state,
    save_checkpoint,
    save_model,
)
from stargan.checkpoints.foreign import ForeignGenerator, parse_attributes, read_foreign
from stargan.config import TrainConfig
from stargan.diffaugment import diff_augment
from stargan.distributed import SINGLE_RANK, RankLostError, Ranks
from stargan.inference import Box, CompilationError, Job, Translator, blend
from stargan.labels import UNKNOWN, Attribute, LabelSpace, permuted_targets
from stargan.networks import Discriminator, TranslatingGenerator, build_discriminator, build_generator
from stargan.pixels import to_signed, to_uint8
from stargan.training import (
    Batch,
    CheckpointEvent,
    DivergenceError,
    Event,
    LogEvent,
    SampleEvent,
    TrainState,
    new_state,
    train,
)

__all__ = [
    "SINGLE_RANK",
    "UNKNOWN",
    "Attribute",
    "Batch",
    "Box",
    "CheckpointError",
    "CheckpointEvent",
    "CompilationError",
    "Discriminator",
    "DivergenceError",
    "Event",
    "ForeignGenerator",
    "Job",
    "LabelSpace",
    "LogEvent",
    "Model",
    "RankLostError",
    "Ranks",
    "SampleEvent",
    "TrainConfig",
    "TrainState",
    "TranslatingGenerator",
    "Translator",
    "blend",
    "build_discriminator",
    "build_generator",
    "diff_augment",
    "find_checkpoint",
    "load_discriminator",
    "load_model",
    "load_state",
    "losses",
    "new_state",
    "parse_attributes",
    "permuted_targets",
    "read_foreign",
    "save_checkpoint",
    "save_model",
    "to_signed",
    "to_uint8",
    "train",
]
