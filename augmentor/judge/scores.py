"""How good a translation is, in numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.judge.likeness import joined, patch_scores, shares_below, similarities, target_probabilities
from augmentor.judge.stored import KeptJudge
from stargan.labels import UNKNOWN
from stargan.networks import Discriminator

_CPU = torch.device("cpu")


class Scores(NamedTuple):
    """The scores of n translations; NaN where there is none.

    Args:
        agreement: (n,) float64, the judge's probability of all that the target asks for, of the attributes that
            it can be trusted with there, see `AgreementReference`: the product of theirs.
        per_attribute: (n, A) float64, its probability of the target's value of each attribute; NaN where the
            target knows none.
        realism: (n,) float64, the share of real validation images that D finds no more real; NaN without D.
        preserved: (n,) float64, -1 to 1, how much of the source is left, apart from what had to change.
        expected: (n,) float64, the agreement that real images of such a domain reach; see `AgreementReference`.
    """

    agreement: NDArray[np.float64]
    per_attribute: NDArray[np.float64]
    realism: NDArray[np.float64]
    preserved: NDArray[np.float64]
    expected: NDArray[np.float64]


class Scorer:
    """Scores translations with a judge and a discriminator.

    Equal calls give equal scores. The same pictures in other company may differ in the last digits, so what
    depends on scores should score the same blocks again.

    Args:
        kept: the judge and what it refers to.
        discriminator: the model's, or None; its label space must be the judge's.
        device: where to compute.
    """

    def __init__(
        self, kept: KeptJudge, discriminator: Discriminator | None, *, device: torch.device = _CPU
    ) -> None:
        self.space = kept.judge.space
        self._judge, self._mean = kept.judge, kept.mean
        self._judge.network.to(device).eval()
        self._head = self._judge.network.head.weight.detach().cpu()
        self._yardstick = kept.yardstick
        usable = discriminator is not None and kept.realism is not None
        self._discriminator = discriminator.to(device).eval() if usable and discriminator is not None else None
        self._real = torch.tensor(kept.realism or (), dtype=torch.float64)

    def score(self, pictures: Tensor, sources: Tensor, targets: Tensor, own: Tensor) -> Scores:
        """Score translations.

        Args:
            pictures: (n, C, H, W) uint8 on the CPU, the translations.
            sources: the same, what each was made of; equal neighbours are looked at once.
            targets: (n, A) int64, what was asked for, -1 unknown.
            own: (n, A) int64, the sources' labels, -1 unknown.
        """
        seen = self._judge.see(pictures)
        distinct, place = _without_repeats(sources)
        before = self._judge.see(distinct).features[place]
        each = target_probabilities(self._judge.calibrated(seen.logits), targets, self.space)
        changed = (targets != own) & (targets != UNKNOWN)
        preserved = similarities(
            seen.features, before, changed, mean=self._mean, head=self._head, space=self.space
        )
        realism = torch.full((len(pictures),), torch.nan, dtype=torch.float64)
        if self._discriminator is not None:
            shown = self.space.to_one_label_set(targets, own)
            realism = shares_below(patch_scores(self._discriminator, pictures, shown, self.space), self._real)
        asked = self._yardstick.asked(targets, own)
        return Scores(
            agreement=joined(each, asked.counted).numpy(),
            per_attribute=each.numpy(),
            realism=realism.numpy(),
            preserved=preserved.numpy(),
            expected=asked.least.numpy(),
        )


def _without_repeats(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return images without those that equal the one before them, and where each of all is found there."""
    if len(images) < 2:
        return images, torch.arange(len(images))
    new = torch.ones(len(images), dtype=torch.bool)
    new[1:] = (images[1:] != images[:-1]).flatten(1).any(dim=1)
    return images[new], new.long().cumsum(dim=0) - 1
