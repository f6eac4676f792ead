"""The discriminators; the defaults are the paper's (StarGAN, table 5)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks.layers import NORMS, Features, Norm, constructor_arguments, normalise_spectrally

DiscriminatorKind = Literal["patch", "dcgan"]
Head = nn.Conv2d | nn.Linear


class Discriminator(nn.Module, ABC):
    """A discriminator D(x) of any kind.

    Attributes:
        arguments: of `build_discriminator`, which builds the same network of them; plain JSON values.
        sees_source: whether it scores a translation together with the image that it was made of.
    """

    arguments: dict[str, Any]
    sees_source: bool = False

    @abstractmethod
    def inner(self, images: Tensor, wanted: Tensor, sources: Tensor | None = None) -> Features:
        """Return the activations after every convolution, for feature matching; see `forward` for the arguments.

        They are (N, width * 2**i, H / 2**(i + 1), W / 2**(i + 1)) for i from 0 to depth - 1.
        """

    @abstractmethod
    def forward(self, images: Tensor, wanted: Tensor, sources: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return scores and domain logits.

        Args:
            images: (N, C, H, W) float in [-1, 1].
            wanted: (N, L) float, the domains to show, see `LabelSpace.encode_signed`; read with `matches`, and
                where each value has a discriminator.
            sources: the images that those are translations of, same shape; read with `sees_source` alone.

        Returns:
            Real-or-fake scores (N, 1, h, w), higher is more real, and domain logits (N, L) in the label vector's
                order; (N, 0) without a domain head.
        """


class _StridedDiscriminator(Discriminator):
    """Strided 4x4 convolutions with leaky ReLUs, then a real-or-fake head and a domain head.

    Args:
        vector_size: entries of the domain head, L; 0 for none.
        image_size: (height, width) of the images, multiples of 2 ** depth.
        width: channels after the first convolution; doubled by each further one.
        depth: strided convolutions.
        matches: whether the scores are for an image *and* the domain it should show (a projection, as in Miyato
            and Koyama, arXiv 1802.05637). The paper's D scores the image alone, and a small G then satisfies the
            domain head with smudges.
        norm: after every convolution but the first: "none" (the paper's), "instance" or "batch" (DCGAN's).
        spectral: whether every layer's weight is divided by its largest singular value.
        sees_source: whether it scores a translation together with its source, as in pix2pix (arXiv 1611.07004):
            the first convolution sees the channels of the source, then those of the translation.
    """

    kind: ClassVar[DiscriminatorKind]
    slope: ClassVar[float]

    def __init__(
        self,
        *,
        vector_size: int,
        image_size: Sequence[int],
        image_channels: int = 3,
        width: int = 64,
        depth: int = 6,
        matches: bool = False,
        norm: Norm = "none",
        spectral: bool = False,
        sees_source: bool = False,
    ) -> None:
        super().__init__()
        h, w = image_size = tuple(image_size)
        self.arguments = constructor_arguments(self, self.kind, locals())
        self.sees_source = sees_source
        seen = 2 * image_channels if sees_source else image_channels
        self.features = _strided(seen, width=width, depth=depth, norm=norm, slope=self.slope)
        last = (width << (depth - 1), h >> depth, w >> depth)
        self.source_head, self.domain_head, self.match_head = self._new_heads(
            last, vector_size, matches=matches and vector_size > 0
        )
        if spectral:
            normalise_spectrally(self)

    @abstractmethod
    def _new_heads(
        self, last: tuple[int, int, int], vector_size: int, *, matches: bool
    ) -> tuple[Head, Head | None, Head | None]:
        """Return the heads (real or fake, domain, projection with `matches`) for (C, H, W) features."""

    @abstractmethod
    def heads(self, last: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and domain logits of the last convolution's features, `inner(...)[-1]`."""

    def inner(self, images: Tensor, wanted: Tensor, sources: Tensor | None = None) -> Features:
        """See `Discriminator.inner`."""
        del wanted
        features = images
        if self.sees_source:
            assert sources is not None
            features = torch.cat([sources, images], dim=1)
        activations = []
        for layer in self.features:
            features = layer(features)
            if isinstance(layer, nn.LeakyReLU):
                activations.append(features)
        return tuple(activations)

    def forward(self, images: Tensor, wanted: Tensor, sources: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Discriminator.forward`."""
        return self.heads(self.inner(images, wanted, sources)[-1], wanted)


class PatchDiscriminator(_StridedDiscriminator):
    """The paper's discriminator, kind "patch": real or fake for each patch of an image.

    The heads are 3x3 convolutions, the domain head one over the whole last feature map.
    """

    kind = "patch"
    slope = 0.01

    def _new_heads(
        self, last: tuple[int, int, int], vector_size: int, *, matches: bool
    ) -> tuple[Head, Head | None, Head | None]:
        channels, h, w = last
        return (
            nn.Conv2d(channels, 1, 3, padding=1, bias=False),
            nn.Conv2d(channels, vector_size, (h, w), bias=False) if vector_size else None,
            nn.Conv2d(channels, vector_size, 3, padding=1, bias=False) if matches else None,
        )

    def heads(self, last: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `_StridedDiscriminator.heads`; the scores are (N, 1, H / 2**depth, W / 2**depth)."""
        scores = self.source_head(last).float()
        if self.match_head is not None:
            matches = wanted[:, :, None, None] * self.match_head(last).float()
            scores = scores + matches.sum(dim=1, keepdim=True)
        if self.domain_head is None:
            return scores, last.new_empty(len(last), 0)
        return scores, self.domain_head(last).float().flatten(1)


class DcganDiscriminator(_StridedDiscriminator):
    """DCGAN's discriminator, kind "dcgan": real or fake for the whole image (arXiv 1511.06434, section 4).

    The heads are linear, over the whole last feature map.
    """

    kind = "dcgan"
    slope = 0.2

    def _new_heads(
        self, last: tuple[int, int, int], vector_size: int, *, matches: bool
    ) -> tuple[Head, Head | None, Head | None]:
        entries = math.prod(last)
        return (
            nn.Linear(entries, 1),
            nn.Linear(entries, vector_size) if vector_size else None,
            nn.Linear(entries, vector_size, bias=False) if matches else None,
        )

    def heads(self, last: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `_StridedDiscriminator.heads`; the scores are (N, 1, 1, 1)."""
        flat = last.flatten(1)
        scores = self.source_head(flat).float()
        if self.match_head is not None:
            scores = scores + (wanted * self.match_head(flat).float()).sum(dim=1, keepdim=True)
        logits = last.new_empty(len(last), 0) if self.domain_head is None else self.domain_head(flat).float()
        return scores[:, :, None, None], logits


class StridedConvolution(nn.Conv2d):
    """A 4x4 convolution of stride 2 and padding 1, which halves even sides.

    On a CPU convolutions with far more weights than their maps have pixels spend their time on rearranging
    weights. A product of weights and patches is three times as fast, in both directions and in the second
    derivative.

    Attributes:
        always_convolves: whether torch's convolution is used for every shape.
    """

    def __init__(self, channels_in: int, channels: int, *, bias: bool) -> None:
        super().__init__(channels_in, channels, 4, stride=2, padding=1, bias=bias)
        self.always_convolves = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Map (N, channels_in, H, W) to (N, channels, H / 2, W / 2)."""
        n, _, h, w = input.shape
        patches = n * (h // 2) * (w // 2)
        # As measured, copying patches takes as long as rearranging weights at four channels per patch.
        if self.always_convolves or input.device.type != "cpu" or 4 * patches >= self.out_channels:
            return super().forward(input)
        columns = functional.unfold(input, 4, padding=1, stride=2)
        rows = columns.transpose(1, 2).reshape(patches, columns.shape[1])
        made = functional.linear(rows, self.weight.flatten(1), self.bias)
        return made.view(n, h // 2, w // 2, self.out_channels).permute(0, 3, 1, 2)


def _strided(channels_in: int, *, width: int, depth: int, norm: Norm, slope: float) -> nn.Sequential:
    """Return `depth` strided convolutions with leaky ReLUs and, but for the first, norms."""
    layers: list[nn.Module] = []
    channels = width
    for i in range(depth):
        normed = norm != "none" and i > 0
        layers.append(StridedConvolution(channels_in, channels, bias=not normed))
        if normed:
            layers.append(NORMS[norm](channels=channels))
        layers.append(nn.LeakyReLU(slope))
        channels_in, channels = channels, channels * 2
    return nn.Sequential(*layers)
