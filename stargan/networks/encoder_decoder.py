"""A generator whose bottleneck is one vector, for small images such as digits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.networks.base import OutputKind, PaintingGenerator
from stargan.networks.layers import ConvUnit, Features, Norm, constructor_arguments


class EncoderDecoder(PaintingGenerator):
    """Image to latent vector, joined with noise and label vector, to image; kind "encoder-decoder".

    Strided 4x4 convolutions, a fully connected layer and ReLU to the latent vector; a fully connected layer to
    the smallest map, and DCGAN's decoder (arXiv 1511.06434): transposed 4x4 convolutions, tanh.

    Args:
        image_size: (height, width) of the images, multiples of 2 ** downsamplings.
        width: channels after the first convolution; doubled by each further one.
        downsamplings: strided convolutions, at least 1.
        latent: entries of the latent vector.
        vector_size, image_channels, output, norm, spectral, noise: see `Generator`; DCGAN's norm is "batch".
    """

    def __init__(
        self,
        *,
        vector_size: int,
        image_size: Sequence[int],
        image_channels: int = 3,
        width: int = 64,
        downsamplings: int = 2,
        output: OutputKind = "direct",
        norm: Norm = "instance",
        spectral: bool = False,
        latent: int = 256,
        noise: int = 0,
    ) -> None:
        super().__init__()
        h, w = image_size = tuple(image_size)
        self.arguments = constructor_arguments(self, "encoder-decoder", locals())
        self.image_channels = image_channels

        encoder = []
        channels_in, channels = image_channels, width
        for _ in range(downsamplings):
            down = nn.Conv2d(channels_in, channels, 4, stride=2, padding=1, bias=False)
            encoder.append(ConvUnit(down, channels=channels, norm=norm))
            channels_in, channels = channels, channels * 2
        self.encoder = nn.ModuleList(encoder)
        smallest = (channels_in, h >> downsamplings, w >> downsamplings)
        entries = smallest[0] * smallest[1] * smallest[2]
        self.squeeze = nn.Linear(entries, latent)
        unsqueeze = nn.Sequential(
            nn.Linear(latent + noise + vector_size, entries, bias=False), nn.Unflatten(1, smallest)
        )
        decoder = [ConvUnit(unsqueeze, channels=channels_in, norm=norm)]
        for _ in range(downsamplings - 1):
            up = nn.ConvTranspose2d(channels_in, channels_in // 2, 4, stride=2, padding=1, bias=False)
            channels_in //= 2
            decoder.append(ConvUnit(up, channels=channels_in, norm=norm))
        self.decoder = nn.ModuleList(decoder)
        self.painter = nn.ConvTranspose2d(width, image_channels, 4, stride=2, padding=1)
        self.masker = nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1) if output == "masked" else None
        self._start(spectral=spectral)

    def encode(self, images: Tensor, vectors: Tensor) -> Features:
        """See `TranslatingGenerator.encode`; returns (N, latent) features of at least 0, not reading `vectors`."""
        features = images
        for unit in self.encoder:
            features = unit(features, vectors)
        return (functional.relu(self.squeeze(features.flatten(1))),)

    def decode(self, features: Features, vectors: Tensor) -> Tensor:
        """See `TranslatingGenerator.decode`; returns (N, width, H / 2, W / 2) features."""
        decoded = torch.cat([features[-1], vectors.to(features[-1].dtype)], dim=1)
        for unit in self.decoder:
            decoded = unit(decoded, vectors)
        return decoded
