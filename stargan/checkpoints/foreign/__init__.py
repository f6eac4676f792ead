"""Generators of other implementations: the original StarGAN, CycleGAN and pix2pix.

`read_foreign` reads a file without running any code in it, `parse_attributes` the meaning of its label vector,
which the file does not hold, and `ForeignGenerator.to_model` makes a `Model` of both.
"""

from stargan.checkpoints.foreign.load import ForeignGenerator, parse_attributes, read_foreign

__all__ = ["ForeignGenerator", "parse_attributes", "read_foreign"]
