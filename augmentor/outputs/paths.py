"""Paths of an output and of all that belongs to it, for every format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from augmentor.images import ImageFormat

OutputFormat = Literal["folder", "hdf5", "webdataset", "parquet"]
"""What images are written as: files of their own, or one pack per split and shard. HDF5 may be one file, too."""

WORK_FOLDER = ".augmentor"
"""Inside an output folder: the shard records, which hold the sha256 of every image."""

INDEX_FILE = "dataset.h5"
"""In a folder of HDF5 files: the one file through which all of them are read."""

HDF5_SUFFIXES = (".h5", ".hdf5")
"""By these the name of one HDF5 file is known from that of a folder of such files."""


class OutputPaths(NamedTuple):
    """An output, and what belongs to it: inside the folder, or beside FILE.h5.

    Args:
        out: the folder or file.
        one_file: whether it is FILE.h5.
    """

    out: Path
    one_file: bool

    def beside(self, name: str) -> Path:
        """Return where a companion lies, by its name inside a folder: DIR/NAME, or FILE.NAME."""
        return self.out.with_suffix(f".{name}") if self.one_file else self.out / name

    def out_of_sight(self, name: str) -> Path:
        """Return where a file lies that readers of images must not find: in DIR/.augmentor, or .FILE.h5.NAME."""
        return self.out.with_name(f".{self.out.name}.{name}") if self.one_file else self.out / WORK_FOLDER / name

    @property
    def work(self) -> Path:
        """The folder of the shards' records, of FILE.h5 until it is finished."""
        return parts_folder(self.out) if self.one_file else self.out / WORK_FOLDER

    @property
    def lock(self) -> Path:
        """The file that says which process writes here."""
        return lock_of_file(self.out) if self.one_file else lock_of_folder(self.out)


def planned_paths(out: Path, output_format: OutputFormat) -> OutputPaths:
    """Return where an output of a form will lie: HDF5 is one file if its name ends so, else a folder of files."""
    return OutputPaths(out, one_file=output_format == "hdf5" and out.suffix.lower() in HDF5_SUFFIXES)


def paths_of(out: Path) -> OutputPaths:
    """Return where an output lies that is there, finished or begun; of one that is not, what its name says."""
    if out.is_file() or out.is_dir():
        return OutputPaths(out, one_file=out.is_file())
    return OutputPaths(out, one_file=parts_folder(out).is_dir() or out.suffix.lower() in HDF5_SUFFIXES)


def default_format(out: Path) -> OutputFormat:
    """Return what is written where nobody says it."""
    return "hdf5" if out.suffix.lower() in HDF5_SUFFIXES else "folder"


def format_of(description: Mapping[str, object]) -> OutputFormat:
    """Return the form of an output, as its description says it; files where it does not say."""
    said = _settings(description).get("output_format")
    return cast(OutputFormat, said) if said in get_args(OutputFormat) else "folder"


def encoding_of(description: Mapping[str, object]) -> ImageFormat | None:
    """Return what the images of an output were encoded as; None where they are pixels."""
    settings = _settings(description)
    return stored_encoding(
        format_of(description),
        image_format=cast(ImageFormat, settings.get("image_format", "png")),
        encoded=bool(settings.get("encoded")),
        same_size=settings.get("size") != "original",
    )


def stored_encoding(
    output_format: OutputFormat, *, image_format: ImageFormat, encoded: bool, same_size: bool
) -> ImageFormat | None:
    """Return the format of the images in an output; None where they are bare pixels, as HDF5 holds them.

    Args:
        output_format: of the output.
        image_format: what was asked for.
        encoded: whether HDF5 was to hold encoded images.
        same_size: whether all images have one size; else pixels do not fit into one array.
    """
    return None if output_format == "hdf5" and not encoded and same_size else image_format


def parts_folder(out: Path) -> Path:
    """Return the folder that holds the shards of FILE.h5 until it is finished."""
    return out.with_name(f"{out.name}.parts")


def lock_of_file(out: Path) -> Path:
    """Return the lock file of FILE.h5."""
    return out.with_name(f".{out.name}.lock")


def lock_of_folder(out: Path) -> Path:
    """Return the lock file of an output folder."""
    return out / ".augmentor.lock"


def _settings(description: Mapping[str, object]) -> Mapping[str, object]:
    settings = description.get("settings")
    return settings if isinstance(settings, dict) else {}
