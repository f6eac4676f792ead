"""Rows that cannot be, however well they are sealed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from augmentor.errors import OutputError
from augmentor.images import encode
from augmentor.outputs import ShardRecord
from augmentor.outputs.label_table import LabelRow
from augmentor.outputs.verify import Findings, repair_output, verify_output
from augmentor.outputs.writers import FolderWriter, Writer
from augmentor.storage import Json
from stargan.checkpoints import json_sha256
from tests.augmentor.outputs.finishing import finish
from tests.augmentor.outputs.verify.outputs import (
    DESCRIPTION,
    SPACE,
    content,
    flipped,
    folder_writer,
    hdf5_writer,
    image,
    make,
    make_row,
    said,
    write,
)


def work_folder(out: Path) -> Path:
    """Where an output's records are."""
    return out.with_name(f"{out.name}.parts") if out.suffix else out / ".augmentor"


def resealed(out: Path, shard: int, change: Callable[[ShardRecord], ShardRecord]) -> None:
    """Change a record as somebody would who knows how to json_sha256 it."""
    path = work_folder(out) / f"shards/{shard:05d}.json"
    change(ShardRecord.read(path)).write(path)


def with_row(record: ShardRecord, place: int, **changes: object) -> ShardRecord:
    rows = [*record.rows]
    rows[place] = rows[place]._replace(**changes)  # type: ignore[arg-type]
    names = [row.file_name for row in rows]
    return dataclasses.replace(record, rows=rows, files=dict(zip(names, record.files.values(), strict=True)))


@pytest.mark.parametrize(
    ("place", "changes", "message"),
    [
        (1, {"codes": (7, 1)}, "its hair has the code 7, and there are 3 values"),
        (1, {"codes": (1, -2)}, "its male has the code -2"),
        (1, {"codes": (1,)}, "it has 1 labels, and the label space 2 attributes"),
        (1, {"codes": (2, 1)}, "its labels belong to the key 'face10__hair-r-tlich_male-1-"),
        (1, {"changed": ("hiar",)}, "changed names 'hiar', which is no attribute"),
        (0, {"changed": ("hair",)}, "it is real, and yet hair changed"),
        (1, {"agreement": 1.5}, "its agreement is 1.5, not a probability"),
        (1, {"split": "trian"}, "its split is 'trian', not one of train, val, test"),
        (1, {"split": "val"}, r"face10__hair-blond_male-1\.png' does not lie in a folder of val"),
        (1, {"key": "face10__hair-blond_male-1__look-2"}, "belong to the key 'face10__hair-blond_male-1', not"),
        (1, {"key": "face10__real"}, "its key 'face10__real' is there twice"),
        (0, {"key": "face10"}, "is not called as its key 'face10'"),
    ],
)
def test_rows_that_cannot_be(place: int, changes: dict[str, object], message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=2)
    whole = content(out)
    resealed(out, 1, lambda record: with_row(record, place, **changes))
    found = verify_output(out)
    assert re.search(message, said(found)), said(found)
    assert 1 in found.damaged_shards
    repair_output(found)
    make(folder_writer(out), shards=2)
    assert content(out) == whole


@pytest.mark.parametrize("name", ["out", "out.h5"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": (7, 1)}, "its hair has the code 7, and there are 3 values"),
        ({"codes": (1,)}, "it has 1 labels, and the label space 2 attributes"),
        ({"codes": (2, 1)}, "its labels belong to the key 'face10__hair-r-tlich_male-1-"),
        ({"changed": ("hiar",)}, "changed names 'hiar', which is no attribute"),
    ],
)
def test_labels_that_cannot_be_of_an_output_on_its_way(
    changes: dict[str, object], message: str, name: str, tmp_path: Path
) -> None:
    """What the codes mean is known from the first shard on."""
    writer = hdf5_writer if name == "out.h5" else folder_writer
    out, whole = tmp_path / "made" / name, tmp_path / "whole" / name
    make(writer(whole))
    make(writer(out), shards=2, finish=False)
    resealed(out, 1, lambda record: with_row(record, 1, **changes))
    found = verify_output(out)
    assert (found.finished, found.damaged_shards) == (False, [1])
    assert re.search(message, said(found)), said(found)
    repair_output(found)
    assert verify_output(out).ok
    make(writer(out))
    assert content(out.parent) == content(whole.parent)


def test_the_first_outputs_did_not_say_what_their_codes_mean(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=2, finish=False)
    path = out / ".augmentor/run.json"
    state = {
        key: value for key, value in json.loads(path.read_bytes()).items() if key not in ("label_space", "sha256")
    }
    path.write_text(json.dumps({**state, "sha256": json_sha256(state)}))
    assert verify_output(out).ok
    make(folder_writer(out))
    assert verify_output(out).ok


def test_images_of_another_size_or_kind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=2)
    for data, words in (
        (encode(np.zeros((8, 6, 1), np.uint8), "png"), "it is 6 x 8 px of 1 channels, not 6 x 8 px of 3 channels"),
        (encode(np.zeros((6, 8, 3), np.uint8), "png"), "it is 8 x 6 px of 3 channels, not 6 x 8 px of 3 channels"),
        (b"no image", "it is not an image in a format that can be read"),
    ):
        (out / image(1)).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        resealed(out, 1, lambda r, new=digest: dataclasses.replace(r, files={**r.files, image(1): new}))  # type: ignore[misc]
        found = verify_output(out)
        assert f"{image(1)}, face10__real: {words}" in said(found)
        assert found.damaged_shards == [1]
    part = tmp_path / "out.h5.parts"
    make(hdf5_writer(tmp_path / "out.h5"), shards=2, finish=False)
    record = part / "shards/00001.json"
    dataclasses.replace(ShardRecord.read(record), shape=(8, 6, 1)).write(record)
    assert "face10__real: " in said(verify_output(tmp_path / "out.h5"))


def test_linked_originals_may_have_any_size(tmp_path: Path) -> None:
    description: dict[str, Json] = {**DESCRIPTION, "settings": {"splits": ["train"], "real": "original"}}
    writer = FolderWriter(tmp_path / "out", space=SPACE, description=description)
    source = tmp_path / "photo.JPG"
    source.write_bytes(encode(np.zeros((33, 20, 1), np.uint8), "jpg"))
    writer.open()
    with writer.shard(0) as shard:
        shard.link(0, make_row("a", (0, 0), "train", synthetic=False), source)
        shard.add_all([(1, make_row("a", (1, 0), "train", synthetic=True), np.zeros((8, 6, 3), np.uint8))])
        shard.commit([])
    finish(writer, 1)
    assert said(verify_output(tmp_path / "out")) == ""
    source.write_bytes(source.read_bytes()[:200])  # the same file, by another name
    assert re.search(r"a__real\.jpe?g, a__real: its bytes are not", said(verify_output(tmp_path / "out")))


def leaking(out: Path, rows: list[LabelRow], *, writer: Callable[[Path], Writer]) -> Findings:
    made = writer(out)
    made.open()
    with made.shard(0) as shard:
        for position, row in enumerate(rows):
            shard.add_all([(position, row, np.zeros((4, 4, 3), np.uint8))])
        shard.commit([])
    finish(made, 1)
    return verify_output(out)


@pytest.mark.parametrize("name", ["out", "out.h5"])
def test_the_split_guard(name: str, tmp_path: Path) -> None:
    writer: Callable[[Path], Writer] = hdf5_writer if name == "out.h5" else folder_writer
    train = make_row("a", (0, 0), "train", synthetic=False, group="ann")
    rows = [train, make_row("a", (1, 0), "train", synthetic=True, group="ann")]
    assert leaking(tmp_path / "fine" / name, rows, writer=writer).ok
    for number, (row, message) in enumerate(
        (
            (
                make_row("b", (1, 0), "test", synthetic=True),
                "it descends from a test row, and only train was to be",
            ),
            (make_row("a", (1, 0), "val", synthetic=True), "a translation in val, whose real image 'a' stands in"),
            (
                make_row("c", (0, 0), "val", synthetic=False, group="ann"),
                r"group 'ann' stands in train \(a__real\) and val \(c__real\): the splits leak",
            ),
        )
    ):
        found = leaking(tmp_path / str(number) / name, [train, row], writer=writer)
        assert re.search(message, said(found)), said(found)
    # In the other order, too.
    after = leaking(
        tmp_path / "after" / name,
        [make_row("a", (1, 0), "train", synthetic=True), train._replace(split="test", group="")],
        writer=writer,
    )
    assert "the real image in test, whose translation 'a' stands in train: the splits leak" in said(after)


def test_sealed_records_never_name_files_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"precious")
    out = tmp_path / "out"
    make(folder_writer(out), shards=2)
    for name in ("../victim.png", str(victim), "train/../../victim.png", "train//x.png", "C:/victim.png", "a\\b"):
        resealed(out, 1, lambda record, name=name: with_row(record, 0, file_name=name))  # type: ignore[misc]
        found = verify_output(out)
        assert "00001.json: the shard's record is damaged: " in said(found)
        assert "is no file of the output" in said(found)
        repair_output(found)
        make(folder_writer(out), shards=2)
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_became_a_link_is_not_followed_in_repairing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(folder_writer(out), shards=2)
    (out / "train/00001").rename(tmp_path / "elsewhere")
    (out / "train/00001").symlink_to(tmp_path / "elsewhere")
    write(out / image(1), flipped)
    before = content(tmp_path)
    found = verify_output(out)
    with pytest.raises(OutputError, match=r"train/00001: is a link.*Delete the link"):
        repair_output(found)
    assert content(tmp_path) == before
