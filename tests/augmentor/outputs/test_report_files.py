"""Taking away the pages of an output, and nothing that is somebody else's."""

from __future__ import annotations

import hashlib
from pathlib import Path

from augmentor.outputs.paths import OutputPaths
from augmentor.outputs.report_files import (
    REPORT_FILES,
    REPORT_IMAGES,
    is_report_image,
    remove_report_files,
    report_image_name,
)


def test_only_our_pictures_are_ours() -> None:
    name = report_image_name(hashlib.sha256(b"face01").hexdigest(), ".webp")
    assert is_report_image(name)
    assert is_report_image(f".tmp-{name}")
    for other in ("me.png", "0123456789abcdeg.png", "0123456789abcdef.txt", "0123456789abcdef0.png", ".png"):
        assert not is_report_image(other)


def test_pages_go_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / REPORT_IMAGES).mkdir()
    ours = [
        *REPORT_FILES,
        ".tmp-report.html",
        f"{REPORT_IMAGES}/0123456789abcdef.png",
        f"{REPORT_IMAGES}/.tmp-0123456789abcdef.jpg",
    ]
    others = ["labels.csv", "notes.html", f"{REPORT_IMAGES}/mine.png"]
    for name in (*ours, *others):
        (tmp_path / name).write_bytes(b"x")
    remove_report_files(OutputPaths(tmp_path, one_file=False))
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(others)
    (tmp_path / REPORT_IMAGES / "mine.png").unlink()
    remove_report_files(OutputPaths(tmp_path, one_file=False))
    assert not (tmp_path / REPORT_IMAGES).exists()
