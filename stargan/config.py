"""Hyper-parameters of training, and the learning rate and precision that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch

from stargan.diffaugment import POLICIES, Policy

Objective = Literal["wgan-gp", "logistic", "least-squares", "hinge"]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["constant", "linear", "exponential"]
Compile = Literal["auto", "on", "off"]
AugmentProbability = float | Literal["adaptive"]

LONGEST_WARMUP = 0.15
"""Share of a run that the warm-up takes at most."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Hyper-parameters of training. The defaults are the paper's (StarGAN, sections 5.1 and 7.1).

    Args:
        steps: total D steps; None trains for `minutes`.
        minutes: total minutes of training, including resumed runs; None trains for `steps`.
        seed: of all randomness in the loop.
        objective: "wgan-gp" (with `gradient_penalty_weight`), or with `r1_weight` "logistic", "least-squares",
            "hinge".
        critic_steps: D steps per G step.
        warmup_steps: first steps, at most `LONGEST_WARMUP` of the run, in which D alone learns, from real images:
            G's first gradients then come from a D that knows the attributes.
        learning_rate: Adam's step size for G and D.
        betas: Adam's decay rates.
        schedule: "constant", "linear" (to zero from `decay_from` on), or "exponential" (by `epoch_decay` per
            epoch).
        decay_from: share of the run, in [0, 1], after which the linear schedule starts to fall.
        epoch_decay: the exponential schedule's factor per epoch, in (0, 1].
        adversarial_weight: weight of the adversarial loss, for G.
        domain_weight: weight of the domain classification loss of translations, for G; 0 is off.
        real_domain_weight: weight of the domain classification loss of real images, for D; 0 is off.
        normalise_domain: divide the domain classification loss by the number of attributes; the paper sums.
        cycle_weight: weight of the cycle loss.
        cycle_weights: "attribute=value" -> weight, in the place of `cycle_weight` for images of that value; of
            several the first counts. CycleGAN's lambda_A and lambda_B are the weights of two values.
        cycle_changed_share: share, in [0, 1], of the weight of the cycle loss where the target changes a label;
            below 1 G need not keep what the way back needs, so that it may remove what the target does not have.
        cycle_every: G steps between two cycle losses, each weighted so many times; 1 is the paper's. Round trips
            take half of the time of a G step.
        identity_weight: weight of the identity loss; it costs a pass of G.
        multiscale_weights: weights of the cycle loss at full size, half, a quarter, ...; empty is off.
        feature_matching_weight: weight of the feature matching loss of the round trip.
        source_multiscale_weights: as `multiscale_weights`, of the differences between image and translation.
        source_feature_weight: weight of the feature matching loss of image and translation.
        pair_weight: weight of the pair loss, the error to true partners; 0 is off.
        pair_feature_weight: weight of the pair loss of D's inner features; 0 is off, else it costs passes of D.
        sparsity_weight: weight of the mask sparsity loss; only with a masked generator.
        diversity_weight: weight of the diversity loss; only with a generator that reads noise. It costs a pass of
            G without gradients.
        diversity_bound: difference of two translations, relative to that of their noises, that suffices.
        gradient_penalty_weight: weight of the gradient penalty of "wgan-gp".
        r1_weight: weight of the R1 penalty of the other objectives; 0 is off.
        r1_every: D steps between two R1 penalties, each weighted so many times (lazy regularisation).
        buffer_size: earlier translations of each target that D is trained on beside the newest (CycleGAN's has
            50); 0 is off.
        augment: differentiable augmentations of D's input, for small data.
        augment_probability: of each augmentation of an image, in [0, 1]; "adaptive" starts at 0 and follows how
            much D overfits (ADA), for the objectives "logistic" and "hinge".
        ema_decay: decay per G step of the moving average of G's weights, which translates.
        precision: of the convolutions; "auto" is bfloat16 on devices that support it.
        compile: whether torch.compile fuses the networks; "auto" does on CUDA with Triton.
        diverged_above: absolute value of any logged loss that counts as divergence.
        log_seconds: seconds between two LogEvents; 0 for one a step.
        sample_minutes: minutes between two SampleEvents; 0 for one a step.
        checkpoint_minutes: minutes between two CheckpointEvents; 0 for one a step.
    """

    steps: int | None = 200_000
    minutes: float | None = None
    seed: int = 0
    objective: Objective = "wgan-gp"
    critic_steps: int = 5
    warmup_steps: int = 0
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    schedule: Schedule = "linear"
    decay_from: float = 0.5
    epoch_decay: float = 0.995
    adversarial_weight: float = 1.0
    domain_weight: float = 1.0
    real_domain_weight: float = 1.0
    normalise_domain: bool = False
    cycle_weight: float = 10.0
    cycle_weights: dict[str, float] = field(default_factory=dict)
    cycle_changed_share: float = 1.0
    cycle_every: int = 1
    identity_weight: float = 0.0
    multiscale_weights: tuple[float, ...] = ()
    feature_matching_weight: float = 0.0
    source_multiscale_weights: tuple[float, ...] = ()
    source_feature_weight: float = 0.0
    pair_weight: float = 0.0
    pair_feature_weight: float = 0.0
    sparsity_weight: float = 0.1
    diversity_weight: float = 1.0
    diversity_bound: float = 0.2
    gradient_penalty_weight: float = 10.0
    r1_weight: float = 1.0
    r1_every: int = 8
    buffer_size: int = 0
    augment: tuple[Policy, ...] = ()
    augment_probability: AugmentProbability = 1.0
    ema_decay: float = 0.999
    precision: Precision = "float32"
    compile: Compile = "auto"
    diverged_above: float = 1e4
    log_seconds: float = 5.0
    sample_minutes: float = 2.0
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give steps or minutes, one of the two")
        positive = {
            "steps": self.steps,
            "minutes": self.minutes,
            "critic_steps": self.critic_steps,
            "cycle_every": self.cycle_every,
            "r1_every": self.r1_every,
            "learning_rate": self.learning_rate,
            "epoch_decay": self.epoch_decay,
            "diverged_above": self.diverged_above,
            "diversity_bound": self.diversity_bound,
        }
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        for name in ("decay_from", "ema_decay", "epoch_decay", "cycle_changed_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], not {getattr(self, name)}")
        _check_weights(self)
        choices = {"objective": Objective, "schedule": Schedule, "precision": Precision, "compile": Compile}
        for name, known in choices.items():
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"{name}: {getattr(self, name)!r} is not one of {', '.join(get_args(known))}")
        for policy in self.augment:
            if policy not in POLICIES:
                raise ValueError(f"augment: {policy!r} is not one of {', '.join(POLICIES)}")
        check_augmentation(self.augment, probability=self.augment_probability, objective=self.objective)

    @property
    def returns(self) -> bool:
        """Whether G's loss reads the way back to an image's own domain."""
        weights = (self.cycle_weight, self.feature_matching_weight, self.sparsity_weight)
        return any((*weights, *self.multiscale_weights, *self.cycle_weights.values()))

    @property
    def reads_partners(self) -> bool:
        """Whether G's loss reads true partners."""
        return self.pair_weight > 0 or self.pair_feature_weight > 0

    @property
    def penalises_real(self) -> bool:
        """Whether D's loss has an R1 penalty."""
        return self.objective != "wgan-gp" and self.r1_weight > 0


def _check_weights(config: TrainConfig) -> None:
    """Refuse negative weights of losses, and weights of values without a value, with a ValueError."""
    for name in (
        *("domain_weight", "real_domain_weight", "cycle_weight", "identity_weight", "feature_matching_weight"),
        *("source_feature_weight", "sparsity_weight", "diversity_weight", "gradient_penalty_weight", "r1_weight"),
        *("warmup_steps", "adversarial_weight", "pair_weight", "pair_feature_weight", "buffer_size"),
    ):
        if not getattr(config, name) >= 0:
            raise ValueError(f"{name} must not be below 0, not {getattr(config, name)}")
    for name in ("multiscale_weights", "source_multiscale_weights"):
        if not all(weight >= 0 for weight in getattr(config, name)):
            raise ValueError(f"{name} must not be below 0, not {getattr(config, name)}")
    for value, weight in config.cycle_weights.items():
        if "=" not in value or not weight >= 0:
            raise ValueError(f"cycle_weights: {value!r} = {weight} is no attribute=value with a weight from 0 on")


def check_augmentation(
    augment: tuple[Policy, ...], *, probability: AugmentProbability, objective: Objective
) -> None:
    """Refuse a probability of augmentations that is none, or that cannot adapt, with a ValueError."""
    if isinstance(probability, str):
        if probability != "adaptive":
            raise ValueError(f"augment_probability must be in [0, 1] or 'adaptive', not {probability!r}")
        if not augment:
            raise ValueError(
                "augment_probability = 'adaptive', but augment is empty: give it the augmentations, for example "
                "['geometry']"
            )
        if objective not in ("logistic", "hinge"):
            raise ValueError(
                f"augment_probability = 'adaptive' with objective = {objective!r}: it reads the signs of D's "
                "scores, which mean something for 'logistic' and 'hinge' only. Choose one of these, or a number"
            )
    elif not 0 <= probability <= 1:
        raise ValueError(f"augment_probability must be in [0, 1] or 'adaptive', not {probability}")


def computes_in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Return whether convolutions on `device` compute in bfloat16."""
    if precision == "auto":
        if device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return precision == "bfloat16"


def translates_in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Return whether a `Translator` on `device` computes in bfloat16; "auto" does on CUDA alone."""
    if precision == "auto" and device.type != "cuda":
        return False
    return computes_in_bfloat16(precision, device)


def learning_rate_factor(config: TrainConfig, *, progress: float, epoch: int) -> float:
    """Return the learning rate's factor at a share of the run (`progress`, in [0, 1]) after so many epochs.

    Source: the linear schedule is StarGAN's, section 5.1.
    """
    match config.schedule:
        case "constant":
            return 1.0
        case "exponential":
            return config.epoch_decay**epoch
        case "linear":
            if config.decay_from >= 1 or progress <= config.decay_from:
                return 1.0
            return max(0.0, (1.0 - progress) / (1.0 - config.decay_from))
