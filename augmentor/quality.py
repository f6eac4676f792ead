"""The classifier that judges images: a torchvision ResNet-18 with a head per attribute, trained on real rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from augmentor.domains import DomainRequest
from augmentor.images import decode
from augmentor.manifest import Manifest
from augmentor.plan import make_plan
from stargan.labels import UNKNOWN, LabelSpace
from stargan.losses import domain_loss
from stargan.pixels import to_signed
from stargan.translate import Translator

_SMALL_SIDE = 96
"""Below this many pixels the stem is a 3x3 convolution: a 7x7 one would see half the image at once."""

_TINY_SIDE = 48
"""Below this many pixels the stem does not pool: nothing would be left to look at."""

_EVAL_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images in memory with their labels.

    Args:
        images: (N, C, H, W) uint8.
        codes: (N, A) int64, -1 unknown.
    """

    images: Tensor
    codes: Tensor

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A trained classifier: says for every attribute which value an image shows.

    Args:
        network: maps (N, C, H, W) floats in [-1, 1] to (N, L) logits, in the label vector's order.
        space: the label space.
    """

    network: nn.Module
    space: LabelSpace

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits, (N, L) float32 on the CPU, of uint8 images (N, C, H, W)."""
        self.network.eval()
        device = next(self.network.parameters()).device
        if not len(images):
            return torch.empty(0, self.space.vector_size)
        return torch.cat(
            [self.network(to_signed(batch.to(device))).float().cpu() for batch in torch.split(images, _EVAL_BATCH)]
        )

    def predict(self, images: Tensor) -> Tensor:
        """Return the most likely domain of each image, (N, A) int64, of uint8 images (N, C, H, W)."""
        return _most_likely(self.logits(images), self.space)


def train_judge(
    data: LabelledImages,
    *,
    space: LabelSpace,
    steps: int,
    seed: int,
    device: torch.device,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    flip: bool = True,
    on_step: Callable[[int], None] = lambda _step: None,
) -> Judge:
    """Train a classifier from scratch on real images.

    Rows are drawn with the weight of their rarest label, so that a lopsided set does not make a lopsided judge;
    images are shifted by up to 1/16 of their side and mirrored.

    Args:
        data: the training rows.
        space: what the codes mean.
        steps: optimisation steps of `batch_size` images.
        seed: of weights, draws and augmentation.
        device: where to compute.
        batch_size: images a step.
        learning_rate: the peak of a one-cycle schedule for AdamW.
        flip: whether mirrored images keep their labels.
        on_step: called after each step with its number.

    Raises:
        ValueError: there are no images.
    """
    if not len(data):
        raise ValueError("a judge needs at least one image to learn from")
    _, channels, height, width = data.images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _resnet(channels, side=min(height, width), outputs=space.vector_size)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps)
    random = np.random.default_rng(seed)
    weights = rarity_weights(data.codes.numpy(), space)
    for step in range(1, steps + 1):
        rows = torch.from_numpy(random.choice(len(data), size=batch_size, p=weights))
        images = to_signed(_jitter(data.images[rows], random, flip=flip).to(device))
        loss = domain_loss(network(images), data.codes[rows].to(device), space)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(step)
    return Judge(network=network.eval(), space=space)


def rarity_weights(codes: NDArray[np.integer], space: LabelSpace) -> NDArray[np.float64]:
    """Return how often each row should be drawn, (N,) summing to 1: inversely to its rarest label's frequency.

    Args:
        codes: (N, A), -1 unknown (which counts as no label).
        space: what the codes mean.
    """
    weights = np.zeros(len(codes))
    for attribute, column in zip(space.attributes, codes.T, strict=True):
        counts = np.bincount(column[column != UNKNOWN], minlength=len(attribute.values))
        known = column != UNKNOWN
        weights[known] = np.maximum(weights[known], known.sum() / np.maximum(counts[column[known]], 1))
    weights[weights == 0] = 1.0
    normal: NDArray[np.float64] = weights / weights.sum()
    return normal


def share_right(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, float]:
    """Return per attribute the share of rows whose predicted value is the wanted one, unknown rows left out.

    Args:
        predicted: (N, A) int64.
        wanted: (N, A) int64, -1 unknown.
        space: names the attributes.
    """
    shares = {}
    for name, said, want in zip(space.names, predicted.T, wanted.T, strict=True):
        known = want != UNKNOWN
        shares[name] = float((said[known] == want[known]).double().mean()) if known.any() else float("nan")
    return shares


def balanced_accuracy(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, float]:
    """Return per attribute the mean over its values of the share of that value's rows that are recognised.

    Args:
        predicted: (N, A) int64.
        wanted: (N, A) int64, -1 unknown.
        space: names the attributes and their values.
    """
    result = {}
    for attribute, said, want in zip(space.attributes, predicted.T, wanted.T, strict=True):
        recalls = [
            float((said[want == code] == code).double().mean())
            for code in range(len(attribute.values))
            if (want == code).any()
        ]
        result[attribute.name] = sum(recalls) / len(recalls) if recalls else float("nan")
    return result


def read_images(
    manifest: Manifest, *, size: tuple[int, int], channels: int, crop: int | None = None
) -> LabelledImages:
    """Read all images of a manifest into memory.

    Args:
        manifest: the rows; `Manifest.select` narrows them.
        size: (height, width) in pixels.
        channels: 1 or 3.
        crop: side of the centred square that is cut out first, or None.

    Raises:
        ImageError: an image cannot be read.
    """
    images = [
        decode(manifest.image_path(row), size=size, channels=channels, crop=crop) for row in range(len(manifest))
    ]
    stacked = np.stack(images) if images else np.zeros((0, *size, channels), dtype=np.uint8)
    return LabelledImages(
        images=torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
        codes=torch.from_numpy(manifest.codes.astype(np.int64)),
    )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How many translations a judge finds to show what they were asked to show.

    Args:
        translations: how many were judged.
        right: per attribute, the share of all translations that show the target's value.
        changed: per attribute, the same among those translations that had to change it.
        all_right: the share of translations that show every known value of their target.
    """

    translations: int
    right: dict[str, float]
    changed: dict[str, float]
    all_right: float


def judge_translations(
    judge: Judge, translator: Translator, data: LabelledImages, request: DomainRequest
) -> Verdict:
    """Translate images as a request asks, and let a judge say what the translations show.

    Args:
        judge: trained on real images; must know the translator's label space.
        translator: the model.
        data: the sources.
        request: the targets of each.
    """
    codes, space = data.codes.numpy(), translator.model.space
    plan = make_plan(
        codes, space=space, request=request, eligible=np.ones(len(data), dtype=np.bool_), with_real=False
    )
    rows = torch.tensor([item.row for item in plan.items()], dtype=torch.int64)
    targets = torch.tensor([item.target for item in plan.items()], dtype=torch.int64).view(-1, len(space))
    said = torch.cat(
        [
            judge.predict(translator.translate(data.images[some_rows], some_targets))
            for some_rows, some_targets in zip(
                torch.split(rows, _EVAL_BATCH), torch.split(targets, _EVAL_BATCH), strict=True
            )
        ]
    )
    asked = targets.masked_fill(targets == data.codes[rows], UNKNOWN)
    return Verdict(
        translations=len(rows),
        right=share_right(said, targets, space),
        changed=share_right(said, asked, space),
        all_right=float(((said == targets) | (targets == UNKNOWN)).all(dim=1).double().mean()),
    )


def _most_likely(logits: Tensor, space: LabelSpace) -> Tensor:
    columns = [
        (logits[:, run.start] > 0).long() if attribute.kind == "binary" else logits[:, run].argmax(dim=1)
        for attribute, run in zip(space.attributes, space.slices, strict=True)
    ]
    return torch.stack(columns, dim=1)


def _resnet(channels: int, *, side: int, outputs: int) -> nn.Module:
    network: nn.Module = resnet18(num_classes=outputs)
    if side < _SMALL_SIDE:
        network.conv1 = nn.Conv2d(channels, 64, 3, stride=2, padding=1, bias=False)
        if side < _TINY_SIDE:
            network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return network


def _jitter(images: Tensor, random: np.random.Generator, *, flip: bool) -> Tensor:
    n, _, h, w = images.shape
    margin = (max(1, h // 16), max(1, w // 16))
    padded = functional.pad(images.float(), (margin[1], margin[1], margin[0], margin[0]), mode="replicate").byte()
    tops, lefts = random.integers(2 * margin[0] + 1, size=n), random.integers(2 * margin[1] + 1, size=n)
    shifted = torch.stack(
        [image[:, t : t + h, left : left + w] for image, t, left in zip(padded, tops, lefts, strict=True)]
    )
    mirrored = torch.from_numpy(random.random(n) < 0.5) if flip else torch.zeros(n, dtype=torch.bool)
    return torch.where(mirrored[:, None, None, None], shifted.flip(3), shifted)
