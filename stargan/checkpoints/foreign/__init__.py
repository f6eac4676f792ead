"""Models that other implementations trained: the original StarGAN, CycleGAN and pix2pix.

A file is read with `read_foreign`, which runs no code of it; what its label vector means is said in words
(`parse_attributes`), because the file does not know. `ForeignGenerator.to_model` makes one of our models of both.
"""

from stargan.checkpoints.foreign.attributes import parse_attributes
from stargan.checkpoints.foreign.load import ForeignGenerator, read_foreign

__all__ = ["ForeignGenerator", "parse_attributes", "read_foreign"]
