"""The classifier that judges images: a torchvision ResNet-18 with a head per attribute, trained on real rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
_SETTLING_BATCHES = 4


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
        network: maps (N, C, H, W) floats in [-1, 1] to (N, D) logits, in the label vector's order.
        space: the label space.
    """

    network: nn.Module
    space: LabelSpace

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Return the logits, (N, D) float32 on the CPU, of uint8 images (N, C, H, W)."""
        self.network.eval()
        device = next(self.network.parameters()).device
        if not len(images):
            return torch.empty(0, self.space.domain_size)
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
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        network = _resnet(channels, side=min(height, width), outputs=space.domain_size)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps)
    random = np.random.default_rng(seed)
    weights = rarity_weights(data.codes.numpy(), space)

    def draw() -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(random.choice(len(data), size=batch_size, p=weights))
        return to_signed(_jitter(data.images[rows], random, flip=flip).to(device)), data.codes[rows].to(device)

    for step in range(1, steps + 1):
        images, codes = draw()
        loss = domain_loss(network(images), codes, space)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        on_step(step)
    _settle(network, [draw()[0] for _ in range(_SETTLING_BATCHES)])
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
    return {
        name: sum(shares.values()) / len(shares) if shares else float("nan")
        for name, shares in recalls(predicted, wanted, space).items()
    }


def recalls(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, dict[str, float]]:
    """Return per attribute and value the share of that value's rows that are recognised.

    Args:
        predicted: (N, A) int64.
        wanted: (N, A) int64, -1 unknown.
        space: names the attributes and their values; a value that no row wants is left out.
    """
    return {
        attribute.name: {
            value: float((said[want == code] == code).double().mean())
            for code, value in enumerate(attribute.values)
            if (want == code).any()
        }
        for attribute, said, want in zip(space.attributes, predicted.T, wanted.T, strict=True)
    }


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
        decode(manifest.image_path(row), size=size, channels=channels, crop=crop, access=manifest.access)
        for row in range(len(manifest))
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


@dataclass(frozen=True, kw_only=True)
class Translations:
    """What became of translations.

    Args:
        rows: (M,) int64, the source of each.
        targets: (M, A) int64, its domain, -1 unknown.
        said: (M, A) int64, the domain that a judge sees in it.
        change: (M,) float64, the mean absolute difference from its source in grey levels, 0 to 255.
    """

    rows: Tensor
    targets: Tensor
    said: Tensor
    change: Tensor

    def __len__(self) -> int:
        return len(self.rows)


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
    rows, targets = requested(data, request, translator.model.space)
    said = translate_and_judge(judge, translator, data, rows, targets).said
    space = translator.model.space
    return Verdict(
        translations=len(rows),
        right=share_right(said, targets, space),
        changed=share_right(said, asked_for(targets, data.codes[rows]), space),
        all_right=float(((said == targets) | (targets == UNKNOWN)).all(dim=1).double().mean()),
    )


def requested(
    data: LabelledImages, request: DomainRequest, space: LabelSpace, *, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return what a request asks for.

    Args:
        data: the sources.
        request: the targets of each.
        space: what the codes mean.
        most: how many translations to return, the first ones; None for all.

    Returns:
        The row, (M,) int64, and the target, (M, A) int64, of each translation, row by row.
    """
    plan = make_plan(
        data.codes.numpy(),
        space=space,
        request=request,
        eligible=np.ones(len(data), dtype=np.bool_),
        with_real=False,
    )
    items = list(plan.items(0, None if most is None else min(most, len(plan))))
    rows = torch.tensor([item.row for item in items], dtype=torch.int64)
    return rows, torch.tensor([item.target for item in items], dtype=torch.int64).view(-1, len(space))


def asked_for(targets: Tensor, own: Tensor) -> Tensor:
    """Return the targets, (M, A), with -1 in place of every value that the source has already."""
    return targets.masked_fill(targets == own, UNKNOWN)


def translate_and_judge(
    judge: Judge,
    translator: Translator,
    data: LabelledImages,
    rows: Tensor,
    targets: Tensor,
    *,
    batch_size: int = _EVAL_BATCH,
    go_on: Callable[[int], bool] = lambda _done: True,
) -> Translations:
    """Translate images, let a judge say what the translations show, and measure how much they differ.

    Args:
        judge: trained on real images; must know the translator's label space.
        translator: the model.
        data: the sources.
        rows: (M,) int64, the source of each translation.
        targets: (M, A) int64, its domain, -1 leaves that attribute alone.
        batch_size: translations made and judged at once.
        go_on: asked before each batch but the first with the number done; False leaves out the rest.
    """
    said, change = [], []
    for start in range(0, len(rows), batch_size):
        if start and not go_on(start):
            break
        some = rows[start : start + batch_size]
        sources, own = data.images[some], data.codes[some]
        asked = translator.model.space.asked(targets[start : start + batch_size], own)
        translated = translator.translate(sources, asked)
        said.append(judge.predict(translated))
        change.append((translated.double() - sources.double()).abs().mean(dim=(1, 2, 3)))
    done = sum(map(len, change))
    return Translations(
        rows=rows[:done],
        targets=targets[:done],
        said=torch.cat(said) if said else torch.empty(0, targets.shape[1], dtype=torch.int64),
        change=torch.cat(change) if change else torch.empty(0, dtype=torch.float64),
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


@torch.no_grad()
def _settle(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Measure batch norm's statistics anew: after a short training much of the random start is in them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean of all batches
    for images in batches:
        network(images)


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
