"""Every loss as a pure function of tensors; weights, `backward` and logging stay in the training loop."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from stargan.labels import UNKNOWN, LabelSpace


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """D's side of the Wasserstein objective: low when real images score above translations.

    Args:
        real_scores: any shape, D's scores of real images.
        fake_scores: any shape, D's scores of translations.

    Source: StarGAN, eq. 8 (arXiv 1711.09020), negated because D minimises.
    """
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """G's side of the Wasserstein objective: low when translations score high.

    Source: StarGAN, eq. 8 (arXiv 1711.09020).
    """
    return -fake_scores.mean()


def logistic_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """D's side of the original log loss, on logits.

    Args:
        real_scores: any shape, D's scores of real images.
        fake_scores: any shape, D's scores of translations.

    Source: Goodfellow et al., eq. 1 (arXiv 1406.2661); StarGAN, eq. 1.
    """
    return functional.softplus(-real_scores).mean() + functional.softplus(fake_scores).mean()


def logistic_generator_loss(fake_scores: Tensor) -> Tensor:
    """G's side of the log loss in its non-saturating form.

    Source: Goodfellow et al., section 3 (arXiv 1406.2661).
    """
    loss: Tensor = functional.softplus(-fake_scores).mean()
    return loss


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Squared distance from 1 of the critic's gradient norm between real images and translations.

    Args:
        critic: maps (N, C, H, W) images to scores of any shape with N first.
        real: (N, C, H, W) float in [-1, 1].
        fake: same shape and range.
        mix: (N,) float in [0, 1], the share of the real image in each point.

    Source: StarGAN, eq. 8 (arXiv 1711.09020); Gulrajani et al., eq. 3 (arXiv 1704.00028).
    """
    mix = mix.view(-1, 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_()
    norms = _gradient(critic(between), between).flatten(1).norm(dim=1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty


def r1_penalty(real_scores: Tensor, real: Tensor) -> Tensor:
    """Half the squared gradient norm of D's scores at real images.

    Args:
        real_scores: D's scores of `real`, any shape with N first, still attached to the graph.
        real: (N, C, H, W) float, a leaf that requires a gradient.

    Source: Mescheder et al., eq. 9 (arXiv 1801.04406).
    """
    return _gradient(real_scores, real).square().flatten(1).sum(dim=1).mean() / 2


def domain_loss(logits: Tensor, codes: Tensor, space: LabelSpace) -> Tensor:
    """How badly domain logits name the domains: summed over attributes, averaged over known labels.

    Binary cross-entropy for binary attributes, cross-entropy for categorical ones; an unknown label leaves the
    loss, and an attribute that nobody in the batch knows adds nothing.

    Args:
        logits: (N, L) float, D's domain head.
        codes: (N, A) int64, -1 unknown.
        space: says which logits belong to which attribute.

    Source: StarGAN, eqs. 2 and 3 (arXiv 1711.09020); summed over attributes as in the original implementation.
    """
    total = logits.new_zeros(())
    for column, (attribute, run) in enumerate(zip(space.attributes, space.slices, strict=True)):
        code = codes[:, column]
        known = code != UNKNOWN
        # A masked sum, not a selection: shapes that depend on data would stall a GPU.
        if attribute.kind == "binary":
            each = functional.binary_cross_entropy_with_logits(
                logits[:, run.start], code.clamp(min=0).to(logits.dtype), reduction="none"
            )
        else:
            each = functional.cross_entropy(logits[:, run], code.clamp(min=0), reduction="none")
        total = total + (each * known).sum() / known.sum().clamp(min=1)
    return total


def cycle_loss(images: Tensor, reconstructed: Tensor) -> Tensor:
    """Mean absolute error between images and their round trip G(G(x, c'), c).

    Args:
        images: (N, C, H, W) float in [-1, 1].
        reconstructed: same shape and range.

    Source: StarGAN, eq. 4 (arXiv 1711.09020).
    """
    return (images - reconstructed).abs().mean()


def sparsity_loss(masks: Tensor) -> Tensor:
    """Mean of the attention masks: how much of the image a masked generator repaints.

    Args:
        masks: (N, 1, H, W) float in [0, 1].

    Source: GANimation, eq. 3 (arXiv 1807.09251), with the absolute in the place of the squared norm.
    """
    return masks.mean()


def _gradient(scores: Tensor, images: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient
