"""Decision on a block of translations: scores, rejections with reasons, thumbnails of some rejected ones."""

from __future__ import annotations

import base64
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.images import Pixels, encode, fit
from augmentor.judge.scores import Scores, joined, patch_scores, shares_below, similarities, target_probabilities
from augmentor.judge.stored import KeptJudge
from augmentor.judge.thresholds import Thresholds
from stargan.labels import UNKNOWN
from stargan.networks import Discriminator

_CPU = torch.device("cpu")

SCORES = ("agreement", "realism", "preserved")
"""Scores that can have a threshold."""

_THUMBNAIL = 96
"""Pixels of the longest side of a thumbnail."""

_SHOWN = 3
"""Thumbnails of a shard: so many of the worst, and of the nearest to the threshold."""


class Scorer:
    """Scores of translations from a judge and a discriminator (or None) of the same label space.

    Equal calls give equal scores. In blocks of other images scores may differ in the last digits, so what depends
    on scores should score the same blocks again.
    """

    def __init__(
        self, kept: KeptJudge, discriminator: Discriminator | None, *, device: torch.device = _CPU
    ) -> None:
        self.space = kept.judge.space
        self._judge, self._mean = kept.judge, kept.mean
        self._judge.network.to(device).eval()
        self._head = self._judge.network.head.weight.detach().cpu()
        self._reference = kept.reference
        usable = discriminator is not None and kept.realism is not None
        self._discriminator = discriminator.to(device).eval() if usable and discriminator is not None else None
        self._real = torch.tensor(kept.realism or (), dtype=torch.float64)

    def score(self, pictures: Tensor, sources: Tensor, targets: Tensor, own: Tensor) -> Scores:
        """Score translations.

        pictures, sources: (n, C, H, W) uint8 on the CPU; equal neighbouring sources are computed once.
        targets, own (the sources' labels): (n, A) int64, -1 unknown.
        """
        seen = self._judge.outputs(pictures)
        distinct, place = _without_repeats(sources)
        before = self._judge.outputs(distinct).features[place]
        each = target_probabilities(self._judge.calibrated(seen.logits), targets, self.space)
        changed = (targets != own) & (targets != UNKNOWN)
        preserved = similarities(
            seen.features, before, changed, mean=self._mean, head=self._head, space=self.space
        )
        realism = torch.full((len(pictures),), torch.nan, dtype=torch.float64)
        patches = realism
        if self._discriminator is not None:
            shown = self.space.to_one_label_set(targets, own)
            patches = patch_scores(self._discriminator, pictures, shown, self.space)
            realism = shares_below(patches, self._real)
        required = self._reference.requirements(targets, own)
        return Scores(
            agreement=joined(each, required.counted).numpy(),
            per_attribute=each.numpy(),
            realism=realism.numpy(),
            preserved=preserved.numpy(),
            expected=required.least.numpy(),
            checked=(required.counted | ~changed).all(dim=1).numpy(),
            discriminator=patches.numpy(),
        )


def _without_repeats(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return images without those that equal the one before them, and where each of all is found there."""
    if len(images) < 2:
        return images, torch.arange(len(images))
    new = torch.ones(len(images), dtype=torch.bool)
    new[1:] = (images[1:] != images[:-1]).flatten(1).any(dim=1)
    return images[new], new.long().cumsum(dim=0) - 1


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Thresholds below which translations are rejected; an unknown score rejects nothing.

    With `by_domain` the threshold of agreement is lower in domains where real images reach less, too. `floor` is
    the lowest score of D, see `KeptJudge`.
    """

    thresholds: Thresholds
    by_domain: bool = False
    floor: float | None = None

    def limits(self, scores: Scores) -> dict[str, NDArray[np.float64]]:
        """Return the thresholds of n translations, (n,) float64, by the name of each score that has one."""
        n = len(scores.agreement)
        required = {
            name: np.full(n, least) for name in SCORES if (least := getattr(self.thresholds, name)) is not None
        }
        if self.by_domain and "agreement" in required:
            required["agreement"] = np.fmin(required["agreement"], scores.expected)
        if self.floor is not None:
            required["discriminator"] = np.full(n, self.floor)
        return required

    def verdicts(self, scores: Scores) -> list[str]:
        """Return for each translation why it is rejected, such as "agreement 0.12 < 0.41"; "" keeps it."""
        columns = [
            (name, limits.tolist(), getattr(scores, name).tolist()) for name, limits in self.limits(scores).items()
        ]
        return [
            ", ".join(
                _compared(name, column[row], least[row])
                for name, least, column in columns
                if column[row] < least[row]
            )
            for row in range(len(scores.agreement))
        ]

    def shortfalls(self, scores: Scores) -> NDArray[np.float64]:
        """Return the largest distances below a threshold, (n,) float64; below 0: all reached; NaN: none known."""
        missed = np.full(len(scores.agreement), np.nan)
        for name, least in self.limits(scores).items():
            missed = np.fmax(missed, least - getattr(scores, name))
        return missed


def _compared(name: str, score: float, least: float) -> str:
    """Return the two numbers with enough digits to see which is less."""
    digits = 2
    while f"{score:.{digits}f}" == f"{least:.{digits}f}" and digits < 17:
        digits += 1
    return f"{name} {score:.{digits}f} < {least:.{digits}f}"


class Judgement(NamedTuple):
    """Scores of n translations, reasons for rejecting them ("" keeps one) and `Gate.shortfalls`, (n,) float64."""

    scores: Scores
    reasons: list[str]
    shortfalls: NDArray[np.float64]


class DeviceJudge:
    """A judge of translations on one device; the discriminator is the model's, or None.

    On a GPU it has its own stream, so that it need not wait for the translator's next blocks, which are queued.
    """

    def __init__(
        self, kept: KeptJudge, discriminator: Discriminator | None, gate: Gate, *, device: torch.device
    ) -> None:
        self._gate = gate
        self._scorer = Scorer(kept, discriminator, device=device)
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            # The weights were sent on another stream.
            torch.cuda.synchronize(device)
            self._stream = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    def judge(self, pictures: Tensor, sources: Tensor, targets: Tensor, own: Tensor) -> Judgement:
        """Judge translations; equal calls give equal results.

        Args:
            pictures: (n, C, H, W) uint8 on the CPU, the translations at the model's size.
            sources: (n, C, H, W) uint8, the image that each was made from.
            targets: (n, A) int64, the labels that each is written with, -1 unknown.
            own: (n, A) int64, the sources' labels, -1 unknown.
        """
        # Without a stream nothing of CUDA may be called: that would initialise it.
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            scores = self._scorer.score(pictures, sources, targets, own)
        return Judgement(scores, self._gate.verdicts(scores), self._gate.shortfalls(scores))


class RejectedThumbnails:
    """Thumbnails of a shard's rejected translations: the worst, and those nearest to the threshold."""

    def __init__(self) -> None:
        self._nearest: list[tuple[float, int, Pixels]] = []
        self._worst: list[tuple[float, int, Pixels]] = []

    def add(self, position: int, shortfall: float, picture: Tensor) -> None:
        """Add a rejected translation, (C, H, W) uint8, by its position in the shard; of equals the first stays."""
        for kept, rank in ((self._nearest, shortfall), (self._worst, -shortfall)):
            if len(kept) == _SHOWN and (rank, position) > kept[-1][:2]:
                continue
            # A copy, so that the block that it is a part of can be freed.
            kept.append((rank, position, picture.permute(1, 2, 0).numpy().copy()))
            kept.sort(key=lambda each: each[:2])
            del kept[_SHOWN:]

    def thumbnails(self) -> dict[int, str]:
        """Return base64 of small JPEG files, by position."""
        pictures = {position: pixels for _, position, pixels in (*self._nearest, *self._worst)}
        return {
            position: base64.b64encode(encode(fit(pixels, _THUMBNAIL), "jpg")).decode()
            for position, pixels in sorted(pictures.items())
        }
