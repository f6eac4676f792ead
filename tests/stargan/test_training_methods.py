"""A step of CycleGAN and of pix2pix against the papers, written out again in float64, and of StarGAN with pairs.

The reference has its own networks, losses and Adam. The loop computes in float32, to whose rounding both agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.config import TrainConfig
from stargan.image_buffer import ImageBuffer
from stargan.labels import Attribute, LabelSpace
from stargan.networks import build_discriminator, build_generator
from stargan.training import Batch, Event, LogEvent, TrainState, new_state, train

RATE, BETAS = 2e-4, (0.5, 0.999)
SEASON = LabelSpace(attributes=(Attribute(name="season", kind="categorical", values=("summer", "winter")),))
HAIR = LabelSpace(attributes=(Attribute(name="hair", kind="categorical", values=("black", "blond", "brown")),))
BASE = TrainConfig(
    steps=1,
    critic_steps=1,
    learning_rate=RATE,
    betas=BETAS,
    schedule="constant",
    domain_weight=0,
    real_domain_weight=0,
    r1_weight=0,
    sparsity_weight=0,
    log_seconds=0,
)
CYCLEGAN = replace(
    BASE, objective="least-squares", adversarial_weight=2, cycle_weight=10, identity_weight=5, buffer_size=1
)
PIX2PIX = replace(BASE, objective="logistic", cycle_weight=0, pair_weight=100)

Weights = dict[str, Tensor]


# ---- layers, by hand ----


def normal(x: Tensor) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) / ((x - mean).square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()


def scaled(w: Weights, name: str, x: Tensor, vectors: Tensor | None = None) -> Tensor:
    scale, shift = w[f"{name}.weight"][None], w[f"{name}.bias"][None]
    if vectors is not None:
        more_scale, more_shift = (vectors @ w[f"{name}.modulation.weight"].T).chunk(2, dim=1)
        scale, shift = scale + more_scale, shift + more_shift
    return x * scale[:, :, None, None] + shift[:, :, None, None]


def mirrored(w: Weights, name: str, x: Tensor) -> Tensor:
    kernel = w[f"{name}.weight"]
    around = kernel.shape[-1] // 2
    return functional.conv2d(functional.pad(x, (around,) * 4, mode="reflect"), kernel, w[f"{name}.bias"])


def leaky(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def resnet(w: Weights, x: Tensor) -> Tensor:
    """CycleGAN, section 7.2, with one halving and one block."""

    def unit(name: str, convolved: Tensor) -> Tensor:
        return scaled(w, f"{name}.norm", normal(convolved))

    x = unit("encoder.0", mirrored(w, "encoder.0.convolution", x)).clamp(min=0)
    down, bias = w["encoder.1.convolution.weight"], w["encoder.1.convolution.bias"]
    x = unit("encoder.1", functional.conv2d(x, down, bias, stride=2, padding=1)).clamp(min=0)
    inner = unit("blocks.0.first", mirrored(w, "blocks.0.first.convolution", x)).clamp(min=0)
    x = x + unit("blocks.0.second", mirrored(w, "blocks.0.second.convolution", inner))
    up, bias = w["decoder.0.convolution.weight"], w["decoder.0.convolution.bias"]
    x = functional.conv_transpose2d(x, up, bias, stride=2, padding=1, output_padding=1)
    return mirrored(w, "painter", unit("decoder.0", x).clamp(min=0)).tanh()


def unet(w: Weights, x: Tensor, vectors: Tensor) -> Tensor:
    """pix2pix, section 6.1.1, with two halvings; the target modulates the decoder's norm."""
    top = functional.conv2d(x, w["stem.weight"], w["stem.bias"], stride=2, padding=1)
    low = functional.conv2d(leaky(top, 0.2), w["bottom.weight"], w["bottom.bias"], stride=2, padding=1)
    up, bias = w["decoder.0.convolution.weight"], w["decoder.0.convolution.bias"]
    back = functional.conv_transpose2d(low.clamp(min=0), up, bias, stride=2, padding=1)
    joined = torch.cat([top, scaled(w, "decoder.0.norm", normal(back), vectors)], dim=1).clamp(min=0)
    painted = functional.conv_transpose2d(joined, w["painter.weight"], w["painter.bias"], stride=2, padding=1)
    return painted.tanh()


def patches(w: Weights, x: Tensor, wishes: Tensor | None = None) -> Tensor:
    for name in ("features.0", "features.2"):
        x = functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride=2, padding=1)
        x = leaky(x, 0.01)
    scores = functional.conv2d(x, w["source_head.weight"], padding=1)
    if wishes is not None:
        matches = functional.conv2d(x, w["match_head.weight"], padding=1)
        scores = scores + (wishes[:, :, None, None] * matches).sum(dim=1, keepdim=True)
    return scores


@dataclass
class Plain:
    """A network's weights in float64; `learn` makes Adam's first step, and keeps the gradients."""

    weights: Weights
    slope: Weights = field(default_factory=dict)

    def part(self, prefix: str) -> Weights:
        return {n.removeprefix(prefix): w for n, w in self.weights.items() if n.startswith(prefix)}

    def learn(self, loss: Tensor) -> None:
        names = list(self.weights)
        slopes = torch.autograd.grad(loss, [self.weights[n] for n in names], allow_unused=True)
        for name, slope in zip(names, slopes, strict=True):
            if slope is not None:
                self.slope[name] = slope
                # The first step: both moments, corrected for their start at 0, are those of one gradient.
                change = RATE * slope / (slope.abs() + 1e-8)
                self.weights[name] = (self.weights[name] - change).detach().requires_grad_()


def in_double(network: nn.Module) -> Plain:
    return Plain({n: w.detach().double().requires_grad_() for n, w in network.named_parameters()})


def assert_learnt_alike(network: nn.Module, optimizer: torch.optim.Adam, plain: Plain, scale: float) -> None:
    """Compare gradients, of which the loop's are `scale` times the reference's, and the weights after the step."""
    # A norm removes the bias ahead of it, whose gradient is rounding alone: rounding is that of the steepest.
    rounding = 1e-5 * max(float(slope.abs().max()) for slope in plain.slope.values())
    for name, weight in network.named_parameters():
        if name not in plain.slope:
            assert not optimizer.state[weight], name  # no gradient reached it
            continue
        found = optimizer.state[weight]["exp_avg"].double() / (1 - BETAS[0]) / scale
        slope = plain.slope[name]
        torch.testing.assert_close(found, slope, rtol=1e-4, atol=rounding, msg=name)
        told = slope.abs() > rounding
        difference = (weight.detach() - plain.weights[name].detach()).abs()[told]
        assert not len(difference) or float(difference.max()) < 1e-5, name


def one_step(state: TrainState, config: TrainConfig, space: LabelSpace, batch: Batch) -> dict[str, float]:
    events = list[Event]()
    train(
        state=state,
        config=config,
        space=space,
        batches=[batch],
        device=torch.device("cpu"),
        on_event=events.append,
    )
    (log,) = (event for event in events if isinstance(event, LogEvent))
    return log.losses


def noise(seed: int, n: int = 4) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 3, 16, 16), dtype=torch.uint8, generator=random)


def make_state(
    config: TrainConfig,
    space: LabelSpace,
    generator: Mapping[str, object],
    discriminator: Mapping[str, object],
) -> TrainState:
    d = {"vector_size": space.domain_size, "image_size": (16, 16), "width": 4, "depth": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return new_state(
            generator=build_generator({"vector_size": space.vector_size, "width": 4, **generator}),
            discriminator=build_discriminator({**d, **discriminator}),
            config=config,
        )


def cyclegan_state(config: TrainConfig) -> TrainState:
    kind = {"kind": "cyclegan-resnet", "downsamplings": 1, "blocks": 1, "per_value": True}
    return make_state(config, SEASON, kind, {"per_value": True})


# ---- CycleGAN ----


def test_a_step_of_cyclegan_against_the_paper() -> None:
    """Section 3 and 4, with identity loss: the sums over A and B are twice the loop's means over both."""
    state = cyclegan_state(CYCLEGAN)
    assert state.buffer is not None
    kept = [noise(5, 1)[0] / 127.5 - 1, noise(6, 1)[0] / 127.5 - 1]
    state.buffer.images = {(0,): [kept[0]], (1,): [kept[1]]}
    images, codes = noise(1), torch.tensor([0, 1, 1, 0])
    g, d = in_double(state.generator), in_double(state.discriminator)
    logged = one_step(state, CYCLEGAN, SEASON, Batch(images, codes[:, None], 1 - codes[:, None]))

    real = images.double() / 127.5 - 1
    a, b = real[codes == 0], real[codes == 1]
    to_a, to_b = (g.part(f"generators.{value}.") for value in (0, 1))
    fake_b, fake_a = resnet(to_b, a), resnet(to_a, b)
    # D sees an earlier translation in the place of the newest half of the time, drawn image by image.
    random, pool = torch.Generator().manual_seed(1), [image.double() for image in kept]
    seen: dict[int, list[Tensor]] = {0: [], 1: []}
    fresh = {0: iter(fake_a.detach()), 1: iter(fake_b.detach())}
    exchanged = 0
    for value in (1 - codes).tolist():
        image = next(fresh[value])
        if float(torch.rand((), generator=random)) < 0.5:
            torch.randint(1, (), generator=random)
            pool[value], image = image, pool[value]
            exchanged += 1
        seen[value].append(image)
    assert 0 < exchanged < 4
    d_a, d_b = (d.part(f"discriminators.{value}.") for value in (0, 1))
    d_loss = sum(
        (((patches(w, true) - 1) ** 2).mean() + (patches(w, torch.stack(made)) ** 2).mean()) / 2
        for w, true, made in ((d_a, a, seen[0]), (d_b, b, seen[1]))
    )
    assert isinstance(d_loss, Tensor)
    d.learn(d_loss)
    d_a, d_b = (d.part(f"discriminators.{value}.") for value in (0, 1))
    gan = ((patches(d_b, fake_b) - 1) ** 2).mean() + ((patches(d_a, fake_a) - 1) ** 2).mean()
    cycle = (resnet(to_a, fake_b) - a).abs().mean() + (resnet(to_b, fake_a) - b).abs().mean()
    same = (resnet(to_b, b) - b).abs().mean() + (resnet(to_a, a) - a).abs().mean()
    g.learn(gan + 10 * cycle + 0.5 * 10 * same)

    assert logged == pytest.approx(
        {
            "d/adversarial": float(d_loss.detach()) / 2,
            "g/adversarial": float(gan.detach()) / 4,  # the loop's least squares are halved
            "g/cycle": float(cycle.detach()) / 2,
            "g/identity": float(same.detach()) / 2,
        },
        rel=1e-5,
    )
    assert_learnt_alike(state.discriminator, state.discriminator_optimizer, d, scale=0.5)
    assert_learnt_alike(state.generator, state.generator_optimizer, g, scale=0.5)
    for value in (0, 1):
        torch.testing.assert_close(state.buffer.images[(value,)][0].double(), pool[value], rtol=0, atol=1e-5)


# ---- pix2pix ----


def test_a_step_of_pix2pix_against_the_paper() -> None:
    """Eqs. 1, 3 and 4, for all directions between three values: D judges source, translation and target."""
    unconditional = {"kind": "pix2pix-unet", "downsamplings": 2, "conditioning": "norm"}
    state = make_state(PIX2PIX, HAIR, unconditional, {"sees_source": True, "matches": True})
    images, partners = noise(1), noise(2)
    codes, targets = torch.tensor([[0], [1], [2], [0]]), torch.tensor([[1], [2], [0], [2]])
    g, d = in_double(state.generator), in_double(state.discriminator)
    batch = Batch(images, codes, targets, partners, torch.ones(4, dtype=torch.bool))
    logged = one_step(state, PIX2PIX, HAIR, batch)

    x, y = images.double() / 127.5 - 1, partners.double() / 127.5 - 1
    vectors = functional.one_hot(targets[:, 0], 3).double()
    wishes = 2 * vectors - 1
    made = unet(g.weights, x, vectors)
    true_scores = patches(d.weights, torch.cat([x, y], dim=1), wishes)
    made_scores = patches(d.weights, torch.cat([x, made.detach()], dim=1), wishes)
    d_loss = -(true_scores.sigmoid().log().mean() + (1 - made_scores.sigmoid()).log().mean())
    d.learn(d_loss)
    gan = -patches(d.weights, torch.cat([x, made], dim=1), wishes).sigmoid().log().mean()
    error = (y - made).abs().mean()
    g.learn(gan + 100 * error)

    expected = {"d/adversarial": d_loss.item(), "g/adversarial": gan.item(), "g/pair": error.item()}
    assert logged == pytest.approx(expected, rel=1e-5)
    assert_learnt_alike(state.discriminator, state.discriminator_optimizer, d, scale=1)
    assert_learnt_alike(state.generator, state.generator_optimizer, g, scale=1)


def test_a_conditional_discriminator_needs_every_partner() -> None:
    unconditional = {"kind": "pix2pix-unet", "downsamplings": 2, "conditioning": "norm"}
    state = make_state(PIX2PIX, HAIR, unconditional, {"sees_source": True})
    codes, paired = torch.tensor([[0], [1], [2], [0]]), torch.tensor([True, True, False, True])
    with pytest.raises(ValueError, match="a partner of every image"):
        one_step(state, PIX2PIX, HAIR, Batch(noise(1), codes, codes.flip(0), noise(2), paired))
    augmented = replace(PIX2PIX, augment=("translation",))
    with pytest.raises(ValueError, match="without augment and buffer_size"):
        one_step(state, augmented, HAIR, Batch(noise(1), codes, codes.flip(0), noise(2), paired))


# ---- StarGAN with some pairs ----

MakeState = Callable[..., TrainState]
MakeBatches = Callable[[int], Iterator[Batch]]


def test_partners_of_a_share_of_the_rows(space: LabelSpace, tiny_state: MakeState) -> None:
    """Only paired rows count, in pixels and in D's features; the other losses stay as they are."""
    config = replace(BASE, objective="logistic", r1_weight=0.1, r1_every=1, domain_weight=1, real_domain_weight=1)
    codes, targets = torch.tensor([[0, 1], [2, 0], [1, 0], [1, 1]]), torch.tensor([[1, 1], [0, 0], [1, 1], [2, 1]])
    images, partners, paired = noise(1), noise(2), torch.tensor([True, False, False, True])
    partners[1:3] = 0

    def step(pair_weight: float, features: float, batch: Batch) -> tuple[dict[str, float], TrainState]:
        state = tiny_state(config)
        made = replace(config, pair_weight=pair_weight, pair_feature_weight=features)
        return one_step(state, made, space, batch), state

    plain, unpaired = step(0.0, 0.0, Batch(images, codes, targets))
    ignored, same = step(0.0, 0.0, Batch(images, codes, targets, partners, paired))
    assert plain == ignored
    logged, learnt = step(3.0, 2.0, Batch(images, codes, targets, partners, paired))
    start = tiny_state(config)
    made = start.generator(images / 127.5 - 1, space.encode(targets))
    errors = (made - (partners / 127.5 - 1)).abs().flatten(1).mean(dim=1)
    assert logged["g/pair"] == pytest.approx(errors[[0, 3]].mean().item(), rel=1e-5)
    wanted = space.encode_signed(targets)
    layers = zip(
        learnt.discriminator.inner(made, wanted),
        learnt.discriminator.inner(partners / 127.5 - 1, wanted),
        strict=True,
    )
    features = torch.stack([(a - b).abs().flatten(1).mean(dim=1)[[0, 3]].mean() for a, b in layers]).mean()
    assert logged["g/pair_features"] == pytest.approx(features.item(), rel=1e-4)
    assert {name: logged[name] for name in plain} == pytest.approx(plain)
    assert torch.equal(
        same.generator.get_parameter("painter.weight"), unpaired.generator.get_parameter("painter.weight")
    )
    assert not torch.equal(
        learnt.generator.get_parameter("painter.weight"), unpaired.generator.get_parameter("painter.weight")
    )
    none, alike = step(3.0, 2.0, Batch(images, codes, targets))  # no row of this batch has a partner
    assert none == plain
    assert torch.equal(
        alike.generator.get_parameter("painter.weight"), unpaired.generator.get_parameter("painter.weight")
    )


# ---- the buffer ----


def test_the_buffer_gives_back_what_it_kept() -> None:
    """Ten images into a buffer of two: whatever is shown was made before for that domain, and is shown once."""
    buffer, random = ImageBuffer(size=2), torch.Generator().manual_seed(3)
    shown = dict[int, list[float]]({0: [], 1: []})
    for number in range(10):
        made = torch.stack([torch.full((1, 1, 1), float(number)), torch.full((1, 1, 1), 100.0 + number)])
        first, second = buffer.exchange(made, torch.tensor([[0], [1]]), random=random)
        shown[0].append(float(first))
        shown[1].append(float(second))
    for value, start in ((0, 0.0), (1, 100.0)):
        assert shown[value][:2] == [start, start + 1]  # kept and shown
        earlier = [image < start + number for number, image in enumerate(shown[value])]
        assert 0 < sum(earlier) < 8
        assert all(start <= image <= start + number for number, image in enumerate(shown[value]))
        left = [float(image) for image in buffer.images[(value,)]]
        # Each of the ten was shown or is kept; the first two were shown when they were kept, too.
        assert {*shown[value], *left} == {start + number for number in range(10)}


def test_the_buffer_by_hand() -> None:
    """Draws of seed 0: 0.4963 and place 0 for the first, 0.88 for the second that meets a full buffer."""
    buffer = ImageBuffer(size=1)
    random, draws = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    assert float(torch.rand((), generator=draws)) < 0.5
    torch.randint(1, (), generator=draws)
    assert float(torch.rand((), generator=draws)) < 0.5
    images = torch.arange(3.0).view(3, 1, 1, 1)
    shown = buffer.exchange(images, torch.zeros(3, 1, dtype=torch.int64), random=random)
    assert shown.flatten().tolist() == [0.0, 0.0, 1.0]  # kept; swapped for the kept one; swapped again
    assert buffer.images[(0,)][0].item() == 2.0


def test_a_buffer_is_restored_in_its_order() -> None:
    buffer, other = ImageBuffer(size=12), ImageBuffer(size=12)
    images = torch.arange(24.0).view(24, 1, 1, 1)
    targets = torch.tensor([[0, 1], [1, -1]]).repeat(12, 1)
    buffer.exchange(images, targets, random=torch.Generator())
    other.load_state_dict(buffer.state_dict(), torch.device("cpu"))
    assert [[float(image) for image in kept] for kept in other.images.values()] == [
        [2.0 * i for i in range(12)],
        [2.0 * i + 1 for i in range(12)],
    ]
    assert list(other.images) == [(0, 1), (1, -1)]


def test_dropout_is_the_steps_own(space: LabelSpace, tiny_state: MakeState, noise_batches: MakeBatches) -> None:
    """The same masks on every run, another on every step, none in the average; the global state stays."""
    before = torch.get_rng_state()
    weights = []
    for dropout in (0.0, 0.5, 0.5):
        config = replace(BASE, objective="logistic", steps=2)
        state = tiny_state(config, generator={"dropout": dropout})
        losses = list[float]()
        train(
            state=state,
            config=config,
            space=space,
            batches=noise_batches(0),
            device=torch.device("cpu"),
            on_event=lambda event, to=losses: (
                to.append(event.losses["g/cycle"])  # type: ignore[misc]
                if isinstance(event, LogEvent)
                else None
            ),
        )
        weights.append(state.generator.get_parameter("painter.weight"))
        images, vectors = noise(1) / 127.5 - 1, torch.zeros(4, space.vector_size)
        assert torch.equal(state.average(images, vectors), state.average(images, vectors))
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(torch.get_rng_state(), before)
