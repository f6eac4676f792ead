"""The training loop: schedules at their last value, order of updates, the average of G, stopping."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stargan.config import TrainConfig
from stargan.diffaugment import ADAPT_IMAGES
from stargan.labels import LabelSpace
from stargan.training import (
    Batch,
    CheckpointEvent,
    Event,
    LogEvent,
    PeriodicEvaluation,
    SampleEvent,
    TrainState,
    train,
)

CPU = torch.device("cpu")
MakeState = Callable[..., TrainState]
MakeBatches = Callable[[int], Iterator[Batch]]

EVERY_STEP = TrainConfig(steps=6, critic_steps=2, log_seconds=0, sample_minutes=60, checkpoint_minutes=60)
"""Six steps, one log each, samples and checkpoints only at the end."""


def ignore(_event: Event) -> None:
    pass


def weights(network: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in network.parameters()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# ---- the schedule ----


def learning_rates(events: list[Event]) -> list[float]:
    return [event.learning_rate for event in events if isinstance(event, LogEvent)]


def rates(optimizer: torch.optim.Adam) -> set[float]:
    return {group["lr"] for group in optimizer.param_groups}


def test_the_linear_schedule_reaches_zero(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, steps=8, learning_rate=4e-4)
    state, events = tiny_state(config), list[Event]()
    assert train(
        state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=events.append
    )
    logs = [event for event in events if isinstance(event, LogEvent)]
    assert [log.step for log in logs] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [log.progress for log in logs] == [step / 8 for step in range(1, 9)]
    assert learning_rates(events) == pytest.approx([4e-4] * 4 + [3e-4, 2e-4, 1e-4, 0])
    assert learning_rates(events)[-1] == 0
    assert rates(state.generator_optimizer) == rates(state.discriminator_optimizer) == {0}


def test_the_constant_schedule_never_falls(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, schedule="constant", learning_rate=3e-4)
    state, events = tiny_state(config), list[Event]()
    train(
        state=state,
        config=config,
        space=space,
        batches=noise_batches(0),
        device=CPU,
        on_event=events.append,
        epoch_steps=1,
    )
    assert learning_rates(events) == [3e-4] * 6
    assert rates(state.generator_optimizer) == rates(state.discriminator_optimizer) == {3e-4}


@pytest.mark.parametrize(
    ("epoch_steps", "epochs_done"),
    [
        (1, [0, 1, 2, 3, 4, 5, 6]),
        (2, [0, 0, 1, 1, 2, 2, 3]),
        (2.5, [0, 0, 0, 1, 1, 2, 2]),
        (7, [0, 0, 0, 0, 0, 0, 0]),
        (float("inf"), [0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_the_exponential_schedule_falls_once_an_epoch(
    *,
    epoch_steps: float,
    epochs_done: list[int],
    space: LabelSpace,
    tiny_state: MakeState,
    noise_batches: MakeBatches,
) -> None:
    config = replace(EVERY_STEP, steps=7, schedule="exponential", epoch_decay=0.9, learning_rate=2e-4)
    state, events = tiny_state(config), list[Event]()
    finished = train(
        state=state,
        config=config,
        space=space,
        batches=noise_batches(0),
        device=CPU,
        on_event=events.append,
        should_stop=lambda: state.step == 3,
        epoch_steps=epoch_steps,
    )
    assert not finished
    train(
        state=state,
        config=config,
        space=space,
        batches=noise_batches(3),
        device=CPU,
        on_event=events.append,
        epoch_steps=epoch_steps,
    )
    # A resumed run counts its epochs from the very first step.
    assert learning_rates(events) == pytest.approx([2e-4 * 0.9**epoch for epoch in epochs_done])
    (last,) = rates(state.generator_optimizer) | rates(state.discriminator_optimizer)
    assert last == pytest.approx(2e-4 * 0.9 ** epochs_done[-1])


# ---- who learns when ----


def test_g_learns_every_critic_steps_and_d_always(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, steps=7, critic_steps=3, decay_from=1.0)
    state = tiny_state(config)
    snapshots = [(weights(state.generator), weights(state.discriminator))]
    logged: list[frozenset[str]] = []

    def record(event: Event) -> None:
        if isinstance(event, LogEvent):
            snapshots.append((weights(state.generator), weights(state.discriminator)))
            logged.append(frozenset(event.losses))

    train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=record)
    pairs = list(itertools.pairwise(snapshots))
    assert [not equal(before[0], after[0]) for before, after in pairs] == [
        False,
        False,
        True,
        False,
        False,
        True,
        False,
    ]
    assert all(not equal(before[1], after[1]) for before, after in pairs)
    d_losses = {"d/adversarial", "d/domain", "d/penalty"}
    assert logged[0] == d_losses
    assert logged[2] == d_losses | {"g/adversarial", "g/domain", "g/cycle"}


def test_the_lazy_penalty_comes_every_r1_every(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, objective="logistic", r1_every=3)
    penalised = []

    def record(event: Event) -> None:
        if isinstance(event, LogEvent) and "d/penalty" in event.losses:
            penalised.append(event.step)

    train(
        state=tiny_state(config), config=config, space=space, batches=noise_batches(0), device=CPU, on_event=record
    )
    assert penalised == [3, 6]


@pytest.mark.parametrize("ema_decay", [0.999, 0.05])
def test_the_average_by_hand(
    ema_decay: float, space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, steps=3, critic_steps=1, ema_decay=ema_decay, learning_rate=0.01, decay_from=1.0)
    state = tiny_state(config)
    history = [weights(state.generator)]

    def record(event: Event) -> None:
        if isinstance(event, LogEvent):
            history.append(weights(state.generator))

    train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=record)
    # The memory grows with the run: after G step k the decay is the smaller of ema_decay and k / (k + 10).
    expected = history[0]
    for k, current in enumerate(history[1:], start=1):
        decay = min(ema_decay, k / (k + 10))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, current, strict=True)]
    for found, wanted in zip(state.average.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    assert not equal(weights(state.average), history[-1])
    assert not any(weight.requires_grad for weight in state.average.parameters())


def test_the_short_average_is_over_a_tenth_of_the_steps(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, steps=3, critic_steps=1, ema_decay=0.95, learning_rate=0.01, decay_from=1.0)
    state = tiny_state(config)
    assert state.short_average is None
    state.short_average = copy.deepcopy(state.average)
    history = [weights(state.generator)]

    def record(event: Event) -> None:
        if isinstance(event, LogEvent):
            history.append(weights(state.generator))

    train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=record)
    expected = history[0]
    for k, current in enumerate(history[1:], start=1):
        decay = min(0.5, k / (k + 100))
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, current, strict=True)]
    for found, wanted in zip(state.short_average.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_evaluations_are_due_by_shares_of_the_run_and_cost_no_time_of_it(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    state, events, seen = tiny_state(EVERY_STEP), list[Event](), list[tuple[int, float]]()

    def evaluate(given: TrainState, progress: float) -> bool:
        assert given is state
        seen.append((state.step, progress))
        time.sleep(0.2)
        return state.step == 4

    evaluation = PeriodicEvaluation(shares=(0.1, 0.6, 0.65, 1.0), evaluate=evaluate, done=0.1)
    train(
        state=state,
        config=EVERY_STEP,
        space=space,
        batches=noise_batches(0),
        device=CPU,
        on_event=events.append,
        evaluation=evaluation,
    )
    # The first was made before; two that are due at once are one.
    assert seen == [(4, pytest.approx(4 / 6)), (6, 1.0)]
    assert [type(event) for event in events] == [
        *[LogEvent] * 4,
        CheckpointEvent,  # asked for
        *[LogEvent] * 2,
        SampleEvent,
        CheckpointEvent,
    ]
    logs = [event for event in events if isinstance(event, LogEvent)]
    assert logs[4].elapsed - logs[3].elapsed < 0.2
    assert logs[4].images_per_second > 4 / 0.2


def test_adam_is_fused_and_equal_to_the_plain_one(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, critic_steps=1, learning_rate=1e-3, schedule="constant")
    fused, plain = (tiny_state(config, conditioning="norm") for _ in range(2))
    assert fused.generator_optimizer.param_groups[0]["fused"]
    plain.generator_optimizer, plain.discriminator_optimizer = (
        torch.optim.Adam(network.parameters(), lr=1e-3, betas=config.betas)
        for network in (plain.generator, plain.discriminator)
    )
    for state in (fused, plain):
        train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)
    for one, other in ((fused.generator, plain.generator), (fused.discriminator, plain.discriminator)):
        for weight, wanted in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(weight, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("forgetful", [True, False])
def test_what_counts_its_passes_sees_real_and_translated_images_apart(
    forgetful: bool, space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    """D without statistics sees both in one batch; batch norm would mix what it should tell apart."""
    config = replace(EVERY_STEP, steps=1, critic_steps=2, objective="logistic", r1_weight=0.0)
    norm = "instance" if forgetful else "batch"
    state, seen = tiny_state(config, discriminator={"norm": norm}), list[int]()
    state.discriminator.get_submodule("features.0").register_forward_hook(
        lambda _layer, _given, made: seen.append(len(made))
    )
    train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)
    assert seen == ([8] if forgetful else [4, 4])


# ---- the end ----


def test_should_stop_ends_with_a_checkpoint(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    state, events = tiny_state(EVERY_STEP), list[Event]()
    finished = train(
        state=state,
        config=EVERY_STEP,
        space=space,
        batches=noise_batches(0),
        device=CPU,
        on_event=events.append,
        should_stop=lambda: state.step == 3,
    )
    assert not finished
    assert state.step == 3
    assert [type(event) for event in events] == [LogEvent, LogEvent, LogEvent, SampleEvent, CheckpointEvent]


def test_a_finished_state_takes_no_batch(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    state, batches = tiny_state(EVERY_STEP), noise_batches(0)
    train(state=state, config=EVERY_STEP, space=space, batches=batches, device=CPU, on_event=ignore)
    before, events = weights(state.discriminator), list[Event]()
    assert train(state=state, config=EVERY_STEP, space=space, batches=[], device=CPU, on_event=events.append)
    assert events == []
    assert equal(weights(state.discriminator), before)


def test_batches_must_not_end_early(space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches) -> None:
    few = itertools.islice(noise_batches(0), 4)
    with pytest.raises(ValueError, match="the batches ended at step 4, before the run did"):
        train(
            state=tiny_state(EVERY_STEP),
            config=EVERY_STEP,
            space=space,
            batches=few,
            device=CPU,
            on_event=ignore,
        )


def test_minutes_are_counted_over_resumed_runs(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, steps=None, minutes=0.05)
    state, events = tiny_state(config), list[Event]()
    state.elapsed = 2.9  # of 3 seconds: what earlier runs trained
    assert train(
        state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=events.append
    )
    assert state.elapsed >= 3
    assert all(event.elapsed >= 2.9 for event in events if isinstance(event, LogEvent))
    first = events[0]
    assert isinstance(first, LogEvent)
    assert first.learning_rate == pytest.approx(1e-4 * (0.1 / 3) / 0.5)
    assert isinstance(events[-1], CheckpointEvent)


def test_bfloat16_trains_float32_weights(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, steps=2, precision="bfloat16")
    state = tiny_state(config)
    before = weights(state.generator)
    train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)
    assert {weight.dtype for weight in state.generator.parameters()} == {torch.float32}
    assert equal(before, weights(state.generator))  # the only G step is the last, at learning rate 0


# ---- the warm-up ----


def test_d_alone_learns_while_it_warms_up(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, objective="logistic", critic_steps=1, steps=40, warmup_steps=3)
    state, seen = tiny_state(config), list[tuple[bool, bool, set[str]]]()
    before = weights(state.generator), weights(state.discriminator)

    def look(event: Event) -> None:
        if isinstance(event, LogEvent):
            now = weights(state.generator), weights(state.discriminator)
            same = equal(now[0], before[0]), equal(now[1], before[1])
            seen.append((*same, {name.partition("/")[0] for name in event.losses}))

    train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=look)
    assert seen == [(True, False, {"d"})] * 3 + [(False, False, {"d", "g"})] * 37


def test_a_warm_d_knows_the_attributes(space: LabelSpace, tiny_state: MakeState) -> None:
    """Images whose brightness is their label: after the warm-up D's loss of the domain is far below guessing."""
    config = replace(EVERY_STEP, objective="logistic", steps=1400, warmup_steps=200, learning_rate=1e-3)
    state = tiny_state(config)

    def batches() -> Iterator[Batch]:
        random = torch.Generator().manual_seed(0)
        while True:
            codes = torch.stack([torch.randint(3, (8,), generator=random), torch.full((8,), -1)], dim=1)
            images = (codes[:, 0] * 100 + 20).byte()[:, None, None, None].expand(8, 3, 16, 16)
            yield Batch(images, codes)

    events = list[Event]()
    train(
        state=state,
        config=config,
        space=space,
        batches=batches(),
        device=CPU,
        on_event=events.append,
        should_stop=lambda: state.step == 200,
    )
    domain = [event.losses["d/domain"] for event in events if isinstance(event, LogEvent)]
    assert sum(domain[:5]) / 5 > 0.9  # log 3 = 1.1
    assert sum(domain[150:190]) / 40 < 0.3


def test_a_warm_up_is_a_part_of_the_run_however_short_that_is(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(EVERY_STEP, objective="logistic", critic_steps=1, steps=20, warmup_steps=1000)
    events = list[Event]()
    train(
        state=tiny_state(config),
        config=config,
        space=space,
        batches=noise_batches(0),
        device=CPU,
        on_event=events.append,
    )
    logs = [event for event in events if isinstance(event, LogEvent)]
    assert ["g/domain" in log.losses for log in logs] == [False] * 3 + [True] * 17


# ---- augmentations as probable as D overfits ----


@pytest.mark.parametrize("overfits", [True, False])
def test_d_that_overfits_sees_more_augmentation(
    *, overfits: bool, space: LabelSpace, tiny_state: MakeState
) -> None:
    """Training images are bright; held-out ones are as dark as what G makes, or as bright as the others."""
    config = replace(
        EVERY_STEP,
        objective="logistic",
        critic_steps=1,
        steps=60,
        learning_rate=1e-3,
        augment=("geometry",),
        augment_probability="adaptive",
    )
    state, taken = tiny_state(config), list[int]()

    def plain(brightness: int) -> Iterator[Batch]:
        while True:
            taken.append(brightness)
            yield Batch(
                torch.full((4, 3, 16, 16), brightness, dtype=torch.uint8), torch.zeros(4, 2, dtype=torch.long)
            )

    events = list[Event]()
    train(
        state=state,
        config=config,
        space=space,
        batches=plain(250),
        device=CPU,
        on_event=events.append,
        validation=plain(100 if overfits else 251),
    )
    assert taken.count(250) == 60
    assert len(taken) == 75  # a held-out batch for every fourth step
    logged = [event.losses["d/augment_p"] for event in events if isinstance(event, LogEvent)]
    change = 16 / ADAPT_IMAGES
    assert logged[-1] == pytest.approx(state.augment_probability)
    assert logged[:3] == [0, 0, 0]
    for before, after in itertools.pairwise(logged):
        assert min(abs(after - before - step) for step in (0, change, -change)) < 1e-6
    assert (state.augment_probability > 8 * change) if overfits else (state.augment_probability < 3 * change)
