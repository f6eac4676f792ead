"""Networks: generators and discriminators as modules with flat keyword arguments.

The defaults are the paper's: StarGAN, section 7.2 and tables 4 and 5 (arXiv 1711.09020).
"""

from stargan.networks.ancestors import CycleGanResnet, Pix2PixUnet
from stargan.networks.base import (
    Conditioning,
    GeneratorKind,
    OutputKind,
    TranslatingGenerator,
)
from stargan.networks.build import (
    build_discriminator,
    build_generator,
    check_networks,
    defaults_of_other_kinds,
)
from stargan.networks.discriminators import (
    DcganDiscriminator,
    Discriminator,
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

__all__ = [
    "BatchNorm",
    "Conditioning",
    "ConvUnit",
    "CycleGanResnet",
    "DcganDiscriminator",
    "Discriminator",
    "DiscriminatorKind",
    "EncoderDecoder",
    "Features",
    "Generator",
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
    "convolve",
    "defaults_of_other_kinds",
]
