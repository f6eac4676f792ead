"""pix2pix' and CycleGAN's layouts: pairs, halves, splits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from augmentor.data.importers import DatasetError, Selection, convert_dataset
from augmentor.data.importers.sides import read_cyclegan, read_pix2pix
from augmentor.data.manifest import Partners, read_manifest, split_leaks
from augmentor.images import decode, encode

if TYPE_CHECKING:
    from tests.augmentor.data.importers.conftest import MakeImage


def write_both(path: Path, *, seed: int = 0, width: int = 12) -> NDArray[np.uint8]:
    """Write an image of A and B side by side, each 6 px wide, and return it."""
    pixels = np.random.default_rng(seed).integers(256, size=(8, width, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(pixels, "png"))
    return pixels


def rows(folder: Path) -> list[tuple[str, ...]]:
    return sorted(read_pix2pix(folder).frame.itertuples(index=False, name=None))


def test_halves_become_pairs(tmp_path: Path) -> None:
    both = {
        name: write_both(tmp_path / "facades" / f"{name}.png", seed=i)
        for i, name in enumerate(("train/1", "train/2", "val/1", "test/old/9"))
    }
    out = tmp_path / "facades.csv"
    done = convert_dataset("pix2pix", tmp_path / "facades", out=out, selection=Selection(label="kind"))
    manifest = read_manifest(out)
    assert (done.images, done.outside) == (tmp_path / "facades-pix2pix", 0)
    assert done.notes[0] == f"{tmp_path / 'facades'}: every image is cut into two, 4 of 4 into 6x8 px"
    assert manifest.space.names == ("kind",)
    assert manifest.rows["split"].tolist() == ["test", "test", *4 * ["train"], "val", "val"]
    assert manifest.rows["pair"].tolist() == [name for name in sorted(both) for _ in "AB"]
    assert set(manifest.rows["dataset"]) == {"facades"}
    assert Partners.of(manifest.pairs, manifest.codes).mask().all()
    for row, pair in enumerate(manifest.rows["pair"]):
        path = manifest.image_path(row)
        assert path == tmp_path / "facades-pix2pix" / f"{pair}_{'AB'[row % 2]}.png"
        left = 6 * (row % 2)
        assert np.array_equal(decode(path, channels=3), both[pair][:, left : left + 6])


@pytest.mark.parametrize(
    ("pattern", "split"),
    [
        ("{side}/train/{name}", "train"),
        ("train/{side}/{name}", "train"),
        ("train{side}/{name}", "train"),
        ("{side}/{name}", ""),
    ],
)
def test_images_of_equal_names_are_pairs(pattern: str, split: str, make_image: MakeImage, tmp_path: Path) -> None:
    wanted = []
    for name in ("1", "old/1"):
        for side, suffix in (("A", ".jpg"), ("B", ".png")):
            path = pattern.format(side=side, name=name + suffix)
            make_image(tmp_path / path)
            wanted.append((path, split, f"train/{name}", side) if split else (path, name, side))
    assert rows(tmp_path) == sorted(wanted)
    assert read_pix2pix(tmp_path).image is None


def test_the_folder_of_combine_a_and_b(make_image: MakeImage, tmp_path: Path) -> None:
    write_both(tmp_path / "AB" / "train" / "1.png")
    alone = rows(tmp_path)
    assert alone == [("train/1_A.png", "train", "train/1", "A"), ("train/1_B.png", "train", "train/1", "B")]
    for side in "AB":
        make_image(tmp_path / side / "train" / "1.png")
    assert [path for path, *_ in rows(tmp_path)] == ["A/train/1.png", "B/train/1.png"]
    assert "left out 1 image in AB" in read_pix2pix(tmp_path).notes[0]


def test_pairs_stay_together_where_splits_are_drawn(tmp_path: Path) -> None:
    for i in range(30):
        write_both(tmp_path / "maps" / f"{i}.png", seed=i)
    selection = Selection(split="60/20/20", sides=("photo", "map"))
    done = convert_dataset("pix2pix", tmp_path / "maps", out=tmp_path / "maps.csv", selection=selection)
    assert "split pairs at random: train 18, val 6, test 6" in done.notes
    assert split_leaks(done.manifest) == []
    assert done.manifest.rows["split"].value_counts().to_dict() == {"train": 36, "val": 12, "test": 12}
    assert done.manifest.space["side"].values == ("map", "photo")
    maps = done.manifest.rows["path"][done.manifest.codes[:, 0] == 0]
    assert {Path(path).stem[-1] for path in maps} == {"B"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["A/1.png", "B/1.png", "A/2.png", "A/3.png"], r"A/2\.png has no partner .* in B \(2 images without one"),
        (["A/1.png", "A/1.jpg", "B/1.png"], r"A/1\.jpg and A/1\.png have the same name"),
        (["A/1.png", "B/1.png", "C/1.png"], r"folders of A and of B, but C/1\.png is in neither"),
        (["A/train/1.png", "B/train/1.png", "A/2.png", "B/2.png"], r"A/2\.png is not\. Put every image into one"),
        (["cat/1.png", "dog/1.png"], r"has neither folders of A and of B.* cat/1\.png\. Class folders"),
        (["train/1.png", "2.png"], r"2\.png is not\. Put every image into one of them"),
        (["notes.txt"], "no images in it"),
    ],
)
def test_other_layouts_are_refused(files: list[str], message: str, make_image: MakeImage, tmp_path: Path) -> None:
    for name in files:
        if name.endswith("txt"):
            (tmp_path / name).write_text("no image")
        else:
            make_image(tmp_path / name)
    with pytest.raises(DatasetError, match=message):
        read_pix2pix(tmp_path)


def test_an_odd_width_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_both(tmp_path / "maps" / "train" / "1.png")
    write_both(tmp_path / "maps" / "train" / "2.png", width=13)
    with pytest.raises(DatasetError, match=r"2\.png: 13x8 px, an odd width"):
        convert_dataset("pix2pix", tmp_path / "maps", out=tmp_path / "maps.csv")
    write_both(tmp_path / "maps" / "train" / "2.jpg")
    (tmp_path / "maps" / "train" / "2.png").rename(tmp_path / "maps" / "train" / "1.jpg")
    with pytest.raises(DatasetError, match="two images are called train/1"):
        read_pix2pix(tmp_path / "maps")
    assert [path.name for path in tmp_path.iterdir()] == ["maps"]


def test_cyclegans_sides_are_no_pairs(make_image: MakeImage, tmp_path: Path) -> None:
    folder = tmp_path / "horse2zebra"
    for name in ("trainA/1.jpg", "trainB/1.jpg", "trainB/2.jpg", "testA/3.jpg", "testB/4.jpg"):
        make_image(folder / name)
    selection = Selection(label="animal", sides=("horse", "zebra"))
    done = convert_dataset("cyclegan", folder, out=tmp_path / "animals.csv", selection=selection)
    manifest = done.manifest
    assert manifest.space["animal"].values == ("horse", "zebra")
    assert manifest.rows["split"].value_counts().to_dict() == {"train": 3, "test": 2, "val": 0}
    assert set(manifest.pairs) == {-1}
    assert (done.images, set(manifest.rows["dataset"])) == (None, {"horse2zebra"})
    with pytest.raises(DatasetError, match="no folders trainA and trainB"):
        read_cyclegan(folder / "trainA")


@pytest.mark.parametrize(
    ("sides", "message"),
    [(("horse",), "is not of the form photo,map"), (("x", "x"), "is not of the form photo,map")],
)
def test_sides_are_two(sides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    write_both(tmp_path / "maps" / "1.png")
    with pytest.raises(DatasetError, match=message):
        convert_dataset("pix2pix", tmp_path / "maps", out=tmp_path / "m.csv", selection=Selection(sides=sides))


def test_only_sides_have_other_names(make_image: MakeImage, tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        make_image(tmp_path / "src" / name)
    selection = Selection(sides=("photo", "map"))
    with pytest.raises(DatasetError, match="the values of label are not A and B"):
        convert_dataset("imagefolder", tmp_path / "src", out=tmp_path / "m.csv", selection=selection)
