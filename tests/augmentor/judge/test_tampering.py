"""Tampered images: how they are made, and what a judge that knows them says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from augmentor.judge.build import appraise
from augmentor.judge.calibration import value_logits
from augmentor.judge.classifier import Judge, judge_loss, train_judge
from augmentor.judge.data import LabelledImages
from augmentor.judge.scores import target_probabilities
from augmentor.judge.stored import load_judge, save_judge
from augmentor.judge.tampering import tampered
from stargan.labels import UNKNOWN, Attribute, LabelSpace

CPU = torch.device("cpu")
SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "brown")),
        Attribute(name="glasses"),
    )
)


def portraits(count: int, *, seed: int = 0) -> LabelledImages:
    """16 px images: hair is the colour of the upper half, glasses a dark bar; noise of 20 grey levels."""
    random = torch.Generator().manual_seed(seed)
    codes = torch.tensor([[i % 3, i // 3 % 2] for i in range(count)])
    images = torch.randint(100, 120, (count, 3, 16, 16), generator=random)
    images[torch.arange(count), codes[:, 0], :8] += 100
    images[codes[:, 1] == 1, :, 9:11] = 20
    return LabelledImages(images=images.byte(), codes=codes)


@pytest.fixture(scope="module")
def judge() -> Judge:
    data = portraits(240)
    return train_judge(data, space=SPACE, steps=120, seed=0, device=CPU, batch_size=32, tampering=True)


def test_images_are_tampered_with_as_the_seed_says() -> None:
    images = portraits(30).images
    made, again = (tampered(images, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(made, again)
    assert (made.shape, made.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, portraits(30).images)
    differences = (made.int() - images.int()).abs().flatten(1)
    assert int((differences.amax(dim=1) > 20).sum()) >= 24
    assert not torch.equal(made, tampered(images, np.random.default_rng(4)))


def test_probabilities_of_values_and_of_none_sum_to_1(judge: Judge) -> None:
    data = portraits(12, seed=1)
    outputs = judge.outputs(data.images)
    assert outputs.logits.shape == (12, SPACE.domain_size + 2)
    found = judge.calibrated(outputs.logits)
    torch.testing.assert_close(found[:, :3].sum(dim=1) + found[:, 4], torch.ones(12))
    each = target_probabilities(found, torch.zeros(12, 2, dtype=torch.int64), SPACE)
    torch.testing.assert_close(each[:, 0], found[:, 0].double())
    torch.testing.assert_close(each[:, 1], 1 - found[:, 3].double() - found[:, 5].double())


def test_the_loss_counts_known_labels_and_no_value() -> None:
    logits = torch.zeros(3, 6)
    codes = torch.tensor([[3, 0], [UNKNOWN, 2], [0, UNKNOWN]])
    assert float(judge_loss(logits, codes, SPACE)) == pytest.approx(np.log(4) + np.log(3))
    assert [column.shape[1] for column in value_logits(logits, SPACE)] == [4, 3]
    logits[0, 4] = 50
    assert float(judge_loss(logits, codes, SPACE)) == pytest.approx(np.log(4) / 2 + np.log(3))


def test_tampered_images_do_not_pass_as_another_value(judge: Judge) -> None:
    real = portraits(120, seed=2)
    known = judge.calibrated(judge.outputs(real.images).logits)
    own = target_probabilities(known, real.codes, SPACE)
    assert (judge.predict(real.images) == real.codes).double().mean() > 0.95
    least = own.quantile(0.3, dim=0)
    made = judge.calibrated(judge.outputs(tampered(real.images, np.random.default_rng(9))).logits)
    for column, values in enumerate((3, 2)):
        others = real.codes.clone()
        others[:, column] = (others[:, column] + 1) % values
        passed = target_probabilities(made, others, SPACE)[:, column] >= least[column]
        assert passed.double().mean() <= 0.02


def test_it_comes_back_from_the_disk(judge: Judge, tmp_path: Path) -> None:
    data = portraits(60, seed=3)
    kept = appraise(judge, data, groups=[""] * 60, steps=120, images=240, validation_from="val", crop=None)
    assert kept.report.trusted == ("hair", "glasses")
    saved = save_judge(tmp_path, kept)
    found = load_judge(tmp_path)
    assert found is not None
    assert found.sha256 == saved.sha256
    torch.testing.assert_close(
        found.judge.outputs(data.images).logits, judge.outputs(data.images).logits, rtol=0, atol=0
    )
    assert found.reference.threshold == kept.reference.threshold
