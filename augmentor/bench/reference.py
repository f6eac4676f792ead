"""Reference of `augmentor bench`: one training step and one translation in plain eager PyTorch.

Straightforward float32 PyTorch like the paper's own implementation: contiguous tensors, torch's default Adam, G
run once without a gradient for D's update and once more for its own, nothing compiled, nothing shared. The losses,
penalties and random numbers are those of `stargan.training`, so both sides do the same work on equal values.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from stargan import losses
from stargan.checkpoints import Model
from stargan.config import TrainConfig
from stargan.diffaugment import diff_augment
from stargan.labels import LabelSpace, value_weights
from stargan.networks import Discriminator, StridedConvolution, TranslatingGenerator
from stargan.pixels import to_signed, to_uint8
from stargan.training import Batch, TrainState, step_random
from stargan.upload import Labels, upload_labels


def plain_state(
    *, generator: TranslatingGenerator, discriminator: Discriminator, config: TrainConfig
) -> TrainState:
    """Return the state at step 0, with torch's default Adam and without faster forms of strided convolutions."""
    for layer in discriminator.modules():
        if isinstance(layer, StridedConvolution):
            layer.always_convolves = True
    return TrainState(
        generator=generator,
        average=copy.deepcopy(generator).requires_grad_(False).eval(),
        discriminator=discriminator,
        generator_optimizer=torch.optim.Adam(generator.parameters(), lr=config.learning_rate, betas=config.betas),
        discriminator_optimizer=torch.optim.Adam(
            discriminator.parameters(), lr=config.learning_rate, betas=config.betas
        ),
    )


def plain_training_step(
    state: TrainState, batch: Batch, targets: Tensor, config: TrainConfig, space: LabelSpace
) -> dict[str, Tensor]:
    """Do one step of `stargan.training.train` in plain code, at a constant learning rate.

    With the same `batch.targets` the losses of `train` are equal up to rounding. `state` is changed in place.
    Batch and targets, (N, A) int64, are on the CPU; precision, compile, schedule and warm-up of `config` are not
    read. Returns scalars on the networks' device, by the names that `train` logs.

    Source: StarGAN, section 3.2 and eq. 8 (arXiv 1711.09020).
    """
    device = next(state.generator.parameters()).device
    step = state.step = state.step + 1
    random = step_random(config, step)
    labels = upload_labels(batch.codes, targets, space, device=device)
    real = to_signed(batch.images.to(device))
    logged: dict[str, Tensor] = {}

    # D
    penalise = config.penalises_real and step % config.r1_every == 0
    looks = torch.randn(2, len(real), state.generator.noise, generator=random).to(device)
    with torch.no_grad():
        fake = state.generator(real, torch.cat([looks[0], labels.target_vectors], dim=1))
    seen_real = diff_augment(real, policy=config.augment, generator=random).detach().requires_grad_(penalise)
    seen_fake = diff_augment(fake, policy=config.augment, generator=random)
    fake_scores, _ = state.discriminator(seen_fake, labels.target_signed)
    real_scores, real_logits = state.discriminator(seen_real, labels.source_signed)
    logged["d/adversarial"] = losses.CRITIC_LOSSES[config.objective](real_scores, fake_scores)
    logged["d/domain"] = losses.domain_loss(real_logits, labels.codes, space, normalise=config.normalise_domain)
    d_loss = logged["d/adversarial"] + config.real_domain_weight * logged["d/domain"]
    if config.objective == "wgan-gp":
        mix = torch.rand(len(real), generator=random).to(device)
        penalty = losses.gradient_penalty(
            lambda images: state.discriminator(images, labels.target_signed)[0], seen_real, seen_fake, mix
        )
        logged["d/penalty"] = config.gradient_penalty_weight * penalty
    elif penalise:
        logged["d/penalty"] = config.r1_weight * config.r1_every * losses.r1_penalty(real_scores, seen_real)
    if "d/penalty" in logged:
        d_loss = d_loss + logged["d/penalty"]
    _update(state.discriminator_optimizer, state, d_loss)

    # G
    if step % config.critic_steps == 0:
        g_loss = _generator_loss(
            state, config, space, real=real, labels=labels, looks=looks, random=random, logged=logged
        )
        _update(state.generator_optimizer, state, g_loss)
        g_steps = step // config.critic_steps
        decay = min(config.ema_decay, g_steps / (g_steps + 10))
        for averaged, current in zip(state.average.parameters(), state.generator.parameters(), strict=True):
            averaged.data.lerp_(current.data, 1 - decay)
    return {name: loss.detach() for name, loss in logged.items()}


def _generator_loss(
    state: TrainState,
    config: TrainConfig,
    space: LabelSpace,
    *,
    real: Tensor,
    labels: Labels,
    looks: Tensor,
    random: torch.Generator,
    logged: dict[str, Tensor],
) -> Tensor:
    fake, mask = state.generator.translate(real, torch.cat([looks[0], labels.target_vectors], dim=1))
    masks = [mask]
    seen_fake = diff_augment(fake, policy=config.augment, generator=random)
    scores, logits = state.discriminator(seen_fake, labels.target_signed)
    logged["g/adversarial"] = losses.GENERATOR_LOSSES[config.objective](scores)
    logged["g/domain"] = losses.domain_loss(logits, labels.targets, space, normalise=config.normalise_domain)
    total = logged["g/adversarial"] + config.domain_weight * logged["g/domain"]
    if (state.step // config.critic_steps) % config.cycle_every == 0:
        back, back_mask = state.generator.translate(fake, labels.source_vectors)
        back = torch.where(labels.returns[:, None, None, None], back, real)
        masks.append(back_mask)
        logged["g/cycle"] = losses.cycle_loss(real, back)
        trip = config.cycle_weight * logged["g/cycle"]
        if config.cycle_weights or config.cycle_changed_share != 1:
            each = value_weights(labels.codes, config.cycle_weights, space, default=config.cycle_weight)
            each[(labels.codes != labels.targets).any(dim=1)] *= config.cycle_changed_share
            trip = losses.cycle_loss(real, back, each)
        if config.multiscale_weights:
            logged["g/multiscale"] = losses.multiscale_loss(real, back, config.multiscale_weights)
            trip = trip + logged["g/multiscale"]
        if config.feature_matching_weight:
            inner = state.discriminator.inner
            shown = labels.source_signed
            logged["g/features"] = losses.feature_matching_loss(inner(real, shown), inner(back, shown))
            trip = trip + config.feature_matching_weight * logged["g/features"]
        total = total + config.cycle_every * trip
    if config.source_multiscale_weights:
        logged["g/source_multiscale"] = losses.multiscale_loss(real, fake, config.source_multiscale_weights)
        total = total + logged["g/source_multiscale"]
    if config.source_feature_weight:
        inner = state.discriminator.inner
        logged["g/source_features"] = losses.feature_matching_loss(
            inner(real, labels.target_signed), inner(fake, labels.target_signed)
        )
        total = total + config.source_feature_weight * logged["g/source_features"]
    if config.identity_weight:
        logged["g/identity"] = losses.identity_loss(real, state.generator(real, labels.source_vectors))
        total = total + config.identity_weight * logged["g/identity"]
    if looks.shape[2] and config.diversity_weight:
        with torch.no_grad():
            other = state.generator(real, torch.cat([looks[1], labels.target_vectors], dim=1))
        logged["g/diversity"] = losses.diversity_loss(fake, other, *looks, bound=config.diversity_bound)
        total = total + config.diversity_weight * logged["g/diversity"]
    painted = [mask for mask in masks if mask is not None]
    if painted:
        logged["g/sparsity"] = torch.stack([losses.sparsity_loss(mask) for mask in painted]).mean()
        total = total + config.sparsity_weight * logged["g/sparsity"]
    return total


def _update(optimizer: torch.optim.Adam, state: TrainState, loss: Tensor) -> None:
    # As in the original implementation both networks' gradients are reset.
    state.generator_optimizer.zero_grad()
    state.discriminator_optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@torch.no_grad()
def plain_translate(model: Model, images: Tensor, targets: Tensor, *, batch_size: int = 16) -> Tensor:
    """Translate each image into its target in a plain loop: every pair passes the whole generator, in float32.

    Images are (N, C, H, W) uint8 on the CPU, and so is the result; targets (N, A) int64 codes, -1 keeps the value.
    """
    device = next(model.generator.parameters()).device
    made = []
    for start in range(0, len(images), batch_size):
        stop = start + batch_size
        vectors = model.space.encode(targets[start:stop]).to(device)
        translated = model.generator(to_signed(images[start:stop].to(device)), vectors)
        made.append(to_uint8(translated).cpu())
    return torch.cat(made) if made else images
