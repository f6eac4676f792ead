"""Judge and gate of an expansion, found from its model or from `--judge`."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, Self

import torch

from augmentor.data import is_foreign
from augmentor.errors import AugmentorError
from augmentor.judge.gate import SCORES, DeviceJudge, Gate
from augmentor.judge.stored import KeptJudge, load_judge
from augmentor.judge.thresholds import Thresholds
from augmentor.storage import Json, read_declared
from stargan.checkpoints import CheckpointError, Model, find_checkpoint, load_discriminator
from stargan.labels import LabelSpace
from stargan.networks import Discriminator

GateMode = Literal["auto", "on", "off"]
"""Whether the judge's thresholds hold; "on" also refuses requests that cannot be checked."""


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """Options of the gate.

    Args:
        gate: whether the judge's thresholds hold for scores without one here.
        thresholds: those of the user.
        ranks: whether scores are needed in any case, to select translations.
    """

    gate: GateMode
    thresholds: Thresholds
    ranks: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """The scores with a threshold of the user."""
        return tuple(name for name in SCORES if getattr(self.thresholds, name) is not None)

    @property
    def wanted(self) -> bool:
        """Whether a judge is of use."""
        return self.gate != "off" or self.needed is not None

    @property
    def needed(self) -> str | None:
        """The flag that needs a judge; None where it is optional."""
        if self.gate == "on":
            return "--gate on"
        if self.given:
            return f"--min-{self.given[0]}"
        return "--keep-best" if self.ranks else None


@dataclass(frozen=True, kw_only=True)
class TranslationJudge:
    """The judge and the gate of an expansion; can be pickled.

    Args:
        discriminator: the model's, if it has one that the judge refers to.
        mode: whether the judge's thresholds hold, except for the scores in `given`.
        given: scores whose thresholds the user gave.
    """

    kept: KeptJudge
    discriminator: Discriminator | None
    gate: Gate
    mode: GateMode = "auto"
    given: tuple[str, ...] = ()

    def on(self, device: torch.device) -> DeviceJudge:
        """Return the judge on a device."""
        return DeviceJudge(self.kept, self.discriminator, self.gate, device=device)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the gate for the user, in sentences."""
        notes = self.kept.report.doubts
        if self.mode != "off" and "agreement" not in self.given:
            return (*notes, *self.kept.notes)
        if not self.kept.report.trusted and "agreement" in self.given:
            return (*notes, "the judge can be trusted with no attribute, so --min-agreement rejects nothing")
        return notes

    def to_json(self) -> dict[str, Json]:
        """Return the parts `judge` and `gate` of `dataset.json`."""
        kept, thresholds = self.kept, self.gate.thresholds
        offers = kept.offers
        return {
            "judge": {
                "sha256": kept.sha256,
                **kept.report.to_json(),
                "trusted": list(kept.report.trusted),
                "notes": list(kept.notes),
            },
            "gate": {
                "mode": self.mode,
                "thresholds": {name: getattr(thresholds, name) for name in SCORES},
                "floor": self.gate.floor,
                "given": list(self.given),
                "offers": None if offers is None else asdict(offers),
                "lowered": self._lowered(),
            },
        }

    def _lowered(self) -> list[Json]:
        """Return the pairs of values with a lower threshold of agreement, and these thresholds."""
        if not self.gate.by_domain:
            return []
        attributes = self.kept.judge.space.attributes
        return [
            {
                "values": {attributes[column].name: attributes[column].values[code] for column, code in values},
                "agreement": round(least, 6),
            }
            for values, least in self.kept.reference.lowered()
        ]


@dataclass(frozen=True, kw_only=True)
class Unchecked:
    """Values of an attribute into which an expansion translates without a check, and the reason."""

    attribute: str
    values: tuple[str, ...]
    reason: str

    @classmethod
    def warning(cls, found: Sequence[Unchecked]) -> str:
        """Return in one paragraph what some unchecked changes mean for the user."""
        names = ", ".join(dict.fromkeys(each.attribute for each in found))
        reasons = "; ".join(dict.fromkeys(f"{each.attribute}: {each.reason}" for each in found))
        return (
            f"UNCHECKED: {names}. Translations that change this were kept without a check that they show the new "
            f"value ({reasons}). Their labels may be wrong: look at the report before you train on them. A better "
            "judge may help: augmentor judge --minutes. --gate on refuses such a request."
        )

    @classmethod
    def described(cls, description: Mapping[str, object]) -> tuple[Self, ...]:
        """Return those of a dataset.json; none of an earlier version's."""
        found = description.get("unchecked")
        return tuple(read_declared(cls, each) for each in found) if isinstance(found, list) else ()

    @classmethod
    def of(
        cls,
        judging: TranslationJudge | None,
        changed: Iterable[tuple[int, int]],
        space: LabelSpace,
        *,
        gate: GateMode,
    ) -> tuple[Self, ...]:
        """Return the unchecked ones of `changed`, the (column, code) pairs that an expansion translates into."""
        found: dict[tuple[int, str], list[str]] = {}
        for column, code in sorted(changed):
            if judging is not None and judging.gate.thresholds.agreement is not None:
                reason = judging.kept.doubt(column, code)
            elif gate == "off":
                reason = "--gate off"
            else:
                reason = "the model has no judge" if judging is None else judging.kept.doubt(column, code)
            if reason is not None:
                found.setdefault((column, reason), []).append(space.attributes[column].values[code])
        return tuple(
            cls(attribute=space.names[column], values=tuple(values), reason=reason)
            for (column, reason), values in found.items()
        )


def find_translation_judge(
    model: Model,
    path: Path,
    *,
    demands: GateSettings,
    judge: Path | None,
    crop: int | None,
    manifest: Path,
    described: Sequence[str] = (),
) -> tuple[TranslationJudge | None, tuple[str, ...]]:
    """Find the judge of an expansion, None if there is none, and remarks for the user, in sentences.

    Args:
        model: what translates.
        path: where it was loaded from: a run folder, a checkpoint or a foreign file.
        demands: options of the gate.
        judge: a folder with a judge in place of the model's; or the run of another model.
        crop: side of the square that the model's images are cut to first, or None.
        manifest: the user's table, for messages.
        described: the words of a command line that describe a foreign file, for messages.

    Raises:
        AugmentorError: the judge does not fit to the model, is damaged, or is needed and not there.
    """
    if not demands.wanted:
        return None, ()
    where = f"--model {path}" if judge is None else f"--judge {judge}"
    remedy = _remedy(path, manifest=manifest, described=described)
    try:
        own = None if is_foreign(path) else find_checkpoint(path)
        folder = own if judge is None else _judge_folder(judge)
        kept = None if folder is None else load_judge(folder)
        discriminator = None if own is None or kept is None else load_discriminator(own)
    except CheckpointError as error:
        raise AugmentorError(f"{where}: {error}") from error
    if kept is None:
        if judge is not None:
            raise AugmentorError(f"--judge {judge}: there is no judge in it (judge.json). Make one: {remedy}")
        if demands.needed is not None:
            raise AugmentorError(f"{demands.needed} needs a judge, and {path} has none. Make one: {remedy}")
        return None, (f"the model has no judge: every translation is kept, good or bad. Make one: {remedy}",)
    kept = kept.for_model(model, crop=crop, where=where)
    thresholds = demands.thresholds
    if demands.gate != "off":
        given = {name: getattr(thresholds, name) for name in demands.given}
        thresholds = replace(kept.auto, **given)
    if kept.realism is None or discriminator is None:
        if demands.thresholds.realism is not None:
            raise AugmentorError(
                f"--min-realism asks the model's discriminator, and {where} has none that its judge was tried "
                f"with. Leave it out, or make such a judge: {remedy}"
            )
        discriminator, thresholds = None, replace(thresholds, realism=None)
    judging = TranslationJudge(
        kept=kept,
        discriminator=discriminator,
        gate=Gate(
            thresholds=thresholds,
            by_domain=demands.gate != "off" and demands.thresholds.agreement is None,
            floor=None if demands.gate == "off" or discriminator is None or thresholds.realism else kept.floor,
        ),
        mode=demands.gate,
        given=demands.given,
    )
    return judging, judging.notes


def _judge_folder(judge: Path) -> Path:
    """Return the folder that `--judge` means: itself, or the newest checkpoint of a run."""
    return find_checkpoint(judge) if (judge / "checkpoints").is_dir() else judge


def _remedy(path: Path, *, manifest: Path, described: Sequence[str]) -> str:
    made = shlex.join(["augmentor", "judge", str(manifest), "--model", str(path), *described])
    return f"{made} --out JUDGE, then expand with --judge JUDGE" if is_foreign(path) else made
