"""`augmentor verify` on what `augmentor expand` wrote: damage is named, dropped, and made again as it was."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Augmentor, Done, Small

EXPANSION = ("--domains", "hair=*", "--domains", "smile=~", "--shard-size", 16)
"""What the fixture `outputs` was made with."""


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.fixture
def copied(outputs: dict[str, tuple[Path, Done]], tmp_path: Path) -> Path:
    """A folder with the folder `out` and the file `out.h5`, both finished."""
    source = outputs["folder"][0].parent
    shutil.copytree(source, tmp_path / "copied")
    return tmp_path / "copied"


def test_whole_outputs(augmentor: Augmentor, copied: Path) -> None:
    before = content(copied)
    for name in ("out", "out.h5"):
        done = augmentor.run("verify", copied / name, "--json")
        assert (done.code, done.err) == (0, "")
        state = done.json
        assert (state["ok"], state["finished"], state["problems"], state["repaired"]) == (True, True, [], None)
        assert (state["real"], state["failed"]) == (24, 0)
    told = augmentor.run("verify", copied / "out")
    assert told.code == 0
    assert "Everything is as written" in told.out
    assert content(copied) == before


@pytest.mark.parametrize("name", ["out", "out.h5"])
def test_damage_repair_and_the_same_expand_again(
    name: str, augmentor: Augmentor, small: Small, model: Path, copied: Path
) -> None:
    before = content(copied)
    out = copied / name
    expand = ("expand", small.manifest, "--model", model, *EXPANSION, "--out", out)
    if name == "out":
        image = sorted(out.glob("train/00001/*.png"))[3]
        flip(image, 70)
        named = image.relative_to(out).as_posix()
    else:
        # A text of the middle: HDF5 itself has no checksum for these.
        flip(out, out.read_bytes().rindex(b"face07__hair-"))
        named = "out.h5, row"
    done = augmentor.run("verify", out)
    assert done.code == 1
    assert f"damaged    {named}" in done.out
    assert "--repair drops 1 of " in done.out
    assert "Traceback" not in done.err
    mended = augmentor.run("verify", out, "--repair", "--json")
    assert mended.code == 0
    repaired = mended.json["repaired"]
    assert isinstance(repaired, dict)
    assert (len(repaired["dropped"]), repaired["left"], repaired["unfinished"]) == (1, [], True)
    again = augmentor.run(*expand, "--json")
    assert again.code == 0, again.err
    real, synthetic, resumed = (again.json[key] for key in ("real", "synthetic", "resumed"))
    assert isinstance(real, int)
    assert isinstance(synthetic, int)
    assert resumed == real + synthetic - 16
    assert content(copied) == before
    assert augmentor.run("verify", out).code == 0


def test_an_edited_label_is_told_with_its_row_and_column(augmentor: Augmentor, copied: Path) -> None:
    table = copied / "out" / "labels.csv"
    lines = table.read_text().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if ",red," in line)
    lines[place] = lines[place].replace(",red,", ",blond,", 1)
    table.write_text("".join(lines))
    done = augmentor.run("verify", copied / "out")
    assert done.code == 1
    assert f"labels.csv, row {place + 1}, column hair: it is 'blond', and was written as 'red'" in done.out


def test_images_that_expand_did_not_write_stay(augmentor: Augmentor, copied: Path) -> None:
    mine = copied / "out" / "train" / "mine.png"
    mine.write_bytes(b"mine")
    for words in ((), ("--repair",)):
        done = augmentor.run("verify", copied / "out", *words)
        assert done.code == 1
        assert "train/mine.png: no row of the label table names it" in done.out
    assert mine.read_bytes() == b"mine"


def test_what_is_no_output(augmentor: Augmentor, small: Small, tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "gone", "there is nothing"),
        (small.folder, "is a folder that expand did not write"),
        (small.manifest, "is not what expand wrote"),
    ):
        done = augmentor.run("verify", path)
        assert done.code == 2
        assert words in done.err


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_no_command_runs_what_a_model_brings(
    augmentor: Augmentor, small: Small, model: Path, tmp_path: Path
) -> None:
    exploded, data = tmp_path / "exploded", pickle.dumps(Bomb(tmp_path / "exploded"))
    foreign = tmp_path / "200000-G.ckpt"
    foreign.write_bytes(data)
    run = tmp_path / "run"
    shutil.copytree(model, run)
    newest = sorted((run / "checkpoints").iterdir())[-1]
    (newest / "generator_ema.safetensors").write_bytes(data)
    for path in (foreign, run):
        done = augmentor.run("info", path)
        assert done.code == 2
        assert path.name in done.err
    done = augmentor.run(
        "expand", small.manifest, "--model", run, "--domains", "hair=*", "--out", tmp_path / "out"
    )
    assert done.code == 2
    assert "generator_ema.safetensors is damaged" in done.err
    assert not (tmp_path / "out").exists()
    assert not exploded.exists()
