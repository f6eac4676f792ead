"""Distances of features of which it is known how far apart they are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from augmentor.data.manifest import read_manifest
from augmentor.evaluation.data import EvaluatedOutput, EvaluationData
from augmentor.evaluation.distances import measure_distances
from augmentor.evaluation.lineage import TracedTranslations
from augmentor.evaluation.result import Distances
from augmentor.judge.data import LabelledImages
from stargan.labels import Attribute, LabelSpace

SPACE = LabelSpace(attributes=(Attribute(name="mark"),))


def extract(images: Tensor) -> Tensor:
    """The corner's and the centre's colour: six numbers from 0 to 1."""
    return torch.cat([images[:, :, 0, 0], images[:, :, 4, 4]], dim=1) / 255


def noise(count: int, seed: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8))


def material(tmp_path: Path, kept: Tensor, *, sources: list[int] | None = None) -> EvaluationData:
    (tmp_path / "manifest.csv").write_text("path,mark\na.png,0\nb.png,1\n")

    def labelled(images: Tensor) -> LabelledImages:
        return LabelledImages(images=images, codes=(torch.arange(len(images)) % 2)[:, None])

    return EvaluationData(
        output=EvaluatedOutput(
            out=tmp_path, space=SPACE, size=(8, 8), channels=3, crop=None, encoding=None, full_size=False,
            gated=False, model_path=None, model_sha256="", precision="auto", fingerprint="",
        ),
        manifest=read_manifest(tmp_path / "manifest.csv"),
        changed=(0,),
        filled=(),
        train=labelled(noise(200, 0)),
        val=labelled(noise(10, 1)),
        test=labelled(noise(200, 2)),
        train_rows=np.arange(200),
        test_rows=np.arange(200),
        kept=labelled(kept),
        kept_sources=np.arange(len(kept)) if sources is None else np.array(sources),
        rejected=TracedTranslations(pd.DataFrame(), np.zeros(0, dtype=np.intp)),
        unreadable=0,
        notes=(),
    )  # fmt: skip


def measured(tmp_path: Path, kept: Tensor, *, sources: list[int] | None = None) -> Distances:
    made = material(tmp_path, kept, sources=sources)
    return measure_distances(made, ungated=None, extract=extract, features="evaluator")


def test_images_like_any_others_are_neither_far_nor_copies(tmp_path: Path) -> None:
    found = measured(tmp_path, noise(200, 3))
    assert found.frechet is not None
    assert found.kernel is not None
    # White noise again: as far from test as the training images are, within the noise of 200 of them.
    assert found.frechet["kept"] == pytest.approx(found.frechet["real"], rel=0.5)
    assert abs(found.kernel["kept"]) < 0.05
    assert found.copies < 0.05
    assert found.unchanged == 0
    assert found.within_domain.synthetic == pytest.approx(found.within_domain.real, rel=0.1)
    assert found.nearest.synthetic == pytest.approx(found.nearest.real, rel=0.2)


def test_copies_of_other_training_images_are_found(tmp_path: Path) -> None:
    train = noise(200, 0)
    found = measured(tmp_path, train, sources=[*range(1, 200), 0])
    assert found.copies == 1
    assert found.nearest.synthetic == 0
    assert found.unchanged == 0
    # What is its own source is not a copy, but it is not changed either.
    same = measured(tmp_path, train)
    assert same.copies < 0.1
    assert same.unchanged == 1


def test_one_and_the_same_image_again_and_again_has_no_diversity_and_is_far(tmp_path: Path) -> None:
    found = measured(tmp_path, noise(1, 3).expand(50, -1, -1, -1), sources=[0] * 25 + [1] * 25)
    assert found.within_domain.synthetic == pytest.approx(0, abs=0.01)
    assert found.within_source.synthetic == pytest.approx(0, abs=0.01)
    assert found.within_source.real > 0.5
    assert found.frechet is not None
    assert found.frechet["kept"] > 10 * found.frechet["real"]


def test_what_cannot_be_measured_is_unknown(tmp_path: Path) -> None:
    found = measured(tmp_path, noise(1, 3), sources=[-1])
    assert math.isnan(found.within_domain.synthetic)
    assert math.isnan(found.unchanged)
    assert found.frechet is not None
    assert math.isnan(found.frechet["kept"])
