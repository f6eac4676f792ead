"""Inference: uint8 images and targets to uint8 translations, at the model's size or added to larger originals."""

from stargan.inference.composite import Box, blend, edits_input
from stargan.inference.prepare import CompilationError
from stargan.inference.translator import Job, Translator, compiling_works, generator_flops

__all__ = [
    "Box",
    "CompilationError",
    "Job",
    "Translator",
    "blend",
    "compiling_works",
    "edits_input",
    "generator_flops",
]
