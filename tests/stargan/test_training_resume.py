"""Resume to the bit, with every strategy switched on too, and where the loop's randomness comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stargan import diffaugment
from stargan.checkpoints import load_state, save_checkpoint
from stargan.config import TrainConfig
from stargan.diffaugment import ADAPT_EVERY
from stargan.labels import LabelSpace
from stargan.training import Batch, CheckpointEvent, Event, TrainState, train

CPU = torch.device("cpu")
MakeState = Callable[..., TrainState]
MakeBatches = Callable[[int], Iterator[Batch]]

EVERY_STEP = TrainConfig(steps=6, critic_steps=2, log_seconds=0, sample_minutes=60, checkpoint_minutes=60)
"""Six steps, one log each, samples and checkpoints only at the end."""


def ignore(_event: Event) -> None:
    pass


def tensors(network: nn.Module) -> list[Tensor]:
    """Weights, and the statistics of batch norm and spectral norm."""
    return [tensor.clone() for tensor in network.state_dict().values()]


def adam(optimizer: torch.optim.Adam) -> list[Tensor]:
    slots = optimizer.state_dict()["state"]
    return [slots[index][name].clone() for index in sorted(slots) for name in sorted(slots[index])]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def go_on(
    state: TrainState,
    config: TrainConfig,
    space: LabelSpace,
    batches: Iterator[Batch],
    *,
    on_event: Callable[[Event], None] = ignore,
    stop_at: int | None = None,
    epoch_steps: float = float("inf"),
    validation: Iterator[Batch] | None = None,
) -> bool:
    """Train to the end, or until step `stop_at`; return whether the end was reached."""
    return train(
        state=state,
        config=config,
        space=space,
        batches=batches,
        device=CPU,
        on_event=on_event,
        should_stop=lambda: state.step == stop_at,
        epoch_steps=epoch_steps,
        validation=validation,
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of seven steps, and its networks."""

    config: TrainConfig
    networks: dict[str, object] = field(default_factory=dict)
    epoch_steps: float = float("inf")
    label_sets: bool = False
    two_values: bool = False
    partners: bool = False


BASE = replace(EVERY_STEP, steps=7, learning_rate=1e-3)
RUNS = {
    "a warm-up": Run(config=replace(BASE, objective="logistic", steps=20, warmup_steps=2)),
    "the paper's": Run(config=BASE),
    "logistic": Run(
        config=replace(BASE, objective="logistic", r1_every=3),
        networks={"conditioning": "norm", "output": "masked"},
    ),
    "a network for each value and a buffer": Run(
        config=replace(
            BASE,
            objective="least-squares",
            r1_weight=0,
            domain_weight=0,
            real_domain_weight=0,
            critic_steps=1,
            buffer_size=3,
            identity_weight=5,
        ),
        networks={
            "generator": {"kind": "cyclegan-resnet", "per_value": True, "dropout": 0.5},
            "discriminator": {"per_value": True},
        },
        two_values=True,
    ),
    "pairs": Run(
        config=replace(BASE, objective="logistic", critic_steps=1, r1_every=3, cycle_weight=0, pair_weight=100),
        networks={
            "conditioning": "norm",
            "generator": {"kind": "pix2pix-unet", "downsamplings": 2, "blocks": 6, "dropout": 0.5},
            "discriminator": {"sees_source": True},
        },
        partners=True,
    ),
    "every strategy": Run(
        config=replace(
            BASE,
            objective="hinge",
            r1_every=2,
            critic_steps=1,
            schedule="exponential",
            epoch_decay=0.8,
            normalise_domain=True,
            cycle_every=2,
            identity_weight=1.0,
            multiscale_weights=(1.0, 0.5),
            feature_matching_weight=1.0,
            augment=("color", "translation", "cutout"),
            ema_decay=0.5,
        ),
        networks={
            "conditioning": "norm",
            "output": "masked",
            "matches": True,
            "generator": {"norm": "batch", "spectral": True, "upsampling": "nearest", "skips": True},
            "discriminator": {"norm": "batch", "spectral": True},
        },
        epoch_steps=2.5,
        label_sets=True,
    ),
}


TWO_VALUES = torch.tensor([[0], [1], [1], [0]])


def joint(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Let every image know one label set only, in turns; every other batch brings its targets."""
    for number, (images, codes, *_) in enumerate(batches):
        knows_hair = torch.arange(len(codes)) % 2 == 0
        one_set = codes.clamp(min=0)
        one_set[knows_hair, 1] = one_set[~knows_hair, 0] = -1
        yield Batch(images, one_set, one_set.flip(0) if number % 2 else None)


@pytest.mark.parametrize("stop_at", [1, 4])
@pytest.mark.parametrize("name", RUNS)
def test_resumed_is_equal_to_uninterrupted(
    *,
    name: str,
    stop_at: int,
    space: LabelSpace,
    tiny_state: MakeState,
    noise_batches: MakeBatches,
    tmp_path: Path,
) -> None:
    run = RUNS[name]
    config = run.config
    if run.two_values:
        space = LabelSpace(attributes=space.attributes[1:])
    if run.label_sets:
        space = replace(space, label_sets=(("hair",), ("glasses",)))

    def go(state: TrainState, on_event: Callable[[Event], None] = ignore, stop_at: int | None = None) -> bool:
        batches = noise_batches(state.step)
        if run.two_values:
            batches = (Batch(b.images, TWO_VALUES, 1 - TWO_VALUES) for b in batches)
        if run.partners:
            batches = (
                b._replace(partners=255 - b.images, paired=torch.ones(4, dtype=torch.bool)) for b in batches
            )
        if run.label_sets:
            # Whether a batch brings its targets hangs on its number, so it must be counted from the first.
            batches = joint(noise_batches(0))
            for _ in range(state.step):
                next(batches)
        return go_on(
            state, config, space, batches, on_event=on_event, stop_at=stop_at, epoch_steps=run.epoch_steps
        )

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

    whole = tiny_state(config, space=space, **run.networks)
    assert go(whole)
    assert whole.buffer is None or sum(map(len, whole.buffer.images.values())) == 2 * config.buffer_size
    stopped = tiny_state(config, space=space, **run.networks)
    assert not go(stopped, save, stop_at)
    resumed = load_state(tmp_path / "stopped", config=config, device=CPU)
    assert resumed.step == stop_at
    assert not equal(tensors(resumed.discriminator), tensors(whole.discriminator))
    assert go(resumed)

    assert resumed.step == whole.step == config.steps
    assert equal(tensors(resumed.generator), tensors(whole.generator))
    assert equal(tensors(resumed.average), tensors(whole.average))
    assert equal(tensors(resumed.discriminator), tensors(whole.discriminator))
    assert equal(adam(resumed.generator_optimizer), adam(whole.generator_optimizer))
    assert equal(adam(resumed.discriminator_optimizer), adam(whole.discriminator_optimizer))


@pytest.mark.parametrize("held_out", [True, False])
def test_an_adaptive_probability_is_resumed(
    *,
    held_out: bool,
    space: LabelSpace,
    tiny_state: MakeState,
    noise_batches: MakeBatches,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diffaugment, "ADAPT_IMAGES", 60)  # so that it moves far in a few steps of 4 images
    config = replace(BASE, objective="logistic", steps=14, augment=("geometry",), augment_probability="adaptive")

    def go(state: TrainState, stop_at: int | None = None) -> None:
        validation = noise_batches(100 + state.step // ADAPT_EVERY) if held_out else None
        go_on(state, config, space, noise_batches(state.step), stop_at=stop_at, validation=validation)

    whole, stopped = (tiny_state(config) for _ in range(2))
    assert whole.augment_probability == 0
    whole.augment_probability = stopped.augment_probability = 0.5
    go(whole)
    go(stopped, stop_at=5)
    save_checkpoint(
        tmp_path / "stopped", state=stopped, config=config, space=space, image_size=(16, 16), settings={}
    )
    resumed = load_state(tmp_path / "stopped", config=config, device=CPU)
    assert abs(resumed.augment_probability - 0.5) == pytest.approx(16 / 60)
    go(resumed)
    assert resumed.augment_probability == whole.augment_probability
    assert equal(tensors(resumed.average), tensors(whole.average))
    assert equal(adam(resumed.discriminator_optimizer), adam(whole.discriminator_optimizer))


def test_checkpoints_without_a_probability_have_that_of_their_settings(
    space: LabelSpace, tiny_state: MakeState, tmp_path: Path
) -> None:
    config = replace(EVERY_STEP, augment=("translation",))
    state = tiny_state(config)
    save_checkpoint(tmp_path / "old", state=state, config=config, space=space, image_size=(16, 16), settings={})
    file = tmp_path / "old" / "config.json"
    values = json.loads(file.read_text())
    del values["augment_probability"], values["sha256"]
    file.write_text(json.dumps(values))
    assert load_state(tmp_path / "old", config=config, device=CPU).augment_probability == 1


def test_checkpoints_of_a_plain_adam_are_resumed_with_the_fused_one(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches, tmp_path: Path
) -> None:
    config = RUNS["logistic"].config
    networks = RUNS["logistic"].networks

    def go(state: TrainState, stop_at: int | None = None) -> None:
        go_on(state, config, space, noise_batches(state.step), stop_at=stop_at)

    whole, old = (tiny_state(config, **networks) for _ in range(2))
    old.generator_optimizer, old.discriminator_optimizer = (
        torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=config.betas)
        for network in (old.generator, old.discriminator)
    )
    go(whole)
    go(old, stop_at=4)
    save_checkpoint(tmp_path / "old", state=old, config=config, space=space, image_size=(16, 16), settings={})
    resumed = load_state(tmp_path / "old", config=config, device=CPU)
    assert resumed.generator_optimizer.param_groups[0]["fused"]
    go(resumed)
    for found, wanted in zip(tensors(resumed.average), tensors(whole.average), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    for found, wanted in zip(adam(resumed.generator_optimizer), adam(whole.generator_optimizer), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-7)


def test_the_seed_decides(space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches) -> None:
    results = []
    for seed in (0, 0, 1):
        config = replace(EVERY_STEP, seed=seed, augment=("color",))
        state = tiny_state(config)
        train(state=state, config=config, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)
        results.append(tensors(state.generator))
    assert equal(results[0], results[1])
    assert not equal(results[0], results[2])


def test_the_global_random_state_is_untouched(
    space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches
) -> None:
    before = torch.get_rng_state()
    state = tiny_state(EVERY_STEP)
    train(state=state, config=EVERY_STEP, space=space, batches=noise_batches(0), device=CPU, on_event=ignore)
    assert torch.equal(torch.get_rng_state(), before)
