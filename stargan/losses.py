"""The losses of D and G, as functions of tensors.

`real_scores` and `fake_scores` are D's scores of real images and of translations, of any shape with N first;
`weights` are (N,) float, how much each translation counts, 1 on average; None counts all alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from stargan.labels import UNKNOWN, LabelSpace


class CriticLoss(Protocol):
    """D's adversarial loss of an objective."""

    def __call__(self, real_scores: Tensor, fake_scores: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss, see the module."""


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """D's Wasserstein loss: low when real images score above translations.

    Source: StarGAN, eq. 8 (arXiv 1711.09020), negated because D minimises.
    """
    return _weighted_mean(fake_scores, weights) - real_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """G's Wasserstein loss: low when translations score high.

    Source: StarGAN, eq. 8 (arXiv 1711.09020).
    """
    return -fake_scores.mean()


def logistic_critic_loss(real_scores: Tensor, fake_scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """D's logistic loss, on logits.

    Source: Goodfellow et al., eq. 1 (arXiv 1406.2661); StarGAN, eq. 1.
    """
    return functional.softplus(-real_scores).mean() + _weighted_mean(functional.softplus(fake_scores), weights)


def logistic_generator_loss(fake_scores: Tensor) -> Tensor:
    """G's logistic loss in its non-saturating form.

    Source: Goodfellow et al., section 3 (arXiv 1406.2661).
    """
    loss: Tensor = functional.softplus(-fake_scores).mean()
    return loss


def least_squares_critic_loss(real_scores: Tensor, fake_scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """D's least squares loss: real images should score 1, translations 0.

    Source: LSGAN, eq. 9 (arXiv 1611.04076): a = 0, b = c = 1, each term halved.
    """
    return ((real_scores - 1).square().mean() + _weighted_mean(fake_scores.square(), weights)) / 2


def least_squares_generator_loss(fake_scores: Tensor) -> Tensor:
    """G's least squares loss: translations should score 1.

    Source: LSGAN, eq. 9 (arXiv 1611.04076).
    """
    return (fake_scores - 1).square().mean() / 2


def hinge_critic_loss(real_scores: Tensor, fake_scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """D's hinge loss: zero for real images above 1 and translations below -1.

    Source: Geometric GAN (arXiv 1705.02894); spectral normalisation, section 4 (arXiv 1802.05957), negated.
    """
    return functional.relu(1 - real_scores).mean() + _weighted_mean(functional.relu(1 + fake_scores), weights)


def hinge_generator_loss(fake_scores: Tensor) -> Tensor:
    """G's hinge loss: low when translations score high, without a hinge.

    Source: Geometric GAN (arXiv 1705.02894) and spectral normalisation, section 4 (arXiv 1802.05957).
    """
    return -fake_scores.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Gradient penalty: mean squared distance from 1 of the critic's gradient norm between real and fake images.

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
    """R1 penalty: half the squared gradient norm of D's scores at real images.

    Args:
        real_scores: D's scores of `real`, any shape with N first, attached to the graph.
        real: (N, C, H, W) float, a leaf that requires a gradient.

    Source: Mescheder et al., eq. 9 (arXiv 1801.04406).
    """
    return _gradient(real_scores, real).square().flatten(1).sum(dim=1).mean() / 2


def domain_loss(
    logits: Tensor, codes: Tensor, space: LabelSpace, *, known: Tensor | None = None, normalise: bool = False
) -> Tensor:
    """Domain classification loss: summed over attributes, averaged over known labels.

    Binary cross-entropy for binary attributes, cross-entropy for categorical ones; unknown labels are left out.

    Args:
        logits: (N, L) float, D's domain head.
        codes: (N, A) int64, -1 unknown.
        space: the label space.
        known: (A,) number of labels of each attribute to average over, the mean over the ranks; None counts
            `codes`.
        normalise: divide by the number of attributes with a known label, so that the weight does not grow with it.

    Source: StarGAN, eqs. 2 and 3 (arXiv 1711.09020); summed over attributes as in the original implementation.
    """
    total, present = logits.new_zeros(()), logits.new_zeros(())
    labelled = codes != UNKNOWN
    counts = labelled.sum(dim=0) if known is None else known
    for column, (attribute, run) in enumerate(zip(space.attributes, space.slices, strict=True)):
        code = codes[:, column]
        # A masked sum, not a selection: shapes that depend on data would synchronise with a GPU.
        if attribute.kind == "binary":
            each = functional.binary_cross_entropy_with_logits(
                logits[:, run.start], code.clamp(min=0).to(logits.dtype), reduction="none"
            )
        else:
            each = functional.cross_entropy(logits[:, run], code.clamp(min=0), reduction="none")
        total = total + (each * labelled[:, column]).sum() / counts[column].where(counts[column] > 0, 1)
        present = present + (counts[column] > 0)
    return total / present.clamp(min=1) if normalise else total


def cycle_loss(images: Tensor, reconstructed: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cycle loss: mean absolute error between images and their round trip G(G(x, c'), c).

    Args:
        images: (N, C, H, W) float in [-1, 1].
        reconstructed: same shape and range.
        weights: (N,) float, the weight of each image's error; None for 1.

    Source: StarGAN, eq. 4 (arXiv 1711.09020); weights for each direction as in CycleGAN's implementation.
    """
    return _weighted_mean((images - reconstructed).abs(), weights)


def identity_loss(images: Tensor, translated: Tensor) -> Tensor:
    """Identity loss: mean absolute error between images and G(x, c) for x's own domain c.

    Args:
        images: (N, C, H, W) float in [-1, 1].
        translated: G(x, c), same shape and range.

    Source: CycleGAN, section 5.2, L_identity (arXiv 1703.10593).
    """
    return (translated - images).abs().mean()


def multiscale_loss(images: Tensor, reconstructed: Tensor, weights: Sequence[float]) -> Tensor:
    """Multi-scale loss: weighted sum of the mean absolute errors of round trips (or translations) on a pyramid.

    Level i averages blocks of 2^i by 2^i pixels, without incomplete blocks; weights of (1,) give `cycle_loss`.

    Args:
        images: (N, C, H, W) float in [-1, 1].
        reconstructed: same shape and range.
        weights: one per level, from the full size on.

    Raises:
        ValueError: there are no weights, or a level would have a side under one pixel.

    Source: StarGAN, eq. 4 (arXiv 1711.09020), at several scales.
    """
    *_, h, w = images.shape
    if not weights:
        raise ValueError("the multi-scale loss needs a weight for at least one level")
    deepest = min(h, w).bit_length() - 1
    if len(weights) - 1 > deepest:
        raise ValueError(
            f"level {deepest + 1} of the multi-scale loss would make images of {w}x{h} pixels "
            f"{2 ** (deepest + 1)} times smaller, under one pixel: "
            f"give at most {deepest + 1} weights, not {len(weights)}"
        )
    # Pooling is linear, so the pyramid of the difference is the difference of the pyramids at half the work.
    error = images - reconstructed
    total = weights[0] * error.abs().mean()
    for weight in weights[1:]:
        error = functional.avg_pool2d(error, 2)
        total = total + weight * error.abs().mean()
    return total


def feature_matching_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Feature matching loss: mean absolute error between D's inner features of real images and of translations.

    The gradient reaches `fake` only.

    Args:
        real: D's features of real images, one tensor of any shape per layer.
        fake: D's features of translations, the same shapes.

    Raises:
        ValueError: there are no layers, or their number or a shape differs.

    Source: pix2pixHD, section 3.2, L_FM (arXiv 1711.11585), averaged over layers instead of summed.
    """
    if len(real) != len(fake) or not real:
        raise ValueError(f"feature matching got {len(real)} layers of real images and {len(fake)} of translations")
    distances = []
    for layer, (wanted, got) in enumerate(zip(real, fake, strict=True)):
        if wanted.shape != got.shape:
            raise ValueError(
                f"feature matching, layer {layer}: real features are {tuple(wanted.shape)}, "
                f"those of translations {tuple(got.shape)}"
            )
        distances.append((got - wanted.detach()).abs().mean())
    return torch.stack(distances).mean()


def diversity_loss(
    first: Tensor, second: Tensor, first_noise: Tensor, second_noise: Tensor, *, bound: float
) -> Tensor:
    """Diversity loss: how far two translations of an image under two noises are from differing enough.

    The mean absolute difference of the translations is divided by that of the noises; the loss of an image is 1
    where this ratio is 0, and 0 from `bound` on.

    Args:
        first: (N, C, H, W) float in [-1, 1].
        second: same shape and range.
        first_noise: (N, Z) float.
        second_noise: same shape, with another value in each row.
        bound: ratio from which on more difference is not rewarded, above 0.

    Source: Yang et al., eq. 2 (arXiv 1901.09024), subtracted from its bound and divided by it.
    """
    images = (first - second).abs().flatten(1).mean(dim=1)
    noises = (first_noise - second_noise).abs().mean(dim=1)
    return (1 - images / noises / bound).clamp(min=0).mean()


def pair_loss(translated: Sequence[Tensor], partners: Sequence[Tensor], paired: Tensor, count: Tensor) -> Tensor:
    """Pair loss: mean absolute error between translations and their true partners, over paired rows.

    Of images it is pix2pix's L1; of D's inner features it is feature matching against the true partner, averaged
    over the layers. The gradient reaches `translated` only.

    Args:
        translated: one tensor of any shape with N first for images, or one per layer of features.
        partners: the same shapes; rows that are not paired may hold anything finite.
        paired: (N,) bool.
        count: scalar float, the number of rows to average over, of several ranks the mean; 0 makes the loss 0.

    Source: pix2pix, eq. 3 (arXiv 1611.07004); features: pix2pixHD, section 3.2 (arXiv 1711.11585).
    """
    errors = torch.stack(
        [
            (got - wanted.detach()).abs().flatten(1).mean(dim=1)
            for got, wanted in zip(translated, partners, strict=True)
        ]
    ).mean(dim=0)
    # A masked sum, not a selection: shapes that depend on data would synchronise with a GPU.
    return (errors * paired).sum() / count.clamp(min=torch.finfo(errors.dtype).tiny)


def sparsity_loss(masks: Tensor) -> Tensor:
    """Mask sparsity loss: mean of (N, 1, H, W) attention masks in [0, 1], the share of an image repainted.

    Source: GANimation, eq. 3 (arXiv 1807.09251), with the absolute instead of the squared norm.
    """
    return masks.mean()


def _weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (values.flatten(1).mean(dim=1) * weights).mean()


def _gradient(scores: Tensor, images: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient


CRITIC_LOSSES: Mapping[str, CriticLoss] = {
    "wgan-gp": wasserstein_critic_loss,
    "logistic": logistic_critic_loss,
    "least-squares": least_squares_critic_loss,
    "hinge": hinge_critic_loss,
}
"""Objective -> D's adversarial loss, of scores of real images and of translations, and weights of these."""

GENERATOR_LOSSES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "wgan-gp": wasserstein_generator_loss,
    "logistic": logistic_generator_loss,
    "least-squares": least_squares_generator_loss,
    "hinge": hinge_generator_loss,
}
"""Objective -> G's adversarial loss, of scores of translations."""
