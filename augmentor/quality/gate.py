"""Which translations are kept."""

from __future__ import annotations

from dataclasses import dataclass

from augmentor.quality.scores import Scores
from augmentor.quality.thresholds import Thresholds

__all__ = ["Gate", "Thresholds"]

_SCORES = ("agreement", "realism", "preserved")


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Rejects translations whose scores do not reach the thresholds; a score that is unknown rejects nothing.

    Args:
        thresholds: what each score must reach.
    """

    thresholds: Thresholds

    def verdicts(self, scores: Scores) -> list[str]:
        """Return for each translation why it is rejected, such as "agreement 0.12 < 0.41"; "" keeps it."""
        columns = [
            (name, least, getattr(scores, name).tolist())
            for name in _SCORES
            if (least := getattr(self.thresholds, name)) is not None
        ]
        return [
            ", ".join(
                _compared(name, column[row], least) for name, least, column in columns if column[row] < least
            )
            for row in range(len(scores.agreement))
        ]


def _compared(name: str, score: float, least: float) -> str:
    """Return the two numbers in so many digits that the reader sees which is less."""
    digits = 2
    while f"{score:.{digits}f}" == f"{least:.{digits}f}" and digits < 17:
        digits += 1
    return f"{name} {score:.{digits}f} < {least:.{digits}f}"
