"""Verdicts, and thresholds read from real images, by hand."""

from __future__ import annotations

import numpy as np
import torch

from augmentor.judge.gate import Gate
from augmentor.judge.scores import Scores, preserved_pairs
from augmentor.judge.thresholds import Thresholds
from stargan.labels import LabelSpace

BOTH = torch.tensor([True, True])


def scores(**columns: list[float]) -> Scores:
    n = len(next(iter(columns.values())))
    nothing = np.full(n, np.nan)
    given = {name: np.array(column) for name, column in columns.items()}
    blank = dict.fromkeys(("agreement", "realism", "preserved", "expected", "discriminator"), nothing)
    whole = {"per_attribute": np.full((n, 2), np.nan), "checked": np.ones(n, dtype=bool)}
    return Scores(**{**blank, **whole, **given})


def test_verdicts() -> None:
    found = scores(
        agreement=[0.12, 0.41, np.nan, 0.9], realism=[0.5, np.nan, 0.5, 0.001], preserved=[0.1, 0.9, 0.2, 0.1]
    )
    gate = Gate(thresholds=Thresholds(agreement=0.41, realism=0.01, preserved=0.2))
    assert gate.verdicts(found) == [
        "agreement 0.12 < 0.41, preserved 0.10 < 0.20",
        "",
        "",
        "realism 0.00 < 0.01, preserved 0.10 < 0.20",
    ]
    assert Gate(thresholds=Thresholds()).verdicts(found) == [""] * 4
    floor = Gate(thresholds=Thresholds(), floor=-1.5)
    assert floor.verdicts(scores(agreement=[0.9] * 3, discriminator=[-2.25, -1.5, np.nan])) == [
        "discriminator -2.25 < -1.50",
        "",
        "",
    ]
    assert Gate(thresholds=Thresholds(agreement=0.5)).verdicts(scores(agreement=[0.49999])) == [
        "agreement 0.49999 < 0.50000"
    ]


def test_less_is_asked_where_real_images_of_the_domain_reach_less() -> None:
    found = scores(agreement=[0.3, 0.3, 0.3], expected=[0.25, 0.9, np.nan])
    gate = Gate(thresholds=Thresholds(agreement=0.5), by_domain=True)
    assert gate.verdicts(found) == ["", "agreement 0.30 < 0.50", "agreement 0.30 < 0.50"]
    assert gate.limits(found)["agreement"].tolist() == [0.25, 0.5, 0.5]
    # What a person asks for is asked of all.
    assert Gate(thresholds=Thresholds(agreement=0.5)).verdicts(found) == ["agreement 0.30 < 0.50"] * 3


def test_pairs_are_of_different_subjects(space: LabelSpace) -> None:
    groups = ["ann", "ann", "ben", "", "", "ben"]
    first, second, changed = preserved_pairs(torch.zeros(6, 2, dtype=torch.int64), groups, space)
    assert len(first) == len(second) == len(changed) > 6
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        assert one != other
        assert not groups[one] or groups[one] != groups[other]
    assert changed.sum(dim=1).tolist() == [1] * len(first)
    assert changed.any(dim=0).all()
    alone = preserved_pairs(torch.zeros(1, 2, dtype=torch.int64), ["ann"], space)
    assert [len(part) for part in alone] == [0, 0, 0]
