"""The paper's generator and its variants (StarGAN, table 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stargan.networks.base import Conditioning, OutputKind, PaintingGenerator
from stargan.networks.layers import (
    ConvUnit,
    Features,
    Norm,
    Padding,
    ResidualBlock,
    Upsampling,
    constructor_arguments,
    convolve,
    same_convolution,
    upsample,
)


class Generator(PaintingGenerator):
    """The paper's generator, kind "resnet".

    7x7 convolution, strided 4x4 convolutions, residual blocks, upsampling, 7x7 convolution, tanh.

    Args:
        vector_size: entries of the label vector, L.
        image_channels: 1 or 3 (any number works).
        width: channels after the first convolution; doubled by each downsampling.
        downsamplings: strided convolutions; image sides must be multiples of 2 ** downsamplings.
        blocks: residual blocks.
        conditioning: "concat" feeds the vector as constant planes beside the image (the paper's); "norm"
            modulates the norms from the first residual block on, so that instance norm cannot remove it and the
            encoder runs once for all targets of an image.
        output: "direct" paints the whole image (the paper's); "masked" blends a painted image with the input
            by an attention mask (GANimation, arXiv 1807.09251, section 4); "residual" adds 2 tanh(.) to the input.
        upsampling: "transposed" convolutions (the paper's), or "nearest" and 3x3 convolution (no checkerboards).
        norm: "instance" (the paper's), "batch", or "none".
        padding: of the 7x7 convolutions and the residual blocks: "zero" (the paper's), or "reflection", which
            leaves no rim but lets instance norm remove constant planes.
        dilation: of the residual blocks' convolutions, for a larger receptive field at the same cost.
        spectral: whether every weight is divided by its largest singular value, but a residual output's last.
        skips: whether each upsampled map is added to the encoder's of its size (U-Net, arXiv 1505.04597).
        noise: Z, normal numbers that are read before the label vector, so that one target has several looks.
        dropout: see `ResidualBlock`.

    Raises:
        ValueError: conditioning "none", without which labels would have no effect.
    """

    def __init__(
        self,
        *,
        vector_size: int,
        image_channels: int = 3,
        width: int = 64,
        downsamplings: int = 2,
        blocks: int = 6,
        conditioning: Conditioning = "concat",
        output: OutputKind = "direct",
        upsampling: Upsampling = "transposed",
        norm: Norm = "instance",
        padding: Padding = "zero",
        dilation: int = 1,
        spectral: bool = False,
        skips: bool = False,
        noise: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if conditioning == "none":
            raise ValueError('conditioning = "none" does not apply to a resnet; use "norm"')
        self.arguments = constructor_arguments(self, "resnet", locals())
        self.image_channels = image_channels
        concatenated = noise + vector_size if conditioning == "concat" else 0
        modulated = noise + vector_size if conditioning == "norm" else 0

        stem = same_convolution(image_channels + concatenated, width, 7, padding=padding)
        encoder = [ConvUnit(stem, channels=width, norm=norm)]
        channels = width
        for _ in range(downsamplings):
            down = nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1, bias=False)
            channels *= 2
            encoder.append(ConvUnit(down, channels=channels, norm=norm))
        self.encoder = nn.ModuleList(encoder)
        self.blocks = nn.ModuleList(
            ResidualBlock(
                channels=channels,
                norm=norm,
                vector_size=modulated,
                padding=padding,
                dilation=dilation,
                dropout=dropout,
            )
            for _ in range(blocks)
        )
        decoder = []
        for _ in range(downsamplings):
            up = upsample(upsampling, channels, channels // 2)
            channels //= 2
            decoder.append(ConvUnit(up, channels=channels, norm=norm, vector_size=modulated))
        self.decoder = nn.ModuleList(decoder)
        self.painter = same_convolution(width, image_channels, 7, padding=padding)
        masked = output == "masked"
        self.masker = same_convolution(width, 1, 7, padding=padding, bias=True) if masked else None
        self._start(spectral=spectral)

    def encode(self, images: Tensor, vectors: Tensor) -> Features:
        """See `TranslatingGenerator.encode`; with conditioning "norm" `vectors` are not read.

        Returns (N, width * 2**d, H / 2**d, W / 2**d) features, d the number of downsamplings; with `skips`, before
        them those of every earlier layer, (N, width * 2**i, H / 2**i, W / 2**i) for i from 0 on.
        """
        n, _, h, w = images.shape
        features = images
        if self.arguments["conditioning"] == "concat":
            planes = vectors[:, :, None, None].expand(n, vectors.shape[1], h, w)
            features = torch.cat([images, planes], dim=1)
        return self._descend(self._stem.convolution(features), vectors)

    def _descend(self, convolved: Tensor, vectors: Tensor) -> Features:
        """Run the rest of the encoder after its first convolution."""
        features = self._stem.settle(convolved, vectors)
        maps = [features]
        for unit in list(self.encoder)[1:]:
            features = unit(features, vectors)
            maps.append(features)
        return tuple(maps) if self.arguments["skips"] else (features,)

    @property
    def _stem(self) -> ConvUnit:
        """The encoder's first unit."""
        stem = self.encoder[0]
        assert isinstance(stem, ConvUnit)
        return stem

    def encoder_stage(self, images: Tensor) -> Features:
        """See `TranslatingGenerator.encoder_stage`; with "concat" the first convolution's part over the image.

        A convolution is linear: over the image and the planes it is the sum of one over each.
        """
        if self.arguments["conditioning"] != "concat":
            return super().encoder_stage(images)
        stem = self._stem.convolution
        assert isinstance(stem, nn.Conv2d)
        return (convolve(stem, images, stem.weight[:, : self.image_channels]),)

    def finish_encoding(self, encoded: Features, vectors: Tensor) -> Features:
        """See `TranslatingGenerator.finish_encoding`; with "concat" adds the planes' part and runs the rest."""
        if self.arguments["conditioning"] != "concat":
            return encoded
        (convolved,) = encoded
        return self._descend(convolved + self._convolved_planes(vectors, *convolved.shape[2:]), vectors)

    def _convolved_planes(self, vectors: Tensor, height: int, width: int) -> Tensor:
        """Return the first convolution's part over the planes of the vectors, (N, width, H, W) of the given size.

        Planes are constant, so it varies only near the border: planes as large as the kernel have all its values.
        """
        stem = self._stem.convolution
        assert isinstance(stem, nn.Conv2d)
        side = stem.kernel_size[0]
        rows, columns = min(height, side), min(width, side)
        planes = vectors[:, :, None, None].expand(*vectors.shape, rows, columns)
        part = convolve(stem, planes, stem.weight[:, self.image_channels :])
        down = _stretched(rows, height, vectors.device)
        across = _stretched(columns, width, vectors.device)
        return part.index_select(2, down).index_select(3, across)

    def decode(self, features: Features, vectors: Tensor) -> Tensor:
        """See `TranslatingGenerator.decode`; returns (N, width, H, W) features."""
        *earlier, decoded = features
        for block in self.blocks:
            decoded = block(decoded, vectors)
        for unit in self.decoder:
            decoded = unit(decoded, vectors, earlier.pop() if earlier else None)
        return decoded


def _stretched(cases: int, pixels: int, device: torch.device) -> Tensor:
    """Return for each pixel of a line its index in a shorter one of odd length, whose middle is repeated."""
    places = torch.arange(pixels, device=device)
    if cases == pixels:
        return places
    middle = cases // 2
    return places.clamp(max=middle) + (places - (pixels - 1 - middle)).clamp(min=0)
