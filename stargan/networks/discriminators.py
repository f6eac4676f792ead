"""Discriminators: plain modules with flat keyword arguments; the defaults are the paper's (StarGAN, table 5)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Required, TypedDict

from torch import Tensor, nn
from torch.nn import functional

from stargan.networks.layers import NORMS, Features, Norm, normalise_spectrally

DiscriminatorKind = Literal["patch", "dcgan"]

_PATCH_LEAK = 0.01
"""LeakyReLU's negative slope in the paper's discriminator (table 5)."""

_DCGAN_LEAK = 0.2
"""LeakyReLU's negative slope in DCGAN's (arXiv 1511.06434, section 4)."""


class DiscriminatorArguments(TypedDict, total=False):
    """What a discriminator was built with, as a checkpoint's JSON holds it."""

    kind: DiscriminatorKind
    vector_size: Required[int]
    image_size: Required[tuple[int, int]]
    image_channels: Required[int]
    width: Required[int]
    depth: Required[int]
    matches: Required[bool]
    norm: Norm
    spectral: bool


class Discriminator(nn.Module, ABC):
    """D(x), of any kind: strided 4x4 convolutions, then a head for real or fake and one for the domain.

    Attributes:
        arguments: what it was built with; `build_discriminator` makes the same again.
        features: the convolutions with their norms and leaky ReLUs.
    """

    arguments: DiscriminatorArguments
    features: nn.Sequential

    def inner(self, images: Tensor) -> Features:
        """Return the activations after every convolution, for feature matching; the heads read the last.

        Args:
            images: (N, C, H, W) float in [-1, 1].

        Returns:
            (N, width * 2**i, H / 2**(i + 1), W / 2**(i + 1)) for i from 0 to depth - 1.
        """
        activations = []
        features = images
        for layer in self.features:
            features = layer(features)
            if isinstance(layer, nn.LeakyReLU):
                activations.append(features)
        return tuple(activations)

    @abstractmethod
    def heads(self, last: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Score what the last convolution made of images.

        Args:
            last: `inner(images)[-1]`.
            wanted: (N, L) float, the domains that the images should show, see `LabelSpace.encode_signed`; read
                only with `matches`.

        Returns:
            Real-or-fake scores (N, 1, h, w), higher is more real, one for each patch that the kind looks at,
            and domain logits (N, L), in the label vector's order.
        """

    def forward(self, images: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Score (N, C, H, W) float images in [-1, 1]; see `heads`."""
        return self.heads(self.inner(images)[-1], wanted)


class PatchDiscriminator(Discriminator):
    """The paper's discriminator, kind "patch": real or fake for each patch of an image.

    A 3x3 convolution for real or fake, and one over the whole last feature map for the domain.

    Args:
        vector_size: entries of the domain head, L.
        image_size: (height, width) of the images, multiples of 2 ** depth.
        image_channels: 1 or 3 (any number works).
        width: channels after the first convolution; doubled by each further one.
        depth: strided convolutions.
        matches: whether real or fake is asked of an image *and* the domain it should show, patch by patch (a
            projection, as in Miyato and Koyama, arXiv 1802.05637). The paper's D asks it of the image alone, and
            a small G then satisfies the domain head with smudges that are no smile but are classified as one.
        norm: after every convolution but the first: "none" (the paper's), "instance" or "batch".
        spectral: whether every layer's weight is divided by its largest singular value.
    """

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
    ) -> None:
        super().__init__()
        h, w = image_size
        self.arguments = {
            "kind": "patch",
            "vector_size": vector_size,
            "image_size": (h, w),
            "image_channels": image_channels,
            "width": width,
            "depth": depth,
            "matches": matches,
            "norm": norm,
            "spectral": spectral,
        }
        self.features = _strided(image_channels, width=width, depth=depth, norm=norm, leak=_PATCH_LEAK)
        channels = width << (depth - 1)
        self.source_head = nn.Conv2d(channels, 1, 3, padding=1, bias=False)
        self.domain_head = nn.Conv2d(channels, vector_size, (h >> depth, w >> depth), bias=False)
        self.match_head = nn.Conv2d(channels, vector_size, 3, padding=1, bias=False) if matches else None
        if spectral:
            normalise_spectrally(self)

    def heads(self, last: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `Discriminator.heads`; the scores are (N, 1, H / 2**depth, W / 2**depth)."""
        scores = self.source_head(last).float()
        if self.match_head is not None:
            matches = wanted[:, :, None, None] * self.match_head(last).float()
            scores = scores + matches.sum(dim=1, keepdim=True)
        return scores, self.domain_head(last).float().flatten(1)


class DcganDiscriminator(Discriminator):
    """DCGAN's discriminator, kind "dcgan": real or fake for the image as a whole (arXiv 1511.06434).

    Linear heads over the whole last feature map.

    Args:
        vector_size: entries of the domain head, L.
        image_size: (height, width) of the images, multiples of 2 ** depth.
        image_channels: 1 or 3 (any number works).
        width: channels after the first convolution; doubled by each further one.
        depth: strided convolutions.
        matches: whether real or fake is asked of an image *and* the domain it should show; see
            `PatchDiscriminator`.
        norm: after every convolution but the first; DCGAN's is "batch".
        spectral: see `PatchDiscriminator`.
    """

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
    ) -> None:
        super().__init__()
        h, w = image_size
        self.arguments = {
            "kind": "dcgan",
            "vector_size": vector_size,
            "image_size": (h, w),
            "image_channels": image_channels,
            "width": width,
            "depth": depth,
            "matches": matches,
            "norm": norm,
            "spectral": spectral,
        }
        self.features = _strided(image_channels, width=width, depth=depth, norm=norm, leak=_DCGAN_LEAK)
        entries = (width << (depth - 1)) * (h >> depth) * (w >> depth)
        self.source_head = nn.Linear(entries, 1)
        self.domain_head = nn.Linear(entries, vector_size)
        self.match_head = nn.Linear(entries, vector_size, bias=False) if matches else None
        if spectral:
            normalise_spectrally(self)

    def heads(self, last: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `Discriminator.heads`; the scores are (N, 1, 1, 1)."""
        flat = last.flatten(1)
        scores = self.source_head(flat).float()
        if self.match_head is not None:
            scores = scores + (wanted * self.match_head(flat).float()).sum(dim=1, keepdim=True)
        return scores[:, :, None, None], self.domain_head(flat).float()


class StridedConvolution(nn.Conv2d):
    """A 4x4 convolution of stride 2 and padding 1, which halves even sides.

    On a CPU the last ones of a discriminator have far more weights than their small maps have pixels. A
    convolution there spends its time on rearranging the weights; as a product of the weights, as they lie, and
    the patches it is three times as fast, in both directions and in the second derivative.

    Args:
        channels_in: channels that it reads.
        channels: channels that it makes.
        bias: whether it adds one.

    Attributes:
        always_convolves: whether torch's convolution is taken for every shape, as plain code would.
    """

    def __init__(self, channels_in: int, channels: int, *, bias: bool) -> None:
        super().__init__(channels_in, channels, 4, stride=2, padding=1, bias=bias)
        self.always_convolves = False

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Map (N, channels_in, H, W) to (N, channels, H / 2, W / 2)."""
        n, _, h, w = input.shape
        patches = n * (h // 2) * (w // 2)
        # Copying the patches costs as much as they are, rearranging the weights as much as there are channels:
        # measured, the two are even at four channels a patch.
        if self.always_convolves or input.device.type != "cpu" or 4 * patches >= self.out_channels:
            return super().forward(input)
        columns = functional.unfold(input, 4, padding=1, stride=2)
        rows = columns.transpose(1, 2).reshape(patches, columns.shape[1])
        made = functional.linear(rows, self.weight.flatten(1), self.bias)
        return made.view(n, h // 2, w // 2, self.out_channels).permute(0, 3, 1, 2)


def _strided(channels_in: int, *, width: int, depth: int, norm: Norm, leak: float) -> nn.Sequential:
    """Return `depth` strided convolutions with leaky ReLUs and, but for the first, norms."""
    layers: list[nn.Module] = []
    channels = width
    for i in range(depth):
        normed = norm != "none" and i > 0
        layers.append(StridedConvolution(channels_in, channels, bias=not normed))
        if normed:
            layers.append(NORMS[norm](channels=channels))
        layers.append(nn.LeakyReLU(leak))
        channels_in, channels = channels, channels * 2
    return nn.Sequential(*layers)
