"""What is learnt of a judge from real images: worth, trust, references, thresholds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from augmentor.judge.build import appraise, with_realism
from augmentor.judge.classifier import Judge, JudgeNetwork
from augmentor.judge.data import LabelledImages
from augmentor.judge.report import JudgeReport
from augmentor.judge.scores import patch_scores
from augmentor.judge.stored import KeptJudge
from augmentor.judge.thresholds import Thresholds
from stargan.labels import UNKNOWN, LabelSpace
from stargan.networks import Discriminator


class Flat(nn.Module):
    """Features: the channels' means in [-1, 1]."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


def judge(space: LabelSpace) -> Judge:
    """Hair is the bright channel; of glasses it knows nothing and always says no."""
    head = nn.Linear(3, 4)
    head.weight.data = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 3], [0, 0, 0]])
    head.bias.data = torch.tensor([0.0, 0, 0, -1])
    return Judge(network=JudgeNetwork(kind="small", body=Flat(), head=head), space=space)


def images(count: int) -> LabelledImages:
    random = torch.Generator().manual_seed(0)
    codes = torch.tensor([[i % 3, i // 3 % 2] for i in range(count)], dtype=torch.int64).view(-1, 2)
    pixels = torch.randint(20, 120, (count, 3, 4, 4), dtype=torch.uint8, generator=random)
    pixels[torch.arange(count), codes[:, 0]] += 100
    return LabelledImages(images=pixels, codes=codes)


def appraised(space: LabelSpace, data: LabelledImages, discriminator: Discriminator | None = None) -> KeptJudge:
    return appraise(
        judge(space),
        data,
        groups=[""] * len(data),
        steps=5,
        images=100,
        validation_from="held out of train",
        crop=None,
        discriminator=discriminator,
    )


def test_what_it_knows_and_what_it_does_not(space: LabelSpace, brightness: Discriminator) -> None:
    kept = appraised(space, images(60), brightness)
    hair, glasses = kept.report.attributes
    assert (hair.accuracy, hair.trusted, hair.real_images) == (1.0, True, 60)
    assert glasses.accuracy == 0.5
    assert glasses.values == {"0": 1.0, "1": 0.0}
    (no_as_no, no_as_yes), (yes_as_no, yes_as_yes) = glasses.confusion
    assert (no_as_yes, yes_as_yes) == (0, 0)
    assert no_as_no + yes_as_no == 60
    assert [sum(row) for row in hair.confusion] == [row[place] for place, row in enumerate(hair.confusion)]
    assert not glasses.trusted
    assert kept.report.trusted == ("hair",)
    assert kept.report.doubts == (
        "glasses is not gated on: the classifier itself is right about only 50% of real images (guessing: 50%)",
    )
    assert kept.reference.trusted.tolist() == [True, False]
    assert JudgeReport.from_json(kept.report.to_json()) == kept.report
    # Nothing can be offered falsely but hair.
    assert kept.offers is not None
    assert (kept.offers.true, kept.offers.false) == (60, 120)
    assert kept.offers.false_rejected >= 0.98
    assert kept.auto.agreement is not None
    assert kept.realism is not None
    assert len(kept.realism) == 60
    assert list(kept.realism) == sorted(kept.realism)
    assert list(kept.preserved) == sorted(kept.preserved)
    assert kept.auto.preserved is None
    (note,) = kept.notes
    assert "of them under their own" in note


def test_the_temperature_is_measured_on_the_images(space: LabelSpace) -> None:
    data = images(60)
    kept = appraised(space, data)
    hair = kept.report.attributes[0]
    assert hair.temperature == float(kept.judge.temperatures[0]) < 1  # it is always right, and shy
    assert hair.error_before is not None
    assert hair.error_after is not None
    assert hair.error_after < hair.error_before
    assert kept.realism is None


def test_realism_is_gated_on_where_the_discriminator_leaves_most_alone(
    space: LabelSpace, brightness: Discriminator
) -> None:
    data = images(60)
    kept = appraised(space, data, brightness)
    usable = with_realism(kept, data, brightness)
    assert (usable.auto, usable.floor) == (Thresholds(agreement=kept.auto.agreement, realism=0.05), None)
    assert usable.notes[:-1] == kept.notes
    # The scores of the darkest two lie below those of 95 % of all.
    assert usable.notes[-1].startswith("3.3% of 60 translations of validation images look less real")
    dark = LabelledImages(images=data.images // 2, codes=data.codes)
    useless = with_realism(kept, dark, brightness)
    assert useless.auto == kept.auto
    assert useless.notes[-1].endswith("The 5% least real of them are rejected.")
    of_dark = patch_scores(brightness, dark.images, dark.codes, space)
    assert useless.floor == pytest.approx(float(of_dark.quantile(0.05)))
    few = LabelledImages(images=dark.images[:31], codes=dark.codes[:31])
    assert kept.realism is not None
    lowest, highest = float(of_dark[:31].min()), max(kept.realism)
    assert with_realism(kept, few, brightness).floor == pytest.approx(2 * lowest - highest)
    none = LabelledImages(images=dark.images[:0], codes=dark.codes[:0])
    assert with_realism(kept, none, brightness).floor == pytest.approx(2 * kept.realism[0] - kept.realism[-1])
    assert with_realism(replace(kept, realism=None), data, brightness).auto == kept.auto


def test_few_images_and_none(space: LabelSpace) -> None:
    few = appraised(space, images(31))
    assert few.auto == Thresholds(agreement=0.5)
    assert "31 validation images are too few to read thresholds from" in few.notes[0]
    none = appraised(space, images(0))
    assert none.auto == Thresholds()
    assert none.report.trusted == ()
    assert "can be trusted with no attribute" in none.notes[0]
    unknown = images(40)
    unknown.codes[:] = UNKNOWN
    assert appraised(space, unknown).auto.agreement is None
