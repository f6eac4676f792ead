"""What becomes of a block of translations: their scores, why some are rejected, and a few pictures of these."""

from __future__ import annotations

import base64
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augmentor.images import Pixels, encode, fit
from augmentor.judge.gate import Gate
from augmentor.judge.scores import Scorer, Scores
from augmentor.judge.stored import KeptJudge
from stargan.networks import Discriminator

SCORES = ("agreement", "realism", "preserved")
"""What a gate can demand a least value of."""

_THUMBNAIL = 96
"""Pixels of the longest side of the pictures that are kept of rejected translations."""

_SHOWN = 3
"""The worst, and as many of the nearest to the threshold, of which each shard keeps a picture."""


class Judgement(NamedTuple):
    """What was found of n translations.

    Args:
        scores: of each.
        reasons: why each is rejected; "" keeps it.
        shortfalls: (n,) float64, how far each misses what it misses most; NaN where nothing is asked of it.
    """

    scores: Scores
    reasons: list[str]
    shortfalls: NDArray[np.float64]


class DeviceJudge:
    """Judges translations on one device.

    On a GPU it works on a stream of its own: the translator's next blocks, which are queued already, need not be
    done first, and the device does not run dry meanwhile.

    Args:
        kept: the judge.
        discriminator: the model's, or None.
        gate: what translations must reach.
        device: where.
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
        """Judge translations; equal calls give equal answers.

        Args:
            pictures: (n, C, H, W) uint8 on the CPU, the translations at the model's size.
            sources: the same, what each was made of.
            targets: (n, A) int64, the labels that each is written with, -1 unknown.
            own: (n, A) int64, the sources' labels, -1 unknown.
        """
        # Without a stream nothing of CUDA is touched: on a machine that has it, that would set it up.
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            scores = self._scorer.score(pictures, sources, targets, own)
        return Judgement(scores, self._gate.verdicts(scores), self._gate.shortfalls(scores))


class RejectedThumbnails:
    """The pictures that are kept of a shard's rejected translations: the worst, and the nearest to being kept."""

    def __init__(self) -> None:
        self._nearest: list[tuple[float, int, Pixels]] = []
        self._worst: list[tuple[float, int, Pixels]] = []

    def add(self, position: int, shortfall: float, picture: Tensor) -> None:
        """Look at one more; of equal ones the first stays.

        Args:
            position: its place in the shard.
            shortfall: how far it misses the threshold.
            picture: (C, H, W) uint8.
        """
        for kept, rank in ((self._nearest, shortfall), (self._worst, -shortfall)):
            if len(kept) == _SHOWN and (rank, position) > kept[-1][:2]:
                continue
            # A copy: the block that it is a part of is not to be held.
            kept.append((rank, position, picture.permute(1, 2, 0).numpy().copy()))
            kept.sort(key=lambda each: each[:2])
            del kept[_SHOWN:]

    def thumbnails(self) -> dict[int, str]:
        """Return the pictures as base64 of small JPEG files, by their position."""
        pictures = {position: pixels for _, position, pixels in (*self._nearest, *self._worst)}
        return {
            position: base64.b64encode(encode(fit(pixels, _THUMBNAIL), "jpg")).decode()
            for position, pixels in sorted(pictures.items())
        }
