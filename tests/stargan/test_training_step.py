"""One step of the loop against the papers, written out again: networks, losses, penalties and Adam.

The reference computes in float64 and calls nothing of the losses, the loop or the networks' `forward`. The loop
itself computes in float32, because `to_signed` and the networks' outputs do, so the two agree to float32's
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from stargan.config import TrainConfig
from stargan.diffaugment import diff_augment
from stargan.labels import LabelSpace
from stargan.networks import Conditioning, OutputKind
from stargan.training import Batch, Event, LogEvent, TrainState, train

MakeState = Callable[..., TrainState]
Weights = dict[str, Tensor]

RATE, BETAS = 1e-3, (0.5, 0.999)


# ---- a label space of hair (three values) and glasses (yes or no), by hand ----

HAIR, GLASSES = slice(0, 3), 3
CODES = torch.tensor([[0, 1], [2, -1], [-1, 0], [1, 1]])
TARGETS = torch.tensor([[1, 1], [0, -1], [-1, 1], [2, 0]])
JOINT_CODES = torch.tensor([[0, -1], [2, -1], [-1, 0], [-1, 1]])
JOINT_TARGETS = torch.tensor([[1, -1], [-1, 1], [0, -1], [-1, 0]])


def vectors_by_hand(codes: Tensor, *, joint: bool) -> Tensor:
    """What G reads: one-hot hair, 0/1 glasses (0.5 unknown); joint, zeros for the unknown set, then the mask."""
    rows = []
    for hair, glasses in codes.tolist():
        row = [float(hair == value) for value in range(3)]
        row.append(float(glasses) if glasses >= 0 else 0.0 if joint else 0.5)
        rows.append([*row, float(hair >= 0), float(glasses >= 0)] if joint else row)
    return torch.tensor(rows, dtype=torch.float64)


def wishes_by_hand(codes: Tensor) -> Tensor:
    """What a matching D reads: 1 for what should be seen, -1 for what should not, 0 for unknown."""
    rows = []
    for hair, glasses in codes.tolist():
        row = [0.0 if hair < 0 else 1.0 if hair == value else -1.0 for value in range(3)]
        rows.append([*row, 0.0 if glasses < 0 else 2.0 * glasses - 1])
    return torch.tensor(rows, dtype=torch.float64)


def domain_by_hand(logits: Tensor, codes: Tensor, *, normalise: bool) -> Tensor:
    """Eqs. 2 and 3: -log p of the known labels, averaged over the images that have one, summed over attributes."""
    hair, glasses = [], []
    for row, (value, worn) in zip(logits, codes.tolist(), strict=True):
        if value >= 0:
            hair.append(-(row[HAIR] - row[HAIR].logsumexp(0))[value])
        if worn >= 0:
            p = 1 / (1 + (-row[GLASSES]).exp())
            glasses.append(-(p if worn else 1 - p).log())
    means = [torch.stack(terms).mean() for terms in (hair, glasses) if terms]
    return torch.stack(means).mean() if normalise else torch.stack(means).sum()


# ---- the tiny networks, by hand ----


def unit(
    w: Weights, name: str, x: Tensor, vectors: Tensor, convolve: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Convolution, instance norm, scale and shift, which the vectors add to where the unit is modulated."""
    x = convolve(x, w[f"{name}.convolution.weight"])
    mean = x.mean(dim=(2, 3), keepdim=True)
    x = (x - mean) / ((x - mean).square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()
    scale, shift = w[f"{name}.norm.weight"][None], w[f"{name}.norm.bias"][None]
    if f"{name}.norm.modulation.weight" in w:
        more_scale, more_shift = (vectors @ w[f"{name}.norm.modulation.weight"].T).chunk(2, dim=1)
        scale, shift = scale + more_scale, shift + more_shift
    return x * scale[:, :, None, None] + shift[:, :, None, None]


def same(x: Tensor, kernel: Tensor) -> Tensor:
    return functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)


def halve(x: Tensor, kernel: Tensor) -> Tensor:
    return functional.conv2d(x, kernel, stride=2, padding=1)


def double(x: Tensor, kernel: Tensor) -> Tensor:
    return functional.conv_transpose2d(x, kernel, stride=2, padding=1)


def translate(w: Weights, images: Tensor, vectors: Tensor, output: OutputKind) -> tuple[Tensor, Tensor | None]:
    x = images
    if "blocks.0.first.norm.modulation.weight" not in w:
        n, _, height, width = images.shape
        x = torch.cat([x, vectors[:, :, None, None].expand(n, -1, height, width)], dim=1)
    x = unit(w, "encoder.0", x, vectors, same).clamp(min=0)
    x = unit(w, "encoder.1", x, vectors, halve).clamp(min=0)
    inner = unit(w, "blocks.0.first", x, vectors, same).clamp(min=0)
    x = x + unit(w, "blocks.0.second", inner, vectors, same)
    x = unit(w, "decoder.0", x, vectors, double).clamp(min=0)
    painted = same(x, w["painter.weight"]).tanh()
    if output == "masked":
        mask = 1 / (1 + (-same(x, w["masker.weight"]) - w["masker.bias"]).exp())
        return mask * painted + (1 - mask) * images, mask
    return (images + 2 * painted).clamp(-1, 1) if output == "residual" else painted, None


def inner_features(w: Weights, images: Tensor) -> list[Tensor]:
    features, x = [], images
    for layer in ("features.0", "features.2"):
        x = halve(x, w[f"{layer}.weight"]) + w[f"{layer}.bias"][:, None, None]
        x = torch.where(x > 0, x, 0.01 * x)
        features.append(x)
    return features


def criticise(w: Weights, images: Tensor, wishes: Tensor) -> tuple[Tensor, Tensor]:
    last = inner_features(w, images)[-1]
    scores = same(last, w["source_head.weight"])
    if "match_head.weight" in w:
        scores = scores + (wishes[:, :, None, None] * same(last, w["match_head.weight"])).sum(1, keepdim=True)
    return scores, functional.conv2d(last, w["domain_head.weight"]).flatten(1)


# ---- the losses and Adam, by hand ----


def softplus(x: Tensor) -> Tensor:
    return (1 + x.exp()).log()


def d_adversarial(objective: str, real: Tensor, fake: Tensor) -> Tensor:
    match objective:
        case "wgan-gp":
            return fake.mean() - real.mean()
        case "logistic":
            return softplus(-real).mean() + softplus(fake).mean()
        case "least-squares":
            return 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean()
        case _:
            return (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()


def g_adversarial(objective: str, fake: Tensor) -> Tensor:
    match objective:
        case "logistic":
            return softplus(-fake).mean()
        case "least-squares":
            return 0.5 * ((fake - 1) ** 2).mean()
        case _:
            return -fake.mean()


def slopes(scores: Tensor, images: Tensor) -> Tensor:
    """Norm of the gradient of each image's scores, (N,)."""
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.flatten(1).square().sum(dim=1).sqrt()


def halved(x: Tensor) -> Tensor:
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def multiscale(images: Tensor, back: Tensor, scales: Sequence[float]) -> Tensor:
    total = images.new_zeros(())
    for scale in scales:
        total = total + scale * (images - back).abs().mean()
        images, back = halved(images), halved(back)
    return total


@dataclass
class PlainAdam:
    """Kingma and Ba's algorithm 1 over named weights; `slope` keeps the last gradient of each."""

    weights: Weights
    slope: Weights = field(default_factory=dict)
    _moments: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    _step: int = 0

    def step(self, loss: Tensor) -> None:
        self._step += 1
        names = list(self.weights)
        self.slope = dict(zip(names, torch.autograd.grad(loss, [self.weights[n] for n in names]), strict=True))
        (b1, b2), t = BETAS, self._step
        for name, slope in self.slope.items():
            first, second = self._moments.get(name, (torch.zeros_like(slope), torch.zeros_like(slope)))
            first, second = b1 * first + (1 - b1) * slope, b2 * second + (1 - b2) * slope**2
            self._moments[name] = (first, second)
            change = RATE * (first / (1 - b1**t)) / ((second / (1 - b2**t)).sqrt() + 1e-8)
            self.weights[name] = (self.weights[name] - change).detach().requires_grad_()


def in_double(network: nn.Module) -> PlainAdam:
    return PlainAdam({n: w.detach().double().requires_grad_() for n, w in network.named_parameters()})


# ---- one step of the loop, by hand ----


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is switched on, and which step of the run is looked at."""

    config: TrainConfig
    step: int = 1
    output: OutputKind = "direct"
    conditioning: Conditioning = "concat"
    matches: bool = False
    joint: bool = False
    permuted: bool = False
    noise: int = 0


def source_losses(
    config: TrainConfig, d: Weights, real: Tensor, fake: Tensor, losses: dict[str, Tensor]
) -> Tensor:
    """Return the weighted losses between sources and translations, and add each to the logged ones."""
    total = real.new_zeros(())
    if config.source_multiscale_weights:
        losses["g/source_multiscale"] = multiscale(real, fake, config.source_multiscale_weights)
        total = total + losses["g/source_multiscale"]
    if config.source_feature_weight:
        pairs = zip(inner_features(d, real), inner_features(d, fake), strict=True)
        losses["g/source_features"] = torch.stack([(a - b).abs().mean() for a, b in pairs]).mean()
        total = total + config.source_feature_weight * losses["g/source_features"]
    return total


def diversity_by_hand(
    config: TrainConfig, fake: Tensor, other: Tensor, looks: Tensor, losses: dict[str, Tensor]
) -> Tensor:
    """Return the weighted diversity loss of two translations of each image, and add it to the logged ones."""
    if not config.diversity_weight:
        return fake.new_zeros(())
    quads = zip(fake, other, *looks, strict=True)
    ratios = torch.stack([(a - b).abs().mean() / (one - two).abs().mean() for a, b, one, two in quads])
    losses["g/diversity"] = (1 - ratios / config.diversity_bound).clamp(min=0).mean()
    return config.diversity_weight * losses["g/diversity"]


def plain_step(case: Case, g: PlainAdam, d: PlainAdam, batch: Batch) -> dict[str, float]:
    """Section 3.2 of the paper with this project's options; returns the losses by their logged names."""
    config, losses = case.config, dict[str, Tensor]()
    codes = batch.codes
    random = torch.Generator().manual_seed(case.step)  # seed 0: the loop's draws depend on the step alone
    targets = batch.targets
    if targets is None:
        drawn = codes[torch.randperm(len(codes), generator=random)]
        targets = torch.tensor(
            [
                [own if new < 0 else new for new, own in zip(*rows, strict=True)]
                for rows in zip(drawn.tolist(), codes.tolist(), strict=True)
            ]
        )
    real = batch.images.double() / 127.5 - 1
    own, wanted = vectors_by_hand(codes, joint=case.joint), vectors_by_hand(targets, joint=case.joint)
    shows, asks = wishes_by_hand(codes), wishes_by_hand(targets)

    # Looks: normal noise ahead of the labels; the way back and the identity have none.
    looks = torch.randn(2, len(real), case.noise, generator=random).double() if case.noise else None
    labels = wanted
    if looks is not None:
        own = torch.cat([torch.zeros(len(real), case.noise), own], dim=1)
        wanted = torch.cat([looks[0], labels], dim=1)

    # D, eqs. 2, 5 and 8.
    fake, mask = translate(g.weights, real, wanted, case.output)
    seen_real = diff_augment(real, policy=config.augment, generator=random).detach().requires_grad_()
    seen_fake = diff_augment(fake, policy=config.augment, generator=random).detach()
    real_scores, real_logits = criticise(d.weights, seen_real, shows)
    fake_scores, _ = criticise(d.weights, seen_fake, asks)
    losses["d/adversarial"] = d_adversarial(config.objective, real_scores, fake_scores)
    losses["d/domain"] = domain_by_hand(real_logits, codes, normalise=config.normalise_domain)
    total = losses["d/adversarial"] + config.real_domain_weight * losses["d/domain"]
    if config.objective == "wgan-gp":
        share = torch.rand(len(real), generator=random).double()[:, None, None, None]
        between = (share * seen_real + (1 - share) * seen_fake).detach().requires_grad_()
        slope = slopes(criticise(d.weights, between, asks)[0], between)
        losses["d/penalty"] = config.gradient_penalty_weight * ((slope - 1) ** 2).mean()
    elif config.r1_weight and case.step % config.r1_every == 0:
        losses["d/penalty"] = config.r1_every * config.r1_weight * (slopes(real_scores, seen_real) ** 2).mean() / 2
    d.step(total + losses.get("d/penalty", torch.zeros(())))
    if case.step % config.critic_steps:
        return {name: float(loss.detach()) for name, loss in losses.items()}

    # G, eqs. 3, 4 and 6, against the D that has just learnt.
    scores, logits = criticise(d.weights, diff_augment(fake, policy=config.augment, generator=random), asks)
    losses["g/adversarial"] = g_adversarial(config.objective, scores)
    losses["g/domain"] = domain_by_hand(logits, targets, normalise=config.normalise_domain)
    total = losses["g/adversarial"] + config.domain_weight * losses["g/domain"]
    masks = [mask]
    if (case.step // config.critic_steps) % config.cycle_every == 0:
        back, back_mask = translate(g.weights, fake, own, case.output)
        masks.append(back_mask)
        # No way back from where an unknown label was set: the sets of joint training are known in full.
        pairs_of = zip(codes.tolist(), targets.tolist(), strict=True)
        known = [case.joint or all(o >= 0 or n < 0 for o, n in zip(*row, strict=True)) for row in pairs_of]
        back = torch.stack([b if k else r for b, r, k in zip(back, real, known, strict=True)])
        losses["g/cycle"] = (real - back).abs().mean()
        # The cases weigh black hair; all other images have the usual weight.
        black = config.cycle_weights.get("hair=black", config.cycle_weight)
        weights = [black if hair == 0 else config.cycle_weight for hair, _ in codes.tolist()]
        asked = zip(weights, codes.tolist(), targets.tolist(), strict=True)
        weights = [kept if row == target else config.cycle_changed_share * kept for kept, row, target in asked]
        each = zip(weights, real, back, strict=True)
        trip = torch.stack([weight * (image - made).abs().mean() for weight, image, made in each]).mean()
        if config.multiscale_weights:
            losses["g/multiscale"] = multiscale(real, back, config.multiscale_weights)
            trip = trip + losses["g/multiscale"]
        if config.feature_matching_weight:
            pairs = zip(inner_features(d.weights, real), inner_features(d.weights, back), strict=True)
            losses["g/features"] = torch.stack([(a - b).abs().mean() for a, b in pairs]).mean()
            trip = trip + config.feature_matching_weight * losses["g/features"]
        total = total + config.cycle_every * trip
    if looks is not None:
        other = translate(g.weights, real, torch.cat([looks[1], labels], dim=1), case.output)[0].detach()
        total = total + diversity_by_hand(config, fake, other, looks, losses)
    total = total + source_losses(config, d.weights, real, fake, losses)
    if config.identity_weight:
        losses["g/identity"] = (translate(g.weights, real, own, case.output)[0] - real).abs().mean()
        total = total + config.identity_weight * losses["g/identity"]
    if mask is not None:
        losses["g/sparsity"] = torch.stack([m.mean() for m in masks if m is not None]).mean()
        total = total + config.sparsity_weight * losses["g/sparsity"]
    g.step(total)
    return {name: float(loss.detach()) for name, loss in losses.items()}


# ---- the comparison ----


def settings(**fields: object) -> TrainConfig:
    base: dict[str, object] = {"critic_steps": 1, "learning_rate": RATE, "betas": BETAS, "schedule": "constant"}
    base |= {"log_seconds": 0, "domain_weight": 0.7, "real_domain_weight": 1.3, "cycle_weight": 5.0}
    return TrainConfig(**{**base, **fields})  # type: ignore[arg-type]


CASES = {
    "the paper's": Case(config=settings()),
    "the paper's, a D step between": Case(config=settings(critic_steps=5), step=4),
    "the paper's, permuted targets": Case(config=settings(), permuted=True),
    "logistic with R1": Case(config=settings(objective="logistic", r1_every=1, r1_weight=2.0)),
    "logistic with lazy R1": Case(config=settings(objective="logistic", r1_every=4), step=8),
    "logistic between two R1": Case(config=settings(objective="logistic", r1_every=4), step=7),
    "least squares with R1": Case(config=settings(objective="least-squares", r1_every=1)),
    "least squares without": Case(config=settings(objective="least-squares", r1_every=1, r1_weight=0.0)),
    "hinge with R1": Case(config=settings(objective="hinge", r1_every=1)),
    "wgan-gp, matches": Case(config=settings(), matches=True),
    "logistic, matches": Case(config=settings(objective="logistic", r1_every=1), matches=True),
    "normalised domain": Case(config=settings(normalise_domain=True)),
    "masked with sparsity": Case(config=settings(sparsity_weight=0.3), output="masked"),
    "masked, no round trip": Case(config=settings(sparsity_weight=0.3, cycle_every=2), output="masked"),
    "residual": Case(config=settings(), output="residual"),
    "norm conditioning": Case(config=settings(), conditioning="norm"),
    "identity": Case(config=settings(identity_weight=3.0)),
    "multi-scale": Case(config=settings(multiscale_weights=(0.5, 2.0, 0.25))),
    "multi-scale alone": Case(config=settings(multiscale_weights=(5.0, 1.0), cycle_weight=0.0)),
    "feature matching": Case(config=settings(feature_matching_weight=4.0)),
    "source multi-scale": Case(config=settings(source_multiscale_weights=(0.5, 2.0))),
    "source feature matching": Case(config=settings(source_feature_weight=4.0)),
    "cycle weights of a value": Case(config=settings(cycle_weights={"hair=black": 50.0})),
    "cycle share of changes": Case(config=settings(cycle_changed_share=0.25)),
    "cycle share of no change, weights of a value": Case(
        config=settings(cycle_weights={"hair=black": 50.0}, cycle_changed_share=0.0), permuted=True
    ),
    "noise": Case(config=settings(diversity_weight=2.0, diversity_bound=4.0), noise=3),
    "noise without a diversity loss": Case(config=settings(diversity_weight=0.0), noise=1),
    "noise, norm conditioning": Case(
        config=settings(identity_weight=1.0), noise=2, conditioning="norm", output="masked"
    ),
    "third G step of cycle_every 3": Case(config=settings(critic_steps=2, cycle_every=3), step=6),
    "second G step of cycle_every 3": Case(config=settings(critic_steps=2, cycle_every=3), step=4),
    "DiffAugment, wgan-gp": Case(config=settings(augment=("color", "translation", "cutout"))),
    "DiffAugment, logistic": Case(config=settings(augment=("color",), objective="logistic", r1_every=1)),
    "joint": Case(config=settings(), joint=True, conditioning="norm"),
    "joint, normalised, matches": Case(
        config=settings(objective="logistic", r1_every=1, normalise_domain=True), joint=True, matches=True
    ),
    "everything": Case(
        config=settings(
            objective="logistic",
            normalise_domain=True,
            critic_steps=2,
            cycle_every=3,
            r1_every=3,
            identity_weight=1.5,
            multiscale_weights=(0.5, 0.25),
            feature_matching_weight=2.0,
            augment=("color", "translation", "cutout"),
        ),
        step=6,
        output="masked",
        conditioning="norm",
        matches=True,
        joint=True,
    ),
}


def batch_of(case: Case) -> Batch:
    random = torch.Generator().manual_seed(17)
    images = torch.randint(256, (4, 3, 16, 16), dtype=torch.uint8, generator=random)
    codes, targets = (JOINT_CODES, JOINT_TARGETS) if case.joint else (CODES, TARGETS)
    return Batch(images, codes, None if case.permuted else targets)


@pytest.mark.parametrize("name", CASES)
def test_one_step_against_the_papers(name: str, space: LabelSpace, tiny_state: MakeState) -> None:
    case = CASES[name]
    if case.joint:
        space = LabelSpace(attributes=space.attributes, label_sets=(("hair",), ("glasses",)))
    config = case.config
    config = settings(**{**vars(config), "steps": case.step})
    state = tiny_state(
        config,
        space=space,
        output=case.output,
        conditioning=case.conditioning,
        matches=case.matches,
        generator={"noise": case.noise},
    )
    state.step = case.step - 1
    g, d = in_double(state.generator), in_double(state.discriminator)
    batch, events = batch_of(case), list[Event]()
    train(
        state=state,
        config=config,
        space=space,
        batches=[batch],
        device=torch.device("cpu"),
        on_event=events.append,
    )
    expected = plain_step(case, g, d, batch)

    (log,) = (event for event in events if isinstance(event, LogEvent))
    assert log.losses == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for network, optimizer, plain in (
        (state.generator, state.generator_optimizer, g),
        (state.discriminator, state.discriminator_optimizer, d),
    ):
        for weight_name, weight in network.named_parameters():
            where = f"{type(network).__name__}.{weight_name}"
            if not plain.slope:
                assert torch.equal(weight.double(), plain.weights[weight_name]), where
                continue
            # Adam's first step tells little but signs; its first moment is (1 - beta1) times the gradient.
            found, slope = optimizer.state[weight]["exp_avg"].double() / (1 - BETAS[0]), plain.slope[weight_name]
            rounding = 1e-5 * float(slope.abs().max())
            torch.testing.assert_close(found, slope, rtol=1e-4, atol=rounding, msg=where)
            # The norm removes the planes' centre taps, whose gradient is 0: Adam makes a step of its rounding.
            told = slope.abs() > rounding
            assert told.double().mean() > 0.97, where
            difference = (weight.detach() - plain.weights[weight_name].detach()).abs()[told]
            assert float(difference.max()) < 1e-5, where
