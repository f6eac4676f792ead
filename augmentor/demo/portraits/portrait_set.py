"""The portrait set on disk: its domains, images and manifest."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from augmentor.demo.portraits.drawing import render
from augmentor.demo.portraits.identity import HAIR, portrait_at

Domain = tuple[str, int, int]

DEFAULT_COUNTS: Mapping[str, int] = MappingProxyType({"train": 1200, "val": 200, "test": 300})
"""Portraits per split."""

TRAIN_HAIR = {"black": 0.33, "blond": 0.33, "red": 0.34}
TRAIN_GLASSES = 0.4
TRAIN_SMILE = {"black": 0.5, "blond": 0.5, "red": 0.045}  # the rare combination that the demo adds


def split_domains(split: str, count: int, rng: np.random.Generator) -> list[Domain]:
    """Return (hair, glasses, smile) of every portrait of a split: exact shares, in random order."""
    domains = list(product(HAIR, (0, 1), (0, 1)))
    shares = np.full(len(domains), 1 / len(domains))
    if split == "train":
        glasses = (1 - TRAIN_GLASSES, TRAIN_GLASSES)
        shares = np.array(
            [TRAIN_HAIR[h] * glasses[g] * (TRAIN_SMILE[h] if s else 1 - TRAIN_SMILE[h]) for h, g, s in domains]
        )
    exact = shares / shares.sum() * count
    quota = np.floor(exact).astype(int)
    largest = np.argsort(quota - exact, kind="stable")[: count - int(quota.sum())]
    quota[largest] += 1
    rows = [domain for domain, n in zip(domains, quota, strict=True) for _ in range(n)]
    return [rows[i] for i in rng.permutation(len(rows))]


def write_portraits(
    folder: Path, *, seed: int = 0, counts: Mapping[str, int] = DEFAULT_COUNTS, size: int = 64
) -> Path:
    """Write a portrait set: `images/NNNNN.png` and `manifest.csv` (path, id, split, hair, glasses, smile).

    Every portrait is another identity, `portrait_at(seed, index)`. `train` is imbalanced on purpose: few portraits
    with red hair smile. The other splits have all 12 combinations equally often. The manifest, whose path is
    returned, is written last, by an atomic rename. A negative number of portraits in `counts` is a ValueError.
    """
    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"counts[{split!r}] is {count}, not a number of portraits")
    manifest = folder / "manifest.csv"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    manifest.unlink(missing_ok=True)  # an interrupted run must not leave old labels with new images
    rng = np.random.default_rng(seed)
    labelled = [(split, domain) for split, count in counts.items() for domain in split_domains(split, count, rng)]
    partial = folder / "manifest.csv.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("path", "id", "split", "hair", "glasses", "smile"))
        for index, (split, (hair, glasses, smile)) in enumerate(labelled):
            name = f"{index:05d}"
            pixels = render(
                portrait_at(seed, index), hair=hair, glasses=bool(glasses), smile=bool(smile), size=size
            )
            Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
            table.writerow((f"images/{name}.png", name, split, hair, glasses, smile))
    partial.replace(manifest)  # atomic, after all images
    return manifest
