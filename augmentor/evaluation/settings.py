"""Settings of an evaluation, with their limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from augmentor.errors import AugmentorError, did_you_mean
from augmentor.evaluation.arms import DEFAULT_ARMS, TITLES
from augmentor.storage import Json

STEPS = 1200
"""At most: a classifier that has converged stops before (see BENCHMARKS.md)."""


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How translations are evaluated.

    Args:
        seeds: number of classifiers of each arm.
        steps: optimisation steps of each classifier at most, of every arm alike.
        arms: names from `augmentor.evaluation.arms.TITLES`; the output's own arm and "real" are always there.
        classifier: "small", "resnet18", or the path of a ResNet-18's weights to start from.
        ratios: synthetic images for each real one, of the sweep.
        flip: whether mirrored images keep their labels; None for what the model's training assumed.
        inception: measure distances with the Inception network instead of the evaluator's own features.
    """

    seeds: int = 3
    steps: int = STEPS
    batch_size: int = 32
    arms: tuple[str, ...] = DEFAULT_ARMS
    classifier: str = "small"
    ratios: tuple[float, ...] = ()
    flip: bool | None = None
    inception: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range, by the names of their flags."""
        for flag, value in (("--seeds", self.seeds), ("--steps", self.steps)):
            if value < 1:
                raise AugmentorError(f"{flag} must be at least 1, not {value}")
        for name in self.arms:
            if name not in TITLES:
                known = f"{did_you_mean(name, TITLES)} Arms: {', '.join(TITLES)}, or all"
                raise AugmentorError(f"--arms: there is no arm {name!r}.{known}")
        if any(not 0 < ratio <= 100 for ratio in self.ratios):
            raise AugmentorError(
                f"--ratios must lie above 0 and up to 100, not {', '.join(map(str, self.ratios))}"
            )

    def to_json(self) -> dict[str, Json]:
        """Return plain JSON values."""
        return {**asdict(self), "ratios": list(self.ratios), "arms": list(self.arms)}
