"""What is compared: the ways to train a classifier, each a mixture of real images and translations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from augmentor.evaluation.draws import Batch, Pool, batches, even_weights
from augmentor.evaluation.material import Material
from augmentor.judge import LabelledImages

TITLES = {
    "real": "real only",
    "oversampled": "real, rare ones oversampled",
    "trivialaugment": "real, TrivialAugment",
    "ungated": "real + synthetic, ungated",
    "gated": "real + synthetic, gated",
    "synthetic": "synthetic only",
}
"""The arms in the order in which they are shown."""

BASELINES = ("oversampled", "trivialaugment")
"""What anyone can do without a generator; synthetic images must be better than the better of these."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train a classifier.

    Args:
        name: of `TITLES`; in the sweep with the ratio behind it.
        title: as people read it.
        pools: what is drawn.
        ratio: synthetic images for each real one, where it was asked for; None for all other arms.
        augment: whether images go through TrivialAugment.
    """

    name: str
    title: str
    pools: tuple[Pool, ...]
    ratio: float | None = None
    augment: bool = False

    @property
    def images(self) -> int:
        """How many different images it draws from."""
        return sum(len(pool.data) for pool in self.pools)

    def batches(self, *, steps: int, batch_size: int, seed: int, flip: bool) -> Iterator[Batch]:
        """Yield what a classifier of this arm learns from."""
        return batches(
            self.pools, steps=steps, batch_size=batch_size, seed=seed, flip=flip, trivial_augment=self.augment
        )


def main_arm(material: Material) -> str:
    """Return the name of the arm that stands for the output as it is."""
    return "gated" if material.output.gated or len(material.rejected.rows) else "ungated"


def make_arms(material: Material, *, ungated: LabelledImages | None) -> list[Arm]:
    """Return the arms in the order of `TITLES`; one that there is nothing for is left out.

    Args:
        material: what is evaluated.
        ungated: translations drawn as if nobody had judged them; None where there are none, or no others.
    """
    real = Pool(data=material.train, share=1.0)
    changed = material.train.codes[:, list(material.changed)]
    found = {
        "real": (real,),
        "oversampled": (Pool(data=material.train, share=1.0, weights=even_weights(changed.numpy())),),
        "trivialaugment": (real,),
        main_arm(material): mixed(material.train, material.kept),
        "synthetic": (Pool(data=material.kept, share=1.0),),
    }
    if ungated is not None and "ungated" not in found:
        found["ungated"] = mixed(material.train, ungated)
    return [
        Arm(name=name, title=title, pools=found[name], augment=name == "trivialaugment")
        for name, title in TITLES.items()
        if name in found
    ]


def make_sweep(material: Material, ratios: Sequence[float]) -> list[Arm]:
    """Return the output's arm again, with so many translations drawn for each real image."""
    name = main_arm(material)
    return [
        Arm(
            name=f"{name} {ratio:g}",
            title=f"{TITLES[name]}, {ratio:g} : 1",
            pools=mixed(material.train, material.kept, ratio=ratio),
            ratio=ratio,
        )
        for ratio in ratios
    ]


def mixed(real: LabelledImages, synthetic: LabelledImages, *, ratio: float | None = None) -> tuple[Pool, Pool]:
    """Return both kinds of images as they are drawn together.

    Args:
        real: real images.
        synthetic: translations.
        ratio: of drawn translations to drawn real images; None draws every image as often as any other, as a
            training job does that reads the label table as it is.
    """
    ratio = len(synthetic) / len(real) if ratio is None else ratio
    share = ratio / (1 + ratio)
    return Pool(data=real, share=1 - share), Pool(data=synthetic, share=share)


def joined(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    """Return the images of both."""
    return LabelledImages(
        images=torch.cat([first.images, second.images]), codes=torch.cat([first.codes, second.codes])
    )
