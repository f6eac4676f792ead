"""The plain loops that the bench compares with do the same work as ours: equal losses, equal pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest
import torch

from augmentor.bench.reference import plain_state, plain_training_step, plain_translate
from stargan.checkpoints import Model
from stargan.config import TrainConfig
from stargan.labels import LabelSpace, permuted_targets
from stargan.training import Batch, Event, LogEvent, TrainState, train

CPU = torch.device("cpu")
MakeState = Callable[..., TrainState]
MakeBatches = Callable[[int], Iterator[Batch]]

STEPS = 10
PAPER = TrainConfig(steps=STEPS, critic_steps=5, schedule="constant", log_seconds=0)
LOGISTIC = replace(
    PAPER,
    objective="logistic",
    critic_steps=1,
    cycle_every=4,
    r1_every=8,
    normalise_domain=True,
    real_domain_weight=3.0,
)
EVERYTHING = replace(
    LOGISTIC,
    critic_steps=2,
    cycle_every=2,
    r1_every=3,
    identity_weight=1.0,
    multiscale_weights=(1.0, 0.5),
    feature_matching_weight=1.0,
    source_multiscale_weights=(0.5,),
    source_feature_weight=0.5,
    cycle_weights={"hair=black": 20.0},
    augment=("color", "translation", "cutout"),
)
OURS = {"conditioning": "norm", "output": "masked", "matches": True}
CASES: Mapping[str, tuple[TrainConfig, Mapping[str, object]]] = {
    "paper": (PAPER, {}),
    "default": (LOGISTIC, OURS),
    "everything": (EVERYTHING, {**OURS, "generator": {"noise": 3}}),
}


@pytest.fixture(params=["float32", "float64"])
def rounding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """Compute in that type wherever float32 is meant; return by what share of itself a loss may differ then."""
    if request.param == "float32":
        yield 1e-4
        return
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield 1e-11
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("d_width", [4, 32])
def test_ten_steps_have_the_losses_of_the_trainer(
    name: str,
    d_width: int,
    rounding: float,
    space: LabelSpace,
    tiny_state: MakeState,
    noise_batches: MakeBatches,
) -> None:
    """At a width of 32 D's last convolutions are matrix products in the trainer."""
    config, networks = CASES[name]
    # Adam divides a gradient by its own size: at a larger rate what is rounding becomes a step.
    config = replace(config, learning_rate=2e-5)
    ours = tiny_state(config, **networks, discriminator={"width": d_width, "depth": 4})
    generator, discriminator = copy.deepcopy(ours.generator), copy.deepcopy(ours.discriminator)
    plain = plain_state(generator=generator, discriminator=discriminator, config=config)
    batches, events, source = list[Batch](), list[Event](), noise_batches(0)
    for number in range(STEPS):
        images, codes, *_ = next(source)
        targets = permuted_targets(codes, space, generator=torch.Generator().manual_seed(number))
        batches.append(Batch(images, codes, targets))
    train(state=ours, config=config, space=space, batches=batches, device=CPU, on_event=events.append)

    logs = [event.losses for event in events if isinstance(event, LogEvent)]
    assert len(logs) == STEPS
    for batch, log in zip(batches, logs, strict=True):
        assert batch.targets is not None
        found = plain_training_step(plain, batch, batch.targets, config, space)
        losses = {key: float(loss) for key, loss in found.items()}
        assert losses == pytest.approx(log, rel=rounding, abs=rounding / 100)
    assert plain.step == STEPS
    for one, other in ((plain.generator, ours.generator), (plain.average, ours.average)):
        for weight, wanted in zip(one.parameters(), other.parameters(), strict=True):
            assert float((weight - wanted).detach().abs().max()) < 5e4 * rounding * config.learning_rate


def test_translating_is_a_pass_of_the_generator(space: LabelSpace, tiny_state: MakeState) -> None:
    generator = tiny_state(PAPER, conditioning="norm", output="masked").generator.eval()
    model = Model(generator=generator, space=space, image_size=(16, 16), step=0, settings={}, sha256="")
    images = torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1], [1, 0], [2, -1], [-1, 1], [0, 0]])
    found = plain_translate(model, images, targets, batch_size=2)
    assert found.dtype == torch.uint8
    for image, target, translated in zip(images, targets, found, strict=True):
        with torch.no_grad():
            wanted = generator(image[None] / 127.5 - 1, space.encode(target[None]))[0]
        assert float((translated.float() - (wanted + 1) * 127.5).abs().max()) <= 0.51
    assert plain_translate(model, images[:0], targets[:0]).shape == (0, 3, 16, 16)
