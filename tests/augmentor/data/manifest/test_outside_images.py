"""What the paths alone say: images that lie elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmentor.data.manifest import Manifest, read_manifest, read_manifests, refuse_unreachable
from augmentor.errors import ManifestError
from augmentor.storage.access import MAX_PIXELS


def manifest(folder: Path, *paths: str, splits: str = "", name: str = "manifest.csv") -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    words = {"t": "train", "v": "val"}
    rows = (f"{path},{i % 2},{words[splits[i] if splits else 't']}\n" for i, path in enumerate(paths))
    (folder / name).write_text("path,x,split\n" + "".join(rows))
    return read_manifest(folder / name)


def test_a_manifest_of_which_everything_lies_elsewhere_is_refused_at_once(tmp_path: Path) -> None:
    table = manifest(tmp_path / "tables", *(f"../photos/{i}.png" for i in range(1000)))
    with pytest.raises(ManifestError) as caught:
        refuse_unreachable(table)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'tables/manifest.csv'}, row 2: '../photos/0.png' leads out of")
    assert f"to {tmp_path / 'photos/0.png'}" in message
    assert "--allow-outside" in message
    refuse_unreachable(table.allowing(outside=True))


def test_absolute_paths_inside_the_folder_are_no_matter(tmp_path: Path) -> None:
    refuse_unreachable(manifest(tmp_path, str(tmp_path / "a.png"), str(tmp_path / "b.png")))
    with pytest.raises(ManifestError, match="row 2"):
        refuse_unreachable(manifest(tmp_path / "deep", str(tmp_path / "a.png"), str(tmp_path / "b.png")))


def test_where_some_lie_inside_the_others_are_failed_rows(tmp_path: Path) -> None:
    table = manifest(tmp_path, "a.png", "../b.png", "../c.png")
    refuse_unreachable(table)
    assert [table.access.is_outside(table.image_path(i)) for i in range(3)] == [False, True, True]


def test_only_the_splits_that_are_read_count(tmp_path: Path) -> None:
    table = manifest(tmp_path, "../a.png", "b.png", splits="tv")
    refuse_unreachable(table)
    refuse_unreachable(table, ["val"])
    refuse_unreachable(table, ["test"])  # no row at all: someone else's message
    with pytest.raises(ManifestError, match="row 2"):
        refuse_unreachable(table, ["train"])


def test_tables_of_several_folders_may_read_each_their_own(tmp_path: Path) -> None:
    manifest(tmp_path / "one", "a.png", "b.png")
    manifest(tmp_path / "two", "c.png", "../three/d.png", name="other.csv")
    joined = read_manifests([tmp_path / "one/manifest.csv", tmp_path / "two/other.csv"])
    outside = [joined.access.is_outside(joined.image_path(i)) for i in range(4)]
    assert outside == [False, False, False, True]


def test_what_is_allowed_stays_with_the_rows(tmp_path: Path) -> None:
    table = manifest(tmp_path, "a.png", "../b.png")
    assert (table.access.max_pixels, table.access.folders) == (MAX_PIXELS, (tmp_path,))
    allowed = table.allowing(outside=True, max_pixels=7).select([1])
    assert (allowed.access.max_pixels, allowed.access.folders) == (7, None)
    assert allowed.allowing(max_pixels=9).access.folders is None
    assert allowed.allowing(outside=False).access.max_pixels == 7
