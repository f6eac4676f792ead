"""The generators of CycleGAN and pix2pix, whose published weights they load."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks.base import Conditioning, PaintingGenerator
from stargan.networks.layers import (
    ConvUnit,
    Features,
    Norm,
    ResidualBlock,
    constructor_arguments,
    same_convolution,
)

_WIDEST = 8

_SLOPE = 0.2

_DROPPED = 3
"""Units of a U-Net's decoder with dropout, from the bottleneck on."""


class CycleGanResnet(PaintingGenerator):
    """CycleGAN's generator, kind "cyclegan-resnet"; see `Generator` for the other arguments.

    7x7 convolution, strided 3x3 convolutions, residual blocks, transposed 3x3 convolutions, 7x7 convolution, tanh;
    the image is mirrored at its border, except by the strided ones. Instance norm neither scales nor shifts.

    Args:
        vector_size: is not read.
        blocks: residual blocks; 6 or 9 in the published files.
        norm: "instance" (CycleGAN's; convolutions then have a bias), "batch" (running statistics in eval mode),
            "none".
        dropout: see `ResidualBlock`.

    Source: Zhu et al., CycleGAN, section 7.2 (arXiv 1703.10593).
    """

    reads_labels = False

    def __init__(
        self,
        *,
        vector_size: int,
        image_channels: int = 3,
        width: int = 64,
        downsamplings: int = 2,
        blocks: int = 6,
        norm: Norm = "instance",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        arguments = constructor_arguments(self, "cyclegan-resnet", locals())
        self.arguments = {**arguments, "output": "direct"}
        self.image_channels = image_channels
        bias = norm == "instance"

        stem = same_convolution(image_channels, width, 7, padding="reflection", bias=bias)
        encoder = [ConvUnit(stem, channels=width, norm=norm)]
        channels = width
        for _ in range(downsamplings):
            down = nn.Conv2d(channels, channels * 2, 3, stride=2, padding=1, bias=bias)
            channels *= 2
            encoder.append(ConvUnit(down, channels=channels, norm=norm))
        self.encoder = nn.ModuleList(encoder)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels=channels, norm=norm, padding="reflection", bias=bias, dropout=dropout)
            for _ in range(blocks)
        )
        decoder = []
        for _ in range(downsamplings):
            up = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)
            channels //= 2
            decoder.append(ConvUnit(up, channels=channels, norm=norm))
        self.decoder = nn.ModuleList(decoder)
        self.painter = same_convolution(width, image_channels, 7, padding="reflection", bias=True)
        self.masker = None

    def encode(self, images: Tensor, vectors: Tensor) -> Features:
        """See `TranslatingGenerator.encode`; returns (N, width * 2**d, H / 2**d, W / 2**d), d downsamplings."""
        features = images
        for unit in self.encoder:
            features = unit(features, vectors)
        return (features,)

    def decode(self, features: Features, vectors: Tensor) -> Tensor:
        """See `TranslatingGenerator.decode`; returns (N, width, H, W) features."""
        decoded = features[-1]
        for block in self.blocks:
            decoded = block(decoded, vectors)
        for unit in self.decoder:
            decoded = unit(decoded, vectors)
        return decoded


class Pix2PixUnet(PaintingGenerator):
    """pix2pix's U-Net, kind "pix2pix-unet"; with 8 downsamplings the published unet_256.

    Strided 4x4 convolutions down to the bottleneck, transposed ones up again, each joined with the encoder's map
    of its size.

    Args:
        vector_size: entries of the label vector; read with conditioning "norm" alone.
        width: channels after the first convolution; doubled by each of the next three.
        downsamplings: strided convolutions, at least 2; image sides must be multiples of 2 ** downsamplings.
        conditioning: "none" (pix2pix's: one direction), or "norm": the vector modulates the decoder's norms.
        norm: "batch" (pix2pix's; running statistics in eval mode), "instance" (convolutions then have a bias),
            "none".
        dropout: probability of each value after the first three norms of the decoder to become 0 in training,
            pix2pix's noise; off in eval mode.

    Raises:
        ValueError: fewer than 2 downsamplings, or conditioning "concat".

    Source: Isola et al., pix2pix, section 6.1.1 (arXiv 1611.07004).
    """

    def __init__(
        self,
        *,
        vector_size: int,
        image_channels: int = 3,
        width: int = 64,
        downsamplings: int = 8,
        conditioning: Conditioning = "none",
        norm: Norm = "instance",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if downsamplings < 2:
            raise ValueError(f"a U-Net has at least 2 downsamplings, not {downsamplings}")
        if conditioning == "concat":
            raise ValueError('conditioning = "concat" does not apply to a pix2pix-unet; use "norm"')
        arguments = constructor_arguments(self, "pix2pix-unet", locals())
        self.reads_labels = conditioning == "norm" and vector_size > 0
        self.arguments = {**arguments, "output": "direct"}
        self.image_channels = image_channels
        bias = norm == "instance"
        widths = [width * min(2**level, _WIDEST) for level in range(downsamplings)]

        def down(level: int) -> nn.Conv2d:
            channels_in = widths[level - 1] if level else image_channels
            return nn.Conv2d(channels_in, widths[level], 4, stride=2, padding=1, bias=bias)

        def up(level: int) -> nn.ConvTranspose2d:
            joined = widths[level] if level == downsamplings - 1 else 2 * widths[level]
            return nn.ConvTranspose2d(joined, widths[level - 1], 4, stride=2, padding=1, bias=bias)

        self.stem = down(0)
        self.encoder = nn.ModuleList(
            ConvUnit(down(level), channels=widths[level], norm=norm, activate=False)
            for level in range(1, downsamplings - 1)
        )
        self.bottom = down(downsamplings - 1)
        self.decoder = nn.ModuleList(
            ConvUnit(
                up(level),
                channels=widths[level - 1],
                norm=norm,
                vector_size=vector_size if conditioning == "norm" else 0,
                activate=False,
                dropout=dropout if level >= downsamplings - _DROPPED else 0,
            )
            for level in range(downsamplings - 1, 0, -1)
        )
        self.painter = nn.ConvTranspose2d(2 * width, image_channels, 4, stride=2, padding=1)
        self.masker = None

    def encode(self, images: Tensor, vectors: Tensor) -> Features:
        """See `TranslatingGenerator.encode`; returns the maps of all sizes, from H / 2 to the bottleneck."""
        maps = [self.stem(images)]
        for unit in self.encoder:
            maps.append(unit(functional.leaky_relu(maps[-1], _SLOPE), vectors))
        maps.append(self.bottom(functional.leaky_relu(maps[-1], _SLOPE)))
        return tuple(maps)

    def decode(self, features: Features, vectors: Tensor) -> Tensor:
        """See `TranslatingGenerator.decode`; returns (N, 2 * width, H / 2, W / 2) features."""
        *earlier, decoded = features
        for unit in self.decoder:
            decoded = torch.cat([earlier.pop(), unit(functional.relu(decoded), vectors)], dim=1)
        return functional.relu(decoded)
