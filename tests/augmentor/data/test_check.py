"""The check: what it counts, and that it finds every image that cannot be used."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from augmentor.data.check import (
    AttributeSummary,
    CheckReport,
    ImageProblem,
    check_manifest,
    frame_notes,
    summarize,
)
from augmentor.data.manifest import read_manifest
from augmentor.errors import ImageError


def decode_pgm(path: Path) -> bool:
    """Read a 2 x 2 portable greymap whole; one whose name says so has several frames."""
    header, _, pixels = path.read_bytes().partition(b" 255\n")
    if header != b"P5 2 2":
        raise ImageError(f"{path}: not an image")
    if len(pixels) != 4:
        raise ImageError(f"{path}: truncated: {len(pixels)} of 4 pixels")
    return "frames" in path.name


def image(pixels: bytes) -> bytes:
    return b"P5 2 2 255\n" + pixels


def check(folder: Path, text: str, *, workers: int | None = 2) -> CheckReport:
    path = folder / "manifest.csv"
    path.write_text(text)
    return check_manifest(read_manifest(path), decode=decode_pgm, workers=workers)


def test_a_clean_manifest(tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.pgm").write_bytes(image(bytes([i] * 4)))
    report = check(
        tmp_path,
        "path,split,group,dataset,hair,male\n"
        "0.pgm,train,a,x,red,1\n1.pgm,train,a,x,ash,0\n2.pgm,test,b,y,red,\n3.pgm,test,c,,red,1\n",
    )
    assert report.ok
    assert report.rows == 4
    assert report.splits == {"train": 2, "test": 2}
    assert report.datasets == {"x": 2, "y": 1}
    assert report.attributes == [
        AttributeSummary(
            name="hair",
            kind="categorical",
            values=("ash", "red"),
            counts={"train": {"ash": 1, "red": 1}, "test": {"ash": 0, "red": 2}},
            unknown=0,
        ),
        AttributeSummary(
            name="male",
            kind="binary",
            values=("0", "1"),
            counts={"train": {"0": 1, "1": 1}, "test": {"0": 0, "1": 1}},
            unknown=1,
        ),
    ]
    assert not any((report.missing, report.unreadable, report.duplicates, report.leaks, report.notes))


@pytest.mark.parametrize("workers", [1, 4, None])
def test_every_bad_image_is_found_and_the_rest_goes_on(tmp_path: Path, workers: int | None) -> None:
    (tmp_path / "good.pgm").write_bytes(image(b"good"))
    (tmp_path / "short.pgm").write_bytes(image(b"sh"))
    (tmp_path / "text.pgm").write_bytes(b"hello")
    (tmp_path / "folder.pgm").mkdir()
    report = check(
        tmp_path,
        "path,id,x\ngood.pgm,g,1\ngone.pgm,m,0\nshort.pgm,s,1\ntext.pgm,t,0\nfolder.pgm,f,0\ngood.pgm/x.pgm,n,1\n",
        workers=workers,
    )
    assert not report.ok
    assert report.missing == [
        ImageProblem(id="m", path="gone.pgm", row=3, reason="no such file"),
        ImageProblem(id="f", path="folder.pgm", row=6, reason="a folder, not a file"),
        ImageProblem(id="n", path="good.pgm/x.pgm", row=7, reason="no such file"),
    ]
    assert report.unreadable == [
        ImageProblem(id="s", path="short.pgm", row=4, reason="truncated: 2 of 4 pixels"),
        ImageProblem(id="t", path="text.pgm", row=5, reason="not an image"),
    ]


def test_pipes_devices_and_files_elsewhere_are_never_opened(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.pgm").write_bytes(image(b"mine"))
    (folder / "good.pgm").write_bytes(image(b"good"))
    (folder / "link.pgm").symlink_to(tmp_path / "secret.pgm")
    (folder / "zero.pgm").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.pgm")
    text = "path,x\ngood.pgm,1\npipe.pgm,0\nlink.pgm,1\n../secret.pgm,0\nzero.pgm,1\n"
    report = check(folder, text)
    assert [problem.path for problem in report.unreadable] == [
        "pipe.pgm",
        "link.pgm",
        "../secret.pgm",
        "zero.pgm",
    ]
    reasons = [problem.reason for problem in report.unreadable]
    assert "regular file" in reasons[0]
    assert all("--allow-outside" in reason for reason in reasons[1:])
    everywhere = read_manifest(folder / "manifest.csv").allowing(outside=True)
    allowed = check_manifest(everywhere, decode=decode_pgm)
    assert [problem.path for problem in allowed.unreadable] == ["pipe.pgm", "zero.pgm"]
    assert allowed.duplicates == [("link", "secret")]


def test_images_of_several_frames_are_named(tmp_path: Path) -> None:
    for name in ("a-frames", "b", "c-frames"):
        (tmp_path / f"{name}.pgm").write_bytes(image(name.encode()[:4].ljust(4)))
    report = check(tmp_path, "path,x\na-frames.pgm,1\nb.pgm,0\nc-frames.pgm,1\n")
    assert report.ok
    assert report.several_frames == ["a-frames", "c-frames"]
    assert report.notes == [
        f"{tmp_path / 'manifest.csv'}, rows 2, 4: images of several frames or pages; the first one is used"
    ]


def test_duplicates_by_content_leak_only_across_splits(tmp_path: Path) -> None:
    for name, pixels in {"a": b"same", "b": b"same", "c": b"twin", "d": b"twin", "e": b"solo"}.items():
        (tmp_path / f"{name}.pgm").write_bytes(image(pixels))
    rows = "path,split,group,x\na.pgm,train,,1\nb.pgm,{},,0\nc.pgm,train,,1\nd.pgm,train,,0\ne.pgm,test,,0\n"
    inside = check(tmp_path, rows.format("train"))
    assert inside.duplicates == [("a", "b"), ("c", "d")]
    assert inside.ok
    across = check(tmp_path, rows.format("test"))
    assert across.duplicates == [("a", "b"), ("c", "d")]
    assert across.leaks == ["the same image is in train (a, row 2) and test (b, row 3)"]
    assert not across.ok


def test_groups_in_two_splits_are_leaks(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.pgm").write_bytes(image(name.encode() * 4))
    report = check(tmp_path, "path,split,group,x\na.pgm,train,ann,1\nb.pgm,test,ann,0\n")
    assert report.leaks == ["group 'ann' is in train (row 2) and test (row 3)"]
    assert not report.ok


def test_blank_groups_beside_named_ones_are_counted(tmp_path: Path) -> None:
    rows = "path,group,x\na.pgm,ann,1\nb.pgm,,0\nc.pgm,,1\n"
    said = f"{tmp_path / 'manifest.csv'}, column 'group': blank in 2 rows, each a subject of its own"
    assert said in check(tmp_path, rows).notes
    assert said not in check(tmp_path, rows.replace("ann", "")).notes


def test_the_report_is_plain_json(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.pgm").write_bytes(image(b"same"))
    report = check(tmp_path, "path,x\na.pgm,1\nb.pgm,1\nc.pgm,1\n")
    plain = report.to_json()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["ok"] is False
    assert plain["rows"] == 3
    assert plain["duplicates"] == [["a", "b"]]
    assert plain["missing"] == [{"id": "c", "path": "c.pgm", "row": 4, "reason": "no such file", "found": ""}]
    assert plain["notes"] == list(report.notes) != []


def test_progress_comes_in_order_and_work_stays_bounded(tmp_path: Path) -> None:
    n, workers = 200, 2
    for i in range(n):
        (tmp_path / f"{i}.pgm").write_bytes(image(i.to_bytes(4, "big")))
    path = tmp_path / "manifest.csv"
    path.write_text("path,x\n" + "".join(f"{i}.pgm,{i % 2}\n" for i in range(n)))
    started, lead, threads = 0, 0, set()
    lock = threading.Lock()
    seen: list[tuple[int, int]] = []

    def decode(image_path: Path) -> bool:
        nonlocal started
        with lock:
            started += 1
            threads.add(threading.current_thread())
        return decode_pgm(image_path)

    def progress(done: int, total: int) -> None:
        nonlocal lead
        seen.append((done, total))
        lead = max(lead, started - done)

    assert check_manifest(read_manifest(path), decode=decode, workers=workers, progress=progress).ok
    assert seen == [(i + 1, n) for i in range(n)]
    assert lead <= 8 * workers + 1
    assert len(threads) <= workers
    assert threading.current_thread() not in threads


def test_images_of_several_frames_are_counted_by_their_content(tmp_path: Path) -> None:
    """A suffix says nothing: most TIFF files hold one page, and PNG, WebP or a file without a suffix may move."""
    plain, other = Image.new("RGB", (4, 4)), Image.new("RGB", (4, 4), (255, 0, 0))
    moving: dict[str, Any] = {"save_all": True, "append_images": [other]}
    plain.save(tmp_path / "one.gif")
    plain.save(tmp_path / "one.tif")
    plain.save(tmp_path / "moving.png", **moving)
    plain.save(tmp_path / "moving.webp", **moving)
    plain.save(tmp_path / "pages", format="TIFF", **moving)
    (tmp_path / "damaged.gif").write_bytes(b"GIF89a")
    names = ["one.gif", "one.tif", "moving.png", "moving.webp", "pages", "damaged.gif", "missing.gif"]
    path = tmp_path / "manifest.csv"

    def notes(rows: list[str]) -> list[str]:
        path.write_text("path,id,x\n" + "".join(f"{name},{i},{i % 2}\n" for i, name in enumerate(rows)))
        return frame_notes(read_manifest(path))

    assert notes(names) == [
        f"{path}: 3 images have several frames or pages: the first one is used. augmentor check names them"
    ]
    assert notes(["one.gif", "one.tif", "damaged.gif", "missing.gif"]) == []
    many = ["one.gif"] * 1200
    many[0] = "pages"
    assert notes(many)[0].startswith(f"{path}: 1 image of 1,000 looked at has several frames or pages: ")


def test_a_fault_of_our_own_is_not_a_bad_image(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(image(b"good"))
    path = tmp_path / "manifest.csv"
    path.write_text("path,x\n" + "a.pgm,1\n")

    def broken(image_path: Path) -> bool:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        check_manifest(read_manifest(path), decode=broken)


@pytest.mark.skipif("AUGMENTOR_REAL_DATA" not in os.environ, reason="AUGMENTOR_REAL_DATA is not set")
def test_real_emoji_counts() -> None:
    manifest = read_manifest(Path(os.environ["AUGMENTOR_REAL_DATA"]) / "emoji" / "manifest.csv")
    summaries = {summary.name: summary for summary in summarize(manifest)}
    for summary in summaries.values():
        assert sum(sum(counts.values()) for counts in summary.counts.values()) + summary.unknown == 2892
    assert summaries["woman"].unknown > 0
    missing = [i for i in range(len(manifest)) if not manifest.image_path(i).is_file()]
    assert missing == []
