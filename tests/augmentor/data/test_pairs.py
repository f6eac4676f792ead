"""What `augmentor check` says of pairs: their counts, what none shows, what cannot be aligned."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from augmentor.data.check import CheckReport, check_manifest
from augmentor.data.folds import write_folds
from augmentor.data.manifest import read_manifest, split_leaks
from augmentor.data.pairs import summarize_pairs
from augmentor.images import encode, verify

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "path,split,group,pair,tone,glasses\n"


def report(folder: Path, rows: str, *, sizes: tuple[tuple[int, int], ...] = ()) -> CheckReport:
    """Check a manifest; its images are of 4 x 4 px, or of these sizes (height, width)."""
    path = folder / "manifest.csv"
    path.write_text(HEADER + rows)
    manifest = read_manifest(path)
    for i, name in enumerate(manifest.rows["path"]):
        pixels = np.full((*(sizes[i] if sizes else (4, 4)), 3), i, dtype=np.uint8)
        (folder / name).write_bytes(encode(pixels, "png"))
    return check_manifest(manifest, decode=partial(verify, access=manifest.access))


def test_pairs_are_counted_by_change_and_what_none_shows_is_named(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        "a.png,train,,x,dark,0\nb.png,train,,x,light,0\nc.png,train,,x,light,1\nd.png,train,,y,dark,1\n"
        "e.png,train,,y,light,1\nf.png,train,,,pale,0\ng.png,train,,,pale,0\nh.png,train,,,dark,\n"
        "i.png,test,,z,pale,0\nj.png,test,,z,dark,0\n",
    )
    assert found.ok
    assert found.pairs is not None
    assert found.pairs.rows == {"train": 5, "test": 2}
    assert found.pairs.changes == {
        "tone": {("dark", "light"): 3, ("dark", "pale"): 0, ("light", "pale"): 0},
        "glasses": {("0", "1"): 2},
    }
    assert found.pairs.domains == {"tone=pale, glasses=0": 2, "tone=dark": 1}
    plain = found.to_json()
    assert plain["pairs"] == {
        "rows": {"train": 5, "test": 2},
        "changes": {
            "tone": [
                {"values": ["dark", "light"], "pairs": 3},
                {"values": ["dark", "pale"], "pairs": 0},
                {"values": ["light", "pale"], "pairs": 0},
            ],
            "glasses": [{"values": ["0", "1"], "pairs": 2}],
        },
        "domains_without": {"tone=pale, glasses=0": 2, "tone=dark": 1},
    }
    assert not [note for note in found.notes if "pair" in note]


def test_a_manifest_without_pairs_has_none(tmp_path: Path) -> None:
    found = report(tmp_path, "a.png,train,,,dark,0\nb.png,train,,,light,0\n")
    assert (found.pairs, found.to_json()["pairs"], found.unequal_pairs) == (None, None, ())


def test_pairs_that_teach_nothing_are_noted(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        "a.png,train,,x,dark,0\nb.png,train,,x,dark,0\nc.png,train,,y,dark,0\nd.png,train,,z,dark,0\n"
        "e.png,train,,z,light,0\n",
    )
    notes = [note.partition("column 'pair': ")[2] for note in found.notes if "column 'pair'" in note]
    assert notes == [
        "1 row with a name that no other row has (row 4)",
        "1 pair whose rows have the same labels, which show no change (rows 2, 3)",
    ]
    assert found.ok


def test_pairs_of_unequal_size_fail_the_check(tmp_path: Path) -> None:
    rows = "a.png,train,,x,dark,0\nb.png,train,,x,light,0\nc.png,train,,y,dark,0\nd.png,train,,y,light,0\n"
    found = report(tmp_path, rows, sizes=((4, 4), (4, 6), (8, 8), (8, 8)))
    assert not found.ok
    assert found.unequal_pairs == ("pair 'x' has images of 4x4 px (row 2) and 6x4 px (row 3)",)
    # A file that cannot be read is no question of size.
    (tmp_path / "b.png").write_bytes(b"broken")
    manifest = read_manifest(tmp_path / "manifest.csv")
    broken = check_manifest(manifest, decode=partial(verify, access=manifest.access))
    assert (len(broken.unreadable), broken.unequal_pairs) == (1, ())


def test_pairs_across_splits_are_leaks(tmp_path: Path) -> None:
    found = report(tmp_path, "a.png,train,,x,dark,0\nb.png,test,,x,light,0\n")
    assert found.leaks == ["pair 'x' is in train (row 2) and test (row 3)"]
    assert found.duplicates == []


def test_a_pair_may_join_groups_which_then_stay_together(tmp_path: Path) -> None:
    lines = [
        f"{i}.png,train,{'' if i % 4 == 3 else f'g{i // 2}'},p{i // 4},{('dark', 'light')[i % 2]},0"
        for i in range(24)
    ]
    found = report(tmp_path, "\n".join(lines) + "\n")
    assert any("6 pairs with rows of several groups" in note for note in found.notes)
    folds = write_folds(tmp_path / "manifest.csv", 3)
    assert folds.subjects == 6
    for fold in folds.written:
        assert split_leaks(read_manifest(fold.path)) == []
        assert fold.test == 8


def test_large_pairs_are_counted_without_listing_them(tmp_path: Path) -> None:
    path = tmp_path / "camera.csv"
    rows = [f"{i}.png,yard,{('day', 'dusk', 'night')[i % 3]}" for i in range(30_000)]
    path.write_text("path,pair,sky\n" + "\n".join(rows) + "\n")
    summary = summarize_pairs(read_manifest(path))
    assert summary is not None
    assert summary.changes["sky"] == dict.fromkeys(
        [("day", "dusk"), ("day", "night"), ("dusk", "night")], 10_000 * 10_000
    )
