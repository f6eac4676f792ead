"""Results of an evaluation, and the schema of evaluation.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self

from augmentor.storage import Json, read_declared

SCHEMA_VERSION = 1

Outcome = Literal["helps", "no difference seen", "hurts", "mixed"]
"""The verdict by the primary measure; "mixed" where it is clearly better and another measure clearly worse."""

Measure = Literal["filled", "worst_group", "balanced"]
"""Accuracy of the filled combinations, of the worst combination, and balanced; the first known is primary."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure, and the ends of the interval that holds it in 95 of 100 such evaluations."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same figure of translations and of real images; NaN where there are too few."""

    synthetic: float
    real: float


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Figures of features, which only compare with one another.

    Args:
        features: what described the images: "evaluator", the classifier of the real images, or "inception".
        frechet: Frechet distance to the real test images, of "kept", "ungated" (where that was made) and "real",
            the training images; None without torchmetrics.
        kernel: kernel distance (unbiased, squared MMD), likewise.
        within_domain: mean distance between two images of one domain.
        within_source: between two translations of one source, and between any two real training images.
        nearest: median distance to the nearest training image but the own source; "real" is of test images.
        copies: share of translations nearer to such an image than 99 % of test images are.
        unchanged: share of translations that differ from their source by less than a grey level on average.
    """

    features: str
    frechet: Mapping[str, float] | None
    kernel: Mapping[str, float] | None
    within_domain: Pair
    within_source: Pair
    nearest: Pair
    copies: float
    unchanged: float


@dataclass(frozen=True, kw_only=True)
class WorstGroup:
    """The combination of labels that is recognised worst: its name in `GroupResult`, and its accuracy there."""

    group: str
    accuracy: Interval


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """One classifier: its seed from 0, balanced accuracy, and lowest accuracy of a group (NaN without groups).

    `generator` is the number, from 0, of the output whose images it learnt from. `steps` are those that it took,
    and `converged` says whether more would bring nothing on the val images.
    """

    seed: int
    balanced: float
    worst_group: float
    generator: int = 0
    steps: int = 0
    converged: bool = False


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """Accuracy of an arm's classifiers on the real test images; shares are in [0, 1].

    Args:
        name: one of `augmentor.evaluation.arms.TITLES`; in the sweep "gated 0.5" and the like.
        ratio: synthetic images drawn for each real one; None for synthetic only.
        images: different images that it draws from, in the first fold.
        filled: mean accuracy of the combinations that were to be filled; None where none can be measured.
        balanced: mean balanced accuracy of the attributes that count.
        worst_group: None where no group has enough test images and units.
        attributes: balanced accuracy of each attribute of the label space that some test image knows.
        validation: as `balanced`, on the real val images; None without any.
    """

    name: str
    title: str
    ratio: float | None
    images: int
    filled: Interval | None = None
    balanced: Interval
    worst_group: WorstGroup | None
    attributes: Mapping[str, Interval]
    validation: float | None
    seeds: Sequence[SeedResult]


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """One combination of attributes, such as "tone=dark, woman=1", and its numbers of images.

    Args:
        domain: attribute -> value; empty for several combinations with few units, which are measured as one.
        test_units: subjects (or images without one) among its test images; below 8 there is no interval.
        accuracy: per arm, the share of its test images of which every one of its attributes is recognised.
    """

    name: str
    domain: Mapping[str, str]
    test_images: int
    test_units: int
    train_real: int
    train_synthetic: int
    accuracy: Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class ArmDifference:
    """By how much (-1 to 1) the verdict's arm is above another, on the same images and seeds, and its verdict."""

    measure: Measure
    against: str
    difference: Interval
    word: Outcome


@dataclass(frozen=True, kw_only=True)
class EvaluationVerdict:
    """The verdict on an output.

    Args:
        arm: the one that it is about, see `judged_arm`: the output with all combinations drawn equally often, or
            as it is where that was not trained.
        against: per measure, the better of the arms that need no generator.
        following: what to do next, a sentence each.
        differences: to every other arm.
        measure: the primary one, which the word follows.
        smallest_gain: true gain (0 to 1) in the primary measure over any baseline that 80 of 100 such
            evaluations see; NaN without an interval.
    """

    word: Outcome
    arm: str
    against: Mapping[Measure, str]
    sentence: str
    following: Sequence[str]
    differences: Sequence[ArmDifference]
    measure: Measure = "balanced"
    smallest_gain: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that an evaluation found.

    Args:
        fingerprint: of the output that was evaluated.
        manifest: the table's file name.
        attributes: the names of those that the expansion changed: only these count.
        counts: images of each kind: train, val, test, test_units, kept, rejected, unreadable; and generators
            and folds. Of several folds, val and test are those of all, the others the mean of a fold.
        skipped: arm -> why it is not there.
        sweep: the output's arm at other ratios of synthetic to real images.
        groups: combinations of the attributes that count with enough test images.
        filled: combinations that the output was asked to fill, as they are measured.
        unmeasured: those that have too few test units for that, with their numbers, a phrase each.
    """

    fingerprint: str
    manifest: str
    settings: Mapping[str, Json]
    attributes: Sequence[str]
    counts: Mapping[str, int]
    arms: Sequence[ArmResult]
    skipped: Mapping[str, str]
    sweep: Sequence[ArmResult]
    groups: Sequence[GroupResult]
    verdict: EvaluationVerdict
    distances: Distances
    notes: Sequence[str]
    filled: Sequence[GroupResult] = ()
    unmeasured: Sequence[str] = ()

    @classmethod
    def from_json(cls, state: object) -> Self:
        """Return what `to_json` described; what is missing or damaged is empty, 0 or NaN."""
        return read_declared(cls, state, lenient=True)

    def to_json(self) -> dict[str, Json]:
        """Return plain JSON values: shares with 6 decimals, None for what could not be measured."""
        return {"schema_version": SCHEMA_VERSION, **{name: _plain(value) for name, value in asdict(self).items()}}


def _plain(value: object) -> Json:
    match value:
        case float():
            return round(value, 6) if math.isfinite(value) else None
        case str() | int() | None:
            return value
        case Mapping():
            return {str(name): _plain(part) for name, part in value.items()}
        case Sequence():
            return [_plain(part) for part in value]
    raise TypeError(f"{type(value).__name__} is not plain")
