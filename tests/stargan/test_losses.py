"""Losses against numbers worked by hand; the arithmetic stands beside each."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from stargan import losses
from stargan.labels import UNKNOWN, Attribute, LabelSpace


def test_wasserstein() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-2.0, 0.0])
    # mean(fake) - mean(real) = -1 - 2 = -3; G wants the fakes' mean, -1, to rise.
    assert losses.wasserstein_critic_loss(real, fake).item() == -3
    assert losses.wasserstein_generator_loss(fake).item() == 1


def test_logistic() -> None:
    real, fake = torch.tensor([math.log(3.0)]), torch.tensor([0.0])
    # softplus(-ln 3) = ln(1 + 1/3) = ln(4/3); softplus(0) = ln 2; together ln(8/3).
    assert losses.logistic_critic_loss(real, fake).item() == pytest.approx(math.log(8 / 3))
    # -ln sigmoid(ln 3) = ln(1 + 1/3).
    assert losses.logistic_generator_loss(real).item() == pytest.approx(math.log(4 / 3))


def test_logistic_stays_finite_far_out() -> None:
    far = torch.tensor([200.0])
    assert losses.logistic_critic_loss(-far, far).item() == pytest.approx(400)


def test_least_squares() -> None:
    real, fake = torch.tensor([1.0, 4.0]), torch.tensor([-2.0, 0.0])
    # real: (0 + 9) / 2 = 4.5, fake: (4 + 0) / 2 = 2, half of their sum is 3.25.
    assert losses.least_squares_critic_loss(real, fake).item() == 3.25
    # G: ((-3)^2 + (-1)^2) / 2 = 5, half of it 2.5.
    assert losses.least_squares_generator_loss(fake).item() == 2.5


def test_pairs() -> None:
    translated, partners = torch.tensor([[1.0, 3.0], [9.0, 9.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0]] * 3)
    paired = torch.tensor([True, False, True])
    # Rows: (1 + 2) / 2 = 1.5, not paired, (0 + 1) / 2 = 0.5; over two rows 1.
    assert losses.pair_loss([translated], [partners], paired, torch.tensor(2.0)).item() == 1
    # One rank of two with five paired rows in all, 2.5 on average: their mean over both is that of five rows.
    assert losses.pair_loss([translated], [partners], paired, torch.tensor(2.5)).item() == pytest.approx(0.8)
    # A second layer, of rows 4 and 0: ((1.5 + 4) / 2 + (0.5 + 0) / 2) / 2.
    layers = [translated, torch.tensor([[4.0], [7.0], [0.0]])], [partners, torch.zeros(3, 1)]
    assert losses.pair_loss(*layers, paired, torch.tensor(2.0)).item() == 1.5
    # Without a pair nothing is learnt, and nothing is divided by 0.
    translated.requires_grad_()
    none = losses.pair_loss([translated], [partners], torch.zeros(3, dtype=torch.bool), torch.tensor(0.0))
    (slope,) = torch.autograd.grad(none, translated)
    assert none.item() == 0
    assert slope.abs().max().item() == 0


def test_hinge() -> None:
    real, fake = torch.tensor([0.5, 3.0]), torch.tensor([-2.0, 0.0, 1.0])
    # real: (0.5 + 0) / 2 = 0.25; fake: (0 + 1 + 2) / 3 = 1.
    assert losses.hinge_critic_loss(real, fake).item() == 1.25
    # G has no hinge: -(-2 + 0 + 1) / 3.
    assert losses.hinge_generator_loss(fake).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("objective", list(losses.CRITIC_LOSSES))
def test_weights_count_translations(objective: str) -> None:
    real, fake = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, -0.5], [3.0, 1.0]])
    critic = losses.CRITIC_LOSSES[objective]
    assert critic(real, fake, torch.ones(2)).item() == pytest.approx(critic(real, fake, None).item())
    # Weights 2 and 0: the mean of two patches of the first translation alone.
    weighted = critic(real, fake, torch.tensor([2.0, 0.0])).item()
    assert weighted == pytest.approx(critic(real, fake[:1], None).item())


def test_the_hinge_leaves_what_is_far_enough_alone() -> None:
    real, fake = torch.tensor([0.5, 3.0], requires_grad=True), torch.tensor([-2.0, 0.0], requires_grad=True)
    losses.hinge_critic_loss(real, fake).backward()  # type: ignore[no-untyped-call]
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad.tolist() == [-0.5, 0]
    assert fake.grad.tolist() == [0, 0.5]


def test_gradient_penalty_of_a_linear_critic() -> None:
    weight = torch.tensor(1.5, requires_grad=True)

    def critic(images: Tensor) -> Tensor:
        return (weight * images).sum(dim=1, keepdim=True)

    real, fake, mix = torch.rand(2, 1, 2, 2), torch.rand(2, 1, 2, 2), torch.rand(2)
    penalty = losses.gradient_penalty(critic, real, fake, mix)
    # Four pixels with gradient 1.5 each: norm = sqrt(4 * 1.5^2) = 3, (3 - 1)^2 = 4, whatever the images are.
    assert penalty.item() == pytest.approx(4)
    # d/dw (2w - 1)^2 = 4 (2w - 1) = 8 at w = 1.5: the penalty trains the critic.
    penalty.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(8)


def test_gradient_penalty_is_taken_between_the_images() -> None:
    def critic(images: Tensor) -> Tensor:
        return images.square() / 2  # its gradient is the image itself

    real, fake = torch.full((3, 1, 2, 2), 1.5), torch.zeros(3, 1, 2, 2)
    # The points are 1.5 * mix = 1.5, 0.5, 0 in each of four pixels: norms 3, 1, 0;
    # squared distances from 1: 4, 0, 1; the mean is 5/3.
    penalty = losses.gradient_penalty(critic, real, fake, torch.tensor([1.0, 1 / 3, 0.0]))
    assert penalty.item() == pytest.approx(5 / 3)


def test_r1_of_a_linear_critic() -> None:
    weight = torch.tensor(1.5, requires_grad=True)
    real = torch.rand(3, 1, 2, 2, requires_grad=True)
    penalty = losses.r1_penalty((weight * real).sum(dim=(2, 3)), real)
    # Squared norm 4 * 1.5^2 = 9, half of it 4.5; d/dw (4 w^2 / 2) = 4 w = 6.
    assert penalty.item() == pytest.approx(4.5)
    penalty.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(6)


def test_r1_averages_over_images() -> None:
    real = torch.stack([torch.full((1, 2, 2), 3.0), torch.zeros(1, 2, 2)]).requires_grad_()
    # The gradient of x^2 / 2 is x: squared norms 4 * 9 = 36 and 0, mean 18, half 9.
    assert losses.r1_penalty(real.square() / 2, real).item() == pytest.approx(9)


# Softmax probabilities 1/6, 2/6, 3/6 for hair; sigmoid(ln 4) = 4/5 for glasses.
LOGITS = [0.0, math.log(2.0), math.log(3.0), math.log(4.0)]


def test_domain_loss_by_hand(space: LabelSpace) -> None:
    logits = torch.tensor([LOGITS, LOGITS])
    codes = torch.tensor([[2, 1], [0, 0]])
    # hair: (-ln 1/2 - ln 1/6) / 2 = ln(12) / 2; glasses: (-ln 4/5 - ln 1/5) / 2 = ln(25/4) / 2; summed.
    expected = (math.log(12) + math.log(25 / 4)) / 2
    assert losses.domain_loss(logits, codes, space).item() == pytest.approx(expected)


def test_unknown_labels_leave_the_domain_loss(space: LabelSpace) -> None:
    logits = torch.tensor([LOGITS, LOGITS, LOGITS], requires_grad=True)
    codes = torch.tensor([[2, UNKNOWN], [UNKNOWN, 0], [UNKNOWN, UNKNOWN]])
    loss = losses.domain_loss(logits, codes, space)
    # One known hair: -ln 1/2; one known glasses: -ln 1/5; averaged over the known ones, not over the batch.
    assert loss.item() == pytest.approx(math.log(2) + math.log(5))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    # softmax - one-hot where hair is known, sigmoid - label where glasses are, exactly zero elsewhere.
    expected = torch.tensor([[1 / 6, 1 / 3, -1 / 2, 0], [0, 0, 0, 4 / 5], [0, 0, 0, 0]])
    torch.testing.assert_close(logits.grad, expected)
    assert logits.grad[2].abs().max() == 0


def test_a_share_of_a_batch_is_averaged_over_the_whole_batch(space: LabelSpace) -> None:
    logits, codes = torch.tensor([LOGITS, LOGITS]), torch.tensor([[2, 0], [UNKNOWN, UNKNOWN]])
    # Of the batch, which two processes share, three images know their hair, and one its glasses.
    loss = losses.domain_loss(logits, codes, space, known=torch.tensor([1.5, 0.5]))
    assert loss.item() == pytest.approx(math.log(2) / 1.5 + math.log(5) / 0.5)
    # Hair is known in the other share alone: it still counts as an attribute that somebody knows.
    codes = torch.tensor([[UNKNOWN, 0], [UNKNOWN, UNKNOWN]])
    loss = losses.domain_loss(logits, codes, space, known=torch.tensor([1.0, 0.5]), normalise=True)
    assert loss.item() == pytest.approx(math.log(5) / 0.5 / 2)
    loss = losses.domain_loss(logits, codes, space, known=torch.tensor([0.0, 0.5]), normalise=True)
    assert loss.item() == pytest.approx(math.log(5) / 0.5)


def test_a_batch_without_labels_has_no_domain_loss(space: LabelSpace) -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss = losses.domain_loss(logits, torch.full((3, 2), UNKNOWN), space)
    assert loss.item() == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_normalised_domain_loss_does_not_grow_with_the_attributes(space: LabelSpace) -> None:
    logits = torch.tensor([LOGITS, LOGITS])
    # Both attributes known by somebody: the sum, ln 2 (hair) + ln 5 (glasses), over two.
    codes = torch.tensor([[2, UNKNOWN], [UNKNOWN, 0]])
    loss = losses.domain_loss(logits, codes, space, normalise=True)
    assert loss.item() == pytest.approx((math.log(2) + math.log(5)) / 2)
    # Nobody knows glasses: the sum, ln 2, over one.
    codes = torch.tensor([[2, UNKNOWN], [UNKNOWN, UNKNOWN]])
    assert losses.domain_loss(logits, codes, space, normalise=True).item() == pytest.approx(math.log(2))
    # Ten copies of one attribute weigh as much as one.
    ten = LabelSpace(attributes=tuple(Attribute(name=f"bit {number}") for number in range(10)))
    loss = losses.domain_loss(torch.full((1, 10), math.log(4.0)), torch.ones(1, 10).long(), ten, normalise=True)
    assert loss.item() == pytest.approx(math.log(5 / 4))


def test_a_normalised_batch_without_labels_has_no_domain_loss(space: LabelSpace) -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss = losses.domain_loss(logits, torch.full((3, 2), UNKNOWN), space, normalise=True)
    assert loss.item() == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_identity() -> None:
    images, translated = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[[0.25, -1.25]]]])
    assert losses.identity_loss(images, translated).item() == 0.5  # (0.75 + 0.25) / 2


def test_multiscale_by_hand() -> None:
    back = torch.tensor([[[[1.0, -1.0, 2.0, 0.0], [1.0, -1.0, 0.0, 2.0]]]])
    images = torch.zeros_like(back)
    # Level 0: (4 + 4) / 8 = 1. Level 1: the blocks' means are 0 and 1, so 0.5.
    assert losses.multiscale_loss(images, back, (1.0,)).item() == 1
    assert losses.multiscale_loss(images, back, (0.0, 1.0)).item() == 0.5
    assert losses.multiscale_loss(images, back, (1.0, 4.0)).item() == 3


def test_multiscale_leaves_out_the_rim_of_odd_sides() -> None:
    images = torch.zeros(1, 1, 5, 7)
    back = images.clone()
    back[..., 4, :] = 9.0
    back[..., 6] = 9.0
    # Rows 0-3 and columns 0-5 fill the blocks of level 1, rows 0-3 and columns 0-3 those of level 2: no error.
    assert losses.multiscale_loss(images, back, (0.0, 1.0, 1.0)).item() == 0
    back[..., 0, 5] = 4.0
    # Level 1 sees it as 1 in one of 2x3 blocks, level 2 (one block, columns 0-3) not at all.
    assert losses.multiscale_loss(images, back, (0.0, 1.0, 1.0)).item() == pytest.approx(1 / 6)


def test_multiscale_refuses_levels_under_a_pixel() -> None:
    images = torch.zeros(1, 1, 4, 9)
    assert losses.multiscale_loss(images, images, (1.0, 1.0, 1.0)).item() == 0
    with pytest.raises(ValueError, match=r"level 3 .* 9x4 .* at most 3 weights, not 4"):
        losses.multiscale_loss(images, images, (1.0, 1.0, 1.0, 0.0))
    with pytest.raises(ValueError, match="at least one level"):
        losses.multiscale_loss(images, images, ())


def test_feature_matching_by_hand() -> None:
    real = [torch.tensor([[1.0, 2.0]], requires_grad=True), torch.zeros(1, 1, 2, 2)]
    fake = [torch.tensor([[0.0, 4.0]], requires_grad=True), torch.full((1, 1, 2, 2), -0.5)]
    loss = losses.feature_matching_loss(real, fake)
    # Layer 0: (1 + 2) / 2 = 1.5; layer 1: 0.5; a layer counts once, however large it is.
    assert loss.item() == 1
    loss.backward()  # type: ignore[no-untyped-call]
    assert fake[0].grad is not None
    assert fake[0].grad.tolist() == [[-0.25, 0.25]]
    assert real[0].grad is None


def test_feature_matching_refuses_what_does_not_match() -> None:
    layer = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="2 layers of real images and 1 of translations"):
        losses.feature_matching_loss([layer, layer], [layer])
    with pytest.raises(ValueError, match="got 0 layers"):
        losses.feature_matching_loss([], [])
    with pytest.raises(ValueError, match="layer 1"):
        losses.feature_matching_loss([layer, layer], [layer, torch.zeros(2, 2)])


def test_cycle_and_sparsity() -> None:
    images, back = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[[0.5, 0.5]]]])
    assert losses.cycle_loss(images, back).item() == 1  # (0.5 + 1.5) / 2
    assert losses.sparsity_loss(torch.tensor([[[[0.25, 0.75]]]])).item() == 0.5


def test_cycle_weights_count_each_image() -> None:
    images, back = torch.zeros(3, 1, 1, 2), torch.tensor([[[[1.0, 3.0]]], [[[-1.0, 0.0]]], [[[0.5, 0.5]]]])
    weights = torch.tensor([10.0, 4.0, 0.0])
    assert losses.cycle_loss(images, back, weights).item() == pytest.approx((10 * 2 + 4 * 0.5) / 3)
    assert losses.cycle_loss(images, back, torch.ones(3)).item() == losses.cycle_loss(images, back).item()


def test_diversity_by_hand() -> None:
    """Images differ by 0, 0.25 and 2, noises by 1, 2.5 and 1: ratios 0, 0.1 and 2, of which 0.4 suffices."""
    first = torch.tensor([[[[0.5, 0.5]]], [[[0.0, 0.5]]], [[[-1.0, -1.0]]]], requires_grad=True)
    second = torch.tensor([[[[0.5, 0.5]]], [[[0.0, 0.0]]], [[[1.0, 1.0]]]])
    noise = torch.tensor([[1.0, -1.0], [2.0, 2.0], [0.0, 0.0]])
    other = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [1.0, -1.0]])
    loss = losses.diversity_loss(first, second, noise, other, bound=0.4)
    assert loss.item() == pytest.approx((1 + 0.75 + 0) / 3)
    loss.backward()  # type: ignore[no-untyped-call]
    assert first.grad is not None
    # What differs enough is not driven on; what does not is.
    assert first.grad[2].abs().max() == 0
    assert first.grad[1, 0, 0, 1] == pytest.approx(-1 / 2 / 2.5 / 0.4 / 3)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)


def _softplus(value: float) -> float:
    return math.log(1 + math.exp(value))


def test_adversarial_losses_agree_with_plain_arithmetic() -> None:
    random = torch.Generator().manual_seed(3)
    real, fake = 2 * torch.randn(2, 5, 1, 3, 3, dtype=torch.float64, generator=random)
    r, f = real.flatten().tolist(), fake.flatten().tolist()
    pairs = [
        (losses.wasserstein_critic_loss(real, fake), _mean(f) - _mean(r)),
        (losses.wasserstein_generator_loss(fake), -_mean(f)),
        (
            losses.logistic_critic_loss(real, fake),
            _mean(_softplus(-score) for score in r) + _mean(_softplus(score) for score in f),
        ),
        (losses.logistic_generator_loss(fake), _mean(_softplus(-score) for score in f)),
        (
            losses.least_squares_critic_loss(real, fake),
            0.5 * _mean((score - 1) ** 2 for score in r) + 0.5 * _mean(score**2 for score in f),
        ),
        (losses.least_squares_generator_loss(fake), 0.5 * _mean((score - 1) ** 2 for score in f)),
        (
            losses.hinge_critic_loss(real, fake),
            -_mean(min(0, score - 1) for score in r) - _mean(min(0, -score - 1) for score in f),
        ),
        (losses.hinge_generator_loss(fake), -_mean(f)),
    ]
    for ours, plain in pairs:
        assert ours.item() == pytest.approx(plain, abs=1e-12)


def test_penalties_agree_with_plain_arithmetic() -> None:
    random = torch.Generator().manual_seed(4)
    real, fake = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64, generator=random)
    mix = torch.rand(3, dtype=torch.float64, generator=random)
    # The critic sum(sin(2 x)) has the gradient 2 cos(2 x), entry by entry.
    gradients = []
    for share, one, other in zip(mix.tolist(), real.flatten(1).tolist(), fake.flatten(1).tolist(), strict=True):
        points = [share * x + (1 - share) * y for x, y in zip(one, other, strict=True)]
        gradients.append([2 * math.cos(2 * point) for point in points])
    expected = _mean((math.sqrt(math.fsum(g * g for g in gradient)) - 1) ** 2 for gradient in gradients)
    penalty = losses.gradient_penalty(lambda images: (2 * images).sin().sum(dim=(1, 2, 3)), real, fake, mix)
    assert penalty.item() == pytest.approx(expected, abs=1e-12)

    expected = _mean(
        math.fsum((2 * math.cos(2 * x)) ** 2 for x in image) / 2 for image in real.flatten(1).tolist()
    )
    real.requires_grad_()
    assert losses.r1_penalty((2 * real).sin(), real).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("normalise", [False, True])
def test_domain_loss_agrees_with_plain_arithmetic(space: LabelSpace, normalise: bool) -> None:
    random = torch.Generator().manual_seed(5)
    logits = 3 * torch.randn(6, 4, dtype=torch.float64, generator=random)
    codes = [[0, 1], [2, UNKNOWN], [UNKNOWN, 0], [1, 1], [UNKNOWN, UNKNOWN], [1, 0]]
    hair, glasses = [], []
    for row, (style, worn) in zip(logits.tolist(), codes, strict=True):
        if style != UNKNOWN:
            hair.append(math.log(math.fsum(math.exp(logit) for logit in row[:3])) - row[style])
        if worn != UNKNOWN:
            glasses.append(_softplus(-row[3] if worn else row[3]))
    expected = (_mean(hair) + _mean(glasses)) / (2 if normalise else 1)
    loss = losses.domain_loss(logits, torch.tensor(codes), space, normalise=normalise)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_image_losses_agree_with_plain_arithmetic() -> None:
    random = torch.Generator().manual_seed(6)
    images, others = torch.randn(2, 2, 3, 6, 7, dtype=torch.float64, generator=random)
    pairs = zip(images.flatten().tolist(), others.flatten().tolist(), strict=True)
    distance = _mean(abs(x - y) for x, y in pairs)
    assert losses.cycle_loss(images, others).item() == pytest.approx(distance, abs=1e-12)
    assert losses.identity_loss(images, others).item() == pytest.approx(distance, abs=1e-12)
    assert losses.feature_matching_loss([images, images], [others, images]).item() == pytest.approx(
        distance / 2, abs=1e-12
    )
    # The weight 0.5 for the full size, 2 for blocks of 2x2 (3 rows of 3), 3 for the one block of 4x4.
    expected = 0.5 * distance
    for weight, side in ((2, 2), (3, 4)):
        blocks = []
        for x, y in zip(images.flatten(0, 1).tolist(), others.flatten(0, 1).tolist(), strict=True):
            for top in range(0, 6 - side + 1, side):
                for left in range(0, 7 - side + 1, side):
                    cells = [(r, c) for r in range(top, top + side) for c in range(left, left + side)]
                    blocks.append(abs(_mean(x[r][c] for r, c in cells) - _mean(y[r][c] for r, c in cells)))
        expected += weight * _mean(blocks)
    assert losses.multiscale_loss(images, others, (0.5, 2, 3)).item() == pytest.approx(expected, abs=1e-12)
