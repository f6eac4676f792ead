"""What is whole is found to be whole, and what is no output is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest

from augmentor.errors import OutputError
from augmentor.images import ImageFormat
from augmentor.outputs.verify import repair_output, verify_output
from tests.augmentor.outputs.finishing import finish
from tests.augmentor.outputs.verify.outputs import FAILED, SHARDS, content, folder_writer, hdf5_writer, make, said


@pytest.mark.parametrize("finish", [True, False])
def test_a_whole_folder(finish: bool, tmp_path: Path) -> None:
    make(folder_writer(tmp_path / "out"), shards=3, finish=finish)
    before = content(tmp_path)
    told: list[tuple[int, int]] = []
    found = verify_output(tmp_path / "out", workers=3, on_progress=lambda done, total: told.append((done, total)))
    assert said(found) == ""
    assert (found.ok, found.finished, found.shards) == (True, finish, 3)
    assert (found.counts.real, found.counts.synthetic, found.counts.failed) == (9, 12, 1)
    assert found.size == sum(len(data) for name, data in before.items() if name.endswith(".png"))
    assert told[0] == (0, 21)
    assert told[-1] == (21, 21)
    assert told == sorted(told)
    assert json.loads(json.dumps(found.to_json()))["splits"]["val"] == {"real": 1, "synthetic": 0}
    repaired = repair_output(found)
    assert (repaired.dropped, repaired.left, repaired.unfinished) == ([], [], not finish)
    assert content(tmp_path) == before


@pytest.mark.parametrize("encoding", [None, "png", "jpg"])
@pytest.mark.parametrize("finish", [True, False])
def test_a_whole_file(finish: bool, encoding: ImageFormat | None, tmp_path: Path) -> None:
    make(hdf5_writer(tmp_path / "out.h5", encoding), finish=finish)
    before = content(tmp_path)
    found = verify_output(tmp_path / "out.h5", workers=2)
    assert said(found) == ""
    assert (found.finished, found.shards, found.counts.failed) == (finish, SHARDS, 1)
    assert (found.counts.real, found.counts.synthetic) == (12, 16)
    assert found.size == 28 * 8 * 6 * 3 if encoding is None else found.size > 28 * 50
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["out", "out.h5"])
def test_names_that_are_no_shards_are_left_alone(name: str, tmp_path: Path) -> None:
    """Left by file managers and network disks, or named after a number that no shard has."""
    out = tmp_path / name
    make(hdf5_writer(out) if out.suffix else folder_writer(out), shards=2, finish=False)
    work = out.with_name("out.h5.parts") if out.suffix else out / ".augmentor"
    names = (".DS_Store", ".nfs0001", "1 copy.json")
    strays = [work / folder / stray for folder in ("tmp", "shards") for stray in names]
    for stray in strays:
        stray.write_text("x")
    far = work / "shards" / "999999999.json"
    far.write_bytes((work / "shards" / "00001.json").read_bytes())
    found = verify_output(out)
    assert "shards/999999999.json: it follows the record of shard 1: no shard of this output" in said(found)
    assert (found.shards, found.damaged_shards) == (2, [])
    far.unlink()
    make(hdf5_writer(out) if out.suffix else folder_writer(out), shards=2)
    assert said(verify_output(out)) == ""
    if not out.suffix:
        far.write_text("x")
        assert len(verify_output(out).problems) == 1
        far.unlink()
        assert all(stray.exists() for stray in strays)
        writer = folder_writer(out)
        writer.clear()
        assert not list(out.glob("*/*/*.png"))
        assert all(stray.exists() for stray in strays)


@pytest.mark.parametrize("encoding", [None, "png"])
def test_outputs_without_images(encoding: ImageFormat | None, tmp_path: Path) -> None:
    for out in (tmp_path / "out", tmp_path / "out.h5"):
        writer = hdf5_writer(out, encoding) if out.suffix else folder_writer(out)
        writer.open()
        for index in range(2):
            with writer.shard(index) as shard:
                shard.commit([FAILED])
        finish(writer, 2)
        found = verify_output(out)
        assert said(found) == ""
        assert (found.shards, found.counts.real, found.counts.failed) == (2, 0, 1)


def test_what_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "table.csv").write_text("path\n")
    for name, reason in (
        ("mine", "is a folder that expand did not write"),
        ("table.csv", "is not what expand wrote"),
        ("gone.h5", "there is nothing"),
    ):
        with pytest.raises(OutputError, match=rf"{name}: {reason}"):
            verify_output(tmp_path / name)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = [1, 2, 3]
    with pytest.raises(OutputError, match=r"other\.h5: is not what expand wrote"):
        verify_output(tmp_path / "other.h5")
