"""Packs of every form: what is in them, equal bytes after a kill at any moment, choice, damage, and mending."""

from __future__ import annotations

import io
import json
import os
import pickle
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from augmentor import open_dataset
from augmentor.errors import AugmentorError, ImageError, MissingExtraError
from augmentor.images import ImageFormat, Pixels
from augmentor.outputs import ShardRecord
from augmentor.outputs.label_table import LabelRow, key, real_key
from augmentor.outputs.verify import repair_output, verify_output
from augmentor.outputs.writers import FolderWriter, OutputFormat, PackWriter
from augmentor.outputs.writers.packs import PackShard, open_pack, packing_of
from augmentor.storage import Json
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.outputs.finishing import finish

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond/grey", "rötlich")),
        Attribute(name="male"),
    )
)
SHARDS = 2
FORMS: dict[str, tuple[OutputFormat, ImageFormat | None]] = {
    "hdf5": ("hdf5", None),
    "encoded": ("hdf5", "png"),
    "webdataset": ("webdataset", "png"),
    "parquet": ("parquet", "png"),
}
SUFFIXES = {"hdf5": "h5", "encoded": "h5", "webdataset": "tar", "parquet": "parquet"}

all_forms = pytest.mark.parametrize("form", FORMS)
two_forms = pytest.mark.parametrize("form", ["hdf5", "webdataset"])


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for the disk takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def items(shard: int) -> Iterator[tuple[int, LabelRow, Pixels]]:
    """Four sources in mixed splits, those of train with two translations; a dot in every id, and one long id."""
    random = np.random.default_rng(shard)
    position = 0
    for number, split in enumerate(("train", "val", "train", "test")):
        stem = f"img.{shard}{number}" + ("x" * 90 if number == 2 else "")
        for hair in range(3 if split == "train" else 1):
            codes = (hair, -1 if number == 2 else number % 2)
            row = LabelRow(
                file_name="",
                key=key(stem, SPACE.domain(codes)) if hair else real_key(stem),
                split=split,
                group="",
                is_synthetic=hair > 0,
                source_id=stem,
                source_path=f"images/{stem}.png",
                codes=codes,
                changed=("hair",) if hair else (),
                agreement=0.25 * hair if hair else None,
            )
            yield position, row, random.integers(0, 256, (6, 5, 3), dtype=np.uint8)
            position += 2  # every other item failed


def description(form: str) -> dict[str, Json]:
    output_format, encoding = FORMS.get(form, ("folder", "png"))
    settings: dict[str, Json] = {
        "output_format": output_format,
        "image_format": encoding or "png",
        "encoded": form == "encoded",
        "splits": ["train"],
        "size": "model",
    }
    return {"fingerprint": "abc", "made_of": {"settings": settings}, "settings": settings}


def writer_of(form: str, out: Path, space: LabelSpace = SPACE) -> FolderWriter:
    if form == "folder":
        return FolderWriter(out, space=space, description=description(form))
    output_format, encoding = FORMS[form]
    packing = packing_of(output_format, space=space, encoding=encoding)
    return PackWriter(out, space=space, description=description(form), packing=packing)


def write_shard(writer: FolderWriter, index: int) -> None:
    with writer.shard(index) as shard:
        for item in items(index):
            shard.add_all([item])
        shard.commit([])


def make(writer: FolderWriter, drop: dict[int, dict[int, str]] | None = None) -> None:
    """Do what the same expand does."""
    writer.open()
    if writer.complete():
        return
    for index in range(SHARDS):
        if writer.record(index) is None:
            write_shard(writer, index)
    for index, reasons in (drop or {}).items():
        record = writer.record(index)
        assert record is not None
        if not reasons.keys().isdisjoint(record.positions):
            writer.drop(index, reasons)
    finish(writer, SHARDS)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One output of each form; not to be changed."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        for form in ("folder", *FORMS):
            make(writer_of(form, root / form))
    return {form: root / form for form in ("folder", *FORMS)}


# ---- what is in them ----


@all_forms
def test_every_form_has_the_rows_and_pixels_of_a_folder_of_files(made: dict[str, Path], form: str) -> None:
    expected, found = open_dataset(made["folder"]), open_dataset(made[form])
    assert len(found) == 16
    assert (made[form] / "labels.csv").read_bytes() == (made["folder"] / "labels.csv").read_bytes()
    for place in range(len(expected)):
        for mine, wanted in zip(found[place], expected[place], strict=True):
            assert torch.equal(mine, wanted)
    packs = {f"{split}/0000{shard}.{SUFFIXES[form]}" for split in ("train", "val", "test") for shard in range(2)}
    assert {name for name in content(made[form]) if name.split("/")[0] in ("train", "val", "test")} == packs
    assert verify_output(made[form]).problems == []
    record = ShardRecord.read(made[form] / ".augmentor/shards/00001.json")
    assert set(record.placed) == set(record.packs) == {name for name in packs if "00001" in name}


@all_forms
def test_the_same_images_give_the_same_bytes(made: dict[str, Path], form: str, tmp_path: Path) -> None:
    before = content(made[form])
    writer = writer_of(form, tmp_path / "again")
    writer.open()
    with writer.shard(0) as shard:
        shard.add_all(list(reversed(list(items(0)))))  # Threads add images in any order.
        shard.commit([])
    make(writer)
    assert content(tmp_path / "again") == before


def test_every_process_opens_packs_for_itself(made: dict[str, Path]) -> None:
    dataset = open_dataset(made["hdf5"], split="train")
    first = dataset[0][0]
    batches = list(DataLoader(dataset, 3, num_workers=2, multiprocessing_context="fork"))
    assert torch.equal(torch.cat([images for images, _ in batches])[0], first)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0][0], first)
    writer = pickle.loads(pickle.dumps(writer_of("parquet", made["parquet"])))
    assert writer.complete()
    small = open_dataset(made["hdf5"], size=(3, 4))
    assert small[0][0].shape == (3, 3, 4)


def test_a_sample_of_webdataset_is_a_row_of_the_label_table(made: dict[str, Path]) -> None:
    with tarfile.open(made["webdataset"] / "train/00000.tar") as tar:
        members = {member.name: (member, tar.extractfile(member)) for member in tar}
        assert {member.mtime for member, _ in members.values()} == {0}
        # webdataset takes a key's first dot for the beginning of the suffix.
        assert [name for name in members if name.startswith("img%2E00__real")] == [
            "img%2E00__real.json",
            "img%2E00__real.png",
        ]
        file = members[next(name for name in members if "blond" in name)][1]
        assert file is not None
        sample = json.load(file)
    row = open_dataset(made["folder"]).labels.iloc[1]
    assert {name: sample[name] for name in ("file_name", "key", "hair", "male", "changed")} == {
        name: row[name] for name in ("file_name", "key", "hair", "male", "changed")
    }
    assert (sample["is_synthetic"], sample["agreement"], sample["realism"]) == (1, 0.25, -1.0)
    assert sample["labels"] == [1, 0]


@pytest.mark.parametrize("form", ["hdf5", "encoded"])
def test_one_virtual_file_shows_all_hdf5_files(
    made: dict[str, Path], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    moved = tmp_path / "moved"
    moved.symlink_to(made[form])  # Its names are relative to itself.
    expected = open_dataset(made["folder"]).labels
    with h5py.File(moved / "dataset.h5") as file:
        assert file["image"].is_virtual
        names = file["file_name"].asstr()[:].tolist()
        assert sorted(names) == sorted(expected["file_name"])
        order = [(name.split("/")[1], ("train", "val", "test").index(name.split("/")[0])) for name in names]
        assert order == sorted(order)
        place = names.index(expected["file_name"][4])
        image = file["image"][place]
        pixels = np.array(Image.open(io.BytesIO(image.tobytes()))) if form == "encoded" else image
        assert file["labels"][place].tolist() == open_dataset(made["folder"])[4][1].tolist()
    np.testing.assert_array_equal(pixels, open_dataset(made["folder"])[4][0].permute(1, 2, 0).numpy())
    whole = open_dataset(made[form] / "dataset.h5", split="train")
    assert torch.equal(whole[3][0], open_dataset(made[form], split="train")[3][0])


# ---- what is refused ----


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'stargan-augmentor\[webdataset\]'"):
        writer_of("webdataset", tmp_path / "out").open()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("form", "name"), [("webdataset", "labels"), ("parquet", "image")])
def test_attributes_called_as_what_the_form_has_taken_are_refused(form: str, name: str, tmp_path: Path) -> None:
    space = LabelSpace(attributes=(Attribute(name=name),))
    with pytest.raises(AugmentorError, match=f"an attribute is called '{name}'"):
        writer_of(form, tmp_path / "out", space).open()
    writer_of("hdf5", tmp_path / "out", space).open()


# ---- kills ----


class Killed(BaseException):
    """Stands for kill -9: nothing after it runs, not even clean-up."""


def dying(do: Callable[..., object], left: list[int]) -> Callable[..., object]:
    def act(*args: object, **kwargs: object) -> object:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return do(*args, **kwargs)

    return act


@pytest.mark.parametrize(("form", "step"), [("hdf5", 3), ("webdataset", 1)])
def test_killed_at_any_rename_then_again_gives_the_same_bytes(
    form: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All along, the choice at the end included, in which packs are written again."""
    drop = {
        0: {2: "not among the best 1 of its source", 10: "not among the best 1 of its source"},
        1: {2: "surplus"},
    }
    make(writer_of(form, tmp_path / "whole"), drop)
    whole = content(tmp_path / "whole")
    kills = 0
    for call in range(0, 60, step):
        out = tmp_path / f"killed{call}"
        with monkeypatch.context() as patch:
            left = [call]
            patch.setattr(os, "replace", dying(os.replace, left))
            patch.setattr(os, "unlink", dying(os.unlink, left))
            patch.setattr(PackShard, "__exit__", lambda *_: None)
            try:
                make(writer_of(form, out), drop)
            except Killed:
                kills += 1
            else:
                break
        assert not writer_of(form, out).complete()
        make(writer_of(form, out), drop)
        assert content(out) == whole, f"killed at {call}"
    assert kills * step > 15
    kept = open_dataset(tmp_path / "whole")
    assert len(kept) == 13
    assert verify_output(tmp_path / "whole").ok


@two_forms
def test_clearing_removes_all_that_was_written_and_nothing_else(form: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(writer_of(form, out))
    (out / "train/mine.txt").write_text("mine")
    writer_of("folder", out).clear()  # Another form takes its place.
    assert set(content(out)) == {"train/mine.txt", ".augmentor/run.json"}
    make(writer_of("folder", out))
    assert len(open_dataset(out)) == 16


# ---- damage ----


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@all_forms
def test_a_damaged_pack_is_named_and_its_shard_made_again(
    made: dict[str, Path], form: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    make(writer_of(form, out))
    suffix = SUFFIXES[form]
    flip(out / f"train/00001.{suffix}")
    (out / f"val/00000.{suffix}").unlink()
    (out / f"test/00007.{suffix}").write_bytes(b"of nobody")
    found = verify_output(out)
    told = {problem.file: (problem.reason, problem.shard, problem.mend) for problem in found.problems}
    assert set(told) == {f"train/00001.{suffix}", f"val/00000.{suffix}", f"test/00007.{suffix}"}
    assert "are not those that were written" in told[f"train/00001.{suffix}"][0]
    assert told[f"val/00000.{suffix}"] == ("the file is missing", 0, "shard")
    assert told[f"test/00007.{suffix}"][2] == "nothing"
    (out / f"test/00007.{suffix}").unlink()
    assert found.damaged_shards == [0, 1]
    repaired = repair_output(verify_output(out))
    assert repaired.dropped == [0, 1]
    assert repaired.unfinished
    assert not list(out.glob(f"*/*.{suffix}"))
    make(writer_of(form, out))
    assert content(out) == content(made[form])


def test_a_damaged_virtual_file_is_written_again(made: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(writer_of("hdf5", out))
    flip(out / "dataset.h5")
    found = verify_output(out)
    assert [(problem.file, problem.mend) for problem in found.problems] == [("dataset.h5", "tables")]
    assert repair_output(found).dropped == []
    make(writer_of("hdf5", out))
    assert content(out) == content(made["hdf5"])


@all_forms
def test_a_damaged_pack_is_an_error_that_names_it(made: dict[str, Path], form: str, tmp_path: Path) -> None:
    path = tmp_path / f"00000.{SUFFIXES[form]}"
    with pytest.raises(ImageError, match=f"{path}: the file is missing"):
        open_pack(path)
    path.write_bytes(b"\x01" * 1000)
    with pytest.raises(ImageError, match=f"{path}: cannot be read, it is damaged"):
        open_pack(path)
    whole = made[form] / f"val/00000.{SUFFIXES[form]}"
    with open_pack(whole) as pack, pytest.raises(ImageError, match=f"{whole}: cannot be read"):
        pack.read("val/00000/nobody.png")
