"""The generator and the discriminator: plain modules with flat keyword arguments.

The defaults are the paper's: StarGAN, section 7.2 and tables 4 and 5 (arXiv 1711.09020).
"""

from __future__ import annotations

from typing import Literal, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

Conditioning = Literal["concat", "norm"]
Output = Literal["direct", "masked"]
Upsampling = Literal["transposed", "nearest"]

_LEAK = 0.01
"""LeakyReLU's negative slope in the discriminator (paper, table 5)."""

_OPEN_MASK = 1.0
"""The masked output's starting bias: sigmoid(1) = 0.73, so that the generator starts by changing the image."""


class GeneratorArguments(TypedDict):
    """What a `Generator` was built with, as a checkpoint's JSON holds it."""

    vector_size: int
    image_channels: int
    width: int
    downsamplings: int
    blocks: int
    conditioning: Conditioning
    output: Output
    upsampling: Upsampling


class DiscriminatorArguments(TypedDict):
    """What a `PatchDiscriminator` was built with, as a checkpoint's JSON holds it."""

    vector_size: int
    image_size: tuple[int, int]
    image_channels: int
    width: int
    depth: int
    matches: bool


class InstanceNorm(nn.Module):
    """Instance normalisation without running statistics: train and eval outputs are equal.

    With `vector_size`, the label vector scales and shifts each channel after the norm (FiLM, adaptive
    instance norm), which the norm cannot remove; without it, a learnt scale and shift per channel.

    Args:
        channels: channels of the features.
        vector_size: entries of the label vector, 0 for a norm that ignores it.
    """

    def __init__(self, *, channels: int, vector_size: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.modulation = nn.Linear(vector_size, 2 * channels, bias=False) if vector_size else None

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Normalise each channel of each image, then scale and shift it.

        Args:
            features: (N, C, H, W) float.
            vectors: (N, L) float; read only if the norm was built with a `vector_size`.
        """
        if self.modulation is None:
            plain: Tensor = functional.instance_norm(features, weight=self.weight, bias=self.bias)
            return plain
        modulation: Tensor = self.modulation(vectors)
        scale, shift = modulation.chunk(2, dim=1)
        normal: Tensor = functional.instance_norm(features)
        return normal * (self.weight + scale)[:, :, None, None] + (self.bias + shift)[:, :, None, None]


class ConvUnit(nn.Module):
    """Convolution, instance norm, ReLU: what the generator is made of.

    Args:
        convolution: maps (N, C_in, H, W) to (N, channels, H', W').
        channels: the convolution's output channels.
        vector_size: see `InstanceNorm`.
        activate: whether a ReLU follows the norm.
    """

    def __init__(
        self, convolution: nn.Module, *, channels: int, vector_size: int = 0, activate: bool = True
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = InstanceNorm(channels=channels, vector_size=vector_size)
        self.activate = activate

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Map (N, C_in, H, W) features and (N, L) vectors to (N, channels, H', W') features."""
        features = self.norm(self.convolution(features), vectors)
        return functional.relu(features) if self.activate else features


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity path (paper, table 4).

    Args:
        channels: channels in and out.
        vector_size: see `InstanceNorm`.
    """

    def __init__(self, *, channels: int, vector_size: int = 0) -> None:
        super().__init__()
        self.first = ConvUnit(_conv3(channels), channels=channels, vector_size=vector_size)
        self.second = ConvUnit(_conv3(channels), channels=channels, vector_size=vector_size, activate=False)

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """Map (N, C, H, W) features and (N, L) vectors to features of the same shape."""
        residual: Tensor = self.second(self.first(features, vectors), vectors)
        return features + residual


class Generator(nn.Module):
    """G(x, c): translates an image into a target domain.

    7x7 convolution, strided 4x4 convolutions, residual blocks, upsampling, 7x7 convolution, tanh.

    Args:
        vector_size: entries of the label vector, L.
        image_channels: 1 or 3 (any number works).
        width: channels after the first convolution; doubled by each downsampling.
        downsamplings: strided convolutions; image sides must be multiples of 2 ** downsamplings.
        blocks: residual blocks.
        conditioning: "concat" feeds the vector as constant planes beside the image (the paper's); "norm"
            modulates the norms from the first residual block on, so that instance norm cannot remove it and
            the encoder's work can be shared by all targets of one image.
        output: "direct" paints the whole image (the paper's); "masked" blends a painted image with the input
            by an attention mask (as in GANimation, arXiv 1807.09251, section 4), so that what need not change
            stays as it is.
        upsampling: "transposed" convolutions (the paper's) or "nearest" resize and 3x3 convolution, which
            cannot leave a checkerboard.
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
        output: Output = "direct",
        upsampling: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        self.arguments: GeneratorArguments = {
            "vector_size": vector_size,
            "image_channels": image_channels,
            "width": width,
            "downsamplings": downsamplings,
            "blocks": blocks,
            "conditioning": conditioning,
            "output": output,
            "upsampling": upsampling,
        }
        self.conditioning = conditioning
        self.image_channels = image_channels
        self.downsamplings = downsamplings
        concatenated = vector_size if conditioning == "concat" else 0
        modulated = vector_size if conditioning == "norm" else 0

        stem = nn.Conv2d(image_channels + concatenated, width, 7, padding=3, bias=False)
        encoder = [ConvUnit(stem, channels=width)]
        channels = width
        for _ in range(downsamplings):
            down = nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1, bias=False)
            channels *= 2
            encoder.append(ConvUnit(down, channels=channels))
        self.encoder = nn.ModuleList(encoder)
        self.blocks = nn.ModuleList(ResidualBlock(channels=channels, vector_size=modulated) for _ in range(blocks))
        decoder = []
        for _ in range(downsamplings):
            up = _upsample(upsampling, channels, channels // 2)
            channels //= 2
            decoder.append(ConvUnit(up, channels=channels, vector_size=modulated))
        self.decoder = nn.ModuleList(decoder)
        self.painter = nn.Conv2d(width, image_channels, 7, padding=3, bias=False)
        self.masker = nn.Conv2d(width, 1, 7, padding=3) if output == "masked" else None
        if self.masker is not None and self.masker.bias is not None:
            nn.init.constant_(self.masker.bias, _OPEN_MASK)

    def encode(self, images: Tensor, vectors: Tensor) -> Tensor:
        """Run the layers ahead of the residual blocks; with conditioning "norm" they do not read `vectors`.

        Args:
            images: (N, C, H, W) float in [-1, 1].
            vectors: (N, L) float.

        Returns:
            (N, width * 2**d, H / 2**d, W / 2**d) features, d the number of downsamplings.
        """
        n, _, h, w = images.shape
        features = images
        if self.conditioning == "concat":
            planes = vectors[:, :, None, None].expand(n, vectors.shape[1], h, w)
            features = torch.cat([images, planes], dim=1)
        for unit in self.encoder:
            features = unit(features, vectors)
        return features

    def paint(self, features: Tensor, images: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the residual blocks and everything after them.

        Args:
            features: what `encode` returned.
            images: (N, C, H, W) float in [-1, 1], the encoded images, for the masked output.
            vectors: (N, L) float.

        Returns:
            The translation, (N, C, H, W) in [-1, 1], and its mask, (N, 1, H, W) in [0, 1] (1 = repainted), or
            None with the direct output.
        """
        for block in self.blocks:
            features = block(features, vectors)
        for unit in self.decoder:
            features = unit(features, vectors)
        # float() ends what autocast began: what leaves a network is float32.
        painted = torch.tanh(self.painter(features).float())
        if self.masker is None:
            return painted, None
        mask = torch.sigmoid(self.masker(features).float())
        return images + mask * (painted - images), mask

    def translate(self, images: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the translation and its mask; see `paint`."""
        return self.paint(self.encode(images, vectors), images, vectors)

    def forward(self, images: Tensor, vectors: Tensor) -> Tensor:
        """Translate images into the domains that `vectors` name.

        Args:
            images: (N, C, H, W) float in [-1, 1]; H and W multiples of 2 ** downsamplings.
            vectors: (N, L) float, see `LabelSpace.encode`.

        Returns:
            (N, C, H, W) float in [-1, 1].
        """
        return self.translate(images, vectors)[0]


class PatchDiscriminator(nn.Module):
    """D(x): says real or fake for each patch of an image, and which domain the image is in.

    Strided 4x4 convolutions with leaky ReLU and no norm; a 3x3 convolution for real or fake, and one over the
    whole last feature map for the domain (paper, table 5).

    Args:
        vector_size: entries of the domain head, L.
        image_size: (height, width) of the images, multiples of 2 ** depth.
        image_channels: 1 or 3 (any number works).
        width: channels after the first convolution; doubled by each further one.
        depth: strided convolutions.
        matches: whether real or fake is asked of an image *and* the domain it should show, patch by patch (a
            projection, as in Miyato and Koyama, arXiv 1802.05637). The paper's D asks it of the image alone, and
            a small G then satisfies the domain head with smudges that are no smile but are classified as one.
    """

    def __init__(
        self,
        *,
        vector_size: int,
        image_size: tuple[int, int],
        image_channels: int = 3,
        width: int = 64,
        depth: int = 6,
        matches: bool = False,
    ) -> None:
        super().__init__()
        self.arguments: DiscriminatorArguments = {
            "vector_size": vector_size,
            "image_size": image_size,
            "image_channels": image_channels,
            "width": width,
            "depth": depth,
            "matches": matches,
        }
        layers: list[nn.Module] = []
        channels_in, channels = image_channels, width
        for _ in range(depth):
            layers += [nn.Conv2d(channels_in, channels, 4, stride=2, padding=1), nn.LeakyReLU(_LEAK)]
            channels_in, channels = channels, channels * 2
        self.features = nn.Sequential(*layers)
        h, w = image_size
        self.source_head = nn.Conv2d(channels_in, 1, 3, padding=1, bias=False)
        self.domain_head = nn.Conv2d(channels_in, vector_size, (h >> depth, w >> depth), bias=False)
        self.match_head = nn.Conv2d(channels_in, vector_size, 3, padding=1, bias=False) if matches else None

    def forward(self, images: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Score images.

        Args:
            images: (N, C, H, W) float in [-1, 1].
            wanted: (N, L) float, the domains that the images should show, see `LabelSpace.encode_signed`; read
                only with `matches`.

        Returns:
            Real-or-fake scores (N, 1, H / 2**depth, W / 2**depth), higher is more real, and domain logits
            (N, L), in the label vector's order.
        """
        features = self.features(images)
        scores = self.source_head(features).float()
        if self.match_head is not None:
            matches = wanted[:, :, None, None] * self.match_head(features).float()
            scores = scores + matches.sum(dim=1, keepdim=True)
        return scores, self.domain_head(features).float().flatten(1)


def check_sizes(*, image_size: tuple[int, int], downsamplings: int, depth: int) -> None:
    """Refuse depths that do not divide the image size.

    Args:
        image_size: (height, width) in pixels.
        downsamplings: the generator's strided convolutions.
        depth: the discriminator's strided convolutions.

    Raises:
        ValueError: naming the argument, the size and the largest depth that works.
    """
    for name, halvings in (("generator.downsamplings", downsamplings), ("discriminator.depth", depth)):
        for side in image_size:
            if halvings < 0 or side % (1 << halvings):
                most = (side & -side).bit_length() - 1
                raise ValueError(
                    f"{name} = {halvings} halves an image side of {side} px more often than it can be halved; "
                    f"use at most {most}, or another size"
                )
    if image_size == (1 << downsamplings, 1 << downsamplings):
        raise ValueError(
            f"generator.downsamplings = {downsamplings} shrinks an image of {image_size[0]} x {image_size[1]} px "
            f"to one pixel, which no instance norm can normalise; use at most {downsamplings - 1}, or another size"
        )


def _conv3(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, padding=1, bias=False)


def _upsample(upsampling: Upsampling, channels_in: int, channels: int) -> nn.Module:
    if upsampling == "transposed":
        return nn.ConvTranspose2d(channels_in, channels, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
    )
