"""HDF5: the same rows and pixels as a folder, one file at the end, and a kill at any moment does no harm."""

from __future__ import annotations

import csv
import gc
import importlib
import json
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from augmentor.data import Failure
from augmentor.errors import OutputError
from augmentor.images import ImageFormat, Pixels, decode, decode_bytes
from augmentor.outputs.label_table import LabelRow, key, real_key
from augmentor.outputs.readers import FinishedOutput
from augmentor.outputs.writers import FolderWriter, HDF5Writer, Writer
from augmentor.outputs.writers.parts import PartShard
from augmentor.storage import Json
from stargan.labels import Attribute, LabelSpace
from tests.augmentor.outputs.finishing import finish

SPACE = LabelSpace(
    attributes=(
        Attribute(name="hair", kind="categorical", values=("black", "blond", "rötlich")),
        Attribute(name="male"),
    )
)
DESCRIPTION: dict[str, Json] = {"fingerprint": "abc", "seed": 1}
FAILURES = [Failure(id="x", path="x.png", reason="gone")]
SHARDS = 3


def items(shard: int) -> Iterator[tuple[int, LabelRow, Pixels]]:
    rng = np.random.default_rng(shard)
    for number in range(5):
        codes = (number % 3, -1 if number == 0 else number % 2)
        stem = f"ä{shard}{number}"
        synthetic = number % 2 == 1
        yield (
            number * 2,
            LabelRow(
                file_name="",
                key=key(stem, SPACE.domain(codes)) if synthetic else real_key(stem),
                split="test" if number == 4 else "train",
                group="g" if synthetic else "",
                is_synthetic=synthetic,
                source_id=stem,
                source_path=f"images/{stem}.png",
                codes=codes,
                changed=("hair", "male") if synthetic else (),
                agreement=0.123456 if synthetic else None,
                realism=-3.0 if synthetic else None,
            ),
            rng.integers(0, 256, (6, 8, 3), dtype=np.uint8),
        )


def expand(writer: Writer, *, shards: int = SHARDS) -> None:
    writer.open()
    for index in writer.missing(shards):
        with writer.shard(index) as shard:
            for position, row, pixels in items(index):
                shard.add_all([(position, row, pixels)])
            shard.commit(FAILURES)
    finish(writer, shards)


def hdf5_writer(out: Path, encoding: ImageFormat | None = None) -> HDF5Writer:
    return HDF5Writer(out, space=SPACE, description=DESCRIPTION, encoding=encoding)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_same_rows_and_pixels_as_a_folder(tmp_path: Path) -> None:
    expand(FolderWriter(tmp_path / "dir", space=SPACE, description=DESCRIPTION))
    expand(hdf5_writer(tmp_path / "file" / "out.h5"))
    tables = ["out.dataset.json", "out.failures.csv", "out.h5", "out.rejected.csv", "out.scores.csv"]
    assert names(tmp_path / "file") == tables
    for name in ("failures.csv", "rejected.csv", "scores.csv"):
        companion = tmp_path / "file" / f"out.{name}"
        assert companion.read_bytes() == (tmp_path / "dir" / name).read_bytes()
    files = (tmp_path / "file" / "out.dataset.json", tmp_path / "dir" / "dataset.json")
    described = [json.loads(path.read_bytes()) for path in files]
    for each in described:  # One holds pixels, the other one PNG.
        del each["content_sha256"], each["sha256"]
    assert described[0] == described[1]
    with (tmp_path / "dir/labels.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    with h5py.File(tmp_path / "file/out.h5") as file:
        assert file["image"].shape == (15, 6, 8, 3)
        assert file["image"].dtype == np.uint8
        assert file["image"].chunks == (1, 6, 8, 3)
        assert file["labels"].dtype == np.int8
        assert {len(dataset) for dataset in file.values()} == {len(rows)}
        assert set(file) == {"image", "labels", *rows[0]} - {"hair", "male"}
        for index, row in enumerate(rows):
            np.testing.assert_array_equal(
                file["image"][index], decode(tmp_path / "dir" / row["file_name"], channels=3)
            )
            codes = file["labels"][index]
            assert SPACE.domain(codes.tolist()) == {n: row[n] for n in SPACE.names if row[n]}
            for name in ("file_name", "key", "split", "group", "source_id", "source_path", "changed"):
                assert file[name].asstr()[index] == row[name]
            assert file["is_synthetic"][index] == int(row["is_synthetic"])
            for name in ("agreement", "realism"):
                expected = float(row[name]) if row[name] else np.nan
                np.testing.assert_allclose(file[name][index], expected, rtol=1e-6)


def test_the_file_describes_itself(tmp_path: Path) -> None:
    expand(hdf5_writer(tmp_path / "out.h5"))
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["attribute_names"].tolist() == ["hair", "male"]
        assert json.loads(file.attrs["attribute_values"]) == [["black", "blond", "rötlich"], ["0", "1"]]
        assert file.attrs["schema_version"] == 1
        description = json.loads(file.attrs["dataset_json"])
    assert description == json.loads((tmp_path / "out.dataset.json").read_bytes())
    assert description["counts"]["splits"]["train"] == {"real": 6, "synthetic": 6}
    assert description["counts"]["failed"] == 1
    assert description["image_shape"] == [6, 8, 3]


@pytest.mark.parametrize("encoding", [None, "png"])
def test_equal_bytes_whatever_the_order(encoding: ImageFormat | None, tmp_path: Path) -> None:
    expand(hdf5_writer(tmp_path / "a.h5", encoding))
    writer: HDF5Writer = pickle.loads(pickle.dumps(hdf5_writer(tmp_path / "b.h5", encoding)))
    writer.open()
    for index in reversed(range(SHARDS)):
        with writer.shard(index) as shard, ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda item, shard=shard: shard.add_all([item]), reversed(list(items(index)))))
            shard.commit(FAILURES)
    finish(writer, SHARDS)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_encoded_images_may_differ_in_size(tmp_path: Path) -> None:
    """In two shards of three images each, with a hole where one failed; the same as files in a folder."""
    sizes = [(6, 8), (60, 80), (6, 9), (1, 1), (6, 8), (33, 8)]
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    hdf5, folder = (
        hdf5_writer(tmp_path / "out.h5", "png"),
        FolderWriter(tmp_path / "dir", space=SPACE, description=DESCRIPTION),
    )
    writer: Writer
    for writer in (hdf5, folder):
        writer.open()
        for index in range(2):
            with writer.shard(index) as shard:
                for place, (position, row, _) in enumerate(items(index)):
                    if place < 3:
                        shard.add_all([(position, row, pixels[3 * index + place])])
                shard.commit([])
        finish(writer, 2)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["image_encoding"] == "png"
        assert file["image"].shape == (6,)
        assert json.loads(file.attrs["dataset_json"])["image_shape"] == [None, None, 3]
        for index in range(6):
            data = file["image"][index].tobytes()
            assert data == (tmp_path / "dir" / file["file_name"].asstr()[index]).read_bytes()
            np.testing.assert_array_equal(decode_bytes(data, channels=3), pixels[index])
    described = tmp_path / "dir" / "dataset.json"
    assert described.read_bytes() == (tmp_path / "out.dataset.json").read_bytes()


def test_encoded_images_of_another_format(tmp_path: Path) -> None:
    expand(hdf5_writer(tmp_path / "out.h5", "jpg"))
    expand(FolderWriter(tmp_path / "dir", space=SPACE, description=DESCRIPTION, image_format="jpg"))
    with h5py.File(tmp_path / "out.h5") as file:
        assert len(file["image"]) == 15
        assert json.loads(file.attrs["dataset_json"])["image_shape"] == [6, 8, 3]
        for name, stored in zip(file["file_name"].asstr(), file["image"], strict=True):
            assert name.endswith(".jpg")
            assert stored.tobytes() == (tmp_path / "dir" / name).read_bytes()


class Killed(BaseException):
    """Stands for kill -9: no clean-up runs."""


def test_kill_at_any_rename_then_again_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    expand(hdf5_writer(tmp_path / "whole" / "out.h5"))
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    rename = os.replace
    for call in range(1, 11):
        out = tmp_path / f"killed{call}" / "out.h5"
        made = 0

        def dying(source: str, target: str, last: int = call, **folders: int | None) -> None:
            nonlocal made
            made += 1
            if made >= last:
                raise Killed
            rename(source, target, **folders)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            patch.setattr(PartShard, "__exit__", lambda self, *_: self._close())
            with pytest.raises(Killed):
                expand(hdf5_writer(out))
        assert not out.exists()
        assert not hdf5_writer(out).complete()
        expand(hdf5_writer(out))
        assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == whole, call


def test_finished_file_is_left_alone_and_leftover_parts_go(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    expand(hdf5_writer(out))
    before, changed = out.read_bytes(), out.stat().st_mtime_ns
    (tmp_path / "out.h5.parts").mkdir()
    writer = hdf5_writer(out)
    assert writer.complete()
    assert writer.missing(SHARDS) == []
    writer.open()
    counts = FinishedOutput.open(out).counts
    assert (counts.real, counts.synthetic, counts.failed) == (9, 6, 1)
    assert out.read_bytes() == before
    assert out.stat().st_mtime_ns == changed
    assert "out.h5.parts" not in names(tmp_path)


def test_missing_part_does_not_count(tmp_path: Path) -> None:
    writer = hdf5_writer(tmp_path / "out.h5")
    writer.open()
    with writer.shard(0) as shard:
        shard.add_all([next(items(0))])
        shard.commit([])
    assert writer.record(0) is not None
    (tmp_path / "out.h5.parts/00000.part").unlink()
    assert writer.record(0) is None
    with pytest.raises(OutputError, match="shard 1 of 2 is missing"):
        finish(writer, 2)


def test_damage_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    expand(hdf5_writer(out))
    with h5py.File(out) as file:
        offset = file["image"].id.get_chunk_info(3).byte_offset
    data = bytearray(out.read_bytes())
    data[offset + 7] ^= 1
    out.write_bytes(data)
    with h5py.File(out) as file, pytest.raises(OSError, match=r"checksum|filter"):
        file["image"][3]


def test_shards_without_images(tmp_path: Path) -> None:
    writer = hdf5_writer(tmp_path / "out.h5")
    writer.open()
    for index in range(2):
        with writer.shard(index) as shard:
            if index == 1:
                shard.add_all([next(items(0))])
            shard.commit(FAILURES)
        assert writer.record(index) is not None
    assert finish(writer, 2).real == 1
    encodings: tuple[ImageFormat | None, ...] = (None, "png")
    for encoding in encodings:
        empty = hdf5_writer(tmp_path / f"empty {encoding}.h5", encoding)
        empty.open()
        assert finish(empty, 0).real == 0
        with h5py.File(empty.out) as file:
            assert file["labels"].shape == (0, 2)
            assert len(file["image"]) == 0


def test_other_runs_and_other_files_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    other = HDF5Writer(out, space=SPACE, description={"fingerprint": "other"})
    hdf5_writer(out).open()
    with pytest.raises(OutputError, match="another plan, model or settings"):
        other.open()
    expand(hdf5_writer(out))
    with pytest.raises(OutputError, match="another plan, model or settings"):
        other.open()
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(OutputError, match="not an HDF5 file"):
        hdf5_writer(tmp_path / "text.h5").open()
    with pytest.raises(OutputError, match="is a folder"):
        hdf5_writer(tmp_path).open()


def test_more_values_than_a_byte_holds(tmp_path: Path) -> None:
    wide = LabelSpace(
        attributes=(Attribute(name="who", kind="categorical", values=tuple(f"v{i}" for i in range(200))),)
    )
    writer = HDF5Writer(tmp_path / "out.h5", space=wide, description=DESCRIPTION)
    writer.open()
    with writer.shard(0) as shard:
        _, row, pixels = next(items(0))
        shard.add_all([(0, row._replace(codes=(199,)), pixels)])
        shard.commit([])
    finish(writer, 1)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["labels"][0, 0] == 199


# The library leaves its own files for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("encoding", [None, "png"])
def test_hugging_face_reads_the_file(
    encoding: ImageFormat | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hugging_face = importlib.import_module("datasets")
    out = tmp_path / "out.h5"
    expand(hdf5_writer(out, encoding))
    loaded = hugging_face.load_dataset("hdf5", data_files=str(out), cache_dir=str(tmp_path / "cache"))["train"]
    with h5py.File(out) as file:
        assert len(loaded) == 15
        assert set(loaded.column_names) == set(file)
        for index in (0, 1, 14):
            item = loaded[index]
            np.testing.assert_array_equal(np.asarray(item["image"], np.uint8), file["image"][index])
            assert item["labels"] == file["labels"][index].tolist()
            assert item["file_name"] == file["file_name"].asstr()[index]
    gc.collect()
