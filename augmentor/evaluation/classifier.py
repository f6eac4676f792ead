"""The evaluation's classifiers: a small VGG, with another architecture than the judge's, or a ResNet-18."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from augmentor.judge import likeliest, read_resnet18
from stargan.labels import LabelSpace
from stargan.pixels import to_signed

FEATURES = 128
"""Numbers that describe an image ahead of the small network's head."""

_LEAST_WIDTH = 16

_LEFT = 4
"""Pixels of a side that are left when all pooling is done."""

_SMALL_SIDE = 96
"""Pixels below which a ResNet without weights has a stem of a 3x3 convolution without pooling."""

_EVAL_BATCH = 256


class Evaluator(nn.Module):
    """A body from images (N, 3, H, W) in [-1, 1] to features (N, F), and one linear head of D outputs."""

    def __init__(self, body: nn.Module, *, features: int, outputs: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(features, outputs)

    def features(self, images: Tensor) -> Tensor:
        """Return (N, F) floats of (N, C, H, W) floats in [-1, 1]; grey ones are taken for colour."""
        found: Tensor = self.body(images.expand(-1, 3, -1, -1))
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, D) logits in the label vector's order of (N, C, H, W) floats in [-1, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits


class _Mean(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        """Return the mean (N, C) over the positions of maps (N, C, H, W)."""
        return maps.mean(dim=(2, 3))


def build_evaluator(kind: str, *, side: int, outputs: int) -> Evaluator:
    """Return a classifier of `kind`: "small", "resnet18", or the path of a ResNet-18's weights to start from.

    `side` is the images' shorter one, in pixels. A path is read as `read_resnet18` does.
    """
    # Imported here because it takes seconds.
    from torchvision.models import resnet18  # noqa: PLC0415

    if kind == "small":
        return Evaluator(_vgg(side), features=FEATURES, outputs=outputs)
    body = resnet18()
    features, body.fc = body.fc.in_features, nn.Identity()
    if kind != "resnet18":
        body.load_state_dict(read_resnet18(Path(kind), option="--classifier"))
    elif side < _SMALL_SIDE:
        body.conv1, body.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return Evaluator(body, features=features, outputs=outputs)


def _vgg(side: int) -> nn.Module:
    """Return a plain stack of convolutions, batch norm and pooling (VGG), to the mean of 128 maps.

    Twice the side takes one more pooling and half the width at the start, so that a pass costs much the same.

    Source: VGG (arXiv 1409.1556) as torchvision builds it, with far fewer layers.
    """
    from torchvision.models.vgg import make_layers  # noqa: PLC0415 - slow to import

    pools = max(1, round(torch.log2(torch.tensor(side / _LEFT)).item()))
    widths = [max(_LEAST_WIDTH, FEATURES >> (pools - 1 - i)) for i in range(pools)]
    layers: list[str | int] = [part for width in widths for part in (width, "M")]
    return nn.Sequential(make_layers([*layers, FEATURES], batch_norm=True), _Mean())


@torch.inference_mode()
def predict(network: Evaluator, images: Tensor, space: LabelSpace) -> Tensor:
    """Return the most likely domain of each image, (N, A) int64 on the CPU, of uint8 images (N, C, H, W)."""
    device = next(network.parameters()).device
    parts = [network(to_signed(part.to(device))).float().cpu() for part in torch.split(images, _EVAL_BATCH)]
    return likeliest(torch.cat([torch.empty(0, space.domain_size), *parts]), space)


@torch.inference_mode()
def describe(network: Evaluator, images: Tensor) -> Tensor:
    """Return the features, (N, F) float32 on the CPU, of uint8 images (N, C, H, W)."""
    device = next(network.parameters()).device
    parts = [
        network.features(to_signed(part.to(device))).float().cpu() for part in torch.split(images, _EVAL_BATCH)
    ]
    return torch.cat(parts) if parts else torch.empty(0, network.head.in_features)
