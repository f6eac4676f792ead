"""Judges whose answers can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from augmentor.judge.classifier import Judge, JudgeNetwork
from augmentor.judge.report import AttributeAccuracy, JudgeReport
from augmentor.judge.stored import KeptJudge
from augmentor.judge.thresholds import AgreementReference, Thresholds
from stargan.labels import LabelSpace
from stargan.networks import Discriminator, Features

MakeKept = Callable[..., KeptJudge]


class Channels(nn.Module):
    """Three features: the mean of each colour channel, in [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


class Brightness(Discriminator):
    """Finds an image as real as it is bright; where it shall show glasses, a whole unit more."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def inner(self, images: Tensor, wanted: Tensor, sources: Tensor | None = None) -> Features:
        del wanted, sources
        return (self.weight * images.mean(dim=1, keepdim=True),)

    def forward(self, images: Tensor, wanted: Tensor, sources: Tensor | None = None) -> tuple[Tensor, Tensor]:
        (last,) = self.inner(images, wanted, sources)
        return last + (wanted[:, 3] > 0).float()[:, None, None, None], wanted


@pytest.fixture
def brightness() -> Discriminator:
    """A discriminator."""
    return Brightness()


@pytest.fixture
def make_kept(space: LabelSpace) -> MakeKept:
    """Make a judge of 4 px images: hair is the brightest channel (logits 2R, 2G, 2B), glasses 3B."""

    def make(*, trusted: tuple[bool, bool] = (True, True), realism: tuple[float, ...] | None = None) -> KeptJudge:
        head = nn.Linear(3, 4, bias=False)
        head.weight.data = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [0, 0, 3]])
        attributes = tuple(
            AttributeAccuracy(
                name=name,
                accuracy=0.9,
                chance=0.5,
                values={},
                real_images=40,
                temperature=1.0,
                error_before=0.1,
                error_after=0.05,
                doubt=None if known else "it guesses",
                confusion=(),
            )
            for name, known in zip(space.names, trusted, strict=True)
        )
        return KeptJudge(
            judge=Judge(network=JudgeNetwork(kind="small", body=Channels(), head=head), space=space),
            report=JudgeReport(steps=1, images=2, validation="val", attributes=attributes),
            image_size=(4, 4),
            image_channels=3,
            crop=None,
            mean=torch.zeros(3),
            realism=realism,
            preserved=(),
            auto=Thresholds(),
            reference=AgreementReference(
                probabilities=torch.full((3, 4), 0.5),
                codes=torch.tensor([[0, 0], [1, 1], [2, 1]]),
                space=space,
                trusted=torch.tensor(trusted),
            ),
        )

    return make
