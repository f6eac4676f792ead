"""The base classes of the generators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks.layers import Features, normalise_spectrally

GeneratorKind = Literal["resnet", "encoder-decoder", "cyclegan-resnet", "pix2pix-unet"]
Conditioning = Literal["concat", "norm", "none"]
OutputKind = Literal["direct", "masked", "residual"]

_OPEN_MASK = 1.0
"""Initial bias of the mask: sigmoid(1) = 0.73, so that the generator first changes the image."""

_LARGEST_CHANGE = 2.0
"""Of a residual output: from -1, black, to 1, white."""

_SMALL_START = 0.01
"""Factor of a residual painter's initial weights, so that the generator starts near the identity."""


class TranslatingGenerator(nn.Module, ABC):
    """A generator G(x, c) of any kind.

    `encode` and `paint` are the forward pass. For several targets of one image it also runs as an encoder stage,
    which does not depend on the target, and a decoder stage.

    Attributes:
        arguments: of `build_generator`, which builds the same network of them; plain JSON values.
        reads_labels: whether the output depends on the label vector; else it translates in one direction.
    """

    arguments: dict[str, Any]
    image_channels: int
    reads_labels: bool = True

    @abstractmethod
    def encode(self, images: Tensor, vectors: Tensor) -> Features:
        """Run the layers before the bottleneck, whose features are last in the result.

        Images are (N, C, H, W) float in [-1, 1], vectors (N, L) float.
        """

    @property
    def noise(self) -> int:
        """Z, the entries of the noise that precede the label vector; 0 for a generator that reads none."""
        return int(self.arguments.get("noise", 0))

    def with_noise(self, vectors: Tensor) -> Tensor:
        """Return (N, L) label vectors with zero noise before them, (N, Z + L), and (N, Z + L) ones as they are."""
        without = vectors.shape[1] == self.arguments["vector_size"]
        return functional.pad(vectors, (self.noise, 0)) if self.noise and without else vectors

    @abstractmethod
    def paint(self, features: Features, images: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the translation of the images that `encode` was given, and its mask.

        The translation is (N, C, H, W) in [-1, 1]; the mask is (N, 1, H, W) in [0, 1] (1 = repainted), or None
        unless the output is "masked".
        """

    def translate(self, images: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the translation and its mask; see `paint` and, for the vectors, `forward`."""
        vectors = self.with_noise(vectors)
        return self.paint(self.encode(images, vectors), images, vectors)

    def forward(self, images: Tensor, vectors: Tensor) -> Tensor:
        """Translate images into the domains that `vectors` encode.

        Args:
            images: (N, C, H, W) float in [-1, 1], like the result; H and W multiples of 2 ** downsamplings.
            vectors: (N, L) float, see `LabelSpace.encode`, or (N, Z + L) with `noise` before them, which is zero
                where it is left out.
        """
        return self.translate(images, vectors)[0]

    def encoder_stage(self, images: Tensor) -> Features:
        """Return what does not depend on the target, N rows each, for (N, C, H, W) float images in [-1, 1]."""
        return self.encode(images, self.with_noise(images.new_zeros(len(images), self.arguments["vector_size"])))

    def finish_encoding(self, encoded: Features, vectors: Tensor) -> Features:
        """Return the result of `encode`, but for rounding; generators whose `encode` reads labels override this.

        `encoded` is what `encoder_stage` returned, one row for each of the (N, L) float vectors.
        """
        del vectors
        return encoded

    def decoder_stage(self, encoded: Features, images: Tensor, vectors: Tensor) -> Tensor:
        """Return the result of `forward`, but for rounding.

        `encoded` is what `encoder_stage` returned, one row for each of the vectors (see `forward`) and of the
        (N, C, H, W) images.
        """
        vectors = self.with_noise(vectors)
        return self.paint(self.finish_encoding(encoded, vectors), images, vectors)[0]


class PaintingGenerator(TranslatingGenerator):
    """A generator of one network, whose last layers paint.

    Attributes:
        painter: the last layer, from features to colours.
        masker: the last layer from features to the attention mask; None unless the output is "masked".
    """

    painter: nn.Conv2d | nn.ConvTranspose2d
    masker: nn.Conv2d | nn.ConvTranspose2d | None

    @abstractmethod
    def decode(self, features: Features, vectors: Tensor) -> Tensor:
        """Return the painter's input for the features that `encode` returned and (N, L) float vectors."""

    def paint(self, features: Features, images: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `TranslatingGenerator.paint`."""
        decoded = self.decode(features, vectors)
        # Networks return float32, under autocast too.
        painted = torch.tanh(self.painter(decoded).float())
        if self.masker is not None:
            mask = torch.sigmoid(self.masker(decoded).float())
            return images + mask * (painted - images), mask
        if self.arguments["output"] == "residual":
            return (images + _LARGEST_CHANGE * painted).clamp(-1, 1), None
        return painted, None

    @property
    def chosen_start(self) -> list[nn.Module]:
        """The last layers whose initial weights `_start` chooses: the masker, and a residual painter."""
        masker: list[nn.Module] = [] if self.masker is None else [self.masker]
        return [*masker, self.painter] if self.arguments["output"] == "residual" else masker

    def _start(self, *, spectral: bool) -> None:
        """Set the initial values of the last layers, then add spectral norm; call it last in a constructor."""
        if self.masker is not None and self.masker.bias is not None:
            nn.init.constant_(self.masker.bias, _OPEN_MASK)
        residual = self.arguments["output"] == "residual"
        if residual:
            with torch.no_grad():
                for weight in self.painter.parameters():
                    weight.mul_(_SMALL_START)
        if spectral:
            # Spectral norm would undo the small initial weights; the tanh bounds the change anyway.
            normalise_spectrally(self, exempt=self.painter if residual else None)
