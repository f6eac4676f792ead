"""Where outputs of every form, and what belongs to them, lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmentor.errors import OutputError
from augmentor.images import ImageFormat
from augmentor.outputs.paths import (
    OutputPaths,
    default_format,
    encoding_of,
    format_of,
    parts_folder,
    paths_of,
    planned_paths,
    refuse_file_name,
)
from augmentor.outputs.writers import OutputFormat


def test_what_belongs_to_an_output_lies_inside_the_folder_or_beside_the_file() -> None:
    folder, file = OutputPaths(Path("a/out"), one_file=False), OutputPaths(Path("a/out.h5"), one_file=True)
    assert folder.beside("preview.png") == Path("a/out/preview.png")
    assert file.beside("preview.png") == Path("a/out.preview.png")
    assert folder.out_of_sight("evaluation.lock") == Path("a/out/.augmentor/evaluation.lock")
    assert file.out_of_sight("evaluation.lock") == Path("a/.out.h5.evaluation.lock")
    assert (folder.work, file.work) == (Path("a/out/.augmentor"), Path("a/out.h5.parts"))
    assert (folder.lock, file.lock) == (Path("a/out/.augmentor.lock"), Path("a/.out.h5.lock"))


@pytest.mark.parametrize(
    ("name", "output_format", "one_file"),
    [
        ("out", "folder", False),
        ("out.h5", "folder", False),
        ("out.h5", "hdf5", True),
        ("out.HDF5", "hdf5", True),
        ("out", "hdf5", False),
        ("v1.5", "hdf5", False),
        ("out", "webdataset", False),
        ("out.h5", "parquet", False),
    ],
)
def test_hdf5_is_one_file_if_it_is_called_so(name: str, output_format: OutputFormat, one_file: bool) -> None:
    assert planned_paths(Path(name), output_format).one_file == one_file


def test_what_is_there_is_known_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "v1.5").mkdir()
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "file").write_bytes(b"")
    parts_folder(tmp_path / "begun").mkdir()
    found = {name: paths_of(tmp_path / name).one_file for name in ("v1.5", "folder.h5", "file", "begun", "no.h5")}
    assert found == {"v1.5": False, "folder.h5": False, "file": True, "begun": True, "no.h5": True}
    assert [default_format(Path(name)) for name in ("out.hdf5", "out", "v1.5")] == ["hdf5", "folder", "folder"]


@pytest.mark.parametrize(
    ("settings", "form", "encoding"),
    [
        ({}, "folder", "png"),
        ({"output_format": "folder", "image_format": "webp"}, "folder", "webp"),
        ({"output_format": "hdf5", "image_format": "jpg", "encoded": False, "size": "model"}, "hdf5", None),
        ({"output_format": "hdf5", "image_format": "jpg", "encoded": True}, "hdf5", "jpg"),
        ({"output_format": "hdf5", "image_format": "png", "size": "original"}, "hdf5", "png"),
        ({"output_format": "webdataset", "image_format": "jpg"}, "webdataset", "jpg"),
        ({"output_format": "carved in stone"}, "folder", "png"),
    ],
)
def test_a_description_says_the_form(
    settings: dict[str, object], form: OutputFormat, encoding: ImageFormat | None
) -> None:
    described = {"settings": settings}
    assert (format_of(described), encoding_of(described)) == (form, encoding)


@pytest.mark.parametrize(
    "name", ["o1.zip", "o.tar.gz", "o.TAR", "o.png", "o.jpeg", "o.tiff", "o.parquet", "labels.csv", "o.ckpt"]
)
def test_a_folder_is_not_named_like_a_file(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    with pytest.raises(OutputError, match=rf"--out .*{name}: a folder is written, .* name it FILE\.h5"):
        default_format(out)
    with pytest.raises(OutputError, match=rf"Leave out {out.suffix}$"):
        refuse_file_name(out)
    out.mkdir()  # Of an earlier version: it stays resumable.
    assert default_format(out) == "folder"


@pytest.mark.parametrize("name", ["out", "v1.5", "faces.2026", "o.h5", "o.hdf5"])
def test_other_names_are_taken(name: str, tmp_path: Path) -> None:
    assert default_format(tmp_path / name) == ("hdf5" if "o.h" in name else "folder")
    refuse_file_name(tmp_path / name)
