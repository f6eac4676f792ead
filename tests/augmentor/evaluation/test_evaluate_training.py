"""The classifiers' training: losses by hand, when it ends, and what weights it starts from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from augmentor.evaluation.classifier import FEATURES, Evaluator, build_evaluator, describe, predict
from augmentor.evaluation.training import (
    CHECK_EVERY,
    Convergence,
    Loss,
    TrainedEvaluator,
    group_loss,
    label_balance,
    train_evaluator,
)
from augmentor.judge import LabelledImages
from stargan.labels import Attribute, LabelSpace
from stargan.losses import domain_loss
from stargan.pixels import to_signed

SPACE = LabelSpace(
    attributes=(Attribute(name="hue", kind="categorical", values=("r", "g", "b")), Attribute(name="mark"))
)
MARK = LabelSpace(attributes=SPACE.attributes[1:])
CPU = torch.device("cpu")


def test_a_group_counts_as_much_as_any_other() -> None:
    logits = torch.tensor([[2.0], [1.0], [0.0], [-3.0]])
    codes = torch.tensor([[1], [1], [1], [0]])
    one = np.mean([math.log(1 + math.exp(-each)) for each in (2.0, 1.0, 0.0)])
    zero = math.log(1 + math.exp(-3.0))
    balance = label_balance(codes, MARK, [0])
    assert float(group_loss(logits, codes, MARK, balance)) == pytest.approx((one + zero) / 2)
    assert float(domain_loss(logits, codes, MARK)) == pytest.approx((3 * one + zero) / 4)
    # A batch without the rare group does not make the others count more.
    assert float(group_loss(logits[:3], codes[:3], MARK, balance)) == pytest.approx(one * 4 / 6)


def test_priors_are_the_logits_of_the_shares() -> None:
    codes = torch.tensor([[0, 1]] * 6 + [[1, 0]] * 2 + [[-1, -1]])
    found = label_balance(codes, SPACE, [1]).priors
    hues = torch.tensor([6, 2, 0.5]) / 8.5
    assert found.tolist() == pytest.approx([*hues.log().tolist(), math.log(6 / 2)])
    # An image that shows nothing is labelled as often as the training images are.
    assert found[-1].sigmoid().item() == pytest.approx(6 / 8)


def test_it_has_converged_when_looks_no_longer_rise() -> None:
    progress = Convergence()
    looks = [0.5, 0.6, 0.601, 0.59, 0.6, 0.7, 0.7, 0.701, 0.69]
    assert not any(progress.converged(each) for each in looks)
    assert progress.converged(0.702)


def marked(count: int, seed: int, *, told: float = 1.0) -> LabelledImages:
    """Images with a bright middle or none, a few of which are labelled so in error."""
    random = np.random.default_rng(seed)
    codes = torch.from_numpy(random.integers(2, size=count))
    images = torch.from_numpy(random.integers(60, 120, size=(count, 3, 8, 8)))
    images[:, :, 2:6, 2:6] += 40 * codes[:, None, None, None]
    wrong = torch.from_numpy(random.random(count) > told)
    return LabelledImages(images=images.to(torch.uint8), codes=(codes ^ wrong.long())[:, None])


def trained(
    data: LabelledImages,
    val: LabelledImages,
    *,
    steps: int,
    loss: Loss = "plain",
    first_look: int = 0,
    norm: bool = True,
) -> TrainedEvaluator:
    def drawn() -> Iterator[tuple[Tensor, Tensor]]:
        random = np.random.default_rng(0)
        for _ in range(steps):
            rows = torch.from_numpy(random.integers(len(data), size=16))
            yield data.images[rows], data.codes[rows]

    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16) if norm else nn.ReLU())
    return train_evaluator(
        Evaluator(body, features=16, outputs=1), drawn(), space=MARK, loss=loss,
        balance=label_balance(data.codes, MARK, [0]), validation=val, first_look=first_look, device=CPU,
        on_step=lambda _step: None,
    )  # fmt: skip


def test_training_stops_when_it_has_converged_and_says_when_it_has_not() -> None:
    data, val = marked(200, 0), marked(100, 1)
    found = trained(data, val, steps=900)
    assert found.converged
    assert found.steps < 900
    assert found.steps % CHECK_EVERY == 0
    assert not found.network.training
    test = marked(200, 2)
    assert float((predict(found.network, test.images, MARK) == test.codes).double().mean()) > 0.97
    short = trained(data, val, steps=150)
    assert (short.steps, short.converged) == (150, False)
    later = trained(data, val, steps=900, first_look=600)
    assert later.steps > 600
    none = LabelledImages(images=val.images[:0], codes=val.codes[:0])
    assert trained(data, none, steps=120)[1:] == (120, False)


@pytest.mark.parametrize(
    ("loss", "probability"), [("plain", 0.1), ("logit_adjusted", 0.5), ("group_balanced", 0.5)]
)
def test_balanced_losses_make_a_rare_label_as_probable_as_a_common_one(loss: Loss, probability: float) -> None:
    # The images say nothing: the labels' shares, 1 in 10, are all there is to learn.
    images = torch.full((400, 3, 8, 8), 140, dtype=torch.uint8)
    data = LabelledImages(images=images, codes=(torch.arange(400) % 10 == 0).long()[:, None])
    none = LabelledImages(images=images[:0], codes=data.codes[:0])
    found = trained(data, none, steps=300, loss=loss, norm=False).network
    with torch.inference_mode():
        assert found(to_signed(images[:1])).sigmoid().item() == pytest.approx(probability, abs=0.08)


@pytest.mark.parametrize(("kind", "features"), [("small", FEATURES), ("resnet18", 512)])
def test_classifiers_take_grey_and_coloured_images(kind: str, features: int) -> None:
    network = build_evaluator(kind, side=32, outputs=4).eval()
    for channels in (1, 3):
        images = torch.zeros(2, channels, 32, 32, dtype=torch.uint8)
        assert describe(network, images).shape == (2, features)
        assert predict(network, images, SPACE).shape == (2, 2)
    assert describe(network, torch.zeros(0, 3, 32, 32, dtype=torch.uint8)).shape == (0, features)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_resnet_starts_from_the_weights_of_a_file(tmp_path: Path, suffix: str) -> None:
    state = resnet18(num_classes=7).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    network = build_evaluator(str(path), side=32, outputs=4)
    assert torch.equal(network.body.state_dict()["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])
    assert network.head.out_features == 4
