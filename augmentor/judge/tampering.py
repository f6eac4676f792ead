"""Tampered images, which show no value, for a judge to learn from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_PATCHES = 6
"""Maximum of patches in an image."""

_PATCH, _PASTED = (0.06, 0.4), (0.25, 0.7)
"""Sides of a patch and of a pasted part, as shares of the image's."""

_NOISE = (8.0, 60.0)
"""Standard deviation of noise in grey levels."""


def tampered(images: Tensor, random: np.random.Generator) -> Tensor:
    """Return real images that were tampered with: a third each with patches, noise, and another image pasted in.

    images: (N, C, H, W) uint8.
    """
    n, _, h, w = images.shape
    made = images.float()
    kinds = random.integers(3, size=n)
    others = random.permutation(n)
    for row, kind in enumerate(kinds.tolist()):
        if kind == 0:
            made[row] = _with_patches(made[row], random)
        elif kind == 1:
            made[row] = _with_noise(made[row], random)
        else:
            mask = _blob(h, w, _PASTED, random) if random.random() < 0.5 else _cloud(h, w, random)
            made[row] = torch.lerp(made[row], images[others[row]].float(), mask)
    return made.round().clamp(0, 255).byte()


def _with_patches(image: Tensor, random: np.random.Generator) -> Tensor:
    c, h, w = image.shape
    for _ in range(random.integers(1, _PATCHES + 1)):
        colour = torch.from_numpy(random.uniform(0, 255, size=(c, 1, 1))).float()
        image = torch.lerp(
            image, colour.expand(c, h, w), float(random.uniform(0.4, 1)) * _blob(h, w, _PATCH, random)
        )
    return image


def _with_noise(image: Tensor, random: np.random.Generator) -> Tensor:
    """Add noise of a random grain to all or a part of an image, and sharpen that."""
    c, h, w = image.shape
    grain = int(random.integers(1, 5))
    noise = torch.from_numpy(random.normal(size=(1, c, -(-h // grain), -(-w // grain)))).float()
    noise = functional.interpolate(noise, size=(h, w), mode="bilinear")[0] * float(random.uniform(*_NOISE))
    noisy = (image + noise)[None]
    blurred = functional.avg_pool2d(functional.pad(noisy, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    sharp = (noisy + float(random.uniform(0.5, 2)) * (noisy - blurred))[0]
    mask = torch.ones(h, w) if random.random() < 0.5 else _blob(h, w, _PASTED, random)
    return torch.lerp(image, sharp, mask)


def _cloud(h: int, w: int, random: np.random.Generator) -> Tensor:
    """Return a mask (H, W) of 0 and 1 with irregular outlines that covers a fifth to two thirds of an image."""
    cells = int(random.integers(3, 9))
    noise = torch.from_numpy(random.normal(size=(1, 1, cells, cells))).float()
    noise = functional.interpolate(noise, size=(h, w), mode="bicubic")[0, 0]
    return (noise > noise.quantile(float(random.uniform(0.35, 0.8)))).float()


def _blob(h: int, w: int, sides: tuple[float, float], random: np.random.Generator) -> Tensor:
    """Return a mask (H, W) in [0, 1] of an ellipse or a rectangle somewhere, with a sharp or a soft edge."""
    low, high = sides
    height, width = random.uniform(low, high, size=2) * (h, w) / 2
    top, left = random.uniform(0, 1, size=2) * (h, w)
    y, x = torch.arange(h)[:, None] + 0.5, torch.arange(w)[None] + 0.5
    down, across = ((y - top) / height).abs(), ((x - left) / width).abs()
    distance = (down**2 + across**2).sqrt() if random.random() < 0.5 else torch.maximum(down, across)
    edge = float(random.uniform(0.05, 0.6))
    return ((1 - distance) / edge + 0.5).clamp(0, 1).float()
