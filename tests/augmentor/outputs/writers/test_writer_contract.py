"""Contract of all writers to a disk: commit, refusals, assembly in any order, and nothing left of a broken run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from augmentor.data import Failure
from augmentor.errors import OutputError
from augmentor.images import ImageFormat
from augmentor.outputs.label_table import LabelRow, real_key
from augmentor.outputs.writers import FolderWriter, HDF5Writer, PackWriter, Writer, packing_of
from augmentor.storage import Json
from stargan.labels import LabelSpace
from tests.augmentor.outputs.finishing import finish

SHARDS = 4
FORMATS = ["folder", "hdf5", "encoded", "hdf5 packs", "webdataset", "parquet"]
MakeWriter = Callable[..., Writer]


@pytest.fixture(params=FORMATS)
def make_writer(request: pytest.FixtureRequest, space: LabelSpace) -> MakeWriter:
    def make(folder: Path, fingerprint: str = "abc") -> Writer:
        description: dict[str, Json] = {"fingerprint": fingerprint}
        if request.param == "folder":
            return FolderWriter(folder / "out", space=space, description=description)
        if request.param in ("hdf5", "encoded"):
            encoding: ImageFormat | None = "png" if request.param == "encoded" else None
            return HDF5Writer(folder / "out.h5", space=space, description=description, encoding=encoding)
        if request.param == "hdf5 packs":
            packing = packing_of("hdf5", space=space, encoding=None)
        else:
            packing = packing_of(request.param, space=space, encoding="png")
        return PackWriter(folder / "out", space=space, description=description, packing=packing)

    return make


def make_row(stem: str, split: str, codes: tuple[int, ...]) -> LabelRow:
    return LabelRow(
        file_name="",
        key=real_key(stem),
        split=split,
        group="",
        is_synthetic=False,
        source_id=stem,
        source_path=f"{stem}.png",
        codes=codes,
    )


def write_shard(writer: Writer, index: int, *, side: int = 4) -> None:
    """Three images, of which the middle one failed; none at all in shard 2."""
    random = np.random.default_rng(index)
    with writer.shard(index) as shard:
        if index != 2:
            for place in (0, 2):
                row = make_row(f"{index}{place}", ("train", "val")[place // 2], (index % 3, -1))
                shard.add_all([(place, row, random.integers(256, size=(side, side, 3), dtype=np.uint8))])
        shard.commit([Failure(id=f"{index}1", path="x", reason="gone")])


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [1, 0], []])
def test_bytes_do_not_depend_on_when_shards_come(
    order: Sequence[int], make_writer: MakeWriter, tmp_path: Path
) -> None:
    at_once, one_by_one = make_writer(tmp_path / "a"), make_writer(tmp_path / "b")
    at_once.open()
    for index in range(SHARDS):
        write_shard(at_once, index)
    finish(at_once, SHARDS)
    one_by_one.open()
    with one_by_one.assembly(SHARDS) as assembly:
        for index in order:
            write_shard(one_by_one, index)
            assembly.take(index)
        for index in set(range(SHARDS)) - set(order):
            write_shard(one_by_one, index)
        counts = assembly.finish()
    assert (counts.real, counts.synthetic, counts.failed) == (6, 0, SHARDS)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_an_assembly_that_breaks_off_leaves_shards_alone(make_writer: MakeWriter, tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.open()
    write_shard(writer, 0)
    before = content(tmp_path)

    def broken() -> None:
        with writer.assembly(SHARDS) as assembly:
            assembly.take(0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert content(tmp_path) == before
    assert writer.record(0) is not None
    assert not writer.complete()


def test_a_shard_that_is_missing_is_named(make_writer: MakeWriter, tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.open()
    write_shard(writer, 0)
    with writer.assembly(SHARDS) as assembly, pytest.raises(OutputError, match="shard 1 of 4 is missing"):
        assembly.finish()
    assert not writer.complete()


def test_pixels_of_two_sizes_do_not_fit_into_one_file(space: LabelSpace, tmp_path: Path) -> None:
    writer = HDF5Writer(tmp_path / "out.h5", space=space, description={"fingerprint": "abc"})
    writer.open()
    write_shard(writer, 0)
    write_shard(writer, 1, side=5)
    with pytest.raises(OutputError, match=r"shard 1 has images of \(5, 5, 3\), not \(4, 4, 3\)"):
        finish(writer, 2)
    assert not writer.out.exists()


def test_what_is_missing_is_listed_and_nothing_once_all_is_there(make_writer: MakeWriter, tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "a")
    assert writer.missing(SHARDS) == [0, 1, 2, 3]
    writer.open()
    for index in (3, 0, 2):
        write_shard(writer, index)
    assert writer.missing(SHARDS) == [1]
    with pytest.raises(OutputError, match="shard 1 of 4 is missing"):
        finish(writer, SHARDS)
    write_shard(writer, 1)
    finish(writer, SHARDS)
    assert writer.missing(SHARDS) == []


def test_a_shard_without_a_commit_leaves_nothing(make_writer: MakeWriter, tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.open()
    before = content(tmp_path)
    with pytest.raises(RuntimeError), writer.shard(0) as shard:  # noqa: PT012
        shard.add_all([(0, make_row("a", "train", (0, 0)), np.zeros((4, 4, 3), np.uint8))])
        raise RuntimeError
    assert writer.record(0) is None
    assert writer.missing(1) == [0]
    assert content(tmp_path) == before
    assert not list(tmp_path.rglob("*0*"))


def test_two_images_of_one_name_are_refused(make_writer: MakeWriter, tmp_path: Path) -> None:
    writer = make_writer(tmp_path)
    writer.open()
    row, pixels = make_row("a", "train", (0, 0)), np.zeros((4, 4, 3), np.uint8)
    with writer.shard(0) as shard:
        shard.add_all([(0, row, pixels), (1, row, pixels)])
        with pytest.raises(OutputError, match=r"two images would be called train/00000/a__real\.png"):
            shard.commit([])
    assert writer.record(0) is None


def test_the_output_of_another_run_is_refused(make_writer: MakeWriter, tmp_path: Path) -> None:
    writer, other = make_writer(tmp_path), make_writer(tmp_path, fingerprint="other")
    for finished in (False, True):
        writer.open()
        if finished:
            write_shard(writer, 0)
            finish(writer, 1)
            assert writer.complete()
        before = content(tmp_path)
        assert not other.complete()
        for refuse in (other.check, other.open):
            with pytest.raises(OutputError, match="another plan, model or settings"):
                refuse()
        assert content(tmp_path) == before


@pytest.mark.parametrize("make_writer", FORMATS[1:], indirect=True)
def test_pixels_of_two_sizes_and_files_are_refused_where_they_do_not_fit(
    make_writer: MakeWriter, tmp_path: Path
) -> None:
    writer = make_writer(tmp_path)
    writer.open()
    row, source = make_row("a", "train", (0, 0)), tmp_path / "a.png"
    with writer.shard(0) as shard:
        shard.add_all([(0, row, np.zeros((6, 5, 3), np.uint8))])
        if shard.encoding is None:
            with pytest.raises(ValueError, match="among images of"):
                shard.add_all([(1, row, np.zeros((6, 6, 3), np.uint8))])
        with pytest.raises(OutputError, match="Use --real processed, or --format folder"):
            shard.link(2, row, source)
    assert writer.record(0) is None
