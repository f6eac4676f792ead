"""TrainConfig and train(): one loop, readable from top to bottom."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from stargan import losses
from stargan.labels import LabelSpace, permuted_targets
from stargan.networks import Generator, PatchDiscriminator
from stargan.pixels import to_signed

Objective = Literal["wgan-gp", "logistic"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The numbers of a training run. The defaults are the paper's (StarGAN, sections 5.1 and 7.1).

    Args:
        steps: D steps in all; None trains until `minutes` are over.
        minutes: minutes of training in all, resumed runs counted together; None trains for `steps`.
        seed: the one source of all randomness in the loop.
        objective: "wgan-gp" (with `gradient_penalty_weight`) or "logistic" (with `r1_weight`).
        critic_steps: D steps per G step.
        learning_rate: Adam's step size for G and D.
        betas: Adam's decay rates.
        decay_from: share of the run, in [0, 1], after which the learning rate falls linearly to zero.
        domain_weight: weight of the domain classification on translations, for G.
        real_domain_weight: weight of the domain classification on real images, for D.
        cycle_weight: weight of the cycle reconstruction.
        sparsity_weight: weight of the attention mask's mean; only with a masked generator.
        gradient_penalty_weight: weight of the gradient penalty.
        r1_weight: weight of the R1 penalty.
        r1_every: D steps between two R1 penalties, each counted so many times (lazy regularisation).
        ema_decay: decay per G step of the average of G's weights that translates in the end.
        precision: what the convolutions compute in; "auto" is bfloat16 where the device has instructions for it.
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
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.5, 0.999)
    decay_from: float = 0.5
    domain_weight: float = 1.0
    real_domain_weight: float = 1.0
    cycle_weight: float = 10.0
    sparsity_weight: float = 0.1
    gradient_penalty_weight: float = 10.0
    r1_weight: float = 1.0
    r1_every: int = 8
    ema_decay: float = 0.999
    precision: Precision = "float32"
    diverged_above: float = 1e4
    log_seconds: float = 5.0
    sample_minutes: float = 2.0
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values that cannot work, naming the field."""
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give steps or minutes, one of the two")
        positive = {
            "steps": self.steps,
            "minutes": self.minutes,
            "critic_steps": self.critic_steps,
            "r1_every": self.r1_every,
            "learning_rate": self.learning_rate,
            "diverged_above": self.diverged_above,
        }
        for name, value in positive.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        for name in ("decay_from", "ema_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], not {getattr(self, name)}")


class Batch(NamedTuple):
    """What the loop eats: uint8 images (N, C, H, W) and their domains, int64 (N, A), -1 unknown."""

    images: Tensor
    codes: Tensor


@dataclass(kw_only=True)
class TrainState:
    """Everything that changes while training; saved whole, it resumes exactly.

    Args:
        generator: G.
        average: exponential moving average of G, what `expand` uses.
        discriminator: D.
        generator_optimizer: Adam over G.
        discriminator_optimizer: Adam over D.
        step: D steps done.
        elapsed: seconds trained, over all resumed runs.
    """

    generator: Generator
    average: Generator
    discriminator: PatchDiscriminator
    generator_optimizer: torch.optim.Adam
    discriminator_optimizer: torch.optim.Adam
    step: int = 0
    elapsed: float = 0.0


@dataclass(frozen=True, kw_only=True)
class LogEvent:
    """Losses averaged since the last log, and how fast it goes.

    Args:
        step: D steps done.
        progress: share of the run that is done, in [0, 1].
        elapsed: seconds trained.
        learning_rate: Adam's step size now.
        images_per_second: real images seen a second since the last log.
        losses: name -> mean value, "d/..." for D's and "g/..." for G's.
    """

    step: int
    progress: float
    elapsed: float
    learning_rate: float
    images_per_second: float
    losses: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class SampleEvent:
    """It is time to look at what the average of G makes of `batch`."""

    state: TrainState


@dataclass(frozen=True, kw_only=True)
class CheckpointEvent:
    """It is time to save `state`, whose weights are all finite."""

    state: TrainState


Event = LogEvent | SampleEvent | CheckpointEvent


class DivergenceError(RuntimeError):
    """A loss or a weight is no longer finite, or a loss is absurdly large."""


def new_state(*, generator: Generator, discriminator: PatchDiscriminator, config: TrainConfig) -> TrainState:
    """Return the state at step 0, with fresh optimizers and the average equal to G."""
    return TrainState(
        generator=generator,
        average=copy.deepcopy(generator).requires_grad_(False).eval(),
        discriminator=discriminator,
        generator_optimizer=_adam(generator, config),
        discriminator_optimizer=_adam(discriminator, config),
    )


def computes_in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Return whether convolutions on `device` compute in bfloat16."""
    if precision == "auto":
        if device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return precision == "bfloat16"


def learning_rate_factor(progress: float, *, decay_from: float) -> float:
    """Return what the learning rate is multiplied by: 1 until `decay_from`, then linear to 0 at the end.

    Args:
        progress: share of the run that is done, in [0, 1].
        decay_from: share at which the decay starts, in [0, 1]; 1 never decays.

    Source: StarGAN, section 5.1: "linearly decay the learning rate to 0 over the next" half.
    """
    if decay_from >= 1 or progress <= decay_from:
        return 1.0
    return max(0.0, (1.0 - progress) / (1.0 - decay_from))


def train(
    *,
    state: TrainState,
    config: TrainConfig,
    space: LabelSpace,
    batches: Iterable[Batch],
    device: torch.device,
    on_event: Callable[[Event], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train G and D on `batches` from `state.step` on, until the run is over or `should_stop` says so.

    All randomness of a step comes from the seed and the step's number, so a run that was stopped and resumed
    with the batches that follow ends with the same weights as one that was not.

    Args:
        state: changed in place; its networks lie on `device`.
        config: the run's numbers.
        space: what the batches' codes mean.
        batches: uint8 images and codes from step `state.step` on; must not end before the run does.
        device: where the networks lie.
        on_event: called with logs, and when it is time to sample or to save; a CheckpointEvent is the last.
        should_stop: asked after every step; True ends the run early, with a checkpoint.

    Returns:
        Whether the run reached its end (False: it was stopped and can be resumed).

    Raises:
        DivergenceError: a loss or weight is not finite, or a loss exceeds `config.diverged_above`.
        ValueError: the batches ended before the run did.

    Source: StarGAN, algorithm of section 3.2 and 5.1 (arXiv 1711.09020).
    """
    generator, discriminator = state.generator.train(), state.discriminator.train()
    source: Iterator[Batch] = iter(batches)
    meter = _Meter(config)
    clock = _Clock(state, config)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bfloat16(config.precision, device))

    while clock.progress() < 1:
        # ---- one batch, its targets, the learning rate ----
        batch = next(source, None)
        if batch is None:
            raise ValueError(f"the batches ended at step {state.step}, before the run did")
        step = state.step + 1
        random = torch.Generator().manual_seed(_step_seed(config.seed, step))
        targets = permuted_targets(batch.codes, generator=random)
        # Encoded on the CPU, where looking at the codes costs no wait for the device.
        source_vectors, target_vectors, source_wanted, target_wanted, codes, targets = (
            tensor.to(device, non_blocking=True)
            for tensor in (
                *(space.encode(batch.codes), space.encode(targets)),
                *(space.encode_signed(batch.codes), space.encode_signed(targets)),
                *(batch.codes, targets),
            )
        )
        real = to_signed(batch.images.to(device, non_blocking=True))
        progress = clock.progress(step)
        rate = config.learning_rate * learning_rate_factor(progress, decay_from=config.decay_from)
        _set_learning_rate(state, rate)

        # ---- D: real or fake, and the domain of real images ----
        with torch.no_grad(), autocast:
            fake = generator(real, target_vectors)
        penalise = config.objective == "logistic" and step % config.r1_every == 0
        real.requires_grad_(penalise)
        with autocast:
            real_scores, real_logits = discriminator(real, source_wanted)
            fake_scores, _ = discriminator(fake, target_wanted)
        d_domain = losses.domain_loss(real_logits, codes, space)
        if config.objective == "wgan-gp":
            d_adversarial = losses.wasserstein_critic_loss(real_scores, fake_scores)
            mix = torch.rand(len(real), generator=random).to(device)
            with autocast:
                penalty = losses.gradient_penalty(partial(_scores, discriminator, target_wanted), real, fake, mix)
            d_penalty = config.gradient_penalty_weight * penalty
        else:
            d_adversarial = losses.logistic_critic_loss(real_scores, fake_scores)
            d_penalty = torch.zeros((), device=device)
            if penalise:
                d_penalty = config.r1_weight * config.r1_every * losses.r1_penalty(real_scores, real)
        real = real.detach()
        _update(
            state.discriminator_optimizer,
            d_adversarial + config.real_domain_weight * d_domain + d_penalty,
        )
        meter.add({"d/adversarial": d_adversarial, "d/domain": d_domain})
        if config.objective == "wgan-gp" or penalise:
            meter.add({"d/penalty": d_penalty})

        # ---- G: fool D, reach the target, come back ----
        if step % config.critic_steps == 0:
            discriminator.requires_grad_(False)
            with autocast:
                fake, mask = generator.translate(real, target_vectors)
                back, back_mask = generator.translate(fake, source_vectors)
                fake_scores, fake_logits = discriminator(fake, target_wanted)
            if config.objective == "wgan-gp":
                g_adversarial = losses.wasserstein_generator_loss(fake_scores)
            else:
                g_adversarial = losses.logistic_generator_loss(fake_scores)
            g_domain = losses.domain_loss(fake_logits, targets, space)
            g_cycle = losses.cycle_loss(real, back)
            g_loss = g_adversarial + config.domain_weight * g_domain + config.cycle_weight * g_cycle
            if mask is not None and back_mask is not None:
                g_sparsity = (losses.sparsity_loss(mask) + losses.sparsity_loss(back_mask)) / 2
                g_loss = g_loss + config.sparsity_weight * g_sparsity
                meter.add({"g/sparsity": g_sparsity})
            _update(state.generator_optimizer, g_loss)
            discriminator.requires_grad_(True)
            _average(state, config.ema_decay, g_steps=step // config.critic_steps)
            meter.add({"g/adversarial": g_adversarial, "g/domain": g_domain, "g/cycle": g_cycle})

        # ---- tell, show, save ----
        state.step = step
        clock.stamp()
        finished = clock.progress() >= 1
        stopping = finished or should_stop()
        save = clock.due("checkpoint", config.checkpoint_minutes * 60) or stopping
        meter.count(len(real))
        if clock.due("log", config.log_seconds) or save:
            on_event(meter.read(step=step, progress=clock.progress(), elapsed=state.elapsed, learning_rate=rate))
        if clock.due("sample", config.sample_minutes * 60) or stopping:
            on_event(SampleEvent(state=state))
        if save:
            _require_finite(state)
            on_event(CheckpointEvent(state=state))
        if stopping:
            return finished
    return True


@dataclass
class _Clock:
    """Knows how much of the run is done, in steps or in seconds, and what is due."""

    state: TrainState
    config: TrainConfig
    _last: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start = time.monotonic() - self.state.elapsed
        self._last = dict.fromkeys(("log", "sample", "checkpoint"), time.monotonic())

    def progress(self, step: int | None = None) -> float:
        """Return the share of the run that is done when `step` (by default the state's) is."""
        if self.config.steps is not None:
            return min(1.0, (self.state.step if step is None else step) / self.config.steps)
        assert self.config.minutes is not None
        return min(1.0, self.state.elapsed / (self.config.minutes * 60))

    def stamp(self) -> None:
        """Write the seconds trained into the state."""
        self.state.elapsed = time.monotonic() - self._start

    def due(self, name: str, seconds: float) -> bool:
        """Return whether `seconds` have passed since `name` was last due."""
        now = time.monotonic()
        if now - self._last[name] < seconds:
            return False
        self._last[name] = now
        return True


class _Meter:
    """Averages losses on the device and reads them once a log, so that no step waits for a copy."""

    def __init__(self, config: TrainConfig) -> None:
        self._limit = config.diverged_above
        self._sums: dict[str, tuple[Tensor, int]] = {}
        self._images = 0
        self._since = time.monotonic()

    def add(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            total, count = self._sums.get(name, (torch.zeros((), device=value.device), 0))
            self._sums[name] = (total + value.detach().float(), count + 1)

    def count(self, images: int) -> None:
        self._images += images

    def read(self, *, step: int, progress: float, elapsed: float, learning_rate: float) -> LogEvent:
        """Return the averages and start anew.

        Raises:
            DivergenceError: one of them is not finite or too large.
        """
        means = {name: float(total) / count for name, (total, count) in sorted(self._sums.items())}
        for name, value in means.items():
            if not abs(value) <= self._limit:
                raise DivergenceError(f"at step {step} the loss {name} is {value:.4g}")
        now = time.monotonic()
        speed = self._images / max(now - self._since, 1e-9)
        self._sums, self._images, self._since = {}, 0, now
        return LogEvent(
            step=step,
            progress=progress,
            elapsed=elapsed,
            learning_rate=learning_rate,
            images_per_second=speed,
            losses=means,
        )


def _adam(network: nn.Module, config: TrainConfig) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=config.betas)


def _scores(discriminator: PatchDiscriminator, wanted: Tensor, images: Tensor) -> Tensor:
    scores: Tensor = discriminator(images, wanted)[0]
    return scores


def _update(optimizer: torch.optim.Adam, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _set_learning_rate(state: TrainState, rate: float) -> None:
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        for group in optimizer.param_groups:
            group["lr"] = rate


@torch.no_grad()
def _average(state: TrainState, decay: float, *, g_steps: int) -> None:
    # Early on a long memory would hold the random start: let the memory grow with the run.
    decay = min(decay, g_steps / (g_steps + 10))
    for averaged, current in zip(state.average.parameters(), state.generator.parameters(), strict=True):
        averaged.lerp_(current, 1 - decay)


def _step_seed(seed: int, step: int) -> int:
    # Spread the seeds far apart, so that no two runs meet each other's streams a few steps later.
    return (seed * 0x9E3779B97F4A7C15 + step) % (1 << 63)


def _require_finite(state: TrainState) -> None:
    for owner, network in (("G", state.generator), ("D", state.discriminator)):
        for name, weight in network.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise DivergenceError(f"at step {state.step} the weight {name} of {owner} is no longer finite")
