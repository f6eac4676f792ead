"""Taking away the pages of an output, and nothing that is somebody else's."""

from __future__ import annotations

import hashlib
from pathlib import Path

from augmentor.outputs.pages import PAGES, PICTURES, is_picture, picture_name, remove_pages


def test_only_our_pictures_are_ours() -> None:
    name = picture_name(hashlib.sha256(b"face01").hexdigest(), ".webp")
    assert is_picture(name)
    assert is_picture(f".tmp-{name}")
    for other in ("me.png", "0123456789abcdeg.png", "0123456789abcdef.txt", "0123456789abcdef0.png", ".png"):
        assert not is_picture(other)


def test_pages_go_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / PICTURES).mkdir()
    ours = [
        *PAGES,
        ".tmp-report.html",
        f"{PICTURES}/0123456789abcdef.png",
        f"{PICTURES}/.tmp-0123456789abcdef.jpg",
    ]
    others = ["labels.csv", "notes.html", f"{PICTURES}/mine.png"]
    for name in (*ours, *others):
        (tmp_path / name).write_bytes(b"x")
    remove_pages(tmp_path.joinpath)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(others)
    (tmp_path / PICTURES / "mine.png").unlink()
    remove_pages(tmp_path.joinpath)
    assert not (tmp_path / PICTURES).exists()
