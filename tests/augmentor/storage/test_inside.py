"""Removal of folders into which others write, and whose files others hold open."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from augmentor.storage import remove_tree


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes files of this name impossible to remove, as a network disk does with open ones."""

    def hold(held: str) -> None:
        unlink = os.unlink

        def refusing(path: str | Path, *, dir_fd: int | None = None) -> None:
            if os.path.basename(path) == held:  # noqa: PTH119 - it may be text
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
            unlink(path, dir_fd=dir_fd)

        monkeypatch.setattr(os, "unlink", refusing)

    return hold


def filled(folder: Path, *names: str) -> Path:
    for name in (*names, "0", "1", "zebra/2"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def test_what_a_network_disk_holds_stays_and_all_else_goes(tmp_path: Path, held: Callable[[str], None]) -> None:
    folder = filled(tmp_path / "00003", ".nfs0000123", "zebra/.nfs0000123")
    held(".nfs0000123")
    remove_tree(folder)
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == [".nfs0000123", ".nfs0000123"]


def test_another_file_that_cannot_be_removed_is_an_error(tmp_path: Path, held: Callable[[str], None]) -> None:
    folder = filled(tmp_path / "00003", ".nfs0000123", "picture.png")
    held("picture.png")
    with pytest.raises(OSError, match=r"busy.*picture\.png"):
        remove_tree(folder)


@pytest.mark.parametrize("times", [1, 50])
def test_a_file_that_comes_back_meanwhile(times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, rmdir, made = filled(tmp_path / "00003"), os.rmdir, 0

    def shown(path: str | Path, *, dir_fd: int | None = None) -> None:
        nonlocal made
        if folder.exists() and made < times:
            made += 1
            (folder / ".DS_Store").write_text("x")
        rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", shown)
    remove_tree(folder)
    assert made >= 1
    assert folder.exists() == (times == 50)
    assert not folder.exists() or [path.name for path in folder.iterdir()] == [".DS_Store"]


def test_links_and_missing_folders(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        remove_tree(tmp_path / "link")
    filled(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        remove_tree(tmp_path / "link")
    assert (tmp_path / "elsewhere" / "zebra" / "2").exists()
