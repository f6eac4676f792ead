"""Generators and discriminators: plain modules with flat keyword arguments, one recipe key each.

The defaults are the paper's: StarGAN, section 7.2 and tables 4 and 5 (arXiv 1711.09020).
"""

from stargan.networks.ancestors import CycleGanResnet, Pix2PixUnet
from stargan.networks.build import (
    build_discriminator,
    build_generator,
    check_networks,
    check_sizes,
    defaults_of_other_kinds,
)
from stargan.networks.discriminators import (
    DcganDiscriminator,
    Discriminator,
    DiscriminatorArguments,
    DiscriminatorKind,
    PatchDiscriminator,
    StridedConvolution,
)
from stargan.networks.encoder_decoder import EncoderDecoder
from stargan.networks.generators import Generator
from stargan.networks.layers import (
    BatchNorm,
    ConvUnit,
    Features,
    InstanceNorm,
    NoNorm,
    Norm,
    Padding,
    Upsampling,
    convolve,
)
from stargan.networks.translating import (
    Conditioning,
    GeneratorArguments,
    GeneratorKind,
    OutputKind,
    TranslatingGenerator,
)

__all__ = [
    "BatchNorm",
    "Conditioning",
    "ConvUnit",
    "CycleGanResnet",
    "DcganDiscriminator",
    "Discriminator",
    "DiscriminatorArguments",
    "DiscriminatorKind",
    "EncoderDecoder",
    "Features",
    "Generator",
    "GeneratorArguments",
    "GeneratorKind",
    "InstanceNorm",
    "NoNorm",
    "Norm",
    "OutputKind",
    "Padding",
    "PatchDiscriminator",
    "Pix2PixUnet",
    "StridedConvolution",
    "TranslatingGenerator",
    "Upsampling",
    "build_discriminator",
    "build_generator",
    "check_networks",
    "check_sizes",
    "convolve",
    "defaults_of_other_kinds",
]
