"""Target accuracy of a model: how often a judge recognises the requested values in its translations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

from torch import Tensor

from augmentor.errors import OutputError
from augmentor.judge.report import balanced_accuracy, doubt, recalls, rounded
from augmentor.judge.translations import JudgedTranslations, changed_targets
from augmentor.storage import Json, read_declared, replacing_text
from stargan.checkpoints import Model
from stargan.labels import UNKNOWN, LabelSpace

FILE = "obedience.json"

Level = Literal["obeys", "in part", "ignores", "not judged"]

_OBEYS, _IGNORES = 0.6, 0.3
"""Shares of the way up to the judge's accuracy on real images: from guessing, and from unchanged images."""

_LEVELS: tuple[Level, ...] = ("obeys", "in part", "ignores", "not judged")


@dataclass(frozen=True, kw_only=True)
class AttributeTargetAccuracy:
    """Target accuracy of one attribute. Shares are in [0, 1]; None where there is nothing to count.

    Args:
        obeys: share of translations into another value in which the judge recognises it, the mean over the values.
        untouched: the same share of their sources: the accuracy of a generator that does nothing.
        real: the judge's balanced accuracy on the real validation images.
        chance: the accuracy of guessing there: 1 / the number of values that they have.
        change: mean absolute difference between the translations and their sources, in grey levels (0 to 255).
        translations: their number.
        real_images: number of validation images with a label of it.
        values: `obeys` for each value.
    """

    name: str
    obeys: float | None
    untouched: float | None
    real: float | None
    chance: float
    change: float | None
    translations: int
    real_images: int
    values: dict[str, float]

    @property
    def level(self) -> Level:
        """The verdict in a word; it depends on the judge's accuracy on real images."""
        if self.obeys is None or self.untouched is None or self._doubt() is not None:
            return "not judged"
        real = self.real or 0.0
        if self.obeys >= self.chance + _OBEYS * (real - self.chance):
            return "obeys"
        if self.obeys < self.untouched + _IGNORES * (real - self.untouched):
            return "ignores"
        return "in part"

    def sentence(self) -> str:
        """Return in one sentence how the attribute fails; an empty text where it follows the target."""
        match self.level:
            case "obeys":
                return ""
            case "not judged":
                return f"{self.name} cannot be judged: {self._doubt() or 'there is nothing to translate'}."
            case level:
                doing = f"ignores {self.name}" if level == "ignores" else f"follows {self.name} only in part"
                worst = min(self.values, key=self.values.__getitem__)
                hardest = (
                    f"; the hardest is {worst} ({_percent(self.values[worst])})" if len(self.values) > 1 else ""
                )
                return (
                    f"It {doing}: {_percent(self.obeys)} of its translations show the new value, and the "
                    f"classifier recognises {_percent(self.real)} of real images{hardest}."
                )

    def _doubt(self) -> str | None:
        """Return why the judge cannot be trusted with this attribute, if so."""
        counted = {"validation images": self.real_images, "translations": self.translations}
        return doubt(self.real, chance=self.chance, counted=counted)


@dataclass(frozen=True, kw_only=True)
class TargetAccuracy:
    """Target accuracy of one checkpoint, and the schema of obedience.json.

    Args:
        step: the checkpoint's.
        sources: whose images were translated: "val", or "held out of train" where there is no such split.
        images: number of validation images.
        translations: number of translations into another value.
        judge_steps: optimisation steps of the judge.
        judge_images: number of its real training images.
        unreadable: images left out because they cannot be read.
        seconds: duration.
        identity_change: mean absolute change in grey levels (0 to 255) with the source as its own target.
        attributes: in the label space's order.
        advice: what to try where an attribute does not follow the target.
    """

    step: int
    model_sha256: str
    sources: str
    images: int
    translations: int
    judge_steps: int
    judge_images: int
    unreadable: int
    seconds: float
    identity_change: float | None
    attributes: tuple[AttributeTargetAccuracy, ...]
    advice: tuple[str, ...]

    @property
    def verdict(self) -> tuple[str, ...]:
        """The verdict in sentences: attributes by level, and what to try."""
        by_level = {level: [a for a in self.attributes if a.level == level] for level in _LEVELS}
        lines = []
        if by_level["obeys"]:
            lines.append(f"The generator follows {_enumerate([a.name for a in by_level['obeys']])}.")
        lines += [a.sentence() for level in ("in part", "ignores", "not judged") for a in by_level[level]]
        if by_level["in part"] or by_level["ignores"]:
            lines.append(f"What may help: {'; '.join(self.advice)}.")
        if by_level["not judged"]:
            lines.append(
                f"The classifier had {self.judge_steps:,} steps on {self.judge_images:,} images. For longer: "
                "augmentor judge MANIFEST --model RUN, then augmentor info RUN --manifest MANIFEST; or set "
                "judge.steps."
            )
        return tuple(lines)

    def to_json(self) -> dict[str, Json]:
        """Return everything as plain JSON values, the verdict included."""
        attributes: list[Json] = [{**asdict(attribute), "level": attribute.level} for attribute in self.attributes]
        return {
            **asdict(self),
            "attributes": attributes,
            "advice": list(self.advice),
            "verdict": list(self.verdict),
        }

    @classmethod
    def from_json(cls, state: object, *, lenient: bool = False) -> Self:
        """Return what `to_json` described; see `read_declared`."""
        return read_declared(cls, state, lenient=lenient)


def attribute_accuracies(
    predicted: Tensor, codes: Tensor, made: JudgedTranslations, space: LabelSpace
) -> tuple[AttributeTargetAccuracy, ...]:
    """Count per attribute how often a judge recognises the target's value.

    predicted, codes: (N, A) int64, predictions for the real images and their labels, -1 unknown.
    """
    wanted = changed_targets(made.targets, codes[made.rows])
    changed, values = balanced_accuracy(made.predicted, wanted, space), recalls(made.predicted, wanted, space)
    untouched = balanced_accuracy(predicted[made.rows], wanted, space)
    real = balanced_accuracy(predicted, codes, space)
    results = []
    for column, name in enumerate(space.names):
        known = codes[codes[:, column] != UNKNOWN, column]
        new = wanted[:, column] != UNKNOWN
        results.append(
            AttributeTargetAccuracy(
                name=name,
                obeys=rounded(changed[name]),
                untouched=rounded(untouched[name]),
                real=rounded(real[name]),
                chance=round(1 / max(1, len(set(known.tolist()))), 6),
                change=rounded(float(made.change[new].mean())),
                translations=int(new.sum()),
                real_images=len(known),
                values={value: round(share, 6) for value, share in values[name].items()},
            )
        )
    return tuple(results)


def write_target_accuracy(run: Path, found: TargetAccuracy) -> None:
    """Write a run folder's obedience.json, atomically; OutputError if it cannot be written."""
    try:
        with replacing_text(run / FILE) as file:
            file.write(json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputError(f"{run / FILE} cannot be written ({error.strerror or error})") from None


def read_target_accuracy(path: Path, model: Model) -> TargetAccuracy | None:
    """Return a model's target accuracy; None if it was not measured, or only of another checkpoint.

    Args:
        path: its run folder, or its checkpoint in one.
        model: the model loaded from there.

    Raises:
        OutputError: the file is damaged.
    """
    for folder in (path, path.resolve().parent.parent):
        file = folder / FILE
        if not file.is_file():
            continue
        try:
            found = TargetAccuracy.from_json(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{file} cannot be read ({error!r}). Delete it") from None
        if (found.step, found.model_sha256) == (model.step, model.sha256):
            return found
    return None


def advice(model: Model) -> tuple[str, ...]:
    """Return what to try where a model ignores an attribute, by its training settings."""
    tips = ["train longer (--resume with more --minutes or --steps)"]
    recipe = model.settings.get("recipe")
    loss = recipe.get("loss") if isinstance(recipe, dict) else None
    weight = loss.get("domain_weight") if isinstance(loss, dict) else None
    now = f" (now {weight:g})" if isinstance(weight, int | float) else ""
    tips.append(f"in a new run, a larger loss.domain_weight{now}")
    if model.generator.arguments.get("conditioning") == "concat":
        tips.append('generator.conditioning = "norm" (now "concat", which instance norm weakens as images grow)')
    height, width = model.image_size
    tips.append(f"a larger images.size where the difference is hard to see at {width} x {height} px")
    return tuple(tips)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _enumerate(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
