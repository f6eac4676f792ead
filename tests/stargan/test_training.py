"""The training loop: schedule, order of updates, resume to the bit, divergence, stopping."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from stargan.checkpoint import load_state, save_checkpoint
from stargan.labels import LabelSpace, permuted_targets
from stargan.losses import domain_loss
from stargan.networks import Conditioning, Output
from stargan.training import (
    Batch,
    CheckpointEvent,
    DivergenceError,
    Event,
    LogEvent,
    Objective,
    SampleEvent,
    TrainConfig,
    TrainState,
    _step_seed,
    computes_in_bfloat16,
    learning_rate_factor,
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


def adam(optimizer: torch.optim.Adam) -> list[Tensor]:
    slots = optimizer.state_dict()["state"]
    return [slots[index][name].clone() for index in sorted(slots) for name in sorted(slots[index])]


# ---- the schedule ----


def test_learning_rate_factor_by_hand() -> None:
    factors = [learning_rate_factor(progress, decay_from=0.5) for progress in (0, 0.25, 0.5, 0.625, 0.75, 1)]
    assert factors == [1, 1, 1, 0.75, 0.5, 0]
    assert [learning_rate_factor(progress, decay_from=0) for progress in (0, 0.5, 1)] == [1, 0.5, 0]
    assert [learning_rate_factor(progress, decay_from=1) for progress in (0, 0.5, 1)] == [1, 1, 1]


@pytest.mark.parametrize("decay_from", [0.0, 0.1, 1 / 3, 0.999])
def test_the_factor_ends_at_exactly_zero(decay_from: float) -> None:
    assert learning_rate_factor(1.0, decay_from=decay_from) == 0


def test_the_logged_learning_rate_reaches_zero(
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
    assert [log.learning_rate for log in logs] == pytest.approx([4e-4] * 4 + [3e-4, 2e-4, 1e-4, 0])
    assert logs[-1].learning_rate == 0
    assert {group["lr"] for group in state.generator_optimizer.param_groups} == {0}
    assert {group["lr"] for group in state.discriminator_optimizer.param_groups} == {0}


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


def gradients(optimizer: torch.optim.Adam) -> list[Tensor]:
    """The gradients of an optimizer's one and only step so far: its first moment is (1 - beta1) times them."""
    beta, _ = optimizer.param_groups[0]["betas"]
    return [optimizer.state[weight]["exp_avg"] / (1 - beta) for weight in optimizer.param_groups[0]["params"]]


def gradient(scores: Tensor, images: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return result.flatten(1)


@pytest.mark.parametrize("objective", ["wgan-gp", "logistic"])
@pytest.mark.parametrize("matches", [False, True])
def test_one_step_against_the_written_out_objectives(
    *, objective: Objective, matches: bool, space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = TrainConfig(
        steps=1,
        critic_steps=1,
        decay_from=1.0,
        objective=objective,
        r1_every=1,
        r1_weight=2.0,
        gradient_penalty_weight=3.0,
        real_domain_weight=1.3,
        domain_weight=0.7,
        cycle_weight=5.0,
        sparsity_weight=0.3,
    )
    state = tiny_state(config, output="masked", matches=matches)
    g, d = copy.deepcopy(state.generator), copy.deepcopy(state.discriminator)
    train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)

    images, codes = next(noise_batches(0))
    random = torch.Generator().manual_seed(_step_seed(config.seed, 1))
    targets = permuted_targets(codes, generator=random)
    assert not torch.equal(targets, codes)
    real, own, wanted = images / 127.5 - 1, space.encode(codes), space.encode(targets)
    shows, asks = space.encode_signed(codes), space.encode_signed(targets)

    # D, eqs. 3, 5 and 8 of the paper; or the log loss with half the squared gradient at real images.
    fake = g(real, wanted).detach()
    real.requires_grad_()
    (real_scores, real_logits), (fake_scores, _) = d(real, shows), d(fake, asks)
    if objective == "wgan-gp":
        share = torch.rand(len(real), generator=random).view(-1, 1, 1, 1)
        between = (share * real + (1 - share) * fake).detach().requires_grad_()
        penalty = 3.0 * (gradient(d(between, asks)[0], between).norm(dim=1) - 1).square().mean()
        d_loss = fake_scores.mean() - real_scores.mean() + penalty
    else:
        penalty = 2.0 * gradient(real_scores, real).square().sum(dim=1).mean() / 2
        d_loss = -(real_scores.sigmoid().log().mean() + (1 - fake_scores.sigmoid()).log().mean()) + penalty
    d_loss = d_loss + 1.3 * domain_loss(real_logits, codes, space)
    expected = torch.autograd.grad(d_loss, list(d.parameters()))
    for found, by_hand in zip(gradients(state.discriminator_optimizer), expected, strict=True):
        torch.testing.assert_close(found, by_hand, rtol=1e-3, atol=1e-6)

    # G, eqs. 3, 4 and 6, against the D that has just learnt.
    real = real.detach()
    fake, mask = g.translate(real, wanted)
    back, back_mask = g.translate(fake, own)
    assert mask is not None
    assert back_mask is not None
    scores, logits = state.discriminator(fake, asks)
    g_loss = -scores.mean() if objective == "wgan-gp" else -scores.sigmoid().log().mean()
    g_loss = g_loss + 0.7 * domain_loss(logits, targets, space) + 5.0 * (real - back).abs().mean()
    g_loss = g_loss + 0.3 * (mask.mean() + back_mask.mean()) / 2
    expected = torch.autograd.grad(g_loss, list(g.parameters()))
    for found, by_hand in zip(gradients(state.generator_optimizer), expected, strict=True):
        torch.testing.assert_close(found, by_hand, rtol=1e-3, atol=1e-6)


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


# ---- resume ----


@pytest.mark.parametrize(
    ("objective", "conditioning", "output"),
    [("wgan-gp", "concat", "direct"), ("logistic", "norm", "masked")],
)
@pytest.mark.parametrize("stop_at", [1, 4])
def test_resumed_is_equal_to_uninterrupted(
    *,
    objective: Objective,
    conditioning: Conditioning,
    output: Output,
    stop_at: int,
    space: LabelSpace,
    tiny_state: MakeState,
    noise_batches: MakeBatches,
    tmp_path: Path,
) -> None:
    config = replace(EVERY_STEP, steps=7, objective=objective, r1_every=3, learning_rate=1e-3)

    whole = tiny_state(config, conditioning=conditioning, output=output)
    assert train(state=whole, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)

    def save(event: Event) -> None:
        if isinstance(event, CheckpointEvent):
            save_checkpoint(
                tmp_path / "stopped",
                state=event.state,
                config=config,
                space=space,
                image_size=(16, 16),
                settings={},
            )

    stopped = tiny_state(config, conditioning=conditioning, output=output)
    finished = train(
        state=stopped,
        config=config,
        space=space,
        batches=noise_batches(0),
        device=CPU,
        on_event=save,
        should_stop=lambda: stopped.step == stop_at,
    )
    assert not finished
    resumed = load_state(tmp_path / "stopped", config=config, device=CPU)
    assert resumed.step == stop_at
    assert not equal(weights(resumed.discriminator), weights(whole.discriminator))
    assert train(
        state=resumed, config=config, space=space, batches=noise_batches(stop_at), device=CPU, on_event=ignore
    )

    assert resumed.step == whole.step == 7
    assert equal(weights(resumed.generator), weights(whole.generator))
    assert equal(weights(resumed.average), weights(whole.average))
    assert equal(weights(resumed.discriminator), weights(whole.discriminator))
    assert equal(adam(resumed.generator_optimizer), adam(whole.generator_optimizer))
    assert equal(adam(resumed.discriminator_optimizer), adam(whole.discriminator_optimizer))


def test_the_seed_decides(space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches) -> None:
    results = []
    for seed in (0, 0, 1):
        config = replace(EVERY_STEP, seed=seed)
        state = tiny_state(config)
        train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)
        results.append(weights(state.generator))
    assert equal(results[0], results[1])
    assert not equal(results[0], results[2])


def test_the_global_random_state_is_untouched(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    before = torch.get_rng_state()
    state = tiny_state(EVERY_STEP)
    train(state=state, config=EVERY_STEP, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)
    assert torch.equal(torch.get_rng_state(), before)


# ---- divergence ----


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
                state.generator.painter.weight[0, 0, 0, 0] = float("inf")

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
    assert computes_in_bfloat16("bfloat16", CPU)
    assert not computes_in_bfloat16("float32", CPU)


def test_config_names_the_bad_field() -> None:
    with pytest.raises(ValueError, match="give steps or minutes, one of the two"):
        TrainConfig(steps=1, minutes=1)
    with pytest.raises(ValueError, match="give steps or minutes"):
        TrainConfig(steps=None)
    with pytest.raises(ValueError, match="critic_steps must be above 0, not 0"):
        TrainConfig(critic_steps=0)
    with pytest.raises(ValueError, match="learning_rate must be above 0, not nan"):
        TrainConfig(learning_rate=float("nan"))
    with pytest.raises(ValueError, match=r"decay_from must lie in \[0, 1\], not 2"):
        TrainConfig(decay_from=2)
