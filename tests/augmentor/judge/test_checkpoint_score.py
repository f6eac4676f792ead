"""The score of a generator: neither doing nothing nor painting everything over is rewarded."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from augmentor.judge.build import appraise
from augmentor.judge.checkpoint_score import AttributeScore, ScoreSample, TranslationScore
from augmentor.judge.classifier import train_judge
from augmentor.judge.data import LabelledImages
from stargan.inference import Translator
from stargan.labels import UNKNOWN, Attribute, LabelSpace

SPACE = LabelSpace(attributes=(Attribute(name="smile"), Attribute(name="hat")))
Draw = Callable[[Tensor, Tensor], Tensor]


def draw(codes: Tensor, subjects: Tensor) -> Tensor:
    """Draw subjects: a texture of their own, a mouth that is light or dark, and a hat that is red or blue."""
    images = []
    for (smile, hat), subject in zip(codes.tolist(), subjects.tolist(), strict=True):
        coarse = np.random.default_rng(subject).integers(60, 190, (3, 4, 4))
        image = np.kron(coarse, np.ones((4, 4))).astype(np.uint8)
        image[:, 12:15, 2:14] = 250 if smile else 5
        image[:, 0:3, :] = 0
        image[0 if hat else 2, 0:3, :] = 255
        images.append(image)
    return torch.from_numpy(np.stack(images))


def images_of(first: int, count: int) -> tuple[LabelledImages, Tensor]:
    subjects = torch.arange(first, first + count)
    codes = torch.stack([subjects % 2, subjects // 2 % 2], dim=1)
    return LabelledImages(images=draw(codes, subjects), codes=codes), subjects


class Painting:
    """A translator in the place of a generator's: `paint` makes the pictures."""

    class _Model:
        space = SPACE

    model = _Model()

    def __init__(self, paint: Draw) -> None:
        self.translate = lambda sources, targets, _seeds: paint(sources, targets)


def painting(paint: Draw) -> Translator:
    return cast(Translator, Painting(paint))


@pytest.fixture(scope="module")
def shown() -> tuple[LabelledImages, Tensor]:
    return images_of(1000, 48)


@pytest.fixture(scope="module")
def sample(shown: tuple[LabelledImages, Tensor]) -> ScoreSample:
    judge = train_judge(images_of(0, 200)[0], space=SPACE, steps=40, seed=0, device=torch.device("cpu"), flip=True)
    kept = appraise(judge, shown[0], groups=[""] * 48, steps=40, images=200, validation_from="val", crop=None)
    assert kept.report.trusted == ("smile", "hat")
    return ScoreSample(kept, shown[0], ("",) * 48)


def subjects_of(sources: Tensor, shown: tuple[LabelledImages, Tensor]) -> Tensor:
    found = [int((shown[0].images == source).flatten(1).all(dim=1).nonzero()[0]) for source in sources]
    return shown[1][found]


def test_the_sample_is_single_changes_balanced_over_values(
    sample: ScoreSample, shown: tuple[LabelledImages, Tensor]
) -> None:
    own = shown[0].codes[sample.rows]
    changed = sample.targets != own
    assert len(sample) == 96
    assert changed.sum(dim=1).eq(1).all()
    first = sample.targets[:8]
    into = [(int(column), int(first[row, column])) for row, column in changed[:8].nonzero()]
    assert sorted(into) == sorted([(0, 0), (0, 1), (1, 0), (1, 1)] * 2)


def test_a_true_generator_beats_idleness_painting_over_and_changing_too_much(
    sample: ScoreSample, shown: tuple[LabelledImages, Tensor]
) -> None:
    def true(sources: Tensor, targets: Tensor) -> Tensor:
        return draw(targets, subjects_of(sources, shown))

    def idle(sources: Tensor, targets: Tensor) -> Tensor:
        return sources

    def template(sources: Tensor, targets: Tensor) -> Tensor:
        # The same subject of the target's domain for every source: all values are right.
        return draw(targets, torch.full((len(sources),), 5000))

    def careless(sources: Tensor, targets: Tensor) -> Tensor:
        # Both attributes become 1 whenever one of them is to change.
        return draw(torch.ones_like(targets), subjects_of(sources, shown))

    scores = {paint.__name__: sample.score(painting(paint)) for paint in (true, idle, template, careless)}
    best = scores["true"]
    assert best.score > 0.7
    for name in ("idle", "template", "careless"):
        assert scores[name].score < best.score - 2 * best.error, name
    assert scores["idle"].score < 0.1
    assert scores["template"].score < 0.2
    for each in scores["idle"].attributes.values():
        assert (each.kept, each.same) == (1, 1)
        assert each.accuracy < 0.1
    for each in scores["template"].attributes.values():
        assert each.accuracy > 0.9
        assert each.kept > 0.9
        assert each.same < 0.2
    # Half of the sources have 1 in the other attribute already.
    assert scores["careless"].attributes["smile"].kept == pytest.approx(0.5, abs=0.1)
    assert best.translations == 96


def test_the_sample_is_fixed_and_can_be_shortened(
    sample: ScoreSample, shown: tuple[LabelledImages, Tensor]
) -> None:
    asked: list[int] = []

    def idle(sources: Tensor, targets: Tensor) -> Tensor:
        asked.append(len(sources))
        return sources

    short = ScoreSample(sample._kept, shown[0], ("",) * 48)
    assert torch.equal(short.targets, sample.targets)
    short.fit(painting(idle), seconds=0)
    assert (len(short), asked) == (64, [32, 32])
    assert short.score(painting(idle)) == short.score(painting(idle))
    short.shorten(3)
    assert torch.equal(short.rows, sample.rows[:3])


def test_unknown_labels_and_attributes_without_trust_are_left_out(
    sample: ScoreSample, shown: tuple[LabelledImages, Tensor]
) -> None:
    codes = shown[0].codes.clone()
    codes[:24, 0] = UNKNOWN
    partly = LabelledImages(images=shown[0].images, codes=codes)
    judge = sample._kept.judge
    kept = appraise(judge, partly, groups=[""] * 48, steps=1, images=1, validation_from="val", crop=None)
    known = ScoreSample(kept, partly, ("",) * 48)
    own = codes[known.rows]
    assert len(known) == 24 + 48
    assert not ((known.targets != own) & (own == UNKNOWN)).any()

    codes = shown[0].codes.clone()
    codes[4:, 1] = UNKNOWN  # four images are too few to trust the judge with the hat
    few = LabelledImages(images=shown[0].images, codes=codes)
    kept = appraise(judge, few, groups=[""] * 48, steps=1, images=1, validation_from="val", crop=None)
    smiles = ScoreSample(kept, few, ("",) * 48)
    assert list(smiles.score(painting(lambda sources, _: sources)).attributes) == ["smile"]


def test_the_score_is_the_mean_of_accuracy_times_preservation() -> None:
    found = TranslationScore(
        attributes={
            "smile": AttributeScore(accuracy=0.8, kept=0.5, same=0.5),
            "hat": AttributeScore(accuracy=0.4, kept=1.0, same=1.0),
        },
        translations=24,
    )
    assert found.score == pytest.approx(0.3)
    assert found.error == pytest.approx((0.3 * 0.7 / 24) ** 0.5)
