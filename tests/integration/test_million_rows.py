"""A dry run over a million rows and 40 domains: little time, little memory, right numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from stargan.checkpoints import Model, save_model
from stargan.labels import Attribute, LabelSpace
from stargan.networks import Generator

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

ROWS = 1_000_000
HAIR = ("black", "blond", "brown", "grey", "red")
FLAGS = ("glasses", "male", "smile")


def save_untrained(folder: Path) -> None:
    """Write a model of 40 domains: five hair colours and three binary attributes."""
    space = LabelSpace(
        attributes=(
            Attribute(name="hair", kind="categorical", values=HAIR),
            *(Attribute(name=name) for name in FLAGS),
        )
    )
    with torch.random.fork_rng(devices=[]):
        generator = Generator(vector_size=space.vector_size, width=4, downsamplings=1, blocks=1)
    save_model(
        folder,
        model=Model(generator=generator, space=space, image_size=(16, 16), step=0, settings={}, sha256=""),
    )


def test_a_dry_run_is_quick_and_small(augmentor: Augmentor, tmp_path: Path) -> None:
    save_untrained(tmp_path / "model")
    number = np.arange(ROWS)
    split = np.array([*8 * ["train"], "val", "test"])[number % 10]
    frame = pd.DataFrame(
        {
            "path": "images/" + pd.Series(number).astype(str).str.zfill(7) + ".png",
            "id": "face" + pd.Series(number).astype(str),
            "split": split,
            "group": "person" + pd.Series(number // 10).astype(str) + pd.Series(split),
            "hair": np.array(HAIR)[number // 10 % 5],
            **{name: number // (10 * 5 * 2**place) % 2 for place, name in enumerate(FLAGS)},
        }
    )
    frame.to_csv(tmp_path / "manifest.csv", index=False)
    words = ("--model", tmp_path / "model", "--domains", "all", "--out", tmp_path / "out", "--dry-run", "--json")
    done, seconds, memory = augmentor.measured("expand", tmp_path / "manifest.csv", *words)
    assert done.code == 0, done.err
    # Each of 800,000 training rows into the 39 domains that are not its own.
    assert (done.json["synthetic"], done.json["real"]) == (800_000 * 39, ROWS)
    labels = done.json["labels"]
    assert isinstance(labels, dict)
    assert labels["hair"] == {hair: {"before": 160_000, "after": 800_000 * 8} for hair in HAIR}
    assert labels["smile"] == {value: {"before": 400_000, "after": 800_000 * 20} for value in ("0", "1")}
    assert (done.json["bytes"], done.json["seconds"]) == (None, None)  # no image is there to try
    assert not (tmp_path / "out").exists()
    assert memory < 1.5e9, f"{memory / 1e9:.2f} GB"
    # About 10 s on an idle machine; a core whose twin is busy takes twice as long, and tests have company.
    assert seconds < 40, f"{seconds:.1f} s of processor time"
