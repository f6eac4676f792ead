"""Estimate of an expansion's bytes and seconds, from a few sources that are translated."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from augmentor.data import read_model_samples, sample_originals
from augmentor.expansion.job import Expansion
from augmentor.expansion.settings import RunSettings
from augmentor.expansion.stages import default_workers
from augmentor.images import encode

_TRIED_ROWS = 8
"""Sources that a dry run translates to estimate bytes and time."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated size (bytes on the disk) and duration of an expansion; None if no source could be read."""

    size: int | None
    seconds: float | None


def estimate(expansion: Expansion, settings: RunSettings) -> Estimate:
    """Translate and encode a few sources to estimate the bytes and seconds of the whole expansion."""
    shown = read_model_samples(
        expansion.manifest, expansion.model, splits=expansion.settings.splits, most=_TRIED_ROWS
    )
    if not shown.images:
        return Estimate(size=None, seconds=None)
    devices = settings.devices
    translator = expansion.translator(devices[0], settings.batch_size)
    repeated = torch.arange(translator.batch_size) % len(shown.images)
    sources = torch.from_numpy(np.stack(shown.images)).permute(0, 3, 1, 2)[repeated]
    own = torch.from_numpy(shown.codes.astype(np.int64))[repeated].clamp(min=0)  # any target takes as long
    only = expansion.model.only_target
    targets = expansion.model.space.to_one_label_set(own, own) if only is None else torch.full_like(own, only)
    originals = sample_originals(expansion.manifest, expansion.model, shown, size=expansion.settings.size, uses=1)
    translate = translator.translate if originals is None else translator.changes
    translate(sources, targets)
    started = time.monotonic()
    translated = translate(sources, targets)
    seconds = time.monotonic() - started
    if expansion.judging is not None:
        judges = expansion.judging.on(devices[0])
        judges.judge(sources, sources, targets, own)
        started = time.monotonic()
        judges.judge(sources, sources, targets, own)
        seconds += time.monotonic() - started
    translating = seconds / len(repeated) / len(devices)
    started = time.monotonic()
    sizes = []
    for index, made in enumerate(translated[: len(shown.images)]):
        pixels = made.permute(1, 2, 0).numpy() if originals is None else originals[index].changed(made)
        encoding = expansion.settings.encoding
        sizes.append(pixels.nbytes if encoding is None else len(encode(pixels, encoding)))
    writing = (time.monotonic() - started) / len(sizes) / (settings.workers or default_workers())
    plan = expansion.plan
    size = sum(sizes) * len(plan) // len(sizes)
    return Estimate(size=size, seconds=translating * plan.n_synthetic + writing * len(plan))
