"""Verdict on a model: how often a judge recognises the requested values, and distances to real images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from augmentor.errors import OutputError
from augmentor.judge.data import subject_halves
from augmentor.judge.distances import (
    TORCHMETRICS,
    DomainDistance,
    FeatureDistance,
    FeatureSet,
    domain_distances,
)
from augmentor.judge.report import balanced_accuracy, doubt, meaningful, recalls, rounded
from augmentor.judge.translations import JudgedTranslations, changed_targets
from augmentor.storage import Json, read_declared, replacing_text
from stargan.checkpoints import Model
from stargan.labels import UNKNOWN, LabelSpace

FILE = "obedience.json"

Level = Literal["obeys", "in part", "ignores", "not judged"]

_OBEYS, _IGNORES = 0.6, 0.3
"""Shares of the way up to the judge's accuracy on real images: from guessing, and from unchanged images."""

_FEWEST = 10
"""Images that a domain needs in each half of the validation subjects."""

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
        absent: values that no validation image has; translations into them are not counted.
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
    absent: tuple[str, ...] = ()

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

    @property
    def shown(self) -> tuple[float | None, float | None, float | None, float | None]:
        """The shares for a table: `obeys`, `untouched`, `real` and `chance`, None where they mean nothing.

        A judge that cannot be trusted says nothing about translations, and one value of an attribute nothing
        about the judge.
        """
        judged = self.level != "not judged"
        measured = (self.obeys, self.untouched) if judged else (None, None)
        return (*measured, *meaningful(self.real, self.chance))

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
class DomainRealism:
    """Distances of translations into a domain to real images of it of other subjects, on the judge's features.

    Args:
        domain: for example "smile=1, woman=0".
        images: number in each set that is compared with these real images.
        frechet, kernel: distances of the translations.
        frechet_identity, kernel_identity: those of their sources, untranslated.
        frechet_floor, kernel_floor: those of real images of the domain.
        frechet_ratio, kernel_ratio: to the floor; None where that is 0 or less.
    """

    domain: str
    images: int
    frechet: float
    frechet_identity: float
    frechet_floor: float
    frechet_ratio: float | None
    kernel: float
    kernel_identity: float
    kernel_floor: float
    kernel_ratio: float | None


@dataclass(frozen=True, kw_only=True)
class TargetAccuracy:
    """Target accuracy of one checkpoint, and the schema of obedience.json.

    Args:
        step: the checkpoint's.
        sources: whose images were translated: "val", "held out of train" where there is no such split, or
            "val and held out of train" where val lacks labels that train has.
        images: number of validation images.
        translations: number of translations into another value.
        judge_steps: optimisation steps of the judge.
        judge_images: number of its real training images.
        unreadable: images left out because they cannot be read.
        seconds: duration.
        identity_change: mean absolute change in grey levels (0 to 255) with the source as its own target.
        attributes: in the label space's order.
        advice: what to try where an attribute does not follow the target.
        domains: distances per target domain; empty where none was measured.
        distances_left_out: a sentence for each domain that was not measured, or for all of them.
        mask_share: mean of the generator's mask, 1 = all repainted; None for one without a mask.
        hue_introduced: mean chroma of translations of grey images in grey levels; None where no image is grey.
        detail: distance of the translations' fine detail to that of real images of other subjects, as a ratio to
            that of their sources, see `detail_ratio`; None where it was not measured.
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
    domains: tuple[DomainRealism, ...] = ()
    distances_left_out: tuple[str, ...] = ()
    mask_share: float | None = None
    hue_introduced: float | None = None
    detail: float | None = None

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
        absent = [f"{a.name}={value}" for a in self.attributes if a.level != "not judged" for value in a.absent]
        if absent:
            lines.append(f"No validation image has {_enumerate(absent)}: translations into it cannot be judged.")
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
            "domains": [asdict(domain) for domain in self.domains],
            "distances_left_out": list(self.distances_left_out),
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
    for column, targets in enumerate(wanted.T):
        targets[~torch.isin(targets, codes[:, column])] = UNKNOWN
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
                absent=tuple(value for code, value in enumerate(space[name].values) if not (known == code).any()),
            )
        )
    return tuple(results)


def domain_realism(
    made: JudgedTranslations,
    real: FeatureSet,
    *,
    groups: Sequence[str],
    space: LabelSpace,
    go_on: Callable[[], bool],
) -> tuple[tuple[DomainRealism, ...], tuple[str, ...]]:
    """Compare translations of real images with those of other subjects; return the domains, and what is left out.

    The subjects are cut into two halves. A half's translations and its real images are compared with the other
    half's real images, and the figures of both are averaged. A domain is a combination of all attributes; where
    there are too few images of each, it is a value of one.

    Args:
        made: the translations, with the judge's features.
        real: the judge's features of the real images that were translated, with their labels.
        groups: the subject of each real image, "" where it has none.
        space: the label space.
        go_on: False leaves out the domains that are not measured yet.
    """
    if not TORCHMETRICS:
        return (), ("not measured (extra evaluate)",)
    halves = subject_halves(groups)

    def measured(columns: Sequence[int]) -> tuple[list[DomainRealism], list[str]]:
        found, left_out = dict[str, list[DomainDistance]](), list[str]()
        for half in (False, True):
            scored, into = halves == half, halves[made.rows] == half
            distances = domain_distances(
                {"translations": made.features[into], "identity": real.features[made.rows[into]]},
                targets=made.targets[into],
                own=real.codes[made.rows[into]],
                real=FeatureSet(real.features[scored], real.codes[scored]),
                reference=FeatureSet(real.features[~scored], real.codes[~scored]),
                space=space,
                columns=columns,
                fewest=_FEWEST,
                go_on=go_on,
            )
            if distances is not None:
                left_out += distances.left_out
                for each in distances.domains:
                    found.setdefault(each.domain, []).append(each)
        missing = [text for text in left_out if text.partition(": ")[0] not in found]
        first = {text.partition(": ")[0]: text for text in reversed(missing)}
        return [_of_halves(found[name]) for name in sorted(found)], [first[name] for name in sorted(first)]

    together, missing = measured(range(len(space)))
    if together or len(space) == 1:
        return tuple(together), tuple(missing)
    single = [measured([column]) for column in range(len(space))]
    return tuple(each for found, _ in single for each in found), tuple(
        text for _, texts in single for text in texts
    )


def _of_halves(found: Sequence[DomainDistance]) -> DomainRealism:
    """Return the means of a domain's figures over the halves of the subjects."""

    def mean(values: Sequence[FeatureDistance]) -> FeatureDistance:
        frechets, kernels = zip(*values, strict=True)
        return FeatureDistance(sum(frechets) / len(values), sum(kernels) / len(values))

    made, identity = (mean([each.of[name] for each in found]) for name in ("translations", "identity"))
    floor = mean([each.floor for each in found])
    return DomainRealism(
        domain=found[0].domain,
        images=sum(each.images for each in found),
        frechet=round(made.frechet, 6),
        frechet_identity=round(identity.frechet, 6),
        frechet_floor=round(floor.frechet, 6),
        frechet_ratio=round(made.frechet / floor.frechet, 6) if floor.frechet > 0 else None,
        kernel=round(made.kernel, 6),
        kernel_identity=round(identity.kernel, 6),
        kernel_floor=round(floor.kernel, 6),
        kernel_ratio=round(made.kernel / floor.kernel, 6) if floor.kernel > 0 else None,
    )


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
