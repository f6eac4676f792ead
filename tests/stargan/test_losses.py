"""Losses against numbers worked by hand; the arithmetic stands beside each."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stargan import losses
from stargan.labels import UNKNOWN, LabelSpace


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


def test_a_batch_without_labels_has_no_domain_loss(space: LabelSpace) -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    loss = losses.domain_loss(logits, torch.full((3, 2), UNKNOWN), space)
    assert loss.item() == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_cycle_and_sparsity() -> None:
    images, back = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[[0.5, 0.5]]]])
    assert losses.cycle_loss(images, back).item() == 1  # (0.5 + 1.5) / 2
    assert losses.sparsity_loss(torch.tensor([[[[0.25, 0.75]]]])).item() == 0.5
