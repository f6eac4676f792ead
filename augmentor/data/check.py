"""The report of `augmentor check`: label counts, images that cannot be used, duplicates and split leaks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from augmentor.data.grey_ranges import grey_range_notes
from augmentor.data.manifest import SPLITS, Manifest, look_elsewhere, split_leaks
from augmentor.data.pairs import PairSummary, pair_notes, summarize_pairs, unequal_pairs
from augmentor.errors import ImageError, counted, row_list
from augmentor.images import has_further_frames, upright_size
from augmentor.storage import Access, OutsideError, RemotePath, is_there, located, side_by_side
from stargan.labels import UNKNOWN, Kind


@dataclass(frozen=True, kw_only=True)
class AttributeSummary:
    """Kind, values (in code order) and label counts of an attribute.

    Args:
        kind: "binary" or "categorical".
        counts: rows of each value, for each split that has rows.
        unknown: rows of all splits where it is not labelled.
    """

    name: str
    kind: Kind
    values: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    unknown: int


@dataclass(frozen=True, kw_only=True)
class ImageProblem:
    """A row whose image cannot be used; `row` as a spreadsheet numbers it (the header is row 1).

    `found` is the path of the file that is probably meant, where the row's own is missing; "" for none.
    """

    id: str
    path: str
    row: int
    reason: str
    found: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """The result of `augmentor check`.

    Args:
        rows: how many there are, duplicates left out.
        splits: the rows of each split that has any.
        datasets: the rows of each data set that is named.
        missing: rows whose file is not there.
        elsewhere: why the files of rows of `missing` are under another path, and how they are read, a line each.
        unreadable: rows whose file does not decode.
        several_frames: ids of the rows whose file holds several frames or pages, of which the first is used.
        duplicates: ids of the rows whose files are equal byte for byte, a tuple per file.
        leaks: groups, pairs, and identical images, in two splits.
        pairs: a summary of the column `pair`; None where no row has one.
        unequal_pairs: pairs whose images differ in size, so that they cannot be aligned.
        notes: remarks from reading the manifest.
    """

    manifest: str
    rows: int
    splits: dict[str, int]
    datasets: dict[str, int]
    attributes: list[AttributeSummary]
    missing: list[ImageProblem]
    elsewhere: list[str]
    unreadable: list[ImageProblem]
    several_frames: list[str]
    duplicates: list[tuple[str, ...]]
    leaks: list[str]
    notes: list[str]
    pairs: PairSummary | None = None
    unequal_pairs: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Every image can be used, no split leaks into another, and pairs are of equal size."""
        return not (self.missing or self.unreadable or self.leaks or self.unequal_pairs)

    def to_json(self) -> dict[str, object]:
        """Return the report as plain JSON values."""
        plain = asdict(self)
        for attribute in plain["attributes"]:
            attribute["values"] = list(attribute["values"])
        plain["duplicates"] = [list(ids) for ids in self.duplicates]
        plain["pairs"] = None if self.pairs is None else self.pairs.to_json()
        plain["unequal_pairs"] = list(self.unequal_pairs)
        return {"ok": self.ok, **plain}


@dataclass(frozen=True, kw_only=True)
class _Image:
    """An image's digest and, if it was asked for, its (height, width) in pixels; or what is wrong with it."""

    digest: bytes = b""
    size: tuple[int, int] | None = None
    wrong: Literal["", "missing", "unreadable"] = ""
    reason: str = ""
    several_frames: bool = False


def check_manifest(
    manifest: Manifest,
    *,
    decode: Callable[[Path], bool],
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Open every image of a manifest and report what cannot be used; bad images raise nothing.

    Args:
        manifest: the rows.
        decode: decodes a whole file in a thread; returns whether it holds further frames, or raises ImageError.
        workers: threads; None for one per usable core.
        progress: called with (images done, images in all) after each image, in the caller's thread.
    """
    total = len(manifest)
    missing: list[ImageProblem] = []
    unreadable: list[ImageProblem] = []
    several_frames: list[int] = []
    rows_of: dict[bytes, list[int]] = {}
    paths = (located(manifest.root, path) for path in manifest.rows["path"])
    paired = manifest.pairs >= 0
    sizes: dict[int, tuple[int, int]] = {}
    look = partial(_look_at, decode=decode, access=manifest.access)
    images = zip(paths, paired.tolist(), strict=True)
    for i, found in enumerate(side_by_side(look, images, workers, what=lambda image: f"reading {image[0]}")):
        if found.wrong:
            row = manifest.rows.iloc[i]
            problem = ImageProblem(id=row["id"], path=row["path"], row=int(row["line"]), reason=found.reason)
            (missing if found.wrong == "missing" else unreadable).append(problem)
        else:
            rows_of.setdefault(found.digest, []).append(i)
            if found.several_frames:
                several_frames.append(i)
            if found.size is not None:
                sizes[i] = found.size
        if progress is not None:
            progress(i + 1, total)
    nearby = look_elsewhere(manifest.path, [problem.path for problem in missing])
    identical = [rows for rows in rows_of.values() if len(rows) > 1]
    ids = manifest.rows["id"]
    datasets = manifest.rows["dataset"].value_counts(sort=False)
    return CheckReport(
        manifest=str(manifest.path),
        rows=total,
        splits=_split_counts(manifest),
        datasets={str(name): int(count) for name, count in datasets.items() if name and count},
        attributes=summarize(manifest),
        missing=[replace(problem, found=nearby.files.get(problem.path, "")) for problem in missing],
        elsewhere=list(nearby.causes),
        unreadable=unreadable,
        several_frames=ids.iloc[several_frames].tolist(),
        duplicates=[tuple(ids.iloc[rows]) for rows in identical],
        leaks=[*split_leaks(manifest), *_image_leaks(manifest, identical)],
        notes=[
            *manifest.notes,
            *_blank_groups(manifest),
            *_frame_notes(manifest, several_frames),
            *grey_range_notes(manifest),
            *pair_notes(manifest),
        ],
        pairs=summarize_pairs(manifest),
        unequal_pairs=tuple(unequal_pairs(manifest, sizes)),
    )


def summarize(manifest: Manifest) -> list[AttributeSummary]:
    """Count the values of every attribute, per split; no image is opened."""
    masks = {split: manifest.split_mask([split]) for split in _split_counts(manifest)}
    summaries = []
    for codes, attribute in zip(manifest.codes.T, manifest.space.attributes, strict=True):
        counts = {}
        for split, mask in masks.items():
            known = codes[mask & (codes != UNKNOWN)]
            per_value = np.bincount(known, minlength=len(attribute.values)).tolist()
            counts[split] = dict(zip(attribute.values, per_value, strict=True))
        unknown = int(np.count_nonzero(codes == UNKNOWN))
        summaries.append(
            AttributeSummary(
                name=attribute.name, kind=attribute.kind, values=attribute.values, counts=counts, unknown=unknown
            )
        )
    return summaries


def _split_counts(manifest: Manifest) -> dict[str, int]:
    counts = {split: int(np.count_nonzero(manifest.split_mask([split]))) for split in SPLITS}
    return {split: count for split, count in counts.items() if count}


def _blank_groups(manifest: Manifest) -> list[str]:
    """Return a note on rows without a group where others have one: they are subjects of their own."""
    blank = int((manifest.rows["group"] == "").sum())
    if blank in (0, len(manifest)):
        return []
    return [f"{manifest.path}, column 'group': blank in {counted(blank, 'row')}, each a subject of its own"]


def frame_notes(manifest: Manifest) -> list[str]:
    """Return a note on files with several frames or pages; opens a part of the files where they are many."""
    # A file of an object store is downloaded whole.
    most = 16 if isinstance(manifest.root, RemotePath) else 1000
    rows = np.linspace(0, len(manifest) - 1, min(len(manifest), most)).astype(int).tolist()

    def look(row: int) -> bool:
        try:
            return has_further_frames(manifest.image_path(row), access=manifest.access)
        except (ImageError, OSError):
            return False  # Whoever uses the row reports it.

    framed = sum(side_by_side(look, rows))
    if not framed:
        return []
    opened = f" of {len(rows):,} looked at" if len(rows) < len(manifest) else ""
    have = "has" if framed == 1 else "have"
    return [
        f"{manifest.title}: {counted(framed, 'image')}{opened} {have} several frames or pages: the first one is "
        "used. augmentor check names them"
    ]


def _frame_notes(manifest: Manifest, several_frames: list[int]) -> list[str]:
    if not several_frames:
        return []
    lines = manifest.rows["line"].iloc[several_frames].tolist()
    are = "an image of" if len(lines) == 1 else "images of"
    return [f"{manifest.path}, {row_list(lines)}: {are} several frames or pages; the first one is used"]


def _look_at(image: tuple[Path, bool], *, decode: Callable[[Path], bool], access: Access) -> _Image:
    """Read the image of a path, and its size if it is `paired`."""
    path, paired = image
    try:
        with access.open(path) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        several_frames = decode(path)
        size = upright_size(path, access=access) if paired else None
    except (FileNotFoundError, NotADirectoryError):
        return _Image(wrong="missing", reason="no such file")
    except IsADirectoryError:
        return _Image(wrong="missing", reason="a folder, not a file")
    except OSError as error:
        if isinstance(error, OutsideError) and not is_there(path):
            return _Image(wrong="missing", reason="no such file")
        return _Image(wrong="unreadable", reason=error.strerror or str(error))
    except ImageError as error:
        # The report names the path in a field of its own.
        return _Image(wrong="unreadable", reason=str(error).removeprefix(f"{path}: "))
    return _Image(digest=digest, size=size, several_frames=several_frames)


def _image_leaks(manifest: Manifest, identical: list[list[int]]) -> list[str]:
    """Return a message for every file with copies in more than one split."""
    messages = []
    splits = manifest.rows["split"].cat.codes.to_numpy()
    for rows in identical:
        if len(set(splits[rows].tolist())) > 1:
            # The first row of each split.
            first = {SPLITS[splits[i]]: manifest.rows.iloc[i] for i in reversed(rows)}
            places = [
                f"{split} ({first[split]['id']}, row {first[split]['line']})" for split in SPLITS if split in first
            ]
            messages.append(f"the same image is in {' and '.join(places)}")
    return messages
