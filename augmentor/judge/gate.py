"""Which translations are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augmentor.judge.scores import Scores
from augmentor.judge.thresholds import Thresholds

__all__ = ["Gate", "Thresholds"]

_SCORES = ("agreement", "realism", "preserved")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Rejects translations whose scores do not reach the thresholds; a score that is unknown rejects nothing.

    Args:
        thresholds: what each score must reach.
        by_domain: whether less agreement is asked where real images of the domain reach less, too.
    """

    thresholds: Thresholds
    by_domain: bool = False

    def limits(self, scores: Scores) -> dict[str, NDArray[np.float64]]:
        """Return what is asked of each of n translations: (n,) float64 by the score's name, if it is asked for."""
        n = len(scores.agreement)
        asked = {
            name: np.full(n, least) for name in _SCORES if (least := getattr(self.thresholds, name)) is not None
        }
        if self.by_domain and "agreement" in asked:
            asked["agreement"] = np.fmin(asked["agreement"], scores.expected)
        return asked

    def verdicts(self, scores: Scores) -> list[str]:
        """Return for each translation why it is rejected, such as "agreement 0.12 < 0.41"; "" keeps it."""
        columns = [
            (name, limits.tolist(), getattr(scores, name).tolist()) for name, limits in self.limits(scores).items()
        ]
        return [
            ", ".join(
                _compared(name, column[row], least[row])
                for name, least, column in columns
                if column[row] < least[row]
            )
            for row in range(len(scores.agreement))
        ]

    def shortfalls(self, scores: Scores) -> NDArray[np.float64]:
        """Return how far translations miss what they miss most, (n,) float64; below 0 where they reach all.

        NaN where no score that is asked for is known.
        """
        missed = np.full(len(scores.agreement), np.nan)
        for name, least in self.limits(scores).items():
            missed = np.fmax(missed, least - getattr(scores, name))
        return missed


def _compared(name: str, score: float, least: float) -> str:
    """Return the two numbers in so many digits that the reader sees which is less."""
    digits = 2
    while f"{score:.{digits}f}" == f"{least:.{digits}f}" and digits < 17:
        digits += 1
    return f"{name} {score:.{digits}f} < {least:.{digits}f}"
