"""Manifests that someone else wrote: whatever they say, nothing else is read, and nothing else is written."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import pandas as pd
import pytest
from PIL import Image

from tests.integration.conftest import fingerprints

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor

SAFE = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

PATHS = [
    "line\nend.png",
    "return\rhere.png",
    "'single' and \"double\".png",
    "\U0001f469\u200d\U0001f52c.png",
    f"{'x' * 251}.png",
    "Photo.png",
    "photo.png",
    "=HYPERLINK(1).png",
    "<script>alert(1)<.png",
    "-rf.png",
    "a,b;c.png",
    "$(touch pwned).png",
    "%s%n.png",
    "con.png",
    "\u202egnp.png",
    "\x1b[2J.png",
]
IDS = [
    *("a b", "a_b", "a/b", "A B", "A_B", "..", "../../up", "/etc/passwd", "=1+1", "<b>", "a__hair-red"),
    *("x" * 300, "x" * 299 + "y", "\U0001f469", "a\\b", "-"),
]
GROUPS = ["../g", "=cmd|' /C calc'!A0", "\r", "a\rb", "@SUM(1)", "<i>"]


def picture(path: Path, number: int) -> None:
    Image.new("RGB", (16, 16), (10 * number, 100, 200)).save(path, format="PNG")


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a manifest with every cell quoted."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def failures(out: Path) -> dict[str, str]:
    return {row["path"]: row["reason"] for row in table(out / "failures.csv")}


# ---- names ----


@pytest.mark.parametrize("with_ids", [False, True])
def test_no_name_or_id_leads_out_of_the_output(
    with_ids: bool, augmentor: Augmentor, model: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "data", tmp_path / "deep" / "er" / "out"
    folder.mkdir()
    (folder / "Case.tmp").touch()
    if (folder / "case.TMP").exists():
        pytest.skip("the disk takes names that differ in case for one")
    rows = []
    for number, name in enumerate(PATHS):
        picture(folder / name, number)
        row = {"path": name, "group": GROUPS[number % len(GROUPS)], "hair": ("black", "blond", "red")[number % 3]}
        rows.append({**row, "id": IDS[number]} if with_ids else row)
    write_rows(folder / "manifest.csv", rows)
    before = fingerprints(folder)
    words = ("--model", model, "--domains", "hair=*", "--class-folders", "hair", "--shard-size", 5, "--json")
    done = augmentor.run("expand", folder / "manifest.csv", *words, "--out", out)
    assert done.code == 0, done.err
    assert done.json["real"] == len(PATHS)
    assert done.json["synthetic"] == 2 * len(PATHS)
    # Nothing but the output has appeared, and all of it has plain names that no disk mixes up.
    assert fingerprints(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"data", "deep"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    images = [path for path in out.glob("train/*/*") if path.is_file()]
    assert len({str(path).casefold() for path in images}) == len(images) == 3 * len(PATHS)
    assert all(set(path.name) <= SAFE and len(path.name) < 200 for path in images)
    # The table says what the manifest said.
    labels = table(out / "labels.csv")
    assert len(labels) == len(images)
    assert {row["source_path"] for row in labels} == set(PATHS)
    assert {row["group"] for row in labels} == {group.strip() for group in GROUPS}
    if with_ids:
        assert {row["source_id"] for row in labels} == set(IDS)
    assert {row["file_name"] for row in labels} == {path.relative_to(out).as_posix() for path in images}
    typed = pd.read_parquet(out / "train/metadata.parquet").astype(object)
    for name in ("key", "source_path", "source_id", "hair"):
        assert typed[name].tolist() == [row[name] for row in labels]
    assert typed["group"].where(typed["group"].notna(), "").tolist() == [row["group"] for row in labels]
    assert "\x1b" not in done.err + done.out


def test_an_hdf5_file_holds_them_as_they_are(augmentor: Augmentor, model: Path, tmp_path: Path) -> None:
    rows = []
    for number, name in enumerate(PATHS):
        picture(tmp_path / name, number)
        rows.append({"path": name, "id": IDS[number], "group": GROUPS[number % len(GROUPS)], "hair": "red"})
    write_rows(tmp_path / "manifest.csv", rows)
    out = tmp_path / "out.h5"
    words = ("--model", model, "--domains", "hair=black", "--out", out)
    done = augmentor.run("expand", tmp_path / "manifest.csv", *words)
    assert done.code == 0, done.err
    with h5py.File(out) as file:
        assert set(file["source_path"].asstr()[:]) == set(PATHS)
        assert set(file["source_id"].asstr()[:]) == set(IDS)
        keys = [key.casefold() for key in file["key"].asstr()[:]]
    assert len(set(keys)) == len(keys) == 2 * len(PATHS)


NAMES = ["../../evil", "<script>alert(1)<", "+cmd()", "__class__", "\U0001f469", "..", "C:\\x"]
VALUES = [
    "../../../etc/passwd",
    "/abs",
    "<img src=x",
    "+1+1",
    "@SUM(1)",
    "..",
    ".",
    "CON",
    "Red",
    "red",
    "a/b",
    "a\\b",
]


def test_hostile_attributes_are_words_like_others(augmentor: Augmentor, tiny: list[str], tmp_path: Path) -> None:
    values = [value.replace("=", "-") for value in VALUES]
    data = tmp_path / "data"
    data.mkdir()
    rows = []
    for number in range(3 * len(values)):
        picture(data / f"{number}.png", number)
        binary = {name: str((number + place) % 2) for place, name in enumerate(NAMES)}
        rows.append({"path": f"{number}.png", "kind": values[number % len(values)], **binary})
    write_rows(data / "manifest.csv", rows)
    run, out = tmp_path / "run", tmp_path / "deep" / "er" / "out"
    trained = augmentor.run("train", data / "manifest.csv", *tiny, "--steps", 1, "--out", run)
    assert trained.code == 0, trained.err
    words = ("--model", run, "--domains", "kind=*", "--domains", "each", "--class-folders", "kind", "--json")
    done = augmentor.run("expand", data / "manifest.csv", *words, "--out", out)
    assert done.code == 0, done.err
    assert {path.name for path in tmp_path.iterdir()} == {"data", "run", "deep"}
    assert {path.name for path in out.parent.iterdir()} == {"out"}
    labels = table(out / "labels.csv")
    assert {row["kind"] for row in labels} == set(values)
    assert set(labels[0]) >= set(NAMES)
    images = [path for path in out.rglob("*.png") if path.parent not in (out, out / "report")]
    assert len(images) == len(labels)
    assert len({str(path).casefold() for path in images}) == len(images)
    assert all(path.parent.parent == out / "train" for path in images)
    assert len({path.parent.name.casefold() for path in images}) == len(values)


# ---- places ----


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A manifest of two images of its own and five elsewhere."""
    data = tmp_path / "data"
    for name in ("data/a.png", "data/b.png", "private/key.png", "private/deep/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / name, len(name))
    (data / "leak.png").symlink_to(tmp_path / "private/key.png")
    (data / "folder").symlink_to(tmp_path / "private/deep")
    paths = [
        *("a.png", str(data / "b.png")),
        *(
            "../private/key.png",
            str(tmp_path / "private/deep/d.png"),
            "leak.png",
            "folder/d.png",
            "folder/../key.png",
        ),
    ]
    rows = [{"path": path, "id": str(i), "hair": ("black", "red")[i % 2]} for i, path in enumerate(paths)]
    write_rows(data / "manifest.csv", rows)
    return data / "manifest.csv"


def test_images_elsewhere_are_failed_rows_unless_allowed(
    elsewhere: Path, augmentor: Augmentor, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("--model", model, "--domains", "hair=blond", "--real", "original", "--json")
    refused = augmentor.run("expand", elsewhere, *words, "--out", out)
    assert refused.code == 1, refused.err
    assert (refused.json["real"], refused.json["synthetic"], refused.json["failed"]) == (2, 2, 5)
    for path, reason in failures(out).items():
        assert reason.startswith("it leads out of the manifest's folder, to "), path
        assert "--allow-outside" in reason
    # It is another expansion: its failed rows would stay.
    changed = augmentor.run("expand", elsewhere, *words, "--out", out, "--allow-outside")
    assert changed.code == 2
    assert "allow_outside" in changed.err
    allowed = augmentor.run("expand", elsewhere, *words, "--out", tmp_path / "all", "--allow-outside")
    assert allowed.code == 0, allowed.err
    assert (allowed.json["real"], allowed.json["synthetic"]) == (7, 7)


def test_check_says_which(elsewhere: Path, augmentor: Augmentor) -> None:
    done = augmentor.run("check", elsewhere, "--json")
    assert done.code == 1
    unreadable = done.json["unreadable"]
    assert isinstance(unreadable, list)
    assert [problem["row"] for problem in unreadable] == [4, 5, 6, 7, 8]
    assert all("--allow-outside" in problem["reason"] for problem in unreadable)
    assert augmentor.run("check", elsewhere, "--allow-outside").code == 0


def test_a_manifest_of_images_elsewhere_begins_nothing(
    augmentor: Augmentor, model: Path, tiny: list[str], tmp_path: Path
) -> None:
    """As when a table of absolute paths was made on the machine: one message, not a million failed rows."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "tables").mkdir()
    rows = []
    for number in range(4):
        picture(tmp_path / f"photos/{number}.png", number)
        rows.append({"path": str(tmp_path / f"photos/{number}.png"), "hair": ("black", "red")[number % 2]})
    manifest = tmp_path / "tables/manifest.csv"
    write_rows(manifest, rows)
    model_words = ("--model", model, "--domains", "hair=blond")
    for words in (
        ("expand", manifest, *model_words, "--out", tmp_path / "out"),
        ("preview", manifest, *model_words, "--out", tmp_path / "preview.png"),
        ("train", manifest, *tiny, "--steps", 1, "--out", tmp_path / "run"),
        ("info", model, "--manifest", manifest),
    ):
        done = augmentor.run(*words)
        assert done.code == 2, (words, done.err)
        assert "row 2" in done.err
        assert "--allow-outside" in done.err
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "tables"}
    words = ("preview", manifest, *model_words, "--out", tmp_path / "preview.png", "--allow-outside")
    assert augmentor.run(*words).code == 0


def test_a_converted_data_set_says_which_flag_it_needs(augmentor: Augmentor, tmp_path: Path) -> None:
    for number, name in enumerate(("photos/cat/1.png", "photos/dog/2.png")):
        (tmp_path / name).parent.mkdir(parents=True)
        picture(tmp_path / name, number)
    inside = augmentor.run("convert", "dataset", "imagefolder", tmp_path / "photos", "--out", tmp_path / "m.csv")
    assert inside.code == 0, inside.err
    assert "--allow-outside" not in inside.out + inside.err
    out = tmp_path / "tables/m.csv"
    outside = augmentor.run("convert", "dataset", "imagefolder", tmp_path / "photos", "--out", out)
    assert "2 images are outside" in outside.err
    assert outside.out.rstrip().endswith(f"check {out} --allow-outside")
    assert augmentor.run("check", out, "--allow-outside").code == 0


# ---- tables and recipes that are none ----


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "nul.csv": (b"path,x\na.png,1\nb.png,\0\n", "row 3: a NUL byte"),
    "utf16.csv": ("path,x\na.png,1\n".encode("utf-16"), "UTF-16"),
    "latin.csv": ("path,x\na.png,blö\n".encode("latin-1"), "row 2: byte 0xf6 is not UTF-8"),
    "twice.csv": (b"path,x,x\na.png,1,0\n", "column 'x': the header has this name twice"),
    "bare.csv": (b"path,x\n", "no rows"),
    "empty.csv": (b"", "empty"),
    "image.csv": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a NUL byte"),
    "ragged.csv": (b"path,x\na.png,1,2,3\n", "row 2: 4 cells"),
    "quote.csv": (b'path,x\n"a.png,1\n', "never closed"),
    "columns.csv": (b"path," + b",".join(b"c%d" % i for i in range(10_000)) + b"\na.png" + b",1" * 10_000 + b"\n",
                    "10,001 columns"),
    "ids.csv": (b"path,id,x\na.png,i,1\nb.png,i,0\n", "rows 2 and 3, column 'id'"),
    "escape.csv": (b"path,split,x\na.png,\x1b[2Jtest,1\n", r"'\x1b[2Jtest' is not train, val or test"),
    "parquet.parquet": (b"PAR1" + bytes(30) + b"PAR1", "does not read"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_tables_that_are_none_are_one_short_block(name: str, augmentor: Augmentor, tmp_path: Path) -> None:
    content, said = UNREADABLE[name]
    (tmp_path / name).write_bytes(content)
    done = augmentor.run("check", tmp_path / name)
    assert done.code == 2, done.err
    assert done.err.startswith(f"error  {tmp_path / name}")
    assert said in done.err
    assert "Traceback" not in done.err
    assert "bug" not in done.err
    assert "\x1b" not in done.err
    assert done.out == ""


def test_pipes_are_neither_manifests_nor_recipes(
    augmentor: Augmentor, small_manifest: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for words in (("check", tmp_path / "pipe.csv"), ("check", small_manifest, "--recipe", tmp_path / "pipe.csv")):
        done = augmentor.run(*words)
        assert done.code == 2, done.err
        assert done.err.startswith(f"error  {tmp_path / 'pipe.csv'}: ")


@pytest.fixture
def small_manifest(tmp_path: Path) -> Path:
    picture(tmp_path / "a.png", 1)
    (tmp_path / "one.csv").write_text("path,hair\na.png,red\n")
    return tmp_path / "one.csv"


def test_one_row_and_one_domain(
    augmentor: Augmentor, small_manifest: Path, model: Path, tiny: list[str], tmp_path: Path
) -> None:
    assert augmentor.run("check", small_manifest).code == 0
    out = tmp_path / "out"
    done = augmentor.run("expand", small_manifest, "--model", model, "--domains", "hair=*", "--out", out, "--json")
    assert done.code == 0, done.err
    assert (done.json["real"], done.json["synthetic"]) == (1, 2)
    trained = augmentor.run("train", small_manifest, *tiny, "--steps", 1, "--out", tmp_path / "run")
    assert trained.code == 2
    assert "all of one domain" in trained.err
    assert not (tmp_path / "run").exists()
