"""Predictions of finished classifiers on disk, so that an interrupted evaluation continues."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from augmentor.evaluation.arms import TrainingArm
from augmentor.evaluation.result import Distances
from augmentor.judge import TORCHMETRICS, LabelledImages
from augmentor.storage import Json, read_declared, replace_bytes

_VERSION = 4
"""Raised when the same settings would train another classifier."""


class Predictions(NamedTuple):
    """One classifier's predictions for the real test images, (N, A) int16, and val images, (M, A) int16.

    `steps` are those that it took, and `converged` says whether more would bring nothing.
    """

    test: NDArray[np.int16]
    val: NDArray[np.int16]
    steps: int
    converged: bool


class EvaluationCache:
    """A folder with a small file for each trained classifier, by its arm, seed and the `common` settings."""

    def __init__(self, folder: Path, common: Mapping[str, Json]) -> None:
        self.folder = folder
        self._common = {"version": _VERSION, **common}
        self._digests: dict[int, str] = {}

    def read(self, arm: TrainingArm, seed: int) -> Predictions | None:
        """Return a classifier's predictions; None where it is to be trained, or its file is damaged."""
        try:
            with np.load(self._path(arm, seed), allow_pickle=False) as kept:
                steps, converged = int(kept["steps"]), bool(kept["converged"])
                return Predictions(test=kept["test"], val=kept["val"], steps=steps, converged=converged)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def write(self, arm: TrainingArm, seed: int, predictions: Predictions) -> None:
        """Write a classifier's predictions."""
        data = io.BytesIO()
        np.savez_compressed(data, **predictions._asdict())
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_bytes(self._path(arm, seed), data.getvalue())

    def read_distances(self, sets: Mapping[str, LabelledImages | None], features: str) -> Distances | None:
        """Return the distances between sets of images, if they were measured with these features before."""
        try:
            return read_declared(Distances, json.loads(self._distances_path(sets, features).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_distances(
        self, sets: Mapping[str, LabelledImages | None], features: str, distances: Distances
    ) -> None:
        """Write the distances."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_bytes(self._distances_path(sets, features), json.dumps(asdict(distances)).encode())

    def _distances_path(self, sets: Mapping[str, LabelledImages | None], features: str) -> Path:
        digests = {name: self._digest(data) for name, data in sets.items() if data is not None}
        state = {**self._common, "sets": digests, "features": features, "torchmetrics": TORCHMETRICS}
        return self.folder / f"distances-{_key(state)}.json"

    def _path(self, arm: TrainingArm, seed: int) -> Path:
        pools: list[Json] = [
            {"data": self._digest(pool.data), "share": pool.share, "weighted": pool.weights is not None}
            for pool in (*arm.pretraining, *arm.pools)
        ]
        arms: dict[str, Json] = {"pools": pools, "augment": arm.augment, "loss": arm.loss}
        state: dict[str, Json] = {**self._common, **arms, "pretraining": len(arm.pretraining)}
        return self.folder / f"{arm.name.replace(' ', '-')}-{seed}-{_key(state)}.npz"

    def _digest(self, data: LabelledImages) -> str:
        """Return the SHA-256 of images, which are in many arms, once."""
        if id(data) not in self._digests:
            self._digests[id(data)] = digest(data)
        return self._digests[id(data)]


def _key(state: Mapping[str, Json]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


def digest(data: LabelledImages) -> str:
    """Return the SHA-256 of images and labels."""
    found = hashlib.sha256(data.images.numpy().tobytes())
    found.update(data.codes.numpy().tobytes())
    return found.hexdigest()
