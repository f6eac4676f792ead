"""Measurement of training steps: `stargan.train` against a plain eager loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from math import lcm

import torch

from augmentor.bench.machine import profiled
from augmentor.bench.measure import (
    Conditions,
    HotOperation,
    Measurement,
    Round,
    Series,
    largest_relative,
    seconds_of,
    synchronise,
)
from augmentor.bench.reference import plain_state, plain_training_step
from augmentor.bench.subject import SEED, Subject
from augmentor.training import train_config, untrained_networks
from stargan.config import TrainConfig, computes_in_bfloat16
from stargan.training import Batch, Event, LogEvent, TrainState, new_state, train

_COMPARED_STEPS = 10
"""Steps in which both sides' losses are compared."""

_COMPARED_RATE = 2e-5
"""Learning rate of these steps."""

_ENDLESS = 1_000_000_000


def measure_training(subject: Subject, conditions: Conditions) -> Measurement:
    """Measure training steps of the subject's recipe, on batches in memory.

    A single run of `train` covers all rounds; the plain loop's rounds take place between its steps.
    A precision or compile setting of `conditions` other than "auto" overrides the recipe's.
    """
    # Without a warm-up: its steps are D's alone.
    config = replace(
        train_config(subject.recipe), schedule="constant", steps=_ENDLESS, minutes=None, warmup_steps=0
    )
    if conditions.precision != "auto":
        config = replace(config, precision=conditions.precision)
    if conditions.compile != "auto":
        config = replace(config, compile=conditions.compile)
    size = subject.recipe.training.batch_size
    batches = subject.batches(size)
    apart = _losses_apart(subject, config, batches, conditions.device)
    turns = _Turns(subject, config, batches, conditions)
    train(
        state=_state(subject, config, conditions.device, plain=False),
        config=config,
        space=subject.model.space,
        batches=turns.batches(),
        device=conditions.device,
        on_event=lambda _event: None,
        should_stop=lambda: turns.over,
    )
    bfloat16 = computes_in_bfloat16(config.precision, conditions.device)
    quantities = {
        "batch_size": float(size),
        "warm_up_seconds": turns.warm_up,
        "largest_relative_loss_difference": apart,
    }
    if conditions.device.type == "cuda":
        quantities["peak_device_memory_bytes"] = float(turns.peak)
    return Measurement(
        stage="train",
        setting=f"{subject.title}, {config.objective}",
        unit="images/s",
        ours=Series(tuple(sample.rate for sample in turns.ours)),
        plain=Series(tuple(sample.rate for sample in turns.plain)),
        against="plain loop",
        quantities=quantities,
        notes=(
            f"{'bfloat16' if bfloat16 else 'float32'}; in float32 losses differ by {apart:.0e} at most",
            f"batches of {size}; warm-up {turns.warm_up:.0f} s",
        ),
        profile=tuple(turns.hot),
    )


class _Turns:
    """Batches for `train`, used in turn, that measure its rounds, and the plain loop's in between."""

    def __init__(
        self, subject: Subject, config: TrainConfig, batches: list[Batch], conditions: Conditions
    ) -> None:
        self.ours: list[Round] = []
        self.plain: list[Round] = []
        self.hot: list[HotOperation] = []
        self.warm_up = 0.0
        self.peak = 0
        self.over = False
        self._config, self._batches, self._conditions = config, batches, conditions
        self._space, self._device = subject.model.space, conditions.device
        self._state = _state(subject, config, conditions.device, plain=True)
        # Contains every kind of step: with and without G's update, the cycle loss, the penalty.
        self._period = lcm(
            config.critic_steps * config.cycle_every, config.r1_every if config.penalises_real else 1
        )
        self._shown = 0

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of `train`, and measure."""
        conditions, started = self._conditions, time.perf_counter()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        yield from self._next(2 * self._period)
        synchronise(self._device)
        self.warm_up = time.perf_counter() - started
        if self._device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated(self._device)
        self._plain_steps(self._period)
        pace = seconds_of(lambda: self._plain_steps(self._period), self._device)
        steps = self._period * conditions.times(pace, sides=2)
        for _ in range(conditions.rounds):
            synchronise(self._device)
            started = time.perf_counter()
            yield from self._next(steps)
            synchronise(self._device)
            self.ours.append(Round(steps * self._size, time.perf_counter() - started))
            seconds = seconds_of(lambda: self._plain_steps(steps), self._device)
            self.plain.append(Round(steps * self._size, seconds))
        if conditions.profile:
            with profiled(self._device) as self.hot:
                yield from self._next(self._period)
        self.over = True
        yield from self._next(1)  # after it `train` calls should_stop

    @property
    def _size(self) -> int:
        return len(self._batches[0].images)

    def _next(self, steps: int) -> Iterator[Batch]:
        for _ in range(steps):
            yield self._batches[self._shown % len(self._batches)]
            self._shown += 1

    def _plain_steps(self, steps: int) -> None:
        for _ in range(steps):
            batch = self._batches[self._state.step % len(self._batches)]
            assert batch.targets is not None
            plain_training_step(self._state, batch, batch.targets, self._config, self._space)


def _losses_apart(subject: Subject, config: TrainConfig, batches: list[Batch], device: torch.device) -> float:
    """Return the largest relative difference between both sides' losses, in float32 and without compiling."""
    config = replace(config, steps=_COMPARED_STEPS, precision="float32", compile="off", log_seconds=0.0)
    # At a full learning rate Adam turns rounding into whole steps wherever a gradient is near 0.
    config = replace(config, learning_rate=min(config.learning_rate, _COMPARED_RATE))
    shown = [batches[step % len(batches)] for step in range(_COMPARED_STEPS)]
    logged: list[dict[str, float]] = []

    def keep(event: Event) -> None:
        if isinstance(event, LogEvent):
            logged.append(event.losses)

    # On a GPU convolutions would else round to TF32, and the comparison would measure the rounding.
    rounding, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        train(
            state=_state(subject, config, device, plain=False),
            config=config,
            space=subject.model.space,
            batches=shown,
            device=device,
            on_event=keep,
        )
        state, apart = _state(subject, config, device, plain=True), 0.0
        for batch, ours in zip(shown, logged, strict=True):
            assert batch.targets is not None
            plain = plain_training_step(state, batch, batch.targets, config, subject.model.space)
            apart = max(apart, largest_relative(ours, {name: float(loss) for name, loss in plain.items()}))
    finally:
        torch.backends.cudnn.allow_tf32 = rounding
    return apart


def _state(subject: Subject, config: TrainConfig, device: torch.device, *, plain: bool) -> TrainState:
    """Return the state at step 0, with the same weights for both sides."""
    generator, discriminator = untrained_networks(subject.recipe, subject.model.space, seed=SEED)
    make = plain_state if plain else new_state
    return make(generator=generator.to(device), discriminator=discriminator.to(device), config=config)
