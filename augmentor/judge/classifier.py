"""Networks of a judge, a ResNet-18 or a small one, with one head for all attributes; training."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from augmentor.errors import AugmentorError
from augmentor.judge.calibration import value_logits
from augmentor.judge.data import LabelledImages, combination_weights
from augmentor.judge.tampering import tampered
from stargan.checkpoints import CheckpointError, read_safetensors
from stargan.labels import UNKNOWN, LabelSpace
from stargan.losses import domain_loss
from stargan.pixels import to_signed

_SMALL_SIDE = 96
"""Below this many pixels the stem is a 3x3 convolution: a 7x7 one would cover half the image."""

_TINY_SIDE = 48
"""Below this many pixels the stem does not pool, to keep enough positions."""

_WEIGHT_DECAY = 0.01
_EVAL_BATCH = 256

_SETTLING_BATCHES = 4

_RESNET_SIDE = 64
"""From this many pixels on a judge is a ResNet-18."""

_PER_TAMPERED = 4
"""Real images for each tampered one."""

_DROPOUT = 0.3
_SMALL_FEATURES = 128

_PRETRAINED_SIDE = 128
"""Images for a pretrained network are enlarged to this side, in pixels: it has learnt from 224."""

_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the channels in [0, 1]; pretrained networks expect images that are normalised by them."""

NetworkKind = Literal["resnet", "small", "pretrained"]
"""A ResNet-18, the small network for small images, or a ResNet-18 whose pretrained body is not trained further."""

BATCH_SIZES: Mapping[NetworkKind, int] = {"resnet": 32, "small": 64, "pretrained": 32}
"""Images of a training step."""

_LEARNING_RATES: Mapping[NetworkKind, float] = {"resnet": 1e-3, "small": 2e-3, "pretrained": 1e-2}


class JudgeNetwork(nn.Module):
    """A body from images (N, C, H, W) in [-1, 1] to features (N, F), and a linear head to logits (N, D)."""

    def __init__(self, *, kind: NetworkKind, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.kind, self.body, self.head = kind, body, head

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) floats in [-1, 1] to (N, D) logits, in the label vector's order."""
        logits: Tensor = self.head(self.body(images))
        return logits


class PretrainedBody(nn.Module):
    """A torchvision ResNet-18 without its head, whose weights and statistics stay as they are.

    Args:
        weights: the file of its weights; None for random ones.
    """

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        # Imported here because it takes seconds.
        from torchvision.models import resnet18  # noqa: PLC0415

        self.resnet = resnet18()
        self.resnet.fc = nn.Identity()
        if weights is not None:
            self.resnet.load_state_dict(read_resnet18(weights, option="--judge-weights"))
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Keep the statistics of batch norm in use, in training, too."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the features (N, 512) of images (N, C, H, W) in [-1, 1]; small ones are enlarged first."""
        side = min(images.shape[2:])
        if side < _PRETRAINED_SIDE:
            images = functional.interpolate(images, scale_factor=_PRETRAINED_SIDE / side, mode="bilinear")
        mean, deviation = (images.new_tensor(of)[:, None, None] for of in (_IMAGENET_MEAN, _IMAGENET_DEVIATION))
        features: Tensor = self.resnet(((images.expand(-1, 3, -1, -1) + 1) / 2 - mean) / deviation)
        return features


def read_resnet18(path: Path, *, option: str) -> Mapping[str, Tensor]:
    """Read a ResNet-18's weights without its head, as torchvision and timm name them; no code in it is run.

    Args:
        path: a safetensors or a PyTorch file.
        option: the option that names the file, for messages.

    Raises:
        AugmentorError: the file cannot be read, or belongs to another network.
    """
    # Imported here because it takes seconds.
    from torchvision.models import resnet18  # noqa: PLC0415

    with torch.device("meta"):
        body = resnet18()
    body.fc = nn.Identity()
    shapes = {name: weight.shape for name, weight in body.state_dict().items()}
    try:
        state = (
            read_safetensors(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        found = {name: state[name] for name in shapes}
        wrong = [name for name, shape in shapes.items() if found[name].shape != shape]
    except (OSError, CheckpointError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise AugmentorError(f"{option} {path}: cannot be read ({error})") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise AugmentorError(f"{option} {path}: holds no weights of a ResNet-18 (no {error})") from error
    if wrong:
        raise AugmentorError(f"{option} {path}: {wrong[0]} has not a ResNet-18's shape")
    return found


class JudgeOutputs(NamedTuple):
    """Logits and features (N, F), the head's inputs: float32 on the CPU.

    Logits are (N, D), in the label vector's order, or (N, D + A): of a judge that knows images of no value, the
    last A are those of "no value of this attribute".
    """

    logits: Tensor
    features: Tensor


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A trained classifier of all attributes.

    Args:
        network: its weights.
        space: the label space.
        temperatures: (A,) float32, divisors of each attribute's logits for calibrated probabilities; default ones.
    """

    network: JudgeNetwork
    space: LabelSpace
    temperatures: Tensor = field(default_factory=lambda: torch.empty(0))

    def __post_init__(self) -> None:
        """Set the temperatures that were not given."""
        if not len(self.temperatures):
            object.__setattr__(self, "temperatures", torch.ones(len(self.space)))

    @torch.inference_mode()
    def outputs(self, images: Tensor) -> JudgeOutputs:
        """Return the logits and features of uint8 images (N, C, H, W)."""
        network = self.network.eval()
        weight = network.head.weight
        parts = []
        for batch in torch.split(images, _EVAL_BATCH) if len(images) else ():
            features = network.body(to_signed(batch.to(weight.device)))
            parts.append(JudgeOutputs(network.head(features).float().cpu(), features.float().cpu()))
        if not parts:
            return JudgeOutputs(torch.empty(0, weight.shape[0]), torch.empty(0, weight.shape[1]))
        return JudgeOutputs(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def predict(self, images: Tensor) -> Tensor:
        """Return the most likely domain of each image, (N, A) int64, of uint8 images (N, C, H, W)."""
        return likeliest(self.outputs(images).logits, self.space)

    def calibrated(self, logits: Tensor, temperatures: Tensor | None = None) -> Tensor:
        """Return calibrated probabilities, float32 in the label vector's order, of logits of the same shape.

        A binary attribute's entry is the probability of "1"; the entries of a categorical one sum to 1. Where
        there are entries for "no value", these and the attribute's values sum to 1.

        temperatures: (N, A) for each image, in the place of the judge's.
        """
        heats = (self.temperatures if temperatures is None else temperatures).expand(len(logits), -1)
        made, nothing = [], []
        for attribute, values, heat in zip(
            self.space.attributes, value_logits(logits, self.space), heats.T, strict=True
        ):
            shares, count = (values / heat[:, None]).softmax(dim=1).float(), len(attribute.values)
            made.append(shares[:, 1:2] if attribute.kind == "binary" else shares[:, :count])
            nothing.append(shares[:, count:])
        return torch.cat([*made, *nothing], dim=1)


def likeliest(logits: Tensor, space: LabelSpace) -> Tensor:
    """Return the most likely domain, (N, A) int64, of logits (N, D)."""
    columns = [
        (logits[:, run.start] > 0).long() if attribute.kind == "binary" else logits[:, run].argmax(dim=1)
        for attribute, run in zip(space.attributes, space.slices, strict=True)
    ]
    return torch.stack(columns, dim=1)


def kind_for(side: int) -> NetworkKind:
    """Return the network for images whose shorter side has so many pixels.

    A ResNet-18 takes ten times as long as the small network. In a tenth of a training's time on a CPU it gets a
    hundred steps at 32 px, and then knows too little to choose a checkpoint or to gate.
    """
    return "small" if side < _RESNET_SIDE else "resnet"


def new_network(
    kind: NetworkKind, channels: int, *, side: int, outputs: int, weights: Path | None = None
) -> JudgeNetwork:
    """Return a network with random weights for images of `channels`, whose shorter side has `side` pixels.

    `outputs` are the entries of the label vector, D; `weights` are those of a pretrained body.
    """
    if kind == "pretrained":
        return JudgeNetwork(kind=kind, body=PretrainedBody(weights), head=nn.Linear(512, outputs))
    if kind == "small":
        return small_network(channels, outputs=outputs)
    return resnet(channels, side=side, outputs=outputs)


def resnet(channels: int, *, side: int, outputs: int) -> JudgeNetwork:
    """Return a torchvision ResNet-18 with random weights, whose stem suits the images' size."""
    # Imported here because it takes seconds.
    from torchvision.models import resnet18  # noqa: PLC0415

    body = resnet18(num_classes=outputs)
    if side < _SMALL_SIDE:
        body.conv1 = nn.Conv2d(channels, 64, 3, stride=2, padding=1, bias=False)
        if side < _TINY_SIDE:
            body.maxpool = nn.Identity()
    elif channels != 3:
        body.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    head, body.fc = body.fc, nn.Identity()
    return JudgeNetwork(kind="resnet", body=body, head=head)


def small_network(channels: int, *, outputs: int, width: int = 32) -> JudgeNetwork:
    """Return a network of six convolutions for images of about 16 to 64 px, ten times as fast as a ResNet-18.

    `outputs` are the entries of the label vector, D; `width` is the number of maps of the first layers.
    """

    def layers(inputs: int, maps: int) -> list[nn.Module]:
        convolutions = [
            nn.Conv2d(inputs, maps, 3, stride=2, padding=1, bias=False),
            nn.Conv2d(maps, maps, 3, padding=1, bias=False),
        ]
        return [part for each in convolutions for part in (each, nn.BatchNorm2d(maps), nn.ReLU())]

    body = nn.Sequential(
        *layers(channels, width),
        *layers(width, 2 * width),
        *layers(2 * width, 4 * width),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(_DROPOUT),
        nn.Linear(16 * width, _SMALL_FEATURES),
        nn.ReLU(),
    )
    return JudgeNetwork(kind="small", body=body, head=nn.Linear(_SMALL_FEATURES, outputs))


def judge_loss(logits: Tensor, codes: Tensor, space: LabelSpace) -> Tensor:
    """Cross-entropy summed over attributes, averaged over known labels; logits are (N, D + A).

    codes: (N, A) int64, -1 unknown, the number of an attribute's values for "no value".
    """
    each = [
        functional.cross_entropy(column, code, ignore_index=UNKNOWN, reduction="sum")
        / (code != UNKNOWN).sum().clamp(min=1)
        for column, code in zip(value_logits(logits, space), codes.T, strict=True)
    ]
    return torch.stack(each).sum()


def train_judge(
    data: LabelledImages,
    *,
    space: LabelSpace,
    steps: int,
    seed: int,
    device: torch.device,
    batch_size: int | None = None,
    flip: bool = True,
    kind: NetworkKind | None = None,
    weights: Path | None = None,
    tampering: bool = False,
    on_step: Callable[[int], None] = lambda _step: None,
) -> Judge:
    """Train a judge from scratch on real images, with AdamW and a one-cycle schedule.

    Rows are drawn by `combination_weights`, so that an imbalanced set does not make a biased judge; images are
    shifted by up to 1/16 of their side and, if `flip`, mirrored at random.
    `steps` are of `batch_size` images, by default the network's of `BATCH_SIZES`; `seed` is that of weights,
    draws, augmentation and dropout; `kind` is the network, by default that of `kind_for`. `weights` are those of a
    pretrained ResNet-18, of which the head alone is trained.
    `on_step` is called after each step with its number, and may raise to stop.

    With `tampering` the judge also knows images that show no value of any attribute: tampered real ones.

    Raises:
        ValueError: there are no images.
        AugmentorError: the weights cannot be read.
    """
    if not len(data):
        raise ValueError("a judge needs at least one image to learn from")
    _, channels, height, width = data.images.shape
    side = min(height, width)
    chosen = "pretrained" if weights is not None else kind or kind_for(side)
    batches = _batches(data, space, batch_size=batch_size or BATCH_SIZES[chosen], seed=seed, flip=flip)
    if tampering:
        batches = _with_tampered(batches, space, seed=seed)
    outputs = space.domain_size + (len(space) if tampering else 0)

    loss = judge_loss if tampering else domain_loss
    rate, devices = _LEARNING_RATES[chosen], range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)  # of the weights
        network = new_network(chosen, channels, side=side, outputs=outputs, weights=weights)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)  # of dropout
        for step, (images, codes) in enumerate(islice(batches, steps), start=1):
            error = loss(network(to_signed(images.to(device))), codes.to(device), space)
            optimizer.zero_grad(set_to_none=True)
            error.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            on_step(step)
        if chosen != "pretrained":
            _settle(network, [to_signed(images.to(device)) for images, _ in islice(batches, _SETTLING_BATCHES)])
    return Judge(network=network.eval(), space=space)


def _batches(
    data: LabelledImages, space: LabelSpace, *, batch_size: int, seed: int, flip: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    random = np.random.default_rng(seed)
    weights = combination_weights(data.codes.numpy(), space)
    while True:
        rows = torch.from_numpy(random.choice(len(data), size=batch_size, p=weights))
        yield _jitter(data.images[rows], random, flip=flip), data.codes[rows]


def _with_tampered(
    batches: Iterator[tuple[Tensor, Tensor]], space: LabelSpace, *, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Add tampered images to every batch; their codes are the number of each attribute's values: "no value"."""
    random = np.random.default_rng([seed, 1])
    none = torch.tensor([[len(attribute.values) for attribute in space.attributes]])
    for images, codes in batches:
        count = max(1, len(images) // _PER_TAMPERED)
        some = torch.from_numpy(random.choice(len(images), size=count, replace=False))
        yield torch.cat([images, tampered(images[some], random)]), torch.cat([codes, none.expand(count, -1)])


@torch.no_grad()
def _settle(network: nn.Module, batches: Sequence[Tensor]) -> None:
    """Recompute batch norm's statistics: after a short training they still contain the random initial ones."""
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
