"""Networks: generators and discriminators as modules with flat keyword arguments.

The defaults are the paper's: StarGAN, section 7.2 and tables 4 and 5 (arXiv 1711.09020).
"""

from stargan.networks.ancestors import CycleGanResnet
from stargan.networks.base import (
    Conditioning,
    GeneratorKind,
    OutputKind,
    PaintingGenerator,
    TranslatingGenerator,
)
from stargan.networks.build import (
    Initialisation,
    build_discriminator,
    build_generator,
    check_networks,
    defaults_of_other_kinds,
    initialise,
)
from stargan.networks.discriminators import (
    Discriminator,
    DiscriminatorKind,
    PatchDiscriminator,
    StridedConvolution,
)
from stargan.networks.generators import Generator
from stargan.networks.layers import ConvUnit, Features, InstanceNorm, Norm, Padding, Upsampling, convolve

__all__ = [
    "Conditioning",
    "ConvUnit",
    "CycleGanResnet",
    "Discriminator",
    "DiscriminatorKind",
    "Features",
    "Generator",
    "GeneratorKind",
    "Initialisation",
    "InstanceNorm",
    "Norm",
    "OutputKind",
    "Padding",
    "PaintingGenerator",
    "PatchDiscriminator",
    "StridedConvolution",
    "TranslatingGenerator",
    "Upsampling",
    "build_discriminator",
    "build_generator",
    "check_networks",
    "convolve",
    "defaults_of_other_kinds",
    "initialise",
]
