"""Accuracy of a judge on real validation images, and the attributes that it can be trusted with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from torch import Tensor

from augmentor.judge.calibration import calibration_error
from augmentor.storage import Json, read_declared
from stargan.labels import UNKNOWN, LabelSpace

_KNOWS = 0.5
"""Share of the way from guessing to no mistakes that a judge must reach on real images to be trusted."""

_FEWEST = 8
"""Number of images below which a share is not trusted."""


def share_right(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, float]:
    """Return per attribute the share of rows whose predicted value is the wanted one; NaN where none is known.

    predicted, wanted: (N, A) int64; wanted -1 is unknown, and left out.
    """
    shares = {}
    for name, found, want in zip(space.names, predicted.T, wanted.T, strict=True):
        known = want != UNKNOWN
        shares[name] = float((found[known] == want[known]).double().mean()) if known.any() else float("nan")
    return shares


def balanced_accuracy(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, float]:
    """Return per attribute the mean of its values' recalls, of (N, A) int64 codes; wanted -1 is unknown."""
    return {
        name: sum(shares.values()) / len(shares) if shares else float("nan")
        for name, shares in recalls(predicted, wanted, space).items()
    }


def recalls(predicted: Tensor, wanted: Tensor, space: LabelSpace) -> dict[str, dict[str, float]]:
    """Return recall per attribute and value that occurs, of (N, A) int64 codes, wanted -1 unknown."""
    return {
        attribute.name: {
            value: float((found[want == code] == code).double().mean())
            for code, value in enumerate(attribute.values)
            if (want == code).any()
        }
        for attribute, found, want in zip(space.attributes, predicted.T, wanted.T, strict=True)
    }


def doubt(accuracy: float | None, *, chance: float, counted: Mapping[str, int]) -> str | None:
    """Return why a judge cannot be trusted with an attribute; None where it can.

    Args:
        accuracy: its balanced accuracy on real validation images, 0 to 1; None where no label of them is known.
        chance: the accuracy of guessing: 1 / the number of values that these images have.
        counted: the numbers behind the figures, for example {"validation images": 40}.
    """
    if accuracy is None:
        return "no validation image has a label for it"
    if chance >= 1:
        return "the validation images have one value of it only"
    fewest, what = min((count, what) for what, count in counted.items())
    if fewest < _FEWEST:
        return f"{fewest} {what} are too few"
    if accuracy < chance:
        return (
            f"the classifier itself is worse than guessing: right about {accuracy:.0%} of real images (guessing: "
            f"{chance:.0%})"
        )
    if accuracy < chance + _KNOWS * (1 - chance):
        return f"the classifier itself is right about only {accuracy:.0%} of real images (guessing: {chance:.0%})"
    return None


def meaningful(accuracy: float | None, chance: float) -> tuple[float | None, float | None]:
    """Return a judge's accuracy and that of guessing for a table; neither where the images have one value only."""
    return (accuracy, chance) if chance < 1 else (None, None)


def rounded(value: float) -> float | None:
    """Return a number with 6 decimals for JSON: None in place of NaN."""
    return None if math.isnan(value) else round(value, 6)


@dataclass(frozen=True, kw_only=True)
class AttributeAccuracy:
    """Accuracy of a judge on real validation images for one attribute. Shares are in [0, 1]; None: nothing known.

    Args:
        accuracy: balanced accuracy.
        chance: the accuracy of guessing: 1 / the number of values that the images have.
        values: recall of each value.
        real_images: how many have a label of it.
        temperature: divisor of its logits.
        error_before: expected calibration error of the bare logits.
        error_after: the same with temperatures that were fitted on the other half of the subjects.
        doubt: why the judge cannot be trusted with it; None where it can.
        confusion: for each of `values`, the number of its images predicted as each of them.
    """

    name: str
    accuracy: float | None
    chance: float
    values: dict[str, float]
    real_images: int
    temperature: float
    error_before: float | None
    error_after: float | None
    doubt: str | None
    confusion: tuple[tuple[int, ...], ...]

    @property
    def trusted(self) -> bool:
        """Whether translations may be rejected for this attribute."""
        return self.doubt is None

    @property
    def shown(self) -> tuple[float | None, float | None]:
        """`accuracy` and `chance` for a table; see `meaningful`."""
        return meaningful(self.accuracy, self.chance)


@dataclass(frozen=True, kw_only=True)
class JudgeReport:
    """Training and accuracy of a judge, as judge.json holds them.

    Args:
        steps: optimisation steps.
        images: number of real training images.
        validation: source of the validation images: "val", "held out of train" or "val and held out of train".
        attributes: in the label space's order.
        rare: values and combinations without a validation image, with their numbers of training images.
    """

    steps: int
    images: int
    validation: str
    attributes: tuple[AttributeAccuracy, ...]
    rare: tuple[str, ...] = ()

    @property
    def trusted(self) -> tuple[str, ...]:
        """Names of the attributes that it can be trusted with."""
        return tuple(attribute.name for attribute in self.attributes if attribute.trusted)

    @property
    def doubts(self) -> tuple[str, ...]:
        """A sentence for each attribute that it cannot be trusted with."""
        return tuple(
            f"{attribute.name} is not gated on: {attribute.doubt}"
            for attribute in self.attributes
            if not attribute.trusted
        )

    def to_json(self) -> dict[str, Json]:
        """Return everything as plain JSON values, `trusted` included."""
        attributes: list[Json] = [{**asdict(each), "trusted": each.trusted} for each in self.attributes]
        return {**asdict(self), "attributes": attributes}

    @classmethod
    def from_json(cls, state: object, *, lenient: bool = False) -> Self:
        """Return what `to_json` described; see `read_declared`."""
        return read_declared(cls, state, lenient=lenient)


def judged_attributes(
    logits: Tensor,
    predicted: Tensor,
    codes: Tensor,
    *,
    temperatures: Tensor,
    space: LabelSpace,
    held_out: Tensor | None = None,
) -> tuple[AttributeAccuracy, ...]:
    """Compare a judge's predictions for real validation images with their labels.

    logits: (N, D); predicted, codes: (N, A) int64, -1 unknown; temperatures: (A,), fitted on these images;
    held_out: (N, A) temperatures that were fitted on others, for the error after calibration.
    """
    accuracy, values = balanced_accuracy(predicted, codes, space), recalls(predicted, codes, space)
    before = calibration_error(logits, codes, space)
    heats = temperatures if held_out is None else held_out
    after = calibration_error(logits, codes, space, temperatures=heats)
    judged = []
    for name, column, seen, temperature in zip(
        space.names, codes.T, predicted.T, temperatures.tolist(), strict=True
    ):
        known = column[column != UNKNOWN]
        there = known.unique().tolist()
        chance = round(1 / max(1, len(there)), 6)
        judged.append(
            AttributeAccuracy(
                name=name,
                accuracy=rounded(accuracy[name]),
                chance=chance,
                values={value: round(share, 6) for value, share in values[name].items()},
                real_images=len(known),
                temperature=temperature,
                error_before=rounded(before[name]),
                error_after=rounded(after[name]),
                doubt=doubt(rounded(accuracy[name]), chance=chance, counted={"validation images": len(known)}),
                confusion=tuple(
                    tuple(int(((column == real) & (seen == code)).sum()) for code in there) for real in there
                ),
            )
        )
    return tuple(judged)
