"""Verification of one output, whichever form it has."""

from __future__ import annotations

from pathlib import Path

from augmentor.errors import OutputError
from augmentor.outputs.paths import paths_of
from augmentor.outputs.verify.finished import verify_finished
from augmentor.outputs.verify.folder import verify_folder, verify_parts
from augmentor.outputs.verify.report import Findings, Told


def verify_output(out: Path, *, workers: int | None = None, told: Told = lambda _done, _total: None) -> Findings:
    """Read every image and every row of an output again; change nothing.

    Images are compared with the SHA-256 that the shard records (or a finished HDF5 file) hold, and unpacked; their
    size and channels, the counts, keys and labels, the tables, and which split a translation descends from are
    checked as well.

    Args:
        out: a folder or FILE.h5 that expand wrote, or has begun to write.
        workers: threads that read and unpack; None for one per usable core.
        told: called with (images done, images in all).

    Raises:
        OutputError: there is nothing that expand wrote.
    """
    place = paths_of(out)
    if out.is_dir() and (place.work.is_dir() or place.beside("dataset.json").is_file()):
        return verify_folder(out, workers=workers, told=told)
    if out.is_file():
        return verify_finished(out, workers=workers, told=told)
    if not out.exists() and place.work.is_dir():
        return verify_parts(out, workers=workers, told=told)
    kind = "is a folder that expand did not write" if out.is_dir() else "there is nothing"
    raise OutputError(f"{out}: {kind}. Give the folder, or FILE.h5, that was its --out")
