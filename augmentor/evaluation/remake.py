"""Translations that the judge rejected, made again for the ungated arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from augmentor.data import open_model
from augmentor.errors import AugmentorError, ImageError
from augmentor.evaluation.data import EvaluationData, as_written
from augmentor.images import Original, Pixels, decode
from augmentor.judge import LabelledImages
from augmentor.outputs import seed_of
from stargan.checkpoints import Model
from stargan.inference import Translator
from stargan.labels import UNKNOWN, LabelSpace

_BATCH = 256


class CannotRemakeError(Exception):
    """The rejected translations cannot be made again; the message gives the reason."""


def load_output_model(data: EvaluationData, given: Path | None) -> Model:
    """Load the model that the output was made with, from `--model` or the place that the output noted.

    Raises:
        AugmentorError: the given model cannot be loaded, or is another one.
        CannotRemakeError: none was given, and where it was there is none now, or another one.
    """
    path = given or data.output.model_path
    if path is None:
        raise CannotRemakeError("the output does not say where its model is: give it with --model")
    try:
        model = open_model(path)
    except AugmentorError as error:
        if given is not None:
            raise
        raise CannotRemakeError(f"the model is not at {path} any more: give it with --model ({error})") from error
    if model.sha256 == data.output.model_sha256:
        return model
    if given is not None:
        raise AugmentorError(f"--model {path}: is another model than {data.output.out} was made with")
    raise CannotRemakeError(f"{path} holds another model by now: give the one of this output with --model")


def draw_ungated(data: EvaluationData) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw translations as without the gate, as many per domain as were kept: positions in `kept`, in `rejected`.

    Both arms then have equal counts, so that they differ in what the gate looks at, not in how many there are.
    """
    codes = _codes(data.rejected.table, data.output.space)
    kept = [tuple(row) for row in data.kept.codes.tolist()]
    rejected = [tuple(row) for row in codes.tolist()]
    counts = Counter(kept)
    candidates: dict[tuple[int, ...], list[int]] = {}
    for number, domain in enumerate([*kept, *rejected]):
        candidates.setdefault(domain, []).append(number)
    random = np.random.default_rng(0)
    drawn = np.concatenate(
        [
            random.choice(numbers, size=counts[domain], replace=False)
            for domain, numbers in sorted(candidates.items())
        ]
    )
    drawn.sort()
    return drawn[drawn < len(kept)], drawn[drawn >= len(kept)] - len(kept)


def remake(
    data: EvaluationData, chosen: NDArray[np.intp], *, model: Model, device: torch.device
) -> LabelledImages:
    """Translate the sources of rejected translations (positions in `rejected`) again, but for unreadable ones."""
    output, manifest = data.output, data.manifest
    targets = _codes(data.rejected.table, output.space)[chosen]
    if not bool(model.supports(torch.from_numpy(targets)).all()):
        raise CannotRemakeError("they were made with unknown labels, which the model's file has not learnt from")
    rows, keys = data.rejected.rows[chosen], data.rejected.table["key"].to_numpy()[chosen].tolist()
    translator = Translator(model, device=device, precision=output.precision)
    images, codes = list[Pixels](), list[NDArray[np.int64]]()
    for start in range(0, len(rows), _BATCH):
        some, wanted = rows[start : start + _BATCH], targets[start : start + _BATCH]
        found = [
            (i, source) for i, row in enumerate(some) if (source := _source(data, model, int(row))) is not None
        ]
        if not found:
            continue
        there = [i for i, _ in found]
        pixels = torch.from_numpy(np.stack([source for _, source in found])).permute(0, 3, 1, 2)
        own = torch.from_numpy(manifest.codes[some[there]].astype(np.int64))
        one_set = output.space.to_one_label_set(torch.from_numpy(wanted[there]), own)
        seeds = torch.tensor([seed_of(keys[start + i]) for i in there])
        if output.full_size:
            made = _blended(data, model, some[there], translator.changes(pixels, one_set, seeds))
        else:
            made = iter(translator.translate(pixels, one_set, seeds).permute(0, 2, 3, 1).numpy())
        images += [as_written(image, output) for image in made]
        codes += list(wanted[there])
    stacked = np.array(codes, dtype=np.int64).reshape(-1, len(output.space))
    return LabelledImages.stack(images, stacked, size=output.size, channels=output.channels)


def _source(data: EvaluationData, model: Model, row: int) -> Pixels | None:
    """Return a source as the model sees it; None if it cannot be read."""
    try:
        return decode(
            data.manifest.image_path(row),
            size=model.image_size,
            channels=model.image_channels,
            crop=data.output.crop,
            access=data.manifest.access,
        )
    except ImageError:
        return None


def _blended(
    data: EvaluationData, model: Model, rows: NDArray[np.intp], changes: torch.Tensor
) -> Iterator[Pixels]:
    """Yield sources at the output's size with changes blended in."""
    output, manifest = data.output, data.manifest
    for row, change in zip(rows.tolist(), changes, strict=True):
        original = Original(
            manifest.image_path(row),
            size=output.size,
            model=model,
            crop=output.crop,
            uses=1,
            access=manifest.access,
        )
        yield original.changed(change)


def _codes(table: pd.DataFrame, space: LabelSpace) -> NDArray[np.int64]:
    """Return (N, A) codes of a table's cells, -1 for blanks and for what is no value."""
    columns = [
        pd.Index(attribute.values).get_indexer(pd.Index(table[attribute.name])) for attribute in space.attributes
    ]
    codes = np.stack(columns, axis=1).astype(np.int64) if columns else np.empty((len(table), 0), dtype=np.int64)
    codes[codes < 0] = UNKNOWN
    return codes
