"""Files of a judge beside a model: its weights, its report and its reference data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from augmentor.errors import AugmentorError, OutputError
from augmentor.judge.classifier import Judge, new_network
from augmentor.judge.report import JudgeReport
from augmentor.judge.thresholds import AgreementReference, Offers, Thresholds
from augmentor.storage import replace_bytes, replacing_text
from stargan.checkpoints import (
    CheckpointError,
    Model,
    find_checkpoint,
    json_sha256,
    read_safetensors,
    safetensors_bytes,
    weights_of,
)
from stargan.labels import LabelSpace

WEIGHTS, DESCRIPTION = "judge.safetensors", "judge.json"
"""File names in a checkpoint or another folder."""

_FORMAT = 2

_MEAN, _TEMPERATURES = "reference.mean", "reference.temperatures"

_PROBABILITIES, _CODES, _HALF = "reference.probabilities", "reference.codes", "reference.half"


@dataclass(frozen=True, kw_only=True)
class KeptJudge:
    """A calibrated judge with its reference data for scores and thresholds.

    Args:
        report: its accuracy on real validation images.
        image_size: (height, width) of its images, in pixels.
        image_channels: 1 or 3.
        crop: side of the centred square that is cut out of images first, or None.
        mean: (F,) float32, the features of real validation images.
        realism: D's scores of real validation images, sorted, 1001 quantiles at most; None without D.
        preserved: similarities of pairs of images of different subjects, sorted, 1001 quantiles at most.
        auto: the thresholds from real validation images.
        floor: score of D that translations must reach where no threshold of realism could be calibrated.
        notes: remarks on the thresholds, in sentences.
        model_sha256: of the weights that `realism` belongs to; None without a model.
        sha256: of the stored content; "" before it is saved.
    """

    judge: Judge
    report: JudgeReport
    image_size: tuple[int, int]
    image_channels: int
    crop: int | None
    mean: Tensor
    realism: tuple[float, ...] | None
    preserved: tuple[float, ...]
    auto: Thresholds
    reference: AgreementReference
    floor: float | None = None
    notes: tuple[str, ...] = ()
    model_sha256: str | None = None
    sha256: str = field(default="")

    @property
    def offers(self) -> Offers | None:
        """Accuracy of the threshold of agreement on real validation images; None if not measured."""
        return self.reference.offers

    def doubt(self, column: int, code: int) -> str | None:
        """Return why translations into a value cannot be checked; None where they can."""
        attribute = self.judge.space.attributes[column]
        reason = self.report.attributes[column].doubt
        if reason is None and not self.reference.knows(column, code):
            return f"no validation image has {attribute.name}={attribute.values[code]}"
        return reason

    def for_model(self, model: Model, *, crop: int | None, where: str) -> KeptJudge:
        """Return the judge for use with a model: without the realism of another model's discriminator.

        `crop` is that of the model's images; `where` is what the judge came from, for the message.

        Raises:
            AugmentorError: it knows other attributes, or other images.
        """
        others = [
            f"{what} {_plain(mine)}, not {_plain(its)}"
            for what, mine, its in (
                ("attributes", self.judge.space.to_json(), model.space.to_json()),
                ("images of (height, width)", self.image_size, model.image_size),
                ("channels", self.image_channels, model.image_channels),
                ("crop", self.crop, crop),
            )
            if mine != its
        ]
        if others:
            raise AugmentorError(
                f"{where}: the judge does not fit the model: it knows {'; '.join(others)}. Make one that does: "
                "augmentor judge MANIFEST --model RUN"
            )
        if self.realism is None or self.model_sha256 == model.sha256:
            return self
        return replace(self, realism=None, floor=None, auto=replace(self.auto, realism=None))


def save_judge(folder: Path, kept: KeptJudge) -> KeptJudge:
    """Write judge.safetensors and judge.json, and return the judge with its `sha256`.

    An interruption leaves no judge, or the new one.

    Raises:
        OutputError: it cannot be written.
    """
    packed = safetensors_bytes(
        {
            **weights_of(kept.judge.network),
            _MEAN: kept.mean.float(),
            _TEMPERATURES: kept.judge.temperatures.float(),
            _PROBABILITIES: kept.reference.probabilities.float(),
            _CODES: kept.reference.codes,
            **({} if kept.reference.half is None else {_HALF: kept.reference.half.to(torch.uint8)}),
        }
    )
    description: dict[str, object] = {
        "format": _FORMAT,
        "network": kept.judge.network.kind,
        "label_space": kept.judge.space.to_json(),
        "image_size": list(kept.image_size),
        "image_channels": kept.image_channels,
        "crop": kept.crop,
        "model_sha256": kept.model_sha256,
        "report": kept.report.to_json(),
        "auto": asdict(kept.auto),
        "offers": None if kept.offers is None else asdict(kept.offers),
        "notes": list(kept.notes),
        "realism": None if kept.realism is None else list(kept.realism),
        "preserved": list(kept.preserved),
        "floor": kept.floor,
        "files": {WEIGHTS: hashlib.sha256(packed).hexdigest()},
    }
    sealed = json_sha256(description)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The old description does not fit the new weights.
        (folder / DESCRIPTION).unlink(missing_ok=True)
        replace_bytes(folder / WEIGHTS, packed)
        with replacing_text(folder / DESCRIPTION) as file:
            file.write(json.dumps({**description, "sha256": sealed}, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise OutputError(f"{folder}: the judge cannot be written ({error.strerror or error})") from None
    return replace(kept, sha256=sealed)


def load_judge(folder: Path) -> KeptJudge | None:
    """Return the judge in a checkpoint or another folder; None if there is none.

    Raises:
        CheckpointError: it is damaged, was edited, or is of another layout.
    """
    file = folder / DESCRIPTION
    if not file.exists():
        return None
    remedy = f". Delete {file}, and make it anew: augmentor judge MANIFEST"
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}{remedy}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise CheckpointError(f"{file} is not a judge of format {_FORMAT}{remedy}")
    sealed = state.pop("sha256", None)
    if sealed != json_sha256(state):
        raise CheckpointError(f"{file} is damaged, or was edited: its content does not have its SHA-256{remedy}")
    try:
        tensors = read_safetensors(folder / WEIGHTS, sha256=state["files"][WEIGHTS], remedy=remedy)
        return _restored(state, tensors, sha256=sealed)
    except CheckpointError:
        raise
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} does not describe a judge: {error}{remedy}") from error


def open_judge(path: Path) -> KeptJudge | None:
    """Return the judge that `--model` or `--judge` means; None if there is none.

    Args:
        path: a run folder (its best checkpoint's), a checkpoint, a judge's own folder, or a foreign file.

    Raises:
        AugmentorError: it is damaged.
    """
    try:
        if (path / "checkpoints").is_dir():
            return load_judge(find_checkpoint(path))
        return load_judge(path)
    except CheckpointError as error:
        raise AugmentorError(str(error)) from error


def _restored(state: dict[str, Any], tensors: dict[str, Tensor], *, sha256: str) -> KeptJudge:
    space = LabelSpace.from_json(state["label_space"])
    height, width = state["image_size"]
    mean, temperatures = tensors.pop(_MEAN), tensors.pop(_TEMPERATURES)
    probabilities, codes = tensors.pop(_PROBABILITIES), tensors.pop(_CODES)
    half = tensors.pop(_HALF, None)
    report = JudgeReport.from_json(state["report"])
    trusted = torch.tensor([attribute.trusted for attribute in report.attributes], dtype=torch.bool)
    with torch.device("meta"):  # Random initial weights, 11 million of them, would only be replaced.
        # Older judges, which do not say so, are a ResNet-18.
        network = new_network(
            state.get("network", "resnet"),
            state["image_channels"],
            side=min(height, width),
            outputs=len(tensors["head.weight"]),
        )
    network.load_state_dict(tensors, assign=True)
    # The memory layout of training: another one sums in another order.
    network.requires_grad_(False).to(memory_format=torch.channels_last).eval()
    return KeptJudge(
        judge=Judge(network=network, space=space, temperatures=temperatures),
        report=report,
        image_size=(height, width),
        image_channels=state["image_channels"],
        crop=state["crop"],
        mean=mean,
        realism=None if state["realism"] is None else tuple(state["realism"]),
        preserved=tuple(state["preserved"]),
        auto=Thresholds(**{each.name: state["auto"][each.name] for each in fields(Thresholds)}),
        reference=AgreementReference(
            probabilities=probabilities,
            codes=codes.long(),
            space=space,
            trusted=trusted,
            half=None if half is None else half.bool(),
        ),
        floor=state.get("floor"),
        notes=tuple(state["notes"]),
        model_sha256=state["model_sha256"],
        sha256=sha256,
    )


def _plain(value: object) -> str:
    if isinstance(value, list):  # of attributes
        return ", ".join(f"{each['name']} ({'|'.join(each['values'])})" for each in value)
    return str(value)
