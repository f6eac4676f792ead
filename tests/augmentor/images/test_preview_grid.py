"""The preview grid: which columns it has and what stands in its cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from augmentor.data.manifest import read_manifest
from augmentor.data.samples import Samples, read_samples
from augmentor.images import decode, preview_grid
from augmentor.images.grid import label_grid
from augmentor.planning.domains import MOST_COLUMNS, parse_domains, preview_columns
from stargan.checkpoints import Model
from stargan.inference import Translator
from stargan.labels import Attribute, LabelSpace
from stargan.networks import Generator


@pytest.fixture
def translator(space: LabelSpace) -> Translator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = Generator(vector_size=4, width=4, downsamplings=1, blocks=1)
    model = Model(
        generator=generator.requires_grad_(False).eval(),
        space=space,
        image_size=(8, 16),
        step=0,
        settings={},
        sha256="",
    )
    return Translator(model, device=torch.device("cpu"))


def noise(count: int) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(256, size=(count, 8, 16, 3), dtype=np.uint8))


# ---- columns ----


def test_columns_are_every_value_that_is_named(space: LabelSpace) -> None:
    def columns(*specs: str) -> list[dict[int, int]]:
        return preview_columns(parse_domains(specs, space), space)

    assert columns("hair=blond") == [{0: 1}]
    assert columns("hair=brown|black,glasses=1") == [{0: 0, 1: 1}, {0: 2, 1: 1}]
    assert columns("hair=~") == columns("hair=*") == [{0: 0}, {0: 1}, {0: 2}]
    assert columns("each") == [{0: 0}, {0: 1}, {0: 2}, {1: 0}, {1: 1}]
    assert columns("all") == [{0: h, 1: g} for h in range(3) for g in range(2)]
    assert columns("glasses=1", "glasses=*") == [{1: 1}, {1: 0}]


def test_columns_end_somewhere() -> None:
    wide = LabelSpace(attributes=tuple(Attribute(name=f"a{i}") for i in range(8)))
    columns = preview_columns(parse_domains(["all"], wide), wide)
    assert len(columns) == MOST_COLUMNS
    assert columns[1] == dict.fromkeys(range(7), 0) | {7: 1}


# ---- the sources ----


def spread(path: Path, *, splits: tuple[str, ...] = ("train", "val"), most: int = 4) -> Samples:
    return read_samples(read_manifest(path), splits=splits, size=(8, 16), channels=3, crop=None, most=most)


def test_sources_are_few_and_the_same_on_every_call(small_manifest: Callable[..., Path]) -> None:
    path = small_manifest()
    manifest, shown, again = read_manifest(path), spread(path), spread(path)
    assert len(shown.images) == len(set(shown.names)) == 4
    assert shown.names == again.names
    for name, image, codes, other in zip(shown.names, shown.images, shown.codes, again.images, strict=True):
        row = int(name.removeprefix("face"))
        assert np.array_equal(image, decode(path.parent / f"{row}.png", size=(8, 16), channels=3))
        assert np.array_equal(image, other)
        assert codes.tolist() == manifest.codes[row].tolist()
    assert sorted(spread(path, splits=("val",)).names) == ["face10", "face11"]


def test_sources_that_cannot_be_read_are_passed_over(small_manifest: Callable[..., Path]) -> None:
    shown = spread(small_manifest(broken=(0, 2, 11)), most=8)
    assert len(shown.names) == 8
    assert not {"face0", "face2", "face11"} & set(shown.names)


def test_no_sources(small_manifest: Callable[..., Path]) -> None:
    shown = spread(small_manifest(broken=(10, 11)), splits=("val",))
    assert (shown.images, shown.names) == ([], [])


# ---- the picture ----


def test_cells_are_the_translations(translator: Translator) -> None:
    images = noise(2)
    codes = np.array([[0, 1], [2, -1]], dtype=np.int16)
    grid = preview_grid(translator, images, codes, [{0: 1}, {0: 2, 1: 0}], row_labels=["ann", "bob"])

    sources = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    # What a column does not name stays the row's own: glasses 1 and unknown in the first one.
    first = translator.translate(sources, torch.tensor([[1, 1], [1, -1]])).permute(0, 2, 3, 1).numpy()
    second = translator.translate(sources, torch.tensor([[2, 0], [2, 0]])).permute(0, 2, 3, 1).numpy()
    expected = label_grid(
        [[images[0], first[0], second[0]], [images[1], first[1], second[1]]],
        columns=["source", "hair=blond", "hair=brown, glasses=0"],
        row_labels=["ann", "bob"],
    )
    assert np.array_equal(grid, expected)
    assert codes.tolist() == [[0, 1], [2, -1]]


def test_sources_stand_in_the_picture_enlarged(translator: Translator) -> None:
    (image,) = noise(1)
    grid = preview_grid(translator, [image], np.zeros((1, 2), dtype=np.int16), [{0: 1}])
    scale = 96 // 16
    enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width, _ = enlarged.shape
    windows = np.lib.stride_tricks.sliding_window_view(grid[..., 0], (height, width))
    places = np.argwhere((windows == enlarged[..., 0]).all(axis=(2, 3)))
    assert len(places) == 1
    top, left = places[0]
    assert np.array_equal(grid[top : top + height, left : left + width], enlarged)
