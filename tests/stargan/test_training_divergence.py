"""What is not finite, or absurdly large, stops the training loop and is not saved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Literal

import pytest
import torch

from stargan.config import TrainConfig
from stargan.labels import LabelSpace
from stargan.training import Batch, CheckpointEvent, DivergenceError, Event, SampleEvent, TrainState, train

CPU = torch.device("cpu")
MakeState = Callable[..., TrainState]
MakeBatches = Callable[[int], Iterator[Batch]]

EVERY_STEP = TrainConfig(steps=6, critic_steps=2, log_seconds=0, sample_minutes=60, checkpoint_minutes=60)
"""Six steps, one log each, samples and checkpoints only at the end."""


def ignore(_event: Event) -> None:
    pass


class Trap:
    """Noise batches that spoil a weight of D or G ahead of one step, and what the loop said meanwhile."""

    def __init__(self, state: TrainState, batches: Iterable[Batch], *, at: int, value: float) -> None:
        self.saved: list[int] = []
        self._state, self._source, self._at, self._value = state, batches, at, value

    def batches(self, network: Literal["discriminator", "generator"]) -> Iterator[Batch]:
        for step, batch in enumerate(self._source, start=1):
            if step == self._at:
                with torch.no_grad():
                    next(iter(getattr(self._state, network).parameters())).fill_(self._value)
            yield batch

    def check(self, event: Event) -> None:
        if isinstance(event, CheckpointEvent):
            for network in (event.state.generator, event.state.average, event.state.discriminator):
                assert all(bool(torch.isfinite(weight).all()) for weight in network.parameters())
            self.saved.append(event.state.step)


@pytest.mark.parametrize("network", ["discriminator", "generator"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops(
    network: Literal["discriminator", "generator"],
    value: float,
    space: LabelSpace,
    tiny_state: MakeState,
    noise_batches: MakeBatches,
) -> None:
    config = replace(EVERY_STEP, checkpoint_minutes=0, log_seconds=60)
    state = tiny_state(config)
    trap = Trap(state, noise_batches(0), at=3, value=value)
    with pytest.raises(DivergenceError, match=r"at step 3 the loss d/\w+ is nan"):
        train(
            state=state,
            config=config,
            space=space,
            batches=trap.batches(network),
            device=CPU,
            on_event=trap.check,
        )
    assert trap.saved == [1, 2]


def test_a_nan_between_two_logs_is_not_saved(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, log_seconds=60)
    state = tiny_state(config)
    trap = Trap(state, noise_batches(0), at=2, value=float("nan"))
    with pytest.raises(DivergenceError, match="at step 6 the loss"):
        train(
            state=state,
            config=config,
            space=space,
            batches=trap.batches("discriminator"),
            device=CPU,
            on_event=trap.check,
        )
    assert trap.saved == []


def test_a_weight_that_is_not_finite_is_not_saved(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    state = tiny_state(EVERY_STEP)
    events: list[Event] = []

    def spoil(event: Event) -> None:
        events.append(event)
        if isinstance(event, SampleEvent):  # after the losses were read, ahead of the checkpoint
            with torch.no_grad():
                state.generator.get_parameter("painter.weight")[0, 0, 0, 0] = float("inf")

    with pytest.raises(DivergenceError, match=r"at step 6 the weight painter\.weight of G is no longer finite"):
        train(state=state, config=EVERY_STEP, space=space, batches=noise_batches(0), device=CPU, on_event=spoil)
    assert not any(isinstance(event, CheckpointEvent) for event in events)


def test_an_absurd_loss_stops(space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches) -> None:
    config = replace(EVERY_STEP, diverged_above=0.5)
    with pytest.raises(DivergenceError, match="at step 1 the loss d/domain is 1"):
        train(
            state=tiny_state(config),
            config=config,
            space=space,
            batches=noise_batches(0),
            device=CPU,
            on_event=ignore,
        )
