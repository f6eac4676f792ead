"""Training of the evaluation's classifiers, until they have converged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from augmentor.evaluation.classifier import Evaluator, predict
from augmentor.judge import LabelledImages, balanced_accuracy
from stargan.labels import LabelSpace
from stargan.losses import domain_loss
from stargan.pixels import to_signed

CHECK_EVERY = 100
"""Steps between two looks at the val images."""

_PATIENCE = 4
"""Looks without a better one after which a classifier has converged."""

_BETTER = 0.0025
"""Balanced accuracy by which a look has to be better; less is chance."""

_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 0.01
_WARMUP_STEPS = 50

_SLOWEST_AVERAGE = 0.01
"""Weight of a step in the moving average of the weights, in the long run."""

Loss = Literal["plain", "group_balanced", "logit_adjusted"]
"""The plain loss; each combination of labels with the same weight; or the logarithms of the labels' shares added
to the logits in training, so that rare labels are predicted as often as common ones (arXiv 2007.07314, eq. 10)."""


class TrainedEvaluator(NamedTuple):
    """A classifier with the moving average of its weights, the steps it took, and whether it has converged."""

    network: Evaluator
    steps: int
    converged: bool


class LabelBalance(NamedTuple):
    """How unequal the training images' labels are.

    Args:
        priors: (D,) added to the logits in training with a logit-adjusted loss.
        groups: (G, C) combinations of the attributes at the positions in `counting`.
        weights: (G,) weights of their images with a group-balanced loss.
    """

    priors: Tensor
    groups: Tensor
    weights: Tensor
    counting: list[int]


class Convergence:
    """Accuracies of a classifier on val images; it has converged when the best one is long ago."""

    def __init__(self) -> None:
        self._best, self._since = -1.0, 0

    def converged(self, accuracy: float) -> bool:
        """Add a look, and return whether the classifier has converged."""
        if accuracy > self._best + _BETTER:
            self._best, self._since = accuracy, 0
        else:
            self._since += 1
        return self._since >= _PATIENCE


def train_evaluator(
    network: Evaluator,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    space: LabelSpace,
    loss: Loss,
    balance: LabelBalance,
    validation: LabelledImages,
    first_look: int,
    device: torch.device,
    on_step: Callable[[int], None],
) -> TrainedEvaluator:
    """Train a classifier on all batches, or until the val images say that it has converged.

    `batches` are (N, C, H, W) uint8 images with (N, A) int64 codes, -1 unknown. On `validation`, real images,
    the balanced accuracy of the attributes that count is looked at, first after `first_look` steps; without any,
    all batches are used.
    `on_step` is called after each step with its number, and may raise to stop.
    """
    network = network.to(device).to(memory_format=torch.channels_last).train()
    average, looks, step = copy.deepcopy(network).eval(), Convergence(), 0
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda taken: min(1.0, (taken + 1) / _WARMUP_STEPS))
    balance = balance._replace(
        **{name: getattr(balance, name).to(device) for name in ("priors", "groups", "weights")}
    )
    names = [space.names[a] for a in balance.counting]
    for step, (images, codes) in enumerate(batches, start=1):
        logits, wanted = network(to_signed(images.to(device))), codes.to(device)
        if loss == "group_balanced":
            error = group_loss(logits, wanted, space, balance)
        else:
            error = domain_loss(logits + balance.priors if loss == "logit_adjusted" else logits, wanted, space)
        optimizer.zero_grad(set_to_none=True)
        error.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        _follow(average, network, weight=max(_SLOWEST_AVERAGE, 9 / (10 + step)))
        on_step(step)
        if len(validation) and step >= first_look and step % CHECK_EVERY == 0:
            seen = balanced_accuracy(predict(average, validation.images, space), validation.codes, space)
            if looks.converged(float(np.nanmean([seen[name] for name in names]))):
                return TrainedEvaluator(average, step, converged=True)
    return TrainedEvaluator(average, step, converged=False)


def group_loss(logits: Tensor, codes: Tensor, space: LabelSpace, balance: LabelBalance) -> Tensor:
    """Domain loss of logits (N, D) and codes (N, A), every image with the weight of its combination of labels."""
    which = (codes[:, None, balance.counting] == balance.groups).all(dim=2).int().argmax(dim=1)
    losses = [
        balance.weights[group]
        * (which == group).sum()
        * domain_loss(logits[which == group], codes[which == group], space)
        for group in sorted(set(which.tolist()))
    ]
    return torch.stack(losses).sum() / len(codes)


def label_balance(codes: Tensor, space: LabelSpace, counting: Sequence[int]) -> LabelBalance:
    """Return what balances the losses of training images with codes (N, A).

    The logits' priors are the logarithms of a categorical attribute's shares, and of a binary one's odds; a value
    that no image has counts as half an image. The weights make all combinations of the attributes in `counting`
    count alike.
    """
    parts = []
    for attribute, column in zip(space.attributes, codes.T, strict=True):
        counts = torch.stack([(column == code).sum() for code in range(len(attribute.values))]).clamp(min=0.5)
        shares = (counts / counts.sum()).log()
        parts.append(shares[1:] - shares[:1] if attribute.kind == "binary" else shares)
    groups, sizes = np.unique(codes[:, list(counting)].numpy(), axis=0, return_counts=True)
    weights = torch.from_numpy(len(codes) / (len(groups) * sizes)).float()
    return LabelBalance(
        priors=torch.cat(parts), groups=torch.from_numpy(groups), weights=weights, counting=list(counting)
    )


@torch.no_grad()
def _follow(average: Evaluator, network: Evaluator, *, weight: float) -> None:
    """Move the average's weights and batch norm's statistics towards the network's."""
    for mean, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(new, weight)
