"""The evaluation's classifier: a small VGG, with another architecture than the judge's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from augmentor.judge import likeliest
from stargan.labels import LabelSpace
from stargan.pixels import to_signed

LEARNING_RATE = 2e-3
"""Peak of the one-cycle schedule."""

FEATURES = 128
"""Numbers that describe an image ahead of the heads."""

_LEAST_WIDTH = 16

_LEFT = 4
"""Pixels of a side that are left when all pooling is done."""

_EVAL_BATCH = 256


class Evaluator(nn.Module):
    """A plain stack of convolutions, batch norm and pooling (VGG), with one linear head of D outputs.

    Twice the side takes one more pooling and half the width at the start, so that a pass costs much the same.
    `side` is the images' shorter one, in pixels.

    Source: VGG (arXiv 1409.1556) as torchvision builds it, with far fewer layers.
    """

    def __init__(self, *, side: int, outputs: int) -> None:
        # Imported here because it takes seconds.
        from torchvision.models.vgg import make_layers  # noqa: PLC0415

        super().__init__()
        pools = max(1, round(torch.log2(torch.tensor(side / _LEFT)).item()))
        widths = [max(_LEAST_WIDTH, FEATURES >> (pools - 1 - i)) for i in range(pools)]
        layers: list[str | int] = [part for width in widths for part in (width, "M")]
        self.layers: nn.Module = make_layers([*layers, FEATURES], batch_norm=True)
        self.head = nn.Linear(FEATURES, outputs)

    def features(self, images: Tensor) -> Tensor:
        """Return (N, 128) floats of (N, C, H, W) floats in [-1, 1]; grey ones are taken for colour."""
        maps: Tensor = self.layers(images.expand(-1, 3, -1, -1))
        return maps.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, D) logits in the label vector's order of (N, C, H, W) floats in [-1, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits


@torch.inference_mode()
def predict(network: Evaluator, images: Tensor, space: LabelSpace) -> Tensor:
    """Return the most likely domain of each image, (N, A) int64 on the CPU, of uint8 images (N, C, H, W)."""
    device = next(network.parameters()).device
    parts = [network(to_signed(part.to(device))).float().cpu() for part in torch.split(images, _EVAL_BATCH)]
    return likeliest(torch.cat([torch.empty(0, space.domain_size), *parts]), space)


@torch.inference_mode()
def describe(network: Evaluator, images: Tensor) -> Tensor:
    """Return the features, (N, 128) float32 on the CPU, of uint8 images (N, C, H, W)."""
    device = next(network.parameters()).device
    parts = [
        network.features(to_signed(part.to(device))).float().cpu() for part in torch.split(images, _EVAL_BATCH)
    ]
    return torch.cat(parts) if parts else torch.empty(0, FEATURES)
