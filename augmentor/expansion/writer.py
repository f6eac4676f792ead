"""Writer of an output: its choice by format and place, limits, and messages for failed writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from augmentor.errors import AugmentorError, StalledError, explain_faults
from augmentor.expansion.settings import ExpandSettings
from augmentor.outputs import OutputPaths, planned_paths
from augmentor.outputs.writers import (
    FolderWriter,
    HDF5Writer,
    PackWriter,
    RemoteWriter,
    Writer,
    on_disk,
    packing_of,
)
from augmentor.planning import Plan
from augmentor.storage import Json, RemotePath
from stargan.inference import CompilationError
from stargan.labels import LabelSpace

MOST_IN_ONE_FILE = 10_000_000
"""Images in one HDF5 file: half a terabyte at 128 px, which one process writes, reads and repairs in order."""


def make_writer(
    out: Path, *, settings: ExpandSettings, space: LabelSpace, description: Mapping[str, Json]
) -> Writer:
    """Return the writer of an output: a folder, a file, or a folder at a URL.

    `description` is what `dataset.json` says about the origin of the output.

    Raises:
        AugmentorError: the format cannot be written to a URL.
    """
    if isinstance(out, RemotePath):
        refuse_remote_file(out, settings)
        disk = on_disk(out, str(description["fingerprint"]))
        here, there = (_folder_writer(path, settings, space, description) for path in (disk, out))
        return RemoteWriter(out, here=here, there=there)
    if planned_paths(out, settings.output_format).one_file:
        return HDF5Writer(out, space=space, description=description, encoding=settings.encoding)
    return _folder_writer(out, settings, space, description)


def _folder_writer(
    out: Path, settings: ExpandSettings, space: LabelSpace, description: Mapping[str, Json]
) -> FolderWriter:
    if settings.output_format != "folder":
        packing = packing_of(settings.output_format, space=space, encoding=settings.encoding)
        return PackWriter(out, space=space, description=description, packing=packing)
    return FolderWriter(
        out,
        space=space,
        description=description,
        image_format=settings.image_format,
        class_folders=settings.class_folders,
    )


def refuse_remote_file(out: Path, settings: ExpandSettings) -> None:
    """Refuse to write one HDF5 file to a URL, where it cannot be written shard by shard."""
    if isinstance(out, RemotePath) and planned_paths(out, settings.output_format).one_file:
        raise AugmentorError(
            f"{out}: one HDF5 file cannot be written to a URL shard by shard. Use a URL without .h5, for a folder "
            "of HDF5 files or another --format, or write it to a disk and copy it"
        )


def refuse_too_many(plan: Plan, place: OutputPaths) -> None:
    """Refuse a plan of more images than one file should hold."""
    if place.one_file and len(plan) > MOST_IN_ONE_FILE:
        raise AugmentorError(
            f"{len(plan):,} images are too many for one file, which one process writes from its first byte to its "
            f"last: {MOST_IN_ONE_FILE:,} is the limit. Write a folder of such files, with one that shows all of "
            f"them: --format hdf5 --out {place.out.with_suffix('')}"
        )


@contextmanager
def explain_failures(out: Path) -> Iterator[None]:
    """Turn faults of the machine into messages that say how to continue the expansion."""
    try:
        with explain_faults(
            out,
            kept=lambda: "What was committed is safe.",
            resume="run the same command again",
            less_memory="Run the same command again, with a smaller --batch-size or another --device",
        ):
            yield
    except StalledError as error:
        raise StalledError(f"{out}: {error}: what was committed is safe") from error
    except CompilationError as error:
        raise CompilationError(f"{error}; translate without it: --compile off") from error
