"""What every generator is: encode, decode, and paint the result over the input; whole or in two halves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Required, TypedDict

import torch
from torch import Tensor, nn

from stargan.networks.layers import Features, Norm, Padding, Upsampling, normalise_spectrally

GeneratorKind = Literal["resnet", "encoder-decoder"]
"""What a recipe can choose."""

AncestorKind = Literal["cyclegan-resnet", "pix2pix-unet"]
"""What other implementations trained: to translate with, see `stargan.networks.ancestors`."""

Conditioning = Literal["concat", "norm"]
OutputKind = Literal["direct", "masked", "residual"]

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
    output: Required[OutputKind]
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

    # ---- the same in two halves: what all targets of an image share, and the rest ----

    @property
    def encodes_labels(self) -> bool:
        """Whether `encode` reads the label vector; if not, all of its work is shared by an image's targets."""
        return False

    def share(self, images: Tensor) -> Features:
        """Run what does not depend on the target, once for all targets of an image.

        Args:
            images: (N, C, H, W) float in [-1, 1].

        Returns:
            What `complete` and `finish` go on with, N rows each.
        """
        return self.encode(images, images.new_zeros(len(images), self.arguments["vector_size"]))

    def complete(self, shared: Features, vectors: Tensor) -> Features:
        """Return what `encode` would, to rounding.

        Args:
            shared: what `share` returned, one row for each vector.
            vectors: (N, L) float.
        """
        del vectors  # unread by an encoder that does not read them
        return shared

    def finish(self, shared: Features, images: Tensor, vectors: Tensor) -> Tensor:
        """Return what `forward` would, to rounding.

        Args:
            shared: what `share` returned, one row for each vector.
            images: (N, C, H, W) float in [-1, 1], the images that the rows belong to.
            vectors: (N, L) float.
        """
        return self.paint(self.complete(shared, vectors), images, vectors)[0]

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
