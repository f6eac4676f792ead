"""The judge: what it learns, and its scores against numbers worked by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from augmentor.data.manifest import read_manifest
from augmentor.images import decode
from augmentor.judge.classifier import Judge, JudgeNetwork, NetworkKind, train_judge
from augmentor.judge.data import LabelledImages, combination_weights, joint_rarity, rarity_weights, read_images
from augmentor.judge.report import balanced_accuracy, recalls, share_right
from augmentor.judge.translations import (
    changed_targets,
    judge_translations,
    requested_targets,
    translate_and_judge,
)
from augmentor.planning.domains import parse_domains
from stargan.checkpoints import Model
from stargan.inference import Translator
from stargan.labels import UNKNOWN, Attribute, LabelSpace
from stargan.networks import Generator
from stargan.pixels import to_signed

CPU = torch.device("cpu")


# ---- numbers by hand ----


def test_rarity_weights_by_hand(space: LabelSpace) -> None:
    codes = np.array([[0, 0], [0, 0], [0, 1], [1, UNKNOWN], [UNKNOWN, UNKNOWN]], dtype=np.int16)
    # hair: 4 known, black 3, blond 1 -> 4/3 and 4. glasses: 3 known, no 2, yes 1 -> 3/2 and 3.
    # The rarer label counts: 3/2, 3/2, 3, 4; a row without labels has 1. Their sum is 11.
    assert rarity_weights(codes, space) == pytest.approx(np.array([1.5, 1.5, 3, 4, 1]) / 11)


def test_joint_rarity_draws_all_domains_equally_often() -> None:
    weights = joint_rarity(np.array([[0, 0]] * 8 + [[1, 1]] * 2, dtype=np.int16))
    assert weights[:8].sum() == pytest.approx(0.5)
    assert weights[8:].sum() == pytest.approx(0.5)


def test_combinations_are_drawn_equally_often(space: LabelSpace) -> None:
    """Single labels are balanced here; only their combinations are not. A row's weight has a bound."""
    codes = np.array([[0, 0]] * 4 + [[1, 1]] * 4 + [[0, 1]] + [[1, 0]])
    assert rarity_weights(codes, space) == pytest.approx(np.full(10, 1 / 10))
    assert combination_weights(codes, space) == pytest.approx(np.array([1 / 16] * 8 + [1 / 4] * 2))
    lonely = np.array([[0, 0]] * 999 + [[1, 1]])
    assert combination_weights(lonely, space)[-1] == pytest.approx(40 / (1000 + 40))


def test_many_combinations_are_drawn_by_single_labels() -> None:
    attributes = tuple(Attribute(name=f"a{index}") for index in range(8))
    codes = np.random.default_rng(0).integers(0, 2, size=(200, 8))
    space = LabelSpace(attributes=attributes)
    assert combination_weights(codes, space) == pytest.approx(rarity_weights(codes, space))


def test_rarity_weights_of_a_balanced_set_are_equal(space: LabelSpace) -> None:
    codes = np.array([[h, g] for h in range(3) for g in range(2)], dtype=np.int64)
    assert rarity_weights(codes, space) == pytest.approx(np.full(6, 1 / 6))


def test_share_right_leaves_unknown_out(space: LabelSpace) -> None:
    predicted = torch.tensor([[0, 1], [1, 1], [2, 0]])
    wanted = torch.tensor([[0, 0], [2, UNKNOWN], [UNKNOWN, UNKNOWN]])
    assert share_right(predicted, wanted, space) == {"hair": 0.5, "glasses": 0.0}
    nobody = share_right(predicted, torch.full((3, 2), UNKNOWN), space)
    assert all(math.isnan(share) for share in nobody.values())


def test_balanced_accuracy_by_hand(space: LabelSpace) -> None:
    predicted = torch.tensor([[0, 0], [0, 0], [0, 0], [0, 1], [1, 0]])
    wanted = torch.tensor([[0, 0], [0, 0], [0, 0], [1, 1], [1, UNKNOWN]])
    # hair: black 3 of 3, blond 1 of 2, no brown wanted -> (1 + 1/2) / 2. glasses: 3 of 3 and 1 of 1.
    assert balanced_accuracy(predicted, wanted, space) == {"hair": 0.75, "glasses": 1.0}
    # Always "black, no glasses": right in 3 of 5 rows, but worth a coin's toss.
    assert balanced_accuracy(torch.zeros_like(wanted), wanted, space) == {"hair": 0.5, "glasses": 0.5}
    assert math.isnan(balanced_accuracy(predicted, torch.full((5, 2), UNKNOWN), space)["hair"])


class Mean(nn.Module):
    """One feature: the image's mean in [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))[:, None]


def mean_judge(space: LabelSpace) -> Judge:
    """A judge whose logits are known: the image's mean in [-1, 1] times 1, 0, -1 and -2."""
    head = nn.Linear(1, 4, bias=False)
    head.weight.data = torch.tensor([[1.0], [0.0], [-1.0], [-2.0]])
    return Judge(network=JudgeNetwork(kind="small", body=Mean(), head=head), space=space)


def test_predictions_are_the_likeliest_values(space: LabelSpace) -> None:
    judge = mean_judge(space)
    images = torch.stack([torch.full((3, 4, 4), 255), torch.zeros(3, 4, 4)]).to(torch.uint8)
    # White is +1: logits 1, 0, -1 -> black; -2 -> no glasses. Black is -1: the other way round.
    assert judge.outputs(images).logits.tolist() == [[1, 0, -1, -2], [-1, 0, 1, 2]]
    assert judge.predict(images).tolist() == [[0, 0], [2, 1]]


def test_many_images_and_none(space: LabelSpace) -> None:
    judge = mean_judge(space)
    images = torch.randint(256, (600, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(judge.outputs(images).logits[-1], judge.outputs(images[-1:]).logits[0])
    assert judge.predict(images[:0]).shape == (0, 2)


# ---- translations ----


def lazy_translator(space: LabelSpace) -> Translator:
    """A translator whose mask is closed: it returns what it is given."""
    generator = Generator(vector_size=4, width=2, downsamplings=0, blocks=0, output="masked")
    assert generator.masker is not None
    assert generator.masker.bias is not None
    nn.init.zeros_(generator.masker.weight)
    nn.init.constant_(generator.masker.bias, -1e4)
    model = Model(
        generator=generator.requires_grad_(False).eval(),
        space=space,
        image_size=(4, 4),
        step=0,
        settings={},
        sha256="",
    )
    return Translator(model, device=CPU)


def test_a_verdict_by_hand(space: LabelSpace) -> None:
    judge = mean_judge(space)  # white: black hair, no glasses; black: brown hair, glasses
    white, black = torch.full((3, 4, 4), 255, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.uint8)
    data = LabelledImages(images=torch.stack([white, black]), codes=torch.tensor([[1, 0], [2, 1]]))

    # The white one shows the black hair it should get, the black one does not; nobody had to change glasses.
    verdict = judge_translations(judge, lazy_translator(space), data, parse_domains(["hair=black"], space))
    assert verdict.translations == 2
    assert verdict.right == {"hair": 0.5, "glasses": 1.0}
    assert verdict.changed["hair"] == 0.5
    assert math.isnan(verdict.changed["glasses"])
    assert verdict.all_right == 0.5

    # Glasses the other way round: no one changed; of the hair only the black one's, brown, is what is seen.
    verdict = judge_translations(judge, lazy_translator(space), data, parse_domains(["glasses=~"], space))
    assert verdict.right == {"hair": 0.5, "glasses": 0.0}
    assert verdict.changed["glasses"] == 0
    assert verdict.all_right == 0


def test_a_manifests_images_in_memory(small_manifest: Callable[..., Path]) -> None:
    manifest = read_manifest(small_manifest(count=4))
    data = read_images(manifest, size=(6, 8), channels=1)
    assert data.images.shape == (4, 1, 6, 8)
    for row in range(4):
        expected = decode(manifest.image_path(row), size=(6, 8), channels=1)
        assert np.array_equal(data.images[row].permute(1, 2, 0).numpy(), expected)
    assert data.codes.dtype == torch.int64
    assert np.array_equal(data.codes.numpy(), manifest.codes)
    assert read_images(manifest.select([]), size=(6, 8), channels=1).images.shape == (0, 1, 6, 8)


# ---- training ----


def easy_images(space: LabelSpace, count: int, *, side: int = 16) -> LabelledImages:
    """Hair is the colour channel that is bright; glasses are a dark band at the top. A third is not labelled."""
    random = torch.Generator().manual_seed(count)
    codes = torch.stack(
        [
            torch.randint(3, (count,), generator=random),
            torch.randint(2, (count,), generator=random),
        ],
        dim=1,
    )
    images = torch.randint(90, 120, (count, 3, side, side), dtype=torch.uint8, generator=random)
    images[torch.arange(count), codes[:, 0]] += 100
    images[codes[:, 1] == 1, :, : side // 3] = 0
    known = codes.clone()
    known[::3, 0], known[1::3, 1] = UNKNOWN, UNKNOWN
    return LabelledImages(images=images, codes=known)


@pytest.mark.parametrize(("kind", "steps"), [("resnet", 30), ("small", 60)])
def test_a_judge_learns_what_is_easy(kind: NetworkKind, steps: int, space: LabelSpace) -> None:
    data = easy_images(space, 60)
    judge = train_judge(data, space=space, steps=steps, seed=0, device=CPU, batch_size=16, kind=kind)
    test = easy_images(space, 90)
    found = balanced_accuracy(judge.predict(test.images), test.codes, space)
    assert found["hair"] > 0.9
    assert found["glasses"] > 0.9
    assert not judge.network.training


@pytest.mark.parametrize("kind", ["resnet", "small"])
def test_a_seed_is_a_judge_and_the_global_random_state_stays(kind: NetworkKind, space: LabelSpace) -> None:
    data, before, steps = easy_images(space, 8), torch.get_rng_state(), list[int]()
    first, again, other = (
        train_judge(
            data, space=space, steps=2, seed=seed, device=CPU, batch_size=4, kind=kind, on_step=steps.append
        )
        .outputs(data.images)
        .logits
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert steps == [1, 2] * 3
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("channels", "side"), [(1, 12), (1, 96), (3, 64)])
def test_sizes_and_channels(channels: int, side: int, space: LabelSpace) -> None:
    data = easy_images(space, 2, side=side)
    data = LabelledImages(images=data.images[:, :channels], codes=data.codes)
    judge = train_judge(data, space=space, steps=1, seed=0, device=CPU, batch_size=2, flip=False)
    logits = judge.outputs(data.images).logits
    assert logits.shape == (2, 4)
    assert torch.isfinite(logits).all()


def test_no_images_no_judge(space: LabelSpace) -> None:
    nothing = LabelledImages(
        images=torch.empty(0, 3, 8, 8, dtype=torch.uint8), codes=torch.empty(0, 2, dtype=torch.int64)
    )
    with pytest.raises(ValueError, match="at least one image"):
        train_judge(nothing, space=space, steps=1, seed=0, device=CPU)


def test_a_short_training_does_not_judge_by_its_random_start(space: LabelSpace) -> None:
    data = easy_images(space, 60)
    judge = train_judge(data, space=space, steps=6, seed=0, device=CPU, batch_size=32)
    images = to_signed(data.images)
    settled = judge.network(images)
    with torch.no_grad():
        judge.network.train()
        of_the_batch = judge.network(images)
    # What the network says with statistics that it carries is what it says with those of the images.
    assert torch.corrcoef(torch.stack([settled.flatten(), of_the_batch.flatten()]))[0, 1] > 0.9


def test_recalls_by_hand(space: LabelSpace) -> None:
    predicted = torch.tensor([[0, 0], [1, 0], [1, 1]])
    wanted = torch.tensor([[0, 1], [0, UNKNOWN], [1, 1]])
    assert recalls(predicted, wanted, space) == {"hair": {"black": 0.5, "blond": 1.0}, "glasses": {"1": 0.5}}


def test_translations_are_judged_and_measured_batch_by_batch(space: LabelSpace) -> None:
    judge = mean_judge(space)
    white, black = torch.full((3, 4, 4), 255, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.uint8)
    data = LabelledImages(images=torch.stack([white, black]), codes=torch.tensor([[1, 0], [2, 1]]))
    rows, targets = requested_targets(data, parse_domains(["each"], space), space)
    assert rows.tolist() == [0, 0, 0, 1, 1, 1]
    assert targets.tolist() == [[0, 0], [2, 0], [1, 1], [0, 1], [1, 1], [2, 0]]
    assert (
        requested_targets(data, parse_domains(["each"], space), space, most=4)[1].tolist() == targets[:4].tolist()
    )
    assert changed_targets(targets, data.codes[rows]).tolist() == [
        [0, -1],
        [2, -1],
        [-1, 1],
        [0, -1],
        [1, -1],
        [-1, 0],
    ]

    asked = list[int]()

    def go_on(done: int) -> bool:
        asked.append(done)
        return done < 4

    translator = lazy_translator(space)
    made = translate_and_judge(judge, translator, data, rows, targets, batch_size=2, go_on=go_on)
    assert asked == [2, 4]
    assert len(made) == 4
    assert made.predicted.tolist() == [[0, 0]] * 3 + [[2, 1]]
    assert made.change.tolist() == [0] * 4
