"""The classifier that evaluates: a small VGG, which shares nothing with the judge, trained on drawn batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from augmentor.evaluation.draws import Batch
from stargan.labels import LabelSpace
from stargan.losses import domain_loss
from stargan.pixels import to_signed

FEATURES = 128
"""Numbers that describe an image ahead of the heads."""

_LEAST_WIDTH = 16
_LEFT = 4
"""Pixels of a side that are left when all pooling is done."""

_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 0.01
_EVAL_BATCH = 256


class Evaluator(nn.Module):
    """A plain stack of convolutions, batch norm and pooling (VGG), with one linear head for all attributes.

    Twice the side takes one more pooling and half the width at the start, so that a pass costs much the same.

    Args:
        side: of the images, the shorter one, in pixels.
        outputs: entries of the domain head, D.

    Source: VGG (arXiv 1409.1556) as torchvision builds it, with far fewer layers.
    """

    def __init__(self, *, side: int, outputs: int) -> None:
        # Here, because it takes seconds, for which a command that evaluates nothing need not wait.
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


def train_evaluator(
    batches: Iterable[Batch],
    *,
    steps: int,
    side: int,
    space: LabelSpace,
    seed: int,
    device: torch.device,
    on_step: Callable[[int], None] = lambda _step: None,
) -> Evaluator:
    """Train a classifier from scratch, a step for each batch.

    Args:
        batches: as many as there are steps.
        steps: of the one-cycle schedule.
        side: of the images, the shorter one, in pixels.
        space: what the codes mean; unknown labels leave the loss.
        seed: of the weights.
        device: where to compute.
        on_step: called after each step with its number; may raise to give up.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        network = Evaluator(side=side, outputs=space.domain_size)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_LEARNING_RATE, total_steps=steps)
    for step, batch in enumerate(batches, start=1):
        logits = network(to_signed(batch.images.to(device)))
        loss = domain_loss(logits, batch.codes.to(device), space)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(step)
    return network.eval()


@torch.inference_mode()
def predict(network: Evaluator, images: Tensor, space: LabelSpace) -> Tensor:
    """Return the most likely domain of each image, (N, A) int64 on the CPU, of uint8 images (N, C, H, W)."""
    device = next(network.parameters()).device
    said = torch.empty(len(images), len(space), dtype=torch.int64)
    for rows in torch.split(torch.arange(len(images)), _EVAL_BATCH):
        logits = network(to_signed(images[rows].to(device))).float().cpu()
        for column, (attribute, run) in enumerate(zip(space.attributes, space.slices, strict=True)):
            each = logits[:, run]
            said[rows, column] = (each[:, 0] > 0).long() if attribute.kind == "binary" else each.argmax(dim=1)
    return said


@torch.inference_mode()
def describe(network: Evaluator, images: Tensor) -> Tensor:
    """Return the features, (N, 128) float32 on the CPU, of uint8 images (N, C, H, W)."""
    device = next(network.parameters()).device
    parts = [
        network.features(to_signed(part.to(device))).float().cpu() for part in torch.split(images, _EVAL_BATCH)
    ]
    return torch.cat(parts) if parts else torch.empty(0, FEATURES)
