"""Outputs that somebody else made: readers open nothing outside of them, and believe no absurd size."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from augmentor import open_dataset
from augmentor.errors import ImageError, OutputError
from augmentor.images import encode
from augmentor.outputs.readers import FinishedOutput
from augmentor.outputs.verify import verify_output
from augmentor.outputs.writers import FolderWriter, HDF5Writer, PackWriter, Writer, packing_of
from augmentor.outputs.writers.webdataset import TarPack
from augmentor.storage import Json
from tests.augmentor.outputs.readers.test_datasets import ROWS, SPACE, pixels_of, write

PACKS = {"webdataset": ".tar", "parquet": ".parquet", "hdf5": ".h5"}


def make(form: str, out: Path) -> Path:
    description: dict[str, Json] = {"fingerprint": "abc", "settings": {"output_format": form}}
    writer: Writer
    if form == "folder":
        writer = FolderWriter(out, space=SPACE, description=description)
    elif form == "file":
        out = out.with_suffix(".h5")
        writer = HDF5Writer(out, space=SPACE, description={"fingerprint": "abc"})
    else:
        encoding = None if form == "hdf5" else "png"
        packing = packing_of(form, space=SPACE, encoding=encoding)  # type: ignore[arg-type]
        writer = PackWriter(out, space=SPACE, description=description, packing=packing)
    write(writer)
    return out


@pytest.mark.parametrize("way", ["a name", "a link"])
@pytest.mark.parametrize("form", ["folder", *PACKS])
def test_images_outside_of_a_folder_are_not_read(form: str, way: str, tmp_path: Path) -> None:
    out, other = make(form, tmp_path / "out"), make(form, tmp_path / "private")
    secret = encode(pixels_of(1), "png")
    if way == "a name":
        (tmp_path / "secret.png").write_bytes(secret)
        table = (out / "labels.csv").read_text()
        names = ("../secret.png",) if form == "folder" else ("../private/train/00000/000__real.png",)
        (out / "labels.csv").write_text(table.replace("train/00000/000__real.png", *names))
    else:
        file = out / "train" / ("00000/000__real.png" if form == "folder" else f"00000{PACKS[form]}")
        target = other / file.relative_to(out)
        file.unlink()
        file.symlink_to(target)
    images = open_dataset(out)
    with pytest.raises(ImageError, match="leads out of the output"):
        images[0]
    output = FinishedOutput.open(out)
    assert output.read(0, images.labels["file_name"][0]) is None
    assert open_dataset(other)[0][0].shape == (3, 6, 8)


def external(file: h5py.File, name: str, other: Path) -> None:
    data = file[name][:]
    other.write_bytes(data.tobytes())
    del file[name]
    file.create_dataset(name, data.shape, data.dtype, external=[(str(other), 0, data.nbytes)])


def linked(file: h5py.File, name: str, other: Path) -> None:
    del file[name]
    file[name] = h5py.ExternalLink(str(other.with_suffix(".h5")), name)


def virtual(file: h5py.File, name: str, other: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(str(other.with_suffix(".h5")), name, shape)
    file.create_virtual_dataset(name, layout)


def relative(file: h5py.File, name: str, other: Path) -> None:
    virtual(file, name, Path("../made") / other.name)


def larger(file: h5py.File, name: str, other: Path) -> None:
    del other, file[name]
    shape = (ROWS, 10**6, 10**6, 3) if name == "image" else (10**12, 2)
    file.create_dataset(
        name, shape, np.uint8 if name == "image" else np.int8, chunks=(1,) + (2,) * (len(shape) - 1)
    )


@pytest.mark.parametrize("name", ["image", "labels"])
@pytest.mark.parametrize("change", [external, linked, virtual, relative, larger])
def test_hdf5_data_outside_of_a_file_are_not_read(
    change: Callable[[h5py.File, str, Path], None], name: str, tmp_path: Path
) -> None:
    (tmp_path / "made").mkdir()
    out = make("file", tmp_path / "made" / "out")
    shutil.copy(out, tmp_path / "made" / "other.h5")
    with h5py.File(out, "r+") as file:
        change(file, name, tmp_path / "made" / "other")
    with pytest.raises(OutputError, match=r"out\.h5: .*(are in|is a link|said to have)"):
        open_dataset(out)
    assert [problem.mend for problem in verify_output(out).problems] == ["all"]


def test_a_view_of_files_in_its_folder_is_read(tmp_path: Path) -> None:
    out = make("hdf5", tmp_path / "out")
    view = open_dataset(out / "dataset.h5")
    np.testing.assert_array_equal(view[1][0].permute(1, 2, 0), pixels_of(1))
    other = make("hdf5", tmp_path / "other")
    with h5py.File(other / "train" / "00000.h5", "r+") as pack:
        external(pack, "image", tmp_path / "private")
    with pytest.raises(OutputError, match="the data of image are in another file"):
        open_dataset(other / "dataset.h5")


@pytest.mark.parametrize("size", [1 << 45, (1 << 63) - 1, -5])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_members_of_absurd_sizes_are_damage(kind: bytes, size: int, tmp_path: Path) -> None:
    path = tmp_path / "00000.tar"
    member = tarfile.TarInfo("a.png")
    member.type, member.size = kind, size
    data = io.BytesIO()
    data.write(member.tobuf(tarfile.GNU_FORMAT))
    data.write(bytes(2048))
    path.write_bytes(data.getvalue())
    with pytest.raises(ImageError, match=r"00000\.tar: cannot be read, it is damaged"):
        TarPack(path)
