"""`augmentor check`: what it prints of a good manifest and of bad ones, as a table and as JSON."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.integration.conftest import TINY

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small

REAL_DATA = os.environ.get("AUGMENTOR_REAL_DATA", "")


@pytest.fixture
def copied(small: Small, tmp_path: Path) -> Path:
    """A manifest that may be changed, with its images."""
    shutil.copytree(small.folder, tmp_path / "data")
    return tmp_path / "data" / "manifest.csv"


def test_a_good_manifest(augmentor: Augmentor, small: Small) -> None:
    done = augmentor.cold("check", small.manifest)
    assert (done.code, done.err) == (0, "")
    lines = [line.split() for line in done.out.splitlines()]
    for expected in (
        "attribute kind value train val test",
        "hair categorical black 6 1 1",
        "blond 5 2 1",
        "red 5 1 2",
        "smile binary 0 8 2 1",
        "1 6 2 2",
        "unknown 3 in all",
        "all 16 4 4",
    ):
        assert expected.split() in lines
    assert "Every image can be read, and no split leaks into another." in done.out
    assert next_words(done, "train")[:4] == ["train", str(small.manifest), "--out", "run"]


def next_words(done: Done, command: str) -> list[str]:
    """The next command that was printed, from its name on."""
    words = shlex.split(next(line for line in done.out.splitlines() if line.startswith("Next:")))
    return words[words.index(command) :]


def test_the_next_command_reads_the_manifest_in_the_same_way(augmentor: Augmentor, copied: Path) -> None:
    table = copied.read_text().replace("path,", "picture,", 1)
    copied.write_text(table.replace(".png,", ",").replace(",red,", ",?,"))
    reading = ["--image-column", "picture", "--image-suffix", ".png", "--na-values", "?", "--allow-outside"]
    done = augmentor.run("check", copied, *reading, "--attributes", "hair")
    assert done.code == 0, done.err
    words = next_words(done, "train")
    assert words[:4] == ["train", str(copied), "--out", "run"]
    # In the order of the command's own options.
    chosen = ["--attributes", "hair", *reading]
    assert [word for word in words if word in chosen] == chosen
    run = copied.parent / "run"
    settings = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    following = [str(run) if word == "run" else word for word in words]
    trained = augmentor.run(*following, "--steps", 2, *settings)
    assert trained.code == 0, trained.err
    words = next_words(trained, "preview")
    assert words[:6] == ["preview", str(copied), "--model", str(run), "--out", "preview.png"]
    assert [word for word in words if word in reading] == reading
    shown = augmentor.run(*words, inside=copied.parent)
    assert shown.code == 0, shown.err


def test_json_is_the_last_line(augmentor: Augmentor, small: Small) -> None:
    done = augmentor.run("check", small.manifest, "--json")
    assert done.code == 0
    assert done.json["ok"] is True
    assert (done.json["rows"], done.json["splits"]) == (24, {"train": 16, "val": 4, "test": 4})
    assert (done.json["missing"], done.json["unreadable"], done.json["leaks"]) == ([], [], [])


def test_images_that_cannot_be_used(augmentor: Augmentor, copied: Path) -> None:
    (copied.parent / "images" / "03.png").unlink()
    (copied.parent / "images" / "17.png").write_text("no picture")
    done = augmentor.run("check", copied)
    assert done.code == 1
    # The header is row 1, as in a spreadsheet.
    assert "missing    row 5: images/03.png" in done.out
    assert "unreadable row 19: images/17.png" in done.out
    assert "2 images cannot be used." in done.out
    listed = augmentor.run("check", copied, "--json")
    assert listed.code == 1
    assert listed.json["ok"] is False
    assert [(p["id"], p["row"]) for p in _problems(listed.json["missing"])] == [("face03", 5)]
    assert [(p["id"], p["row"]) for p in _problems(listed.json["unreadable"])] == [("face17", 19)]


def test_leaks_between_splits(augmentor: Augmentor, copied: Path) -> None:
    shutil.copy(copied.parent / "images" / "00.png", copied.parent / "images" / "23.png")
    copied.write_text(copied.read_text().replace("person8", "person7"))
    done = augmentor.run("check", copied)
    assert done.code == 1
    said = " ".join(done.out.split())
    assert "group 'person7' is in train (rows 16, 17) and val (rows 18, 19)" in said
    assert "the same image is in train (face00, row 2) and test (face23, row 25)" in said
    assert "2 leaks between splits." in said


def test_a_missing_manifest_is_one_short_block(augmentor: Augmentor, tmp_path: Path) -> None:
    done = augmentor.run("check", tmp_path / "nothing.csv")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error  ")
    assert "nothing.csv" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.skipif(not REAL_DATA, reason="AUGMENTOR_REAL_DATA is not set")
@pytest.mark.parametrize("name", ["emoji/manifest.csv", "weather/manifest.csv"])
def test_real_manifests(name: str, augmentor: Augmentor) -> None:
    done = augmentor.run("check", Path(REAL_DATA) / name, "--json")
    assert done.code in (0, 1)
    assert "Traceback" not in done.err
    assert done.json["ok"] is (done.code == 0)
    assert (done.json["missing"], done.json["unreadable"]) == ([], [])


def _problems(found: object) -> list[dict[str, object]]:
    assert isinstance(found, list)
    return found


def test_the_options_of_reading_find_images_and_blank_words(augmentor: Augmentor, copied: Path) -> None:
    text = copied.read_text(encoding="utf-8")
    copied.write_text(text.replace("images/", "D:\\shots\\").replace(".png", "").replace("blond", "NA"))
    lost = augmentor.run("check", copied, "--json")
    assert lost.code == 1
    assert len(cast("list[object]", lost.json["missing"])) == 24
    (cause,) = cast("list[str]", lost.json["elsewhere"])
    flags = ["--image-prefix", "D:/shots/=images/", "--image-suffix", ".png"]
    assert cause.endswith(f"To read them, give {' '.join(flags)}")
    found = augmentor.run("check", copied, *flags, "--na-values", "NA,none", "--json")
    assert (found.code, found.json["missing"], found.json["elsewhere"]) == (0, [], [])
    hair = cast("list[dict[str, object]]", found.json["attributes"])[0]
    assert (hair["values"], hair["unknown"]) == (["black", "red"], 8)
    assert "8 cells read as blank, as --na-values says: 'NA' (8)" in str(found.json["notes"])


def test_labels_of_a_column_become_columns(augmentor: Augmentor, copied: Path) -> None:
    copied.write_text(copied.read_text(encoding="utf-8").replace("blond", "red|black"), encoding="utf-8")
    refused = augmentor.run("check", copied)
    assert refused.code == 2
    assert "--split-labels hair" in " ".join(refused.err.split())
    written = augmentor.run("check", copied, "--split-labels", "hair", "--json")
    assert written.code == 0
    assert written.json == {
        "manifest": str(copied.with_name("manifest-hair.csv")),
        "labels": {"black": 16, "red": 16},
    }
    assert augmentor.run("check", written.json["manifest"]).code == 0


def test_folds_are_tables_of_their_own(augmentor: Augmentor, copied: Path) -> None:
    both = augmentor.run("check", copied, "--folds", 3, "--split-labels", "hair")
    assert (both.code, "give one, then the other" in both.err) == (2, True)
    done = augmentor.run("check", copied, "--folds", 3, "--json")
    assert done.code == 0, done.err
    folds = cast("list[dict[str, object]]", done.json["folds"])
    assert [fold["path"] for fold in folds] == [str(copied.with_name(f"manifest-fold{i}.csv")) for i in (1, 2, 3)]
    assert "manifest-fold1.csv OUT1 --folds OUT2,OUT3" in done.out
    for fold in folds:
        found = augmentor.run("check", fold["path"], "--json")
        assert found.code == 0
        assert found.json["splits"] == {split: fold[split] for split in ("train", "val", "test")}
