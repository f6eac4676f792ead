"""A small manifest with one broken image, and a model of it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augmentor.data.manifest import Manifest, read_manifest
from augmentor.errors import ImageError
from augmentor.images import Pixels, decode
from augmentor.images import full_resolution as fullsize
from augmentor.storage.access import Access
from stargan.checkpoints import Model
from stargan.labels import LabelSpace
from stargan.networks import Generator


@pytest.fixture
def model(space: LabelSpace) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(vector_size=space.vector_size, width=4, downsamplings=1, blocks=1)
    return Model(
        generator=generator.requires_grad_(False).eval(),
        space=space,
        image_size=(16, 16),
        step=0,
        settings={},
        sha256="",
    )


@pytest.fixture
def manifest(tmp_path: Path, space: LabelSpace) -> Manifest:
    """Eight rows, the last two val; rows 2 and 5 have no image that can be read."""
    random = np.random.default_rng(0)
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "id", "split", "group", "hair", "glasses"])
        for i in range(8):
            if i == 2:
                (tmp_path / "2.png").write_text("no picture")
            elif i != 5:
                pixels = random.integers(256, size=(20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / f"{i}.png")
            hair = ("black", "blond", "brown")[i % 3]
            table.writerow(
                [f"{i}.png", f"face {i}", "val" if i >= 6 else "train", f"ann{i}", hair, ("0", "1", "")[i // 3]]
            )
    return read_manifest(tmp_path / "manifest.csv", space=space)


@pytest.fixture
def too_large_an_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is enough for the model's size of image 3, but not for the file's own."""

    def failing(path: Path, *, channels: int, access: Access) -> Pixels:
        if path.name == "3.png":
            raise ImageError(f"{path}: there is not enough memory to unpack the image")
        return decode(path, channels=channels, access=access)

    monkeypatch.setattr(fullsize, "decode", failing)
