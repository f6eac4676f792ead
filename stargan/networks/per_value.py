"""Networks of one network for each value of an attribute, as in CycleGAN: G_AB and G_BA, D_A and D_B.

The label space has one attribute: a label vector of one entry is a binary one's, below and above the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stargan.networks.base import TranslatingGenerator
from stargan.networks.discriminators import Discriminator
from stargan.networks.layers import Features

_MIDDLE = 0.5
"""Of a binary entry of the label vector, 0 or 1."""


class PerValueGenerator(TranslatingGenerator):
    """A generator for each value, chosen by the target.

    Args:
        vector_size: entries of the label vector, L.
        generators: one for each value, in their order, of equal arguments; they read no labels.
    """

    def __init__(self, *, vector_size: int, generators: Sequence[TranslatingGenerator]) -> None:
        super().__init__()
        self.arguments = {**generators[0].arguments, "vector_size": vector_size, "per_value": True}
        self.image_channels = generators[0].image_channels
        self.generators = nn.ModuleList(generators)

    def encode(self, images: Tensor, vectors: Tensor) -> Features:
        """See `TranslatingGenerator.encode`; returns the images, since generators have nothing in common."""
        del vectors
        return (images,)

    def paint(self, features: Features, images: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor | None]:
        """See `TranslatingGenerator.paint`; waits for the device, which knows the targets."""
        del features
        noise, labels = vectors[:, : self.noise], vectors[:, self.noise :]

        def run(value: int, rows: Tensor) -> tuple[Tensor, ...]:
            generator = self.generators[value]
            assert isinstance(generator, TranslatingGenerator)
            translated, mask = generator.translate(images[rows], noise[rows])
            return (translated,) if mask is None else (translated, mask)

        translated, *mask = _by_value(labels, _MIDDLE, run)
        return translated, mask[0] if mask else None


class PerValueDiscriminator(Discriminator):
    """A discriminator for each value, chosen by the value that an image should show; without domain logits.

    Args:
        vector_size: entries of the domains, L.
        discriminators: one for each value, in their order, of equal arguments; they read no labels.
    """

    def __init__(self, *, vector_size: int, discriminators: Sequence[Discriminator]) -> None:
        super().__init__()
        self.arguments = {**discriminators[0].arguments, "vector_size": vector_size, "per_value": True}
        self.sees_source = discriminators[0].sees_source
        self.discriminators = nn.ModuleList(discriminators)

    def inner(self, images: Tensor, wanted: Tensor, sources: Tensor | None = None) -> Features:
        """See `Discriminator.inner`."""
        return _by_value(
            wanted, 0, lambda value, rows: self._of(value).inner(*_inputs(rows, images, wanted, sources))
        )

    def forward(self, images: Tensor, wanted: Tensor, sources: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `Discriminator.forward`; the logits are (N, 0)."""
        scores, logits = _by_value(
            wanted, 0, lambda value, rows: self._of(value).forward(*_inputs(rows, images, wanted, sources))
        )
        return scores, logits

    def _of(self, value: int) -> Discriminator:
        discriminator = self.discriminators[value]
        assert isinstance(discriminator, Discriminator)
        return discriminator


def _inputs(
    rows: Tensor, images: Tensor, wanted: Tensor, sources: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return a discriminator's inputs for some rows, without labels."""
    return images[rows], wanted[rows, :0], None if sources is None else sources[rows]


def number_of_values(vector_size: int) -> int:
    """Return the number of values of the one attribute that a label vector of so many entries encodes."""
    return max(2, vector_size)


def _by_value(
    vectors: Tensor, middle: float, run: Callable[[int, Tensor], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """Run the network of each value on the rows that want it; return what they made, in the rows' order.

    Args:
        vectors: (N, L), N at least 1.
        middle: with L = 1 the value is whether the entry is above it.
        run: called with a value and the positions of its rows.
    """
    values = (vectors[:, 0] > middle).long() if vectors.shape[1] == 1 else vectors.argmax(dim=1)
    chosen = values.cpu()
    rows = [
        (value, torch.nonzero(chosen == value)[:, 0].to(vectors.device)) for value in sorted(set(chosen.tolist()))
    ]
    if len(rows) == 1:
        return run(rows[0][0], rows[0][1])
    order = torch.cat([places for _, places in rows]).argsort()
    made = [run(value, places) for value, places in rows]
    return tuple(torch.cat(parts)[order] for parts in zip(*made, strict=True))
