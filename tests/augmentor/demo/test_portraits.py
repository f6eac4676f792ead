"""The built-in portraits: deterministic, each attribute in its own pixels, the set as lopsided as promised."""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from augmentor.demo.portraits.board import BOARD
from augmentor.demo.portraits.drawing import render
from augmentor.demo.portraits.identity import HAIR, HAIR_RAMPS, Portrait, draw_identity, portrait_at
from augmentor.demo.portraits.portrait_set import DEFAULT_COUNTS, split_domains, write_portraits
from augmentor.demo.portraits.styles import STYLES

IDENTITIES = [portrait_at(7, index) for index in range(40)]
Mask = NDArray[np.bool_]


def _changed(first: NDArray[np.uint8], second: NDArray[np.uint8], threshold: int = 0) -> Mask:
    difference = np.abs(first.astype(int) - second.astype(int)).max(axis=2)
    return np.asarray(difference > threshold)


def _head_coordinates(p: Portrait, mask: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the mask's pixels lie in the upright head, in board units from the face's centre."""
    rows, columns = np.nonzero(mask)
    unit = BOARD / mask.shape[0]
    x = (columns + 0.5) * unit - 128 - p.shift[0]
    y = (rows + 0.5) * unit - 127 - p.shift[1] - 60
    angle = np.radians(p.tilt)
    return (
        (x * np.cos(angle) + y * np.sin(angle)) / p.zoom,
        (-x * np.sin(angle) + y * np.cos(angle)) / p.zoom + 60,
    )


@pytest.mark.parametrize("size", [32, 64, 128])
def test_render_has_the_asked_size_and_is_deterministic(size: int) -> None:
    image = render(portrait_at(0, 3), hair="red", glasses=True, smile=True, size=size)
    again = render(portrait_at(0, 3), hair="red", glasses=True, smile=True, size=size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, again)
    assert image.std() > 20


def test_the_drawing_is_the_one_that_the_shipped_model_was_trained_on() -> None:
    """A change of the drawing asks for a new model; Pillow's versions may differ by a rounding."""
    expected = [
        (187.3, 151.2, 155.9),
        (158.7, 149.9, 143.0),
        (185.3, 175.2, 150.6),
        (127.3, 116.1, 113.2),
    ]
    for index, colour in enumerate(expected):
        image = render(portrait_at(0, index), hair="red", glasses=True, smile=True, size=32)
        assert image.mean(axis=(0, 1)) == pytest.approx(colour, abs=0.5)


def test_identities_come_from_the_generator_alone() -> None:
    assert draw_identity(np.random.default_rng(4)) == draw_identity(np.random.default_rng(4))
    assert portrait_at(0, 5) == portrait_at(0, 5)
    assert portrait_at(0, 5) != portrait_at(1, 5)


def test_all_identities_and_their_pixels_are_distinct() -> None:
    assert len({portrait_at(0, index) for index in range(500)}) == 500
    pixels = {render(p, hair="black", glasses=False, smile=False, size=32).tobytes() for p in IDENTITIES}
    assert len(pixels) == len(IDENTITIES)


def test_every_hair_style_is_drawn() -> None:
    assert {portrait_at(0, index).hair_style for index in range(300)} == set(STYLES)


@pytest.mark.parametrize("size", [32, 64])
def test_glasses_change_only_the_band_around_the_eyes(size: int) -> None:
    for p in IDENTITIES:
        bare = render(p, hair="blond", glasses=False, smile=False, size=size)
        worn = render(p, hair="blond", glasses=True, smile=False, size=size)
        x, y = _head_coordinates(p, _changed(bare, worn))
        slack = 4 * BOARD / size  # the resampling filter reaches three pixels
        assert np.abs(x).max() < p.face_width + 8 + slack
        assert np.abs(y - 6).max() < 25 + slack
        assert _changed(bare, worn, 40).mean() > 0.02  # to be seen, also at 32 pixels


@pytest.mark.parametrize("size", [32, 64])
def test_a_smile_changes_only_eyes_cheeks_and_mouth(size: int) -> None:
    for p in IDENTITIES:
        level = render(p, hair="red", glasses=False, smile=False, size=size)
        happy = render(p, hair="red", glasses=False, smile=True, size=size)
        x, y = _head_coordinates(p, _changed(level, happy))
        slack = 4 * BOARD / size
        assert np.abs(x).max() < p.face_width + slack
        assert y.min() > -10 - slack
        assert y.max() < p.face_height + slack
        assert _changed(level, happy, 40).mean() > 0.006


def test_hair_colour_leaves_the_face_below_the_brows_and_the_backdrop_alone() -> None:
    for p in IDENTITIES:
        black, blond = (render(p, hair=hair, glasses=True, smile=True) for hair in ("black", "blond"))
        changed = _changed(black, blond)
        x, y = _head_coordinates(p, changed)
        inner_face = (np.hypot(x / p.face_width, y / p.face_height) < 0.75) & (y > 16)
        assert not inner_face.any()
        assert np.abs(x).max() < 2.1 * p.face_width
        assert y.min() > -2 * p.face_height
        assert y.max() < 2.2 * p.face_height
        assert 0.06 < changed.mean() < 0.6


def test_attributes_compose_without_touching_each_other() -> None:
    """Hair's pixels change alike whether or not the person smiles."""
    for p in IDENTITIES[:10]:
        level = [render(p, hair=hair, glasses=False, smile=False) for hair in ("black", "red")]
        happy = [render(p, hair=hair, glasses=False, smile=True) for hair in ("black", "red")]
        untouched = ~(_changed(level[0], happy[0]) | _changed(level[1], happy[1]))
        assert np.array_equal(level[0][untouched], happy[0][untouched])
        assert np.array_equal(_changed(level[0], level[1])[untouched], _changed(happy[0], happy[1])[untouched])


def test_hair_colours_are_unmistakable() -> None:
    centres = np.array([np.mean(HAIR_RAMPS[hair], axis=0) for hair in HAIR])
    means = np.zeros((len(IDENTITIES), len(HAIR), 3))
    for row, p in enumerate(IDENTITIES):
        images = [render(p, hair=hair, glasses=False, smile=False) for hair in HAIR]
        mask = _changed(images[0], images[1], 60)
        means[row] = [image[mask].mean(axis=0) for image in images]
    distances = np.linalg.norm(means[:, :, None] - centres, axis=3)
    assert (distances.argmin(axis=2) == np.arange(len(HAIR))).all()
    for a, b in combinations(range(len(HAIR)), 2):
        assert np.linalg.norm(means[:, a] - means[:, b], axis=1).min() > 80


def test_train_is_lopsided_and_the_other_splits_are_balanced() -> None:
    tables = {
        split: pd.DataFrame(
            split_domains(split, count, np.random.default_rng(0)), columns=["hair", "glasses", "smile"]
        )
        for split, count in DEFAULT_COUNTS.items()
    }
    train = tables["train"]
    red = train.hair == "red"
    assert len(train) == 1200
    assert 0.01 <= (red & (train.smile == 1)).mean() <= 0.02
    assert 0.03 <= train.smile[red].mean() <= 0.07
    assert train.smile[~red].mean() == pytest.approx(0.5, abs=0.01)
    assert train.glasses.mean() == pytest.approx(0.4, abs=0.01)
    assert red.mean() == pytest.approx(1 / 3, abs=0.02)
    for split in ("val", "test"):
        sizes = tables[split].groupby(["hair", "glasses", "smile"]).size()
        assert len(sizes) == 12
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == DEFAULT_COUNTS[split]


def test_written_set_matches_its_manifest_pixel_for_pixel(tmp_path: Path) -> None:
    manifest = write_portraits(tmp_path / "set", seed=3, counts={"train": 20, "val": 5, "test": 12}, size=32)
    table = pd.read_csv(manifest, dtype={"id": str})
    assert manifest == tmp_path / "set" / "manifest.csv"
    assert list(table.columns) == ["path", "id", "split", "hair", "glasses", "smile"]
    assert table.split.value_counts().to_dict() == {"train": 20, "test": 12, "val": 5}
    assert set(table.hair) == set(HAIR)
    assert table.id.is_unique
    assert len(table[table.split == "test"].drop_duplicates(["hair", "glasses", "smile"])) == 12
    for row in table.itertuples():
        truth = render(
            portrait_at(3, int(str(row.id))),
            hair=str(row.hair),
            glasses=bool(row.glasses),
            smile=bool(row.smile),
            size=32,
        )
        with Image.open(manifest.parent / str(row.path)) as image:
            assert np.array_equal(np.asarray(image), truth)
    assert sorted(file.name for file in manifest.parent.iterdir()) == ["images", "manifest.csv"]


def test_writing_is_deterministic_in_the_seed(tmp_path: Path) -> None:
    first, again, other = (
        write_portraits(tmp_path / name, seed=seed, counts={"train": 8}, size=32)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first.read_bytes() == again.read_bytes()
    for index, name in product(range(8), ("b", "c")):
        image = f"images/{index:05d}.png"
        equal = (first.parent / image).read_bytes() == (tmp_path / name / image).read_bytes()
        assert equal == (name == "b")
    assert other.is_file()


def test_an_interrupted_rewrite_leaves_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write_portraits(tmp_path, counts={"train": 2}, size=32)

    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_portraits(tmp_path, seed=1, counts={"train": 2}, size=32)
    assert not manifest.exists()


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="hair is 'green', not one of black, blond, red"):
        render(IDENTITIES[0], hair="green", glasses=False, smile=False)
    with pytest.raises(ValueError, match="size is 0"):
        render(IDENTITIES[0], hair="red", glasses=False, smile=False, size=0)


def test_negative_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"counts\['val'\] is -1"):
        write_portraits(tmp_path, counts={"val": -1})
