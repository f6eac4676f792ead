"""What every generator is, and the paper's: plain modules with flat keyword arguments (StarGAN, table 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Required, TypedDict

import torch
from torch import Tensor, nn

from stargan.networks.layers import (
    ConvUnit,
    Features,
    Norm,
    Padding,
    ResidualBlock,
    Upsampling,
    normalise_spectrally,
    same_convolution,
    upsample,
)

GeneratorKind = Literal["resnet", "encoder-decoder"]
"""What a recipe can choose."""

AncestorKind = Literal["cyclegan-resnet", "pix2pix-unet"]
"""What other implementations trained: to translate with, see `stargan.networks.ancestors`."""

Conditioning = Literal["concat", "norm"]
Output = Literal["direct", "masked", "residual"]

_OPEN_MASK = 1.0
"""The masked output's starting bias: sigmoid(1) = 0.73, so that the generator starts by changing the image."""

_LARGEST_CHANGE = 2.0
"""Of a residual output: enough to turn -1, black, into 1, white."""

_SMALL_START = 0.01
"""What a residual painter's first weights are multiplied by, so that the generator starts near the identity."""


class GeneratorArguments(TypedDict, total=False):
    """What a generator was built with, as a checkpoint's JSON holds it: the keys that its kind has."""

    kind: GeneratorKind | AncestorKind
    vector_size: Required[int]
    image_channels: Required[int]
    image_size: tuple[int, int]
    width: Required[int]
    downsamplings: Required[int]
    blocks: int
    conditioning: Conditioning
    output: Required[Output]
    upsampling: Upsampling
    norm: Norm
    padding: Padding
    dilation: int
    spectral: bool
    skips: bool
    latent: int


class TranslatingGenerator(nn.Module, ABC):
    """G(x, c), of any kind: encode, decode, and paint the result over the input.

    Attributes:
        arguments: what it was built with; `build_generator` makes the same again.
        image_channels: channels of the images.
        painter: its last layer, from features to colours.
        masker: beside it, from features to the attention mask; None unless the output is "masked".
        reads_labels: whether its output depends on the label vector; if not, it translates in one direction.
    """

    reads_labels: ClassVar[bool] = True

    arguments: GeneratorArguments
    image_channels: int
    painter: nn.Conv2d | nn.ConvTranspose2d
    masker: nn.Conv2d | nn.ConvTranspose2d | None

    @abstractmethod
    def encode(self, images: Tensor, vectors: Tensor) -> Features:
        """Run the layers ahead of the bottleneck, whose features come last in the result.

        Args:
            images: (N, C, H, W) float in [-1, 1].
            vectors: (N, L) float.
        """

    @abstractmethod
    def decode(self, features: Features, vectors: Tensor) -> Tensor:
        """Run everything between `encode` and the painter.

        Args:
            features: what `encode` returned.
            vectors: (N, L) float.

        Returns:
            What the painter reads.
        """

    def paint(self, features: Features, images: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run everything that comes after `encode`.

        Args:
            features: what `encode` returned.
            images: (N, C, H, W) float in [-1, 1], the encoded images, for outputs that change them.
            vectors: (N, L) float.

        Returns:
            The translation, (N, C, H, W) in [-1, 1], and its mask, (N, 1, H, W) in [0, 1] (1 = repainted), or
            None unless the output is "masked".
        """
        decoded = self.decode(features, vectors)
        # float() ends what autocast began: what leaves a network is float32.
        painted = torch.tanh(self.painter(decoded).float())
        if self.masker is not None:
            mask = torch.sigmoid(self.masker(decoded).float())
            return images + mask * (painted - images), mask
        if self.arguments["output"] == "residual":
            return (images + _LARGEST_CHANGE * painted).clamp(-1, 1), None
        return painted, None

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

    def _start(self, *, spectral: bool) -> None:
        """Give the finished network's last layers their starting values, then wrap it for spectral norm."""
        if self.masker is not None and self.masker.bias is not None:
            nn.init.constant_(self.masker.bias, _OPEN_MASK)
        residual = self.arguments["output"] == "residual"
        if residual:
            with torch.no_grad():
                for weight in self.painter.parameters():
                    weight.mul_(_SMALL_START)
        if spectral:
            # Spectral norm would undo the small start; the tanh bounds the change anyway.
            normalise_spectrally(self, exempt=self.painter if residual else None)


class Generator(TranslatingGenerator):
    """The paper's generator, kind "resnet".

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
            by an attention mask (as in GANimation, arXiv 1807.09251, section 4), and "residual" adds a change,
            2 tanh(.), to the input, so that what need not change stays as it is.
        upsampling: "transposed" convolutions (the paper's) or "nearest" resize and 3x3 convolution, which
            cannot leave a checkerboard.
        norm: "instance" (the paper's), "batch", or "none".
        padding: what the 7x7 convolutions and the residual blocks see beyond the border: "zero" (the paper's),
            or its "reflection", which leaves no rim but hides constant planes from instance norm.
        dilation: of the residual blocks' convolutions; they see further at the same cost.
        spectral: whether every layer's weight is divided by its largest singular value, all but a residual
            output's last.
        skips: whether each upsampled map is added to the encoder's of its size (U-Net, arXiv 1505.04597).
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
        norm: Norm = "instance",
        padding: Padding = "zero",
        dilation: int = 1,
        spectral: bool = False,
        skips: bool = False,
    ) -> None:
        super().__init__()
        self.arguments = {
            "kind": "resnet",
            "vector_size": vector_size,
            "image_channels": image_channels,
            "width": width,
            "downsamplings": downsamplings,
            "blocks": blocks,
            "conditioning": conditioning,
            "output": output,
            "upsampling": upsampling,
            "norm": norm,
            "padding": padding,
            "dilation": dilation,
            "spectral": spectral,
            "skips": skips,
        }
        self.image_channels = image_channels
        concatenated = vector_size if conditioning == "concat" else 0
        modulated = vector_size if conditioning == "norm" else 0

        stem = same_convolution(image_channels + concatenated, width, 7, padding=padding)
        encoder = [ConvUnit(stem, channels=width, norm=norm)]
        channels = width
        for _ in range(downsamplings):
            down = nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1, bias=False)
            channels *= 2
            encoder.append(ConvUnit(down, channels=channels, norm=norm))
        self.encoder = nn.ModuleList(encoder)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels=channels, norm=norm, vector_size=modulated, padding=padding, dilation=dilation)
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
        """Run the layers ahead of the residual blocks; with conditioning "norm" they do not read `vectors`.

        Args:
            images: (N, C, H, W) float in [-1, 1].
            vectors: (N, L) float.

        Returns:
            (N, width * 2**d, H / 2**d, W / 2**d) features, d the number of downsamplings; with `skips`, ahead
            of them those of every earlier layer, (N, width * 2**i, H / 2**i, W / 2**i) for i from 0 on.
        """
        n, _, h, w = images.shape
        features = images
        if self.arguments["conditioning"] == "concat":
            planes = vectors[:, :, None, None].expand(n, vectors.shape[1], h, w)
            features = torch.cat([images, planes], dim=1)
        maps = []
        for unit in self.encoder:
            features = unit(features, vectors)
            maps.append(features)
        return tuple(maps) if self.arguments["skips"] else (features,)

    def decode(self, features: Features, vectors: Tensor) -> Tensor:
        """Run the residual blocks and the upsampling.

        Args:
            features: what `encode` returned.
            vectors: (N, L) float.

        Returns:
            (N, width, H, W) features.
        """
        *earlier, decoded = features
        for block in self.blocks:
            decoded = block(decoded, vectors)
        for unit in self.decoder:
            decoded = unit(decoded, vectors, earlier.pop() if earlier else None)
        return decoded
