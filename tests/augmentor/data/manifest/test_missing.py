"""Images that are not where the table says, with the file lying right there."""

from __future__ import annotations

import shlex
import unicodedata
from pathlib import Path

import pytest

from augmentor.data.check import CheckReport, check_manifest
from augmentor.data.manifest import (
    AS_WRITTEN,
    TableReading,
    missing_notes,
    read_manifest,
    read_manifests,
    refuse_unreachable,
)
from augmentor.errors import ManifestError
from tests.augmentor.data.manifest.tables import refused

COMPOSED = "caf\u00e9"
SPLIT_UP = unicodedata.normalize("NFD", COMPOSED)


def table(folder: Path, written: list[str], files: list[str]) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    path = folder / "manifest.csv"
    path.write_text("path,x\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(written)), encoding="utf-8")
    return path


def check(path: Path, reading: TableReading = AS_WRITTEN) -> CheckReport:
    return check_manifest(read_manifest(path, reading=reading), decode=lambda _: False, workers=1)


def reading_of(flags: str) -> TableReading:
    """The options of a message as the command reads them."""
    words = shlex.split(flags)
    given = dict(zip(words[::2], words[1::2], strict=True))
    prefix = given.get("--image-prefix")
    return TableReading(
        image_prefix=() if prefix is None else (prefix,), image_suffix=given.get("--image-suffix", "")
    )


KINDS = [
    ("a", "a.png", "--image-suffix .png"),
    ("v1.{}", "v1.{}.png", "--image-suffix .png"),
    ("a.jpg", "a.png", "--image-suffix .jpg=.png"),
    ("a.png", "a.PNG", "--image-suffix .png=.PNG"),
    ("Images/a.png", "images/a.png", "--image-prefix Images/=images/"),
    ("C:\\faces\\a.png", "faces/a.png", "--image-prefix C:/="),
    ("C:\\faces\\a.png", "a.png", "--image-prefix C:/faces/="),
    ("D:/my faces/a.png", "deep/faces/a.png", "--image-prefix 'D:/my faces/=deep/faces/'"),
    ("/data/upload/a.png", "images/a.png", "--image-prefix /data/upload/=images/"),
    ("/data/local-files/?d=set/a.png", "set/a.png", "--image-prefix '/data/local-files/?d=set/=set/'"),
    ("../elsewhere/a.png", "images/a.png", "--image-prefix ../elsewhere/=images/"),
    ("a.png", "images/a.png", "--image-prefix =images/"),
    ("/images/a.png", "images/a.png", "--image-prefix /="),
    ("old/a", "new/a.webp", "--image-prefix old/=new/ --image-suffix .webp"),
]


@pytest.mark.parametrize(("written", "file", "flags"), KINDS)
def test_the_cause_is_named_once_and_its_fix_finds_the_images(
    written: str, file: str, flags: str, tmp_path: Path
) -> None:
    numbers = range(24)
    head, _, tail = written.rpartition("a")
    if "{}" in written:
        names, files = [written.format(i) for i in numbers], [file.format(i) for i in numbers]
    else:
        start, _, end = file.rpartition("a")
        names = [f"{head}face{i}{tail}" for i in numbers]
        files = [f"{start}face{i}{end}" for i in numbers]
    path = table(tmp_path, names, files)
    report = check(path)
    assert len(report.missing) == 24
    assert [problem.found for problem in report.missing] == files
    (cause,) = report.elsewhere
    assert cause.startswith("24 missing images are there ")
    assert cause.endswith(f"To read them, give {flags}")
    with pytest.raises(ManifestError) as caught:
        refuse_unreachable(read_manifest(path))
    assert str(caught.value).startswith(f"{path}, row 2: no such file.")
    assert flags in str(caught.value)
    fixed = check(path, reading_of(flags))
    assert (fixed.missing, fixed.unreadable, fixed.elsewhere) == ([], [], [])
    refuse_unreachable(read_manifest(path, reading=reading_of(flags)))


def test_ids_stay_where_images_are_read_from_another_folder(tmp_path: Path) -> None:
    path = table(tmp_path, ["old/a.jpg", "old/b.jpg", "old/c"], ["new/a.png"])
    ids = list(read_manifest(path).rows["id"])
    reading = TableReading(image_prefix=("old/=new/",), image_suffix=".jpg=.png")
    moved = read_manifest(path, reading=reading).rows
    assert list(moved["path"]) == ["new/a.png", "new/b.png", "new/c"]
    assert list(moved["id"]) == ids == ["old-a", "old-b", "old-c"]


def test_the_case_of_a_name_is_named(tmp_path: Path) -> None:
    report = check(table(tmp_path, ["img_1.png", "b.png"], ["IMG_1.png", "b.png"]))
    (cause,) = report.elsewhere
    assert cause == (
        "1 missing image is there under a name of another case: 'img_1.png' is 'IMG_1.png'. To read them, give "
        "the files' own names"
    )


def test_some_missing_ones_are_a_note_and_the_others_go_on(tmp_path: Path) -> None:
    path = table(tmp_path, ["a", "b.png", "gone.png"], ["a.png", "b.png"])
    manifest = read_manifest(path)
    refuse_unreachable(manifest)
    (note,) = missing_notes(manifest)
    assert note.startswith(f"{path}: 1 missing image is there with another suffix: 'a' is 'a.png'")
    assert "--image-suffix .png" in note
    report = check(path)
    assert [(problem.path, problem.found) for problem in report.missing] == [("a", "a.png"), ("gone.png", "")]


def test_nothing_is_guessed(tmp_path: Path) -> None:
    """No file of the name, or two that are as near."""
    path = table(tmp_path, ["a.png", "b.png"], ["one/a.png", "two/a.png", "one/c.png", ".hidden/b.png"])
    assert check(path).elsewhere == []
    refuse_unreachable(read_manifest(path))
    assert missing_notes(read_manifest(path)) == []


def test_the_nearest_of_several_is_meant(tmp_path: Path) -> None:
    files = ["in/one/a.png", "in/two/a.png", "in/two/b.jpg", "in/two/b.png"]
    report = check(table(tmp_path, ["/x/two/a.png", "/x/two/b.png"], files))
    assert [problem.found for problem in report.missing] == ["in/two/a.png", "in/two/b.png"]
    assert len(report.elsewhere) == 1


@pytest.mark.parametrize(("written", "stored"), [(COMPOSED, SPLIT_UP), (SPLIT_UP, COMPOSED)])
def test_a_file_name_of_the_other_unicode_form_is_read(written: str, stored: str, tmp_path: Path) -> None:
    path = table(tmp_path, [f"{written}/{written}.png", "plain.png"], [f"{stored}/{stored}.png", "plain.png"])
    manifest = read_manifest(path)
    assert list(manifest.rows["path"]) == [f"{stored}/{stored}.png", "plain.png"]
    assert (check(path).missing, missing_notes(manifest)) == ([], [])
    both = table(tmp_path / "both", [f"{COMPOSED}.png", f"{SPLIT_UP}.png"], [f"{COMPOSED}.png", f"{SPLIT_UP}.png"])
    assert "both are" in refused(both)  # one name to every reader, whatever the disk says


def test_tables_of_two_folders_are_each_looked_at(tmp_path: Path) -> None:
    one = table(tmp_path / "one", ["a", "b"], ["images/a.png", "images/b.png"])
    two = table(tmp_path / "two", ["c.png", "d.png"], ["c.png", "d.png"])
    (note,) = missing_notes(read_manifests([two, one]))
    assert "--image-prefix =images/ --image-suffix .png" in note


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image_prefix": ("images/",)}, "--image-prefix images/: is not of the form OLD=NEW"),
        ({"image_suffix": "png"}, "--image-suffix png: is not of the form .png or .jpg=.png"),
        ({"image_suffix": ".jpg="}, "--image-suffix .jpg=: is not"),
        ({"image_suffix": ".a/b"}, "--image-suffix .a/b: is not"),
    ],
)
def test_fixes_that_cannot_be_read(given: dict[str, str], said: str) -> None:
    with pytest.raises(ManifestError, match=said.replace(".", r"\.")):
        TableReading(**given)  # type: ignore[arg-type]


def test_prefixes_and_suffixes(tmp_path: Path) -> None:
    reading = TableReading(image_prefix=("C:\\x\\=", "/up/=", "/=root/"), image_suffix=".png")
    moved = ["C:/x/a", "/up/b.jpg", "/c.v2", "d.PNG", ".png", "e/.jpg"]
    assert [reading.moved(path) for path in moved] == [
        "a.png",
        "b.jpg",
        "root/c.v2.png",
        "d.PNG",
        ".png.png",
        "e/.jpg.png",
    ]
