"""Temperatures and the calibration error: by hand, and on data of a known temperature."""

from __future__ import annotations

import math

import pytest
import torch

from augmentor.judge.calibration import calibration_error, fit_temperatures, value_logits
from stargan.labels import UNKNOWN, LabelSpace


def drawn(space: LabelSpace, count: int, heat: tuple[float, float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that are drawn as the logits divided by `heat` say."""
    random = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(count, 4, generator=random)
    codes = [
        torch.multinomial(torch.softmax(column / t, dim=1), 1, generator=random)[:, 0]
        for column, t in zip(value_logits(logits, space), heat, strict=True)
    ]
    return logits, torch.stack(codes, dim=1)


def test_a_known_temperature_is_found(space: LabelSpace) -> None:
    logits, codes = drawn(space, 20_000, (2.0, 0.5))
    found = fit_temperatures(logits, codes, space)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx([2.0, 0.5], rel=0.05)
    before = calibration_error(logits, codes, space)
    after = calibration_error(logits, codes, space, temperatures=found)
    assert min(before.values()) > 0.04
    assert max(after.values()) < 0.02


def test_the_loss_is_least_there(space: LabelSpace) -> None:
    logits, codes = drawn(space, 300, (1.5, 1.5))

    def loss(column: int, heat: float) -> float:
        scaled = value_logits(logits, space)[column] / heat
        return float(torch.nn.functional.cross_entropy(scaled, codes[:, column]))

    for column, heat in enumerate(fit_temperatures(logits, codes, space).tolist()):
        assert loss(column, heat) < min(loss(column, heat * 1.2), loss(column, heat / 1.2))


def test_a_judge_without_a_mistake_is_not_believed_without_bounds(space: LabelSpace) -> None:
    codes = torch.tensor([[i % 3, i % 2] for i in range(12)])
    logits = torch.zeros(12, 4)
    logits[torch.arange(12), codes[:, 0]] = 5
    logits[:, 3] = torch.where(codes[:, 1] == 1, 5.0, -5.0)
    hair, glasses = fit_temperatures(logits, codes, space).tolist()
    # 12 of 12 right: the next one is with 13/14 (Laplace). Two values: 5 / T = log 13.
    assert glasses == pytest.approx(5 / math.log(13), rel=1e-4)
    # Three: e^(5/T) / (e^(5/T) + 2) = 13/14, so e^(5/T) = 26.
    assert hair == pytest.approx(5 / math.log(26), rel=1e-4)


def test_without_labels_nothing_is_fitted(space: LabelSpace) -> None:
    codes = torch.full((5, 2), UNKNOWN)
    assert fit_temperatures(torch.randn(5, 4), codes, space).tolist() == [1, 1]
    assert all(math.isnan(error) for error in calibration_error(torch.randn(5, 4), codes, space).values())


def test_the_calibration_error_by_hand(space: LabelSpace) -> None:
    # Glasses: twice a probability of 0.8 for yes, once right; once 0.6 for no, right; once unknown.
    logits = torch.zeros(4, 4)
    logits[:, 3] = torch.tensor([math.log(4), math.log(4), -math.log(1.5), 9.0])
    codes = torch.tensor([[UNKNOWN, 1], [UNKNOWN, 0], [UNKNOWN, 0], [UNKNOWN, UNKNOWN]])
    # |0.8 + 0.8 - 1| + |0.6 - 1|, over 3.
    assert calibration_error(logits, codes, space)["glasses"] == pytest.approx((0.6 + 0.4) / 3, abs=1e-6)
