"""The loop's options beyond the paper: given targets, batches of one, label sets, batch norm, torch.compile.

Their numbers are in test_training_step.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import lookup_backend

from stargan.config import Objective, TrainConfig
from stargan.diffaugment import Policy
from stargan.labels import LabelSpace
from stargan.networks import PatchDiscriminator
from stargan.networks.layers import BatchNorm
from stargan.training import Batch, Event, LogEvent, TrainState, train

CPU = torch.device("cpu")
MakeState = Callable[..., TrainState]
MakeBatches = Callable[[int], Iterator[Batch]]

LOGGED = TrainConfig(
    steps=3, objective="logistic", critic_steps=1, schedule="constant", learning_rate=1e-3, log_seconds=0
)
"""Three steps of G and D, one log each. Without draws of its own but for targets."""


def run(
    state: TrainState,
    config: TrainConfig,
    space: LabelSpace,
    batches: Iterable[Batch],
    *,
    translation_weights: Callable[[Tensor], Tensor] | None = None,
) -> list[LogEvent]:
    """Train to the end; return the logs."""
    events = list[Event]()
    assert train(
        state=state,
        config=config,
        space=space,
        batches=batches,
        device=CPU,
        on_event=events.append,
        translation_weights=translation_weights,
    )
    return [event for event in events if isinstance(event, LogEvent)]


def tensors(network: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in network.state_dict().values()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def noise(count: int, *, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 16, 16), dtype=torch.uint8, generator=random)


# ---- targets ----


def test_given_targets_are_used_and_others_matter(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    def permuted(batches: Iterator[Batch]) -> Iterator[Batch]:
        """What the loop does by itself, seed 0."""
        for step, (images, codes, *_) in enumerate(batches, start=1):
            drawn = codes[torch.randperm(len(codes), generator=torch.Generator().manual_seed(step))]
            yield Batch(images, codes, torch.where(drawn < 0, codes, drawn))

    def other(batches: Iterator[Batch]) -> Iterator[Batch]:
        for images, codes, *_ in batches:
            yield Batch(images, codes, codes.roll(1, dims=0))

    found = []
    for batches in (noise_batches(0), permuted(noise_batches(0)), other(noise_batches(0))):
        state = tiny_state(LOGGED)
        run(state, LOGGED, space, batches)
        found.append(tensors(state.generator))
    assert equal(found[0], found[1])
    assert not equal(found[0], found[2])


def test_d_counts_translations_by_their_targets(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    """Without weight D learns from real images alone; with weights of 1 as without any."""

    def constant(weight: float, targets: Tensor) -> Tensor:
        assert targets.dtype == torch.int64
        return torch.full((len(targets),), weight)

    def weighed(weights: Callable[[Tensor], Tensor] | None) -> tuple[list[Tensor], LogEvent]:
        state = tiny_state(LOGGED)
        logs = run(state, LOGGED, space, noise_batches(0), translation_weights=weights)
        return tensors(state.discriminator), logs[0]

    (alike, plain), (ones, _), (none, without) = (
        weighed(weights) for weights in (None, partial(constant, 1.0), partial(constant, 0.0))
    )
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(alike, ones, strict=True))
    assert not equal(alike, none)
    # At first D scores all images near 0, where each half of the loss is ln 2.
    assert plain.losses["d/adversarial"] == pytest.approx(2 * math.log(2), abs=0.1)
    assert without.losses["d/adversarial"] == pytest.approx(math.log(2), abs=0.05)


@pytest.mark.parametrize("objective", ["wgan-gp", "logistic"])
def test_a_batch_of_one_goes_where_the_loader_says(
    objective: Objective, space: LabelSpace, tiny_state: MakeState
) -> None:
    config = replace(LOGGED, objective=objective, r1_every=1)
    codes, elsewhere = torch.tensor([[0, 1]]), torch.tensor([[2, 0]])
    asked = {}
    for name, targets in (("permuted", None), ("own", codes), ("given", elsewhere)):
        state = tiny_state(config, output="masked", conditioning="norm")
        before = tensors(state.generator)
        logs = run(state, config, space, [Batch(noise(1, seed=i), codes, targets) for i in range(3)])
        assert len(logs) == 3
        assert not equal(before, tensors(state.generator))
        assert all(bool(torch.isfinite(weight).all()) for weight in tensors(state.generator))
        asked[name] = logs[0].losses["g/domain"]
    # One image has nothing to permute with: without a loader's targets it is asked for what it is.
    assert asked["permuted"] == asked["own"]
    assert abs(asked["given"] - asked["own"]) > 1e-3


# ---- label sets ----


@pytest.fixture
def joint(space: LabelSpace) -> LabelSpace:
    """Hair is known in one data set, glasses in the other."""
    return replace(space, label_sets=(("hair",), ("glasses",)))


def gradient(optimizer: torch.optim.Adam, weight: Tensor) -> Tensor:
    """The gradient of an optimizer's one and only step so far: its first moment is (1 - beta1) times it."""
    moment: Tensor = optimizer.state[weight]["exp_avg"]
    beta: float = optimizer.param_groups[0]["betas"][0]
    return moment / (1 - beta)


def domain_head(state: TrainState) -> Tensor:
    """The weights of D's domain head, a row per entry."""
    assert isinstance(state.discriminator, PatchDiscriminator)
    assert state.discriminator.domain_head is not None
    return state.discriminator.domain_head.weight


def test_an_unknown_label_set_teaches_the_domain_head_nothing(joint: LabelSpace, tiny_state: MakeState) -> None:
    config = replace(LOGGED, steps=1)
    state = tiny_state(config, space=joint)
    assert len(domain_head(state)) == 4  # the mask is not D's to tell
    codes = torch.tensor([[0, -1], [2, -1], [1, -1]])
    run(state, config, joint, [Batch(noise(3), codes)])
    learnt = gradient(state.discriminator_optimizer, domain_head(state))
    assert float(learnt[:3].abs().max()) > 1e-4
    assert torch.equal(learnt[3], torch.zeros_like(learnt[3]))


def test_targets_cross_label_sets(joint: LabelSpace, tiny_state: MakeState) -> None:
    config = replace(LOGGED, steps=1)
    codes = torch.tensor([[0, -1], [2, -1], [-1, 1], [-1, 0]])
    crossed = torch.tensor([[-1, 1], [-1, 0], [0, -1], [2, -1]])
    # By itself the loop permutes whole domains, so that images are asked for the other set's attributes.
    permuted = codes[torch.randperm(4, generator=torch.Generator().manual_seed(1))]
    assert bool(((permuted < 0) != (codes < 0)).any())
    logged = []
    for targets in (None, permuted, codes, crossed):
        state = tiny_state(config, space=joint, conditioning="norm")
        (log,) = run(state, config, joint, [Batch(noise(4), codes, targets)])
        logged.append(log.losses["g/domain"])
    assert logged[0] == logged[1]
    assert len({*logged}) == 3


def test_d_learns_each_set_from_its_own_images(joint: LabelSpace, tiny_state: MakeState) -> None:
    config = replace(LOGGED, steps=1, r1_weight=0.0)
    state = tiny_state(config, space=joint)
    images, codes = noise(3), torch.tensor([[0, -1], [2, -1], [-1, 1]])
    with torch.no_grad():
        _, logits = state.discriminator(images / 127.5 - 1, joint.encode_signed(codes))
    (log,) = run(state, config, joint, [Batch(images, codes)])
    hair, glasses = logits[:2, :3].log_softmax(dim=1), logits[2, 3].sigmoid().log()
    assert log.losses["d/domain"] == pytest.approx(float(-(hair[0, 0] + hair[1, 2]) / 2 - glasses), rel=1e-5)


def test_joint_training_goes_on_for_many_steps(joint: LabelSpace, tiny_state: MakeState) -> None:
    config = replace(LOGGED, steps=6, normalise_domain=True, r1_every=2)
    sets = (torch.tensor([[0, -1], [2, -1]]), torch.tensor([[-1, 1], [-1, 0]]))
    mixed = torch.cat([codes[:1] for codes in sets])
    # Batches of one set only, in turns, and of both.
    batches = [Batch(noise(2, seed=i), codes) for i, codes in enumerate((*sets, mixed) * 2)]
    state = tiny_state(config, space=joint, output="masked", conditioning="norm", matches=True)
    before = domain_head(state).detach().clone()
    logs = run(state, config, joint, batches)
    assert [log.step for log in logs] == [1, 2, 3, 4, 5, 6]
    moved = (domain_head(state) - before).abs().amax(dim=(1, 2, 3))
    assert all(row > 1e-4 for row in moved.tolist())


# ---- DiffAugment ----


def test_d_sees_augmented_images_and_g_is_not_asked_for_them(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    def first_losses(*policies: Policy) -> dict[str, float]:
        config = replace(LOGGED, steps=1, r1_every=1, augment=policies, identity_weight=1.0)
        (log,) = run(tiny_state(config, output="masked"), config, space, noise_batches(0))
        return log.losses

    plain = first_losses()
    for policies in (("color",), ("translation",), ("cutout",), ("color", "translation", "cutout")):
        augmented = first_losses(*policies)
        assert set(augmented) == set(plain)
        changed = {name for name in plain if abs(augmented[name] - plain[name]) > 1e-6}
        assert {"d/adversarial", "d/domain", "d/penalty", "g/adversarial", "g/domain"} <= changed
        assert not changed & {"g/cycle", "g/identity", "g/sparsity"}


# ---- batch norm ----


def test_the_average_has_the_statistics_of_the_newest_g(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    config = replace(LOGGED, ema_decay=0.9)
    state = tiny_state(config, generator={"norm": "batch"})
    before = [buffer.clone() for buffer in state.average.buffers()]
    run(state, config, space, noise_batches(0))
    norms = [layer for layer in state.generator.modules() if isinstance(layer, BatchNorm)]
    kept = list(state.average.buffers())
    assert len(kept) == 2 * len(norms) == 10
    assert equal(kept, list(state.generator.buffers()))
    assert not any(torch.equal(old, new) for old, new in zip(before, kept, strict=True))
    assert not equal(list(state.average.parameters()), list(state.generator.parameters()))
    assert not state.average.training


# ---- torch.compile ----


def test_compiled_networks_learn_the_same(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The graphs are traced and differentiated as with the default backend, but run by torch itself: the default
    # one needs a C++ compiler, which not every machine has, and a minute for these tiny networks.
    traced: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., object]:
        traced.append(graph)
        return lookup_backend("aot_eager")(graph, list(inputs))

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.compiler.reset()
    states = {}
    # D alone, then D with its penalty and G: with and without gradients, with D frozen and not. Batch norm changes
    # its statistics in every pass.
    config = replace(LOGGED, steps=2, critic_steps=2, r1_every=2, identity_weight=1.0)
    for compiled in ("off", "auto", "on"):
        config = replace(config, compile=compiled)
        states[compiled] = tiny_state(
            config,
            output="masked",
            conditioning="norm",
            matches=True,
            generator={"norm": "batch", "blocks": 0},
            discriminator={"norm": "batch"},
        )
        run(states[compiled], config, space, noise_batches(0))
        assert bool(traced) == (compiled == "on")  # "auto" leaves the CPU alone
    torch.compiler.reset()
    for plain, fused in (
        (states["off"].generator, states["on"].generator),
        (states["off"].average, states["on"].average),
        (states["off"].discriminator, states["on"].discriminator),
    ):
        assert list(plain.state_dict()) == list(fused.state_dict())
        for ours, theirs in zip(tensors(plain), tensors(fused), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
