"""Access: what leads out of a folder is found however it is written, and only regular files are opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from augmentor.storage import located, parse_path
from augmentor.storage.access import ANYWHERE, Access, OutsideError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of images with links in it, and secrets beside it."""
    place = tmp_path / "data"
    for name in ("data/images/a.png", "data/b.png", "secret/key.png", "data-too/c.png", "secret/deep/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (place / "alias.png").symlink_to("images/a.png")
    (place / "leak.png").symlink_to(tmp_path / "secret/key.png")
    (place / "out").symlink_to(tmp_path / "secret/deep")
    (place / "twice").symlink_to("out")
    (place / "loop.png").symlink_to("loop.png")
    (place / "in").symlink_to("images")
    return place


@pytest.mark.parametrize(
    "path",
    [
        "b.png",
        "./b.png",
        "images/a.png",
        "images/../b.png",
        "alias.png",
        "in/a.png",
        "in/../b.png",
        "../data/b.png",
    ],
)
def test_what_stays_inside_is_read(place: Path, path: str) -> None:
    access = Access(folders=(place,))
    with access.open(place / path) as file:
        assert file.read() in (b"data/b.png", b"data/images/a.png")
    with access.open(Path(os.path.abspath(place / path))) as file:  # noqa: PTH100 - absolute, but inside
        assert file.read().startswith(b"data/")
    assert not access.is_outside(place / path)


@pytest.mark.parametrize(
    "path",
    [
        *("../secret/key.png", "images/../../secret/key.png", "leak.png", "out/d.png", "twice/d.png"),
        *("../data-too/c.png", "..", "../secret/not-there.png", "/etc/passwd", "out/../key.png"),
    ],
)
def test_what_leads_out_is_not_read_unless_all_may_be(place: Path, path: str) -> None:
    access = Access(folders=(place,))
    with pytest.raises(OutsideError, match="--allow-outside"):
        access.open(place / path)
    assert access.is_outside(place / path)
    assert not ANYWHERE.is_outside(place / path)


def test_a_link_s_parent_is_that_of_its_target(place: Path) -> None:
    """The system reads "out/../key.png" as secret/key.png: so must we, and not as data/key.png."""
    (place / "key.png").write_bytes(b"harmless")
    with pytest.raises(OutsideError, match=r"secret/key\.png"):
        Access(folders=(place,)).open(place / "out/../key.png")
    with ANYWHERE.open(place / "out/../key.png") as file:
        assert file.read() == b"secret/key.png"


def test_any_of_several_folders_will_do(place: Path) -> None:
    access = Access(folders=(place, place.parent / "secret"))
    assert not access.is_outside(place / "leak.png")
    assert access.is_outside(place.parent / "data-too/c.png")


def test_a_linked_or_relative_folder_is_followed_too(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "alias").symlink_to(place)
    linked = Access(folders=(tmp_path / "alias",))
    assert not linked.is_outside(tmp_path / "alias/b.png")
    assert linked.is_outside(tmp_path / "alias/leak.png")
    monkeypatch.chdir(place)
    here = Access(folders=(Path(),))
    assert not here.is_outside(Path("b.png"))
    assert here.is_outside(Path("leak.png"))
    monkeypatch.chdir(tmp_path / "secret")
    assert here.is_outside(place / "b.png")
    assert not here.is_outside(Path("key.png"))


def test_the_root_holds_everything(place: Path) -> None:
    assert not Access(folders=(Path("/"),)).is_outside(place / "leak.png")


def test_only_regular_files_are_opened(place: Path) -> None:
    os.mkfifo(place / "pipe.png")  # opening it would wait for ever
    with socket.socket(socket.AF_UNIX) as listening:
        before = Path.cwd()
        os.chdir(place)  # the name of a socket is short
        try:
            listening.bind("socket.png")
        finally:
            os.chdir(before)
        (place / "empty.png").touch()
        for access in (ANYWHERE, Access(folders=(place,))):
            for name, said in (("pipe.png", "regular"), ("socket.png", "regular"), ("empty.png", "empty")):
                with pytest.raises(OSError, match=said):
                    access.open(place / name)
            for name, kind in (
                ("images", IsADirectoryError),
                ("no.png", FileNotFoundError),
                ("loop.png", OSError),
            ):
                with pytest.raises(kind):
                    access.open(place / name)
            with pytest.raises(OSError, match="too long"):
                access.open(place / ("x" * 300))
    for device in ("/dev/zero", "/dev/null"):
        with pytest.raises(OSError, match="regular file"):
            ANYWHERE.open(Path(device))


def test_a_device_behind_a_link_is_not_opened(place: Path) -> None:
    (place / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="regular file"):
        ANYWHERE.open(place / "zero.png")
    with pytest.raises(OutsideError):
        Access(folders=(place,)).open(place / "zero.png")


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("https://host/set/a.png", True),
        ("https://host/set/a%20b/c%2ed.png", True),
        ("https://host/set/%2e%2e/private/a.png", False),
        ("https://host/set/%252e%252e/private/a.png", False),
        ("https://host/set/..%2Fprivate/a.png", False),
        ("https://host/set/%2e%2e%5cprivate/a.png", False),
        ("s3://host/set/%2e%2e/a.png", False),
        ("http://host/set/a.png", False),
    ],
)
def test_escapes_do_not_lead_out_of_a_url_s_folder(url: str, inside: bool) -> None:
    access = Access(folders=(parse_path("https://host/set"),))
    assert access.is_outside(located(parse_path("https://host/set"), url)) != inside
    name = url.partition("/set/")[2]
    if url.startswith("https"):
        assert access.is_outside(located(parse_path("https://host/set"), name)) != inside
    bucket = Access(folders=(parse_path("s3://bucket/set"),))  # There a name is a name.
    assert not bucket.is_outside(parse_path("s3://bucket/set/%2e%2e/a.png"))
