"""Names and removal of the report, card and evaluation files beside an output."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from augmentor.outputs.paths import OutputPaths
from augmentor.storage import TEMPORARY, refuse_links, remove_tree

REPORT_FILES = ("report.html", "README.md", "croissant.json", "evaluation.json")
"""Names inside a folder; beside FILE.h5 they are FILE.NAME."""

REPORT_IMAGES = "report"
"""The folder of the report's thumbnails."""

EVALUATION_RUNS = "evaluation.runs"

_STEM = 16
_SUFFIXES = (".png", ".webp", ".jpg")
"""What is written for a report, unlike `IMAGE_SUFFIXES`, what can be read."""


def report_image_name(digest: str, suffix: str) -> str:
    """Return the name of a thumbnail, from a hexadecimal digest: no loader finds the name of a split in it.

    `suffix` is ".png", ".webp" or ".jpg".
    """
    return digest[:_STEM] + suffix


def is_report_image(name: str) -> bool:
    """Return whether a name in `REPORT_IMAGES` is one of `report_image_name`, or of its temporary file."""
    stem, dot, suffix = name.removeprefix(TEMPORARY).rpartition(".")
    return dot + suffix in _SUFFIXES and len(stem) == _STEM and set(stem) <= set("0123456789abcdef")


def empty_report_files(paths: OutputPaths) -> list[Path]:
    """Return the pages and thumbnails without content: a power cut leaves these of files that were not synced."""
    folder = paths.beside(REPORT_IMAGES)
    images = [path for path in sorted(folder.glob("*")) if is_report_image(path.name)]
    pages = map(paths.beside, REPORT_FILES)
    return [path for path in (*pages, *images) if path.is_file() and not path.stat().st_size]


def evaluation_runs(paths: OutputPaths) -> Path:
    """Return the folder of an evaluation's classifier outputs; hidden from readers of images in a folder."""
    return paths.beside(EVALUATION_RUNS) if paths.one_file else paths.out_of_sight(EVALUATION_RUNS)


def remove_report_files(paths: OutputPaths) -> None:
    """Remove the pages of an output, their images, and an evaluation's classifier outputs; no other files."""
    for path in map(paths.beside, REPORT_FILES):
        path.unlink(missing_ok=True)
        path.with_name(TEMPORARY + path.name).unlink(missing_ok=True)
    folder = paths.beside(REPORT_IMAGES)
    if folder.is_dir():
        refuse_links(folder, below=paths.root)
        for path in sorted(folder.iterdir()):
            if is_report_image(path.name):
                path.unlink()
        with suppress(OSError):  # Somebody else's files are in it.
            folder.rmdir()
    if (runs := evaluation_runs(paths)).exists():
        remove_tree(runs)
