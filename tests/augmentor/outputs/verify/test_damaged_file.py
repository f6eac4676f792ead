"""Damage of an HDF5 file is named and mended."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from augmentor.errors import OutputError
from augmentor.images import ImageFormat
from augmentor.outputs import ShardRecord
from augmentor.outputs.paths import paths_of
from augmentor.outputs.verify import repair_output, verify_output
from augmentor.storage.lock import locked
from tests.augmentor.outputs.verify.outputs import (
    SHARDS,
    Damage,
    content,
    flipped,
    folder_writer,
    hdf5_writer,
    image,
    make,
    said,
    write,
)


def at_pixels(out: Path) -> None:
    """Flip a byte of image 9, which is the third one of shard 1, wherever it lies."""
    with h5py.File(out) as file:
        encoded = "image_encoding" in file.attrs
        place = 0 if encoded else file["image"].id.get_chunk_info(9).byte_offset
        data = file["image"][9].tobytes()
    place = out.read_bytes().index(data) if encoded else place
    write(out, lambda whole: flipped(whole, place + len(data) // 2))


def at_text(out: Path) -> None:
    write(out, lambda whole: whole.replace(b"face21__real", b"face99__real", 1))


def changed_label(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file["labels"][16, 1] = 0


def changed_score(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file["realism"][27] = 3.5


def changed_attribute(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file.attrs["attribute_values"] = json.dumps([["black", "brown", "rötlich"], ["0", "1"]])


def damaged_description(out: Path) -> None:
    with h5py.File(out, "r+") as file:
        file.attrs["dataset_json"] = file.attrs["dataset_json"].replace("abc", "abd")


def beside(suffix: str, change: Callable[[bytes], bytes]) -> Damage:
    return lambda out: write(out.with_suffix(suffix), change)


FILE_DAMAGE: dict[str, tuple[Damage, str, list[int]]] = {
    "a flipped bit of an image": (at_pixels, r"^out\.h5, (row 9 \(face10__hair-r|rows 7 to 13: their)", [1]),
    "a changed key": (at_text, r"^out\.h5, row \d+ \(face21__real\): its file 'face99__real\.png' is not", [2]),
    "a changed label": (
        changed_label,
        r"^out\.h5, row 16 \(.*\): its labels belong to the key|^out\.h5, rows",
        [2],
    ),
    "a changed score": (
        changed_score,
        r"^out\.h5, rows 21 to 27: their labels, pixels, scores or failures are",
        [3],
    ),
    "a damaged description": (damaged_description, r"^out\.h5: its description \(dataset_json\) is damaged", []),
    "a changed attribute": (changed_attribute, r"^out\.h5: its attributes are not those of its description", []),
    "a missing companion": (
        lambda out: out.with_suffix(".failures.csv").unlink(),
        r"^out\.failures\.csv: the file is missing",
        [],
    ),
    "a changed companion": (
        beside(".dataset.json", lambda data: data.replace(b'"real": 12', b'"real": 13')),
        r"^out\.dataset\.json, entry counts: ",
        [],
    ),
    "a cut file": (
        lambda out: write(out, lambda data: data[:2000]),
        r"^out\.h5: it cannot be read as an HDF5",
        [],
    ),
    "no HDF5": (lambda out: write(out, lambda data: b"\0" * 64 + data[64:]), r"^out\.h5: it cannot be read", []),
}


@pytest.mark.parametrize("encoding", [None, "png"])
@pytest.mark.parametrize("kind", FILE_DAMAGE)
def test_damage_of_a_file_is_named_and_mended(kind: str, encoding: ImageFormat | None, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    make(hdf5_writer(out, encoding))
    whole = content(tmp_path)
    damage, message, shards = FILE_DAMAGE[kind]
    damage(out)
    found = verify_output(out, workers=2)
    assert not found.ok
    assert re.search(message, said(found), flags=re.MULTILINE), said(found)
    assert found.damaged_shards == shards
    repaired = repair_output(found)
    assert (repaired.dropped, repaired.left) == (shards, [])
    assert repaired.unfinished == ("companion" not in kind)
    if repaired.unfinished and not found.mended_by("all"):
        assert not out.exists()
        assert verify_output(out).ok
        assert verify_output(out).shards == SHARDS - len(shards)
        writer = hdf5_writer(out, encoding)
        assert writer.missing(SHARDS) == sorted(shards)
    make(hdf5_writer(out, encoding))
    set_aside = {"out.h5.damaged"} if found.mended_by("all") else set()
    assert content(tmp_path).keys() - whole.keys() == set_aside
    assert {name: data for name, data in content(tmp_path).items() if name in whole} == whole
    assert verify_output(out).ok


@pytest.mark.parametrize("encoding", [None, "png"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda part: write(part, flipped), "its bytes are not those that were written"),
        (lambda part: write(part, lambda data: data[:-9]), r"the part ends after [\d,]+ of its [\d,]+ bytes"),
        (lambda part: part.unlink(), r"the part 00001\.part is missing"),
    ],
)
def test_damage_of_a_file_on_its_way(
    encoding: ImageFormat | None, damage: Damage, message: str, tmp_path: Path
) -> None:
    make(hdf5_writer(tmp_path / "whole" / "out.h5", encoding))
    out = tmp_path / "mine" / "out.h5"
    make(hdf5_writer(out, encoding), finish=False)
    damage(out.with_name("out.h5.parts") / "00001.part")
    found = verify_output(out)
    assert (found.finished, found.damaged_shards) == (False, [1])
    assert re.search(message, said(found)), said(found)
    assert repair_output(found).dropped == [1]
    assert verify_output(out).ok
    make(hdf5_writer(out, encoding))
    assert content(out.parent) == content(tmp_path / "whole")


def test_a_repair_for_which_there_is_no_room_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.h5"
    make(hdf5_writer(out))
    changed_score(out)
    before = content(tmp_path)
    found = verify_output(out)
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(ShardRecord, "write", full)
        with pytest.raises(OutputError, match=r"out\.h5: cannot be repaired \(No space left on device\)"):
            repair_output(found)
    assert content(tmp_path) == before
    assert repair_output(found).dropped == [3]


def test_nothing_is_repaired_under_somebody_s_feet(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out))
    write(out / image(1), flipped)
    found = verify_output(out)
    with (
        locked(paths_of(out).lock, output=out),
        pytest.raises(OutputError, match=rf"process {os.getpid()} on .* has been writing to it"),
    ):
        repair_output(found)
    assert verify_output(out).damaged_shards == [1]
