"""Differentiable random augmentation of D's input, real and translated alike, and its adaptive probability.

With few images D overfits. Augmenting only the real ones would teach G the augmentations; here gradients pass
through the augmentation of both.

Sources: "color", "translation" and "cutout" are DiffAugment's, Zhao et al., Differentiable Augmentation for
Data-Efficient GAN Training (arXiv 2006.10738), with the ranges of the authors' implementation; "geometry" and the
adaptive probability are ADA's, Karras et al., Training Generative Adversarial Networks with Limited Data (arXiv
2006.06676), with smaller ranges: a translation shows an upright subject.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from stargan.distributed import SINGLE_RANK, Ranks
from stargan.upload import upload

Policy = Literal["color", "translation", "cutout", "geometry"]

POLICIES: tuple[Policy, ...] = get_args(Policy)

TRANSLATION_SHARE = 1 / 8
"""As a share of the image's side."""

CUTOUT_SHARE = 1 / 2
"""As a share of the image's side."""

LARGEST_ANGLE = math.radians(15)
"""Of "geometry", either way."""

LARGEST_ZOOM = 2**0.25
"""Of "geometry", and its inverse the smallest."""

OVERFITTING_TARGET = 0.6
"""Overfitting, in [0, 1], at which the adaptive probability stays as it is; ADA's."""

ADAPT_EVERY = 4
"""Steps between two changes of the adaptive probability; ADA's."""

ADAPT_IMAGES = 10_000
"""Images in which the adaptive probability can go from 0 to 1; ADA has 500,000, for runs of 25 million."""


def diff_augment(
    images: Tensor,
    *,
    policy: Sequence[Policy],
    generator: torch.Generator,
    probability: float = 1.0,
    ranks: Ranks = SINGLE_RANK,
) -> Tensor:
    """Augment every image of a batch by its own random draw; differentiable in the images.

    From the same state of `generator`, real images and translations of one shape get the same augmentation. Values
    may leave [-1, 1]; empty pixels become 0, mid-grey.

    "color" shifts the brightness by up to 0.5 either way, then multiplies the saturation by 0 to 2 and the
    contrast by 0.5 to 1.5: do not use it where labels are colours. "translation" moves by up to 1/8 of each side.
    "cutout" empties a box of half of each side, centred anywhere in the image. "geometry" turns by up to 15
    degrees, zooms by 0.84 to 1.19 and moves by up to 1/8 of each side, in fractions of pixels, and mirrors the
    image at its borders.

    Args:
        images: (N, C, H, W) float in [-1, 1]; the saturation of one channel is not changed.
        policy: augmentations, in this order; without any the images are returned.
        generator: on any device.
        probability: of each augmentation of an image, in [0, 1].
        ranks: the ranks that train together, with generators in equal states: each uses its share of the draws.

    Raises:
        ValueError: there is no policy of that name.

    Sources: arXiv 2006.10738, section 3.2; the probability: arXiv 2006.06676, section 2.2.
    """
    unknown = [name for name in policy if name not in POLICIES]
    if unknown:
        raise ValueError(f"DiffAugment has no policy {unknown[0]!r}, only {', '.join(POLICIES)}")
    n, _, h, w = images.shape
    for name in policy if probability > 0 else ():
        # In [0, 1), always float32, so that the images' type does not change the draw.
        rows = 3 + (name == "geometry") + (probability < 1)
        draws = torch.rand(rows, n * ranks.world_size, generator=generator, device=generator.device)
        first, second, third, *others = upload(ranks.local_share(draws, dim=1), images.device)
        before = images
        if name == "color":
            images = recolour(images, brightness=first - 0.5, saturation=2 * second, contrast=third + 0.5)
        elif name == "translation":
            furthest_down, furthest_right = _share(h, TRANSLATION_SHARE), _share(w, TRANSLATION_SHARE)
            down = _integers(first, 2 * furthest_down + 1) - furthest_down
            right = _integers(second, 2 * furthest_right + 1) - furthest_right
            images = shift(images, down=down, right=right)
        elif name == "geometry":
            images = warp(
                images,
                angle=(2 * first - 1) * LARGEST_ANGLE,
                zoom=LARGEST_ZOOM ** (2 * second - 1),
                down=(2 * third - 1) * TRANSLATION_SHARE,
                right=(2 * others[0] - 1) * TRANSLATION_SHARE,
            )
        else:
            height, width = _share(h, CUTOUT_SHARE), _share(w, CUTOUT_SHARE)
            # A box of an even side has its centre between two pixels: one more place to put it.
            top = _integers(first, h + 1 - height % 2) - height // 2
            left = _integers(second, w + 1 - width % 2) - width // 2
            images = cut_out(images, top=top, left=left, height=height, width=width)
        if probability < 1:
            images = torch.where(others[-1].view(-1, 1, 1, 1) < probability, images, before)
    return images


def overfitting_excess(real: Tensor, fake: Tensor, held_out: Tensor | None) -> Tensor:
    """Return by how much D overfits more than `OVERFITTING_TARGET`: above 0 where it should see more augmentation.

    With scores of held-out images it is r_v less the target, times what r_v is divided by, which may be near 0:
    r_v is 0 where D scores them as its training images and 1 where it scores them as translations. Without, it is
    r_t less the target: r_t is the mean sign of the training images' scores, so it needs an objective whose scores
    are positive for real images.

    Args:
        real: D's scores of training images, of any shape.
        fake: of translations.
        held_out: of images that are not trained on, augmented alike; None without.

    Source: arXiv 2006.06676, eq. 1.
    """
    if held_out is None:
        return real.sign().mean() - OVERFITTING_TARGET
    return (real.mean() - held_out.mean()) - OVERFITTING_TARGET * (real.mean() - fake.mean())


def adapted_probability(probability: float, *, excess: float, images: int) -> float:
    """Return the probability of augmentations for the next `images`, by `overfitting_excess` of those before."""
    change = math.copysign(images / ADAPT_IMAGES, excess)
    return min(1.0, max(0.0, probability + change))


def warp(images: Tensor, *, angle: Tensor, zoom: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Turn and zoom each image about its centre, then move it; bilinear, mirrored at the borders.

    All are (N,) float32: the angle in radians, clockwise; the zoom as a factor, above 1 for larger; the ways as
    shares of height and width.
    """
    *_, h, w = images.shape
    # torch wants for each pixel of the result its place in the source, in units of half a side.
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    turned = torch.stack([cos, sin * (h / w), -sin * (w / h), cos], dim=1).view(-1, 2, 2)
    moved = turned @ torch.stack([-2 * right, -2 * down], dim=1)[:, :, None]
    grid = functional.affine_grid(torch.cat([turned, moved], dim=2), list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid.to(images.dtype), mode="bilinear", padding_mode="reflection", align_corners=False
    )


def recolour(images: Tensor, *, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Change brightness (added), saturation (about each pixel's grey), then contrast (about the mean), unclamped.

    All are (N,) float; saturation and contrast are factors.
    """
    brightness, saturation, contrast = (
        amount.to(images.dtype).view(-1, 1, 1, 1) for amount in (brightness, saturation, contrast)
    )
    images = images + brightness
    if images.shape[1] > 1:
        grey = images.mean(dim=1, keepdim=True)
        images = grey + saturation * (images - grey)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + contrast * (images - mean)


def shift(images: Tensor, *, down: Tensor, right: Tensor) -> Tensor:
    """Move each image down and right by (N,) int64 whole pixels, negative for up and left, padding with 0."""
    n, c, h, w = images.shape
    rows = torch.arange(h, device=images.device) - down[:, None]
    columns = torch.arange(w, device=images.device) - right[:, None]
    inside = _within(rows, h)[:, None, :, None] & _within(columns, w)[:, None, None, :]
    # One gather per side: its gradient is a scatter, that of indexing by both sides a sort.
    images = images.gather(2, rows.clamp(0, h - 1)[:, None, :, None].expand(n, c, h, w))
    images = images.gather(3, columns.clamp(0, w - 1)[:, None, None, :].expand(n, c, h, w))
    return images.masked_fill(~inside, 0)


def cut_out(images: Tensor, *, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Set a box of each image to 0, with its first row and column from `top` and `left`, (N,) int64.

    The box may extend beyond the image, so that they may be negative.
    """
    *_, h, w = images.shape
    rows = _within(torch.arange(h, device=images.device) - top[:, None], height)
    columns = _within(torch.arange(w, device=images.device) - left[:, None], width)
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


def _share(side: int, share: float) -> int:
    # Rounded half up, as the authors do; `round` would take halves to the even number.
    return int(side * share + 0.5)


def _integers(shares: Tensor, count: int) -> Tensor:
    """Return uniform integers from 0 to `count` - 1 for uniform numbers in [0, 1)."""
    return (shares * count).long()


def _within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)
