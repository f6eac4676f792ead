"""Simulated predictions of classifiers with known accuracy, to check intervals and to plan evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from augmentor.evaluation.metrics import Floats


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What makes simulated classifiers right or wrong: shares of the variance of a latent normal score.

    An image is recognised where the score is above the quantile of its accuracy; what is left to 1 is noise of
    each classifier and image.

    Args:
        subject: how hard a subject is, for all classifiers.
        image: how hard an image is, for all classifiers.
        arm: what the classifiers of one arm share about a subject.
        generator: what the classifiers of one generator share about a combination of labels.
        seed: what one classifier shares about a combination of labels.
    """

    subject: float = 0.2
    image: float = 0.35
    arm: float = 0.04
    generator: float = 0.01
    seed: float = 0.01


class SimulatedTest:
    """Test images whose difficulty is drawn once, and is the same for every arm.

    Args:
        units: (N,) subject of each image, from 0.
        cells: (N,) combination of labels of each image, from 0.
    """

    def __init__(
        self, units: NDArray[np.intp], cells: NDArray[np.intp], *, spread: Spread, random: np.random.Generator
    ) -> None:
        self._units, self._cells, self._spread, self._random = units, cells, spread, random
        self._shared: Floats = spread.subject**0.5 * random.normal(size=units.max() + 1)[units]
        self._shared += spread.image**0.5 * random.normal(size=len(units))

    def right(self, accuracy: Sequence[float], *, generators: int, seeds: int) -> NDArray[np.bool_]:
        """Return which images (G, S, N) an arm's classifiers recognise, of its true accuracy in each cell."""
        spread, random, n = self._spread, self._random, len(self._units)
        wanted = np.array([NormalDist().inv_cdf(min(max(each, 1e-6), 1 - 1e-6)) for each in accuracy])
        of_arm = spread.arm**0.5 * random.normal(size=self._units.max() + 1)[self._units]
        # A single generator is the one in question: what it does is no chance.
        of_generators = (generators > 1) * spread.generator**0.5 * random.normal(size=(generators, 1, len(wanted)))
        of_seeds = spread.seed**0.5 * random.normal(size=(generators, seeds, len(wanted)))
        noise = (1 - sum(astuple(spread))) ** 0.5 * random.normal(size=(generators, seeds, n))
        right: NDArray[np.bool_] = (wanted + of_generators + of_seeds)[
            :, :, self._cells
        ] + self._shared + of_arm + noise > 0
        return right
