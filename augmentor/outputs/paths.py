"""Paths of an output and of all that belongs to it, for every format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from augmentor.errors import OutputError
from augmentor.images import IMAGE_SUFFIXES, ImageFormat

OutputFormat = Literal["folder", "hdf5", "webdataset", "parquet"]
"""Format of an output: a file per image, or one pack per split and shard. HDF5 may also be one file."""

WORK_FOLDER = ".augmentor"
"""Folder of the shard records, inside an output folder."""

INDEX_FILE = "dataset.h5"
"""In a folder of HDF5 files: the one file through which all of them are read."""

HDF5_SUFFIXES = (".h5", ".hdf5")
"""Suffixes that tell one HDF5 file from a folder of such files."""


_FILE_SUFFIXES = IMAGE_SUFFIXES.union(
    (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"),
    (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".npz"),
    (".pt", ".pth", ".ckpt", ".safetensors"),
)
"""Suffixes of files that someone may expect in the place of a folder."""


class OutputPaths(NamedTuple):
    """Paths of an output and what belongs to it: inside the folder, or beside FILE.h5.

    Args:
        out: the folder or file.
        one_file: whether it is FILE.h5.
    """

    out: Path
    one_file: bool

    def beside(self, name: str) -> Path:
        """Return the path of a companion: DIR/NAME, or FILE.NAME."""
        return self.out.with_suffix(f".{name}") if self.one_file else self.out / name

    def out_of_sight(self, name: str) -> Path:
        """Return a path that readers of images do not find: DIR/.augmentor/NAME, or .FILE.h5.NAME."""
        return self.out.with_name(f".{self.out.name}.{name}") if self.one_file else self.out / WORK_FOLDER / name

    @property
    def root(self) -> Path:
        """The folder below which no link is followed: DIR, or that of FILE.h5."""
        return self.out.parent if self.one_file else self.out

    @property
    def work(self) -> Path:
        """The folder of the shard records; that of FILE.h5 exists until it is finished."""
        return parts_folder(self.out) if self.one_file else self.out / WORK_FOLDER

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.out.with_name(f".{self.out.name}.lock") if self.one_file else self.out / ".augmentor.lock"


def planned_paths(out: Path, output_format: OutputFormat) -> OutputPaths:
    """Return the paths of an output to be written: HDF5 is one file if its name ends so, else a folder."""
    return OutputPaths(out, one_file=output_format == "hdf5" and out.suffix.lower() in HDF5_SUFFIXES)


def paths_of(out: Path) -> OutputPaths:
    """Return the paths of an existing output, finished or not; of a missing one, by its name."""
    if out.is_file() or out.is_dir():
        return OutputPaths(out, one_file=out.is_file())
    return OutputPaths(out, one_file=parts_folder(out).is_dir() or out.suffix.lower() in HDF5_SUFFIXES)


def default_format(out: Path) -> OutputFormat:
    """Return the format where none is given, by the name; OutputError for one that no folder should have."""
    if out.suffix.lower() in HDF5_SUFFIXES:
        return "hdf5"
    refuse_file_name(
        out,
        instead="Leave out {suffix}, name it FILE.h5 for one file, or give --format hdf5, webdataset or parquet "
        "for a folder of such files (--format folder: a folder of this very name)",
    )
    return "folder"


def refuse_file_name(out: Path, *, instead: str = "Leave out {suffix}") -> None:
    """Refuse a new folder that is named like an archive, image, table or model file, with an OutputError."""
    suffix = out.suffix.lower()
    if suffix in _FILE_SUFFIXES and not out.is_dir():
        raise OutputError(
            f"--out {out}: a folder is written, and {out.suffix} is the name of a file. "
            f"{instead.format(suffix=out.suffix)}"
        )


def format_of(description: Mapping[str, object]) -> OutputFormat:
    """Return the format in an output's description; "folder" where it has none."""
    said = described_settings(description).get("output_format")
    return cast(OutputFormat, said) if said in get_args(OutputFormat) else "folder"


def encoding_of(description: Mapping[str, object]) -> ImageFormat | None:
    """Return the format of an output's images; None for pixels."""
    settings = described_settings(description)
    return stored_encoding(
        format_of(description),
        image_format=cast(ImageFormat, settings.get("image_format", "png")),
        encoded=bool(settings.get("encoded")),
        same_size=settings.get("size") != "original",
    )


def stored_encoding(
    output_format: OutputFormat, *, image_format: ImageFormat, encoded: bool, same_size: bool
) -> ImageFormat | None:
    """Return the format of an output's images; None for pixels, as HDF5 holds them.

    Args:
        output_format: of the output.
        image_format: the format that was requested.
        encoded: whether HDF5 was to hold encoded images.
        same_size: whether all images have one size, as an array of pixels needs.
    """
    return None if output_format == "hdf5" and not encoded and same_size else image_format


def parts_folder(out: Path) -> Path:
    """Return the folder of the shards of an unfinished FILE.h5."""
    return out.with_name(f"{out.name}.parts")


def described_settings(description: Mapping[str, object]) -> Mapping[str, object]:
    """Return the settings in an output's description; empty where it has none."""
    settings = description.get("settings")
    return settings if isinstance(settings, dict) else {}
