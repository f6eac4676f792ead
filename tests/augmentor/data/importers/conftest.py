"""Tiny data sets in the exact forms in which their owners ship them."""

from __future__ import annotations

import bz2
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from augmentor.images import encode

CELEBA_HEADER = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair "
    "Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup "
    "High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose "
    "Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat "
    "Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young "
)

MakeImage = Callable[[Path], None]
MakeIdx = Callable[[Path, NDArray[np.uint8]], None]
MakeCelebA = Callable[..., Path]
MakeUsps = Callable[[Path, NDArray[np.float64], Sequence[int]], None]


@pytest.fixture
def make_image() -> MakeImage:
    """Write a small image that differs from every other one written."""
    random = np.random.default_rng(0)

    def make(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        jpeg = path.suffix.lower() in (".jpg", ".jpeg")
        path.write_bytes(encode(random.integers(256, size=(6, 5, 3), dtype=np.uint8), "jpg" if jpeg else "png"))

    return make


@pytest.fixture
def make_celeba(make_image: MakeImage) -> MakeCelebA:
    """Write CelebA's files for people that each are a set of attributes which are 1, the others -1."""

    def make(
        folder: Path,
        people: Sequence[Sequence[str]],
        *,
        splits: Sequence[int],
        text: Path = Path(),
        images: str = "",
    ) -> Path:
        names = [f"{i:06d}.jpg" for i in range(1, len(people) + 1)]
        rows = [
            f"{name} " + " ".join(f"{1 if each in person else -1:2d}" for each in CELEBA_HEADER.split())
            for name, person in zip(names, people, strict=True)
        ]
        (folder / text).mkdir(parents=True, exist_ok=True)
        head = [str(len(people)), CELEBA_HEADER]
        (folder / text / "list_attr_celeba.txt").write_text("\n".join([*head, *rows]) + "\n")
        pairs = [f"{name} {split}" for name, split in zip(names, splits, strict=True)]
        (folder / text / "list_eval_partition.txt").write_text("\n".join(pairs) + "\n")
        pairs = [f"{name} {2880 + i // 2}" for i, name in enumerate(names)]
        (folder / text / "identity_CelebA.txt").write_text("\n".join(pairs) + "\n")
        for name in names:
            make_image(folder / images / "img_align_celeba" / name)
        return folder

    return make


@pytest.fixture
def make_idx() -> MakeIdx:
    """Write numbers as an IDX file."""

    def make(path: Path, numbers: NDArray[np.uint8]) -> None:
        head = struct.pack(f">BBBB{numbers.ndim}I", 0, 0, 8, numbers.ndim, *numbers.shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + numbers.tobytes())

    return make


@pytest.fixture
def make_usps() -> MakeUsps:
    """Write values (N, 256) in [-1, 1] and labels 1 to 10 as LIBSVM's text, packed."""

    def make(path: Path, values: NDArray[np.float64], labels: Sequence[int]) -> None:
        lines = [
            f"{label} " + " ".join(f"{i + 1}:{value:.6g}" for i, value in enumerate(row)) + " "
            for label, row in zip(labels, values, strict=True)
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bz2.compress(("\n".join(lines) + "\n").encode()))

    return make
