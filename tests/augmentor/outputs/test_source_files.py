"""Source files that changed after their shard was made are found by size and time, or by content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from augmentor.errors import OutputError
from augmentor.outputs.source_files import SourceFile, refuse_changed_sources


@pytest.fixture(params=[3, 100])
def origins(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, SourceFile]:
    """Few files, which are looked at in turn, or many, side by side."""
    names = [f"{number}.png" for number in range(request.param)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode() * 10)
    return {name: SourceFile.of(tmp_path / name) for name in names}


def touch(path: Path) -> None:
    """Let a file look as if it had been written an hour later."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 3600 * 10**9))


def test_nothing_changed(origins: dict[str, SourceFile], tmp_path: Path) -> None:
    for by_content in (False, True):
        refuse_changed_sources(tmp_path, origins, by_content=by_content)
    refuse_changed_sources(tmp_path, {}, by_content=True)


def test_what_changed_is_named(origins: dict[str, SourceFile], tmp_path: Path) -> None:
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes(b"other")
    with pytest.raises(OutputError, match="source images have changed since this output was begun") as raised:
        refuse_changed_sources(tmp_path, origins, by_content=False)
    assert f"{tmp_path / '1.png'} (No such file or directory), " in str(raised.value)
    assert f"{tmp_path / '2.png'} (50 bytes before, 5 now)." in str(raised.value)


def test_only_the_first_few_are_named(origins: dict[str, SourceFile], tmp_path: Path) -> None:
    for name in origins:
        (tmp_path / name).unlink()
    if len(origins) > 3:
        with pytest.raises(OutputError, match=r"2\.png \(No such file or directory\), and 97 more\."):
            refuse_changed_sources(tmp_path, origins, by_content=False)


def test_copies_have_other_times_and_the_same_content(origins: dict[str, SourceFile], tmp_path: Path) -> None:
    touch(tmp_path / "0.png")
    with pytest.raises(OutputError, match=r"0\.png \(written to since\).*\n.*--verify-sources compares contents"):
        refuse_changed_sources(tmp_path, origins, by_content=False)
    refuse_changed_sources(tmp_path, origins, by_content=True)


def test_contents_tell_what_time_and_size_do_not(origins: dict[str, SourceFile], tmp_path: Path) -> None:
    path, modified = tmp_path / "1.png", (tmp_path / "1.png").stat().st_mtime_ns
    path.write_bytes(b"2.png" * 10)
    os.utime(path, ns=(modified, modified))
    refuse_changed_sources(tmp_path, origins, by_content=False)
    with pytest.raises(OutputError, match=r"1\.png \(other content\)"):
        refuse_changed_sources(tmp_path, origins, by_content=True)
