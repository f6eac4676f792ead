"""DiffAugment: differentiable random augmentation of D's input, real and translated alike.

With few images D overfits. Augmenting only the real ones would teach G the augmentations; here gradients pass
through the augmentation of both.

Source: Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training (arXiv 2006.10738); the ranges are
those of the authors' implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from stargan.distributed import SINGLE_RANK, Ranks
from stargan.upload import upload

Policy = Literal["color", "translation", "cutout"]

POLICIES: tuple[Policy, ...] = get_args(Policy)

TRANSLATION_SHARE = 1 / 8
"""As a share of the image's side."""

CUTOUT_SHARE = 1 / 2
"""As a share of the image's side."""


def diff_augment(
    images: Tensor, *, policy: Sequence[Policy], generator: torch.Generator, ranks: Ranks = SINGLE_RANK
) -> Tensor:
    """Augment every image of a batch by its own random draw; differentiable in the images.

    From the same state of `generator`, real images and translations of one shape get the same augmentation. Values
    may leave [-1, 1]; empty pixels become 0, mid-grey.

    "color" shifts the brightness by up to 0.5 either way, then multiplies the saturation by 0 to 2 and the
    contrast by 0.5 to 1.5: do not use it where labels are colours. "translation" moves by up to 1/8 of each side.
    "cutout" empties a box of half of each side, centred anywhere in the image.

    Args:
        images: (N, C, H, W) float in [-1, 1]; the saturation of one channel is not changed.
        policy: augmentations, in this order; without any the images are returned.
        generator: on any device.
        ranks: the ranks that train together, with generators in equal states: each uses its share of the draws.

    Raises:
        ValueError: there is no policy of that name.

    Source: arXiv 2006.10738, section 3.2.
    """
    unknown = [name for name in policy if name not in POLICIES]
    if unknown:
        raise ValueError(f"DiffAugment has no policy {unknown[0]!r}, only {', '.join(POLICIES)}")
    n, _, h, w = images.shape
    for name in policy:
        # In [0, 1), always float32, so that the images' type does not change the draw.
        draws = torch.rand(3, n * ranks.world_size, generator=generator, device=generator.device)
        first, second, third = upload(ranks.local_share(draws, dim=1), images.device)
        if name == "color":
            images = recolour(images, brightness=first - 0.5, saturation=2 * second, contrast=third + 0.5)
        elif name == "translation":
            furthest_down, furthest_right = _share(h, TRANSLATION_SHARE), _share(w, TRANSLATION_SHARE)
            down = _integers(first, 2 * furthest_down + 1) - furthest_down
            right = _integers(second, 2 * furthest_right + 1) - furthest_right
            images = shift(images, down=down, right=right)
        else:
            height, width = _share(h, CUTOUT_SHARE), _share(w, CUTOUT_SHARE)
            # A box of an even side has its centre between two pixels: one more place to put it.
            top = _integers(first, h + 1 - height % 2) - height // 2
            left = _integers(second, w + 1 - width % 2) - width // 2
            images = cut_out(images, top=top, left=left, height=height, width=width)
    return images


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
