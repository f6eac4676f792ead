"""TrainConfig: the schedules by hand, precision, and bad values that are refused by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stargan.config import TrainConfig, computes_in_bfloat16, learning_rate_factor, translates_in_bfloat16

CPU = torch.device("cpu")


def linear(progress: float, *, decay_from: float) -> float:
    return learning_rate_factor(TrainConfig(decay_from=decay_from), progress=progress, epoch=1000)


# ---- schedules ----


def test_the_linear_schedule_by_hand() -> None:
    assert [linear(progress, decay_from=0.5) for progress in (0, 0.25, 0.5, 0.625, 0.75, 1)] == [
        *(1, 1, 1),
        *(0.75, 0.5, 0),
    ]
    assert [linear(progress, decay_from=0) for progress in (0, 0.5, 1)] == [1, 0.5, 0]
    assert [linear(progress, decay_from=1) for progress in (0, 0.5, 1)] == [1, 1, 1]


@pytest.mark.parametrize("decay_from", [0.0, 0.1, 1 / 3, 0.999])
def test_the_linear_schedule_ends_at_exactly_zero(decay_from: float) -> None:
    assert linear(1.0, decay_from=decay_from) == 0


def test_the_exponential_schedule_by_hand() -> None:
    config = TrainConfig(schedule="exponential", epoch_decay=0.5)
    factors = [learning_rate_factor(config, progress=1.0, epoch=epoch) for epoch in (0, 1, 2, 5)]
    assert factors == [1, 0.5, 0.25, 1 / 32]
    default = TrainConfig(schedule="exponential")
    assert learning_rate_factor(default, progress=1.0, epoch=200) == pytest.approx(0.36695782)


def test_the_constant_schedule_is_one() -> None:
    config = TrainConfig(schedule="constant", decay_from=0, epoch_decay=0.5)
    assert [learning_rate_factor(config, progress=p, epoch=9) for p in (0, 0.5, 1)] == [1, 1, 1]


# ---- what a field may be ----


def test_precision() -> None:
    assert computes_in_bfloat16("bfloat16", CPU)
    assert not computes_in_bfloat16("float32", CPU)


@pytest.mark.parametrize("capable", [False, True])
def test_a_cpu_translates_in_float32_even_where_it_trains_in_bfloat16(
    capable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: capable)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: capable)
    cuda = torch.device("cuda")
    assert [computes_in_bfloat16("auto", device) for device in (CPU, cuda)] == [capable, capable]
    assert [translates_in_bfloat16("auto", device) for device in (CPU, cuda)] == [False, capable]
    for device in (CPU, cuda):
        assert translates_in_bfloat16("bfloat16", device)
        assert not translates_in_bfloat16("float32", device)


def test_r1_belongs_to_the_objectives_without_a_gradient_penalty() -> None:
    assert not TrainConfig(objective="wgan-gp").penalises_real
    assert TrainConfig(objective="hinge").penalises_real
    assert not TrainConfig(objective="hinge", r1_weight=0).penalises_real


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 1, "minutes": 1}, "give steps or minutes, one of the two"),
        ({"steps": None}, "give steps or minutes"),
        ({"steps": 0}, "steps must be above 0, not 0"),
        ({"critic_steps": 0}, "critic_steps must be above 0, not 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, not nan"),
        ({"cycle_every": 0}, "cycle_every must be above 0, not 0"),
        ({"r1_every": -1}, "r1_every must be above 0, not -1"),
        ({"epoch_decay": 0.0}, "epoch_decay must be above 0, not 0"),
        ({"epoch_decay": 1.01}, r"epoch_decay must be in \[0, 1\], not 1\.01"),
        ({"decay_from": 2}, r"decay_from must be in \[0, 1\], not 2"),
        ({"ema_decay": 1.5}, r"ema_decay must be in \[0, 1\], not 1\.5"),
        ({"identity_weight": -1.0}, "identity_weight must not be below 0, not -1"),
        ({"feature_matching_weight": float("nan")}, "feature_matching_weight must not be below 0, not nan"),
        ({"sparsity_weight": -0.1}, r"sparsity_weight must not be below 0, not -0\.1"),
        ({"r1_weight": -1.0}, "r1_weight must not be below 0"),
        ({"multiscale_weights": (1.0, -0.5)}, r"multiscale_weights must not be below 0, not \(1\.0, -0\.5\)"),
        ({"source_multiscale_weights": (-1.0,)}, "source_multiscale_weights must not be below 0"),
        ({"source_feature_weight": -1.0}, "source_feature_weight must not be below 0"),
        ({"diversity_weight": -1.0}, "diversity_weight must not be below 0"),
        ({"diversity_bound": 0.0}, "diversity_bound must be above 0"),
        ({"cycle_weights": {"season": 1.0}}, "cycle_weights: 'season' = 1.0 is no attribute=value with a weight"),
        ({"cycle_weights": {"season=summer": -1.0}}, "cycle_weights: 'season=summer' = -1.0 is no"),
        ({"objective": "wgan"}, "objective: 'wgan' is not one of wgan-gp, logistic, least-squares, hinge"),
        ({"schedule": "cosine"}, "schedule: 'cosine' is not one of constant, linear, exponential"),
        ({"precision": "float16"}, "precision: 'float16' is not one of auto, float32, bfloat16"),
        ({"compile": "yes"}, "compile: 'yes' is not one of auto, on, off"),
        ({"augment": ("color", "colour")}, "augment: 'colour' is not one of color, translation, cutout, geometry"),
        ({"augment_probability": 1.5}, r"augment_probability must be in \[0, 1\] or 'adaptive', not 1\.5"),
        ({"augment_probability": float("nan")}, r"augment_probability must be in \[0, 1\] or 'adaptive', not nan"),
        ({"augment_probability": "often"}, r"augment_probability must be in \[0, 1\] or 'adaptive', not 'often'"),
        ({"augment_probability": "adaptive", "objective": "hinge"}, "'adaptive', but augment is empty"),
        (
            {"augment_probability": "adaptive", "augment": ("geometry",)},
            "'adaptive' with objective = 'wgan-gp': it reads the signs",
        ),
    ],
)
def test_a_bad_value_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig(**fields)
