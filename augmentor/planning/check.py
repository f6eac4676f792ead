"""What `augmentor check` reports: the labels as they were understood, and every image that cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from augmentor.data.manifest import SPLITS, Manifest, split_leaks
from augmentor.errors import ImageError, row_list
from augmentor.planning.balance import BalanceRequest
from augmentor.planning.combinations import CellState
from augmentor.planning.domains import DomainRequest
from augmentor.planning.plan import make_plan
from augmentor.planning.rounds import balanced, planned_states
from augmentor.storage import Access, located, side_by_side
from stargan.labels import UNKNOWN, Kind


@dataclass(frozen=True, kw_only=True)
class AttributeSummary:
    """How one attribute was understood.

    Args:
        name: the attribute.
        kind: "binary" or "categorical".
        values: its values in code order.
        counts: for each split that has rows, the rows of each value.
        unknown: the rows of all splits where it is not labelled.
    """

    name: str
    kind: Kind
    values: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    unknown: int


@dataclass(frozen=True, kw_only=True)
class ImageProblem:
    """One row whose image cannot be used.

    Args:
        id: the row's id.
        path: the path as the manifest has it.
        row: the row as a spreadsheet numbers it; the header is row 1.
        reason: what is wrong with the image.
    """

    id: str
    path: str
    row: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """Everything that `augmentor check` found.

    Args:
        manifest: the table's file.
        rows: the rows, duplicates left out.
        splits: the rows of each split that has any.
        datasets: the rows of each data set that is named.
        attributes: a summary of each attribute, in order.
        missing: rows whose file is not there.
        unreadable: rows whose file does not decode.
        several_frames: the ids of rows whose file holds further frames or pages, of which the first is used.
        duplicates: the ids of rows whose files are equal byte for byte, a tuple per different file.
        leaks: groups, and identical images, that stand in two splits.
        notes: remarks from reading the manifest.
    """

    manifest: str
    rows: int
    splits: dict[str, int]
    datasets: dict[str, int]
    attributes: list[AttributeSummary]
    missing: list[ImageProblem]
    unreadable: list[ImageProblem]
    several_frames: list[str]
    duplicates: list[tuple[str, ...]]
    leaks: list[str]
    notes: list[str]

    @property
    def ok(self) -> bool:
        """Every image can be used and no split leaks into another."""
        return not (self.missing or self.unreadable or self.leaks)

    def to_json(self) -> dict[str, object]:
        """Return the report as plain JSON values."""
        plain = asdict(self)
        for attribute in plain["attributes"]:
            attribute["values"] = list(attribute["values"])
        plain["duplicates"] = [list(ids) for ids in self.duplicates]
        return {"ok": self.ok, **plain}


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What looking at one image gave: a digest of its file, or what is wrong."""

    digest: bytes = b""
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
    """Open every image of a manifest and report what stands in the way of using it.

    Args:
        manifest: the rows.
        decode: reads one image file whole, in a worker's thread; returns whether it holds further frames, and
            raises ImageError when it cannot.
        workers: threads; None for one per usable core.
        progress: called with (images done, images in all) after each image, in the caller's thread.

    Returns:
        The report. Problems with images are part of it and raise nothing.
    """
    total = len(manifest)
    missing: list[ImageProblem] = []
    unreadable: list[ImageProblem] = []
    several_frames: list[int] = []
    rows_of: dict[bytes, list[int]] = {}
    paths = (located(manifest.root, path) for path in manifest.rows["path"])
    look = partial(_look_at, decode=decode, access=manifest.access)
    for i, found in enumerate(side_by_side(look, paths, workers, what="reading {}".format)):
        if found.wrong:
            row = manifest.rows.iloc[i]
            problem = ImageProblem(id=row["id"], path=row["path"], row=int(row["line"]), reason=found.reason)
            (missing if found.wrong == "missing" else unreadable).append(problem)
        else:
            rows_of.setdefault(found.digest, []).append(i)
            if found.several_frames:
                several_frames.append(i)
        if progress is not None:
            progress(i + 1, total)
    identical = [rows for rows in rows_of.values() if len(rows) > 1]
    ids = manifest.rows["id"]
    datasets = manifest.rows["dataset"].value_counts(sort=False)
    return CheckReport(
        manifest=str(manifest.path),
        rows=total,
        splits=_split_counts(manifest),
        datasets={str(name): int(count) for name, count in datasets.items() if name and count},
        attributes=summarize(manifest),
        missing=missing,
        unreadable=unreadable,
        several_frames=ids.iloc[several_frames].tolist(),
        duplicates=[tuple(ids.iloc[rows]) for rows in identical],
        leaks=[*split_leaks(manifest), *_image_leaks(manifest, identical)],
        notes=[*manifest.notes, *_frame_notes(manifest, several_frames)],
    )


def foresee_balance(
    manifest: Manifest, *, attributes: Sequence[str], to: str = "auto", counts: Path | None = None
) -> list[CellState]:
    """Return how `expand --balance` would leave the training rows' combinations, if all translations were kept.

    Args:
        manifest: the rows.
        attributes: whose combinations; may be left out where a table has them.
        to: up to where, see `augmentor.planning.balance.BalanceRequest.parse`.
        counts: a table of how many images are wanted.

    Raises:
        DomainError: a name, word or cell of the table cannot be used, or there is nothing to count.
    """
    request = BalanceRequest.parse(attributes=attributes, to=to, counts=counts, space=manifest.space)
    plan = make_plan(
        manifest.codes,
        space=manifest.space,
        request=DomainRequest(),
        eligible=manifest.split_mask(["train"]),
        with_real=True,
    )
    return planned_states(balanced(plan, request))


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


def _frame_notes(manifest: Manifest, several_frames: list[int]) -> list[str]:
    if not several_frames:
        return []
    lines = manifest.rows["line"].iloc[several_frames].tolist()
    are = "an image of" if len(lines) == 1 else "images of"
    return [f"{manifest.path}, {row_list(lines)}: {are} several frames or pages; the first one is used"]


def _look_at(path: Path, *, decode: Callable[[Path], bool], access: Access) -> _Found:
    try:
        with access.open(path) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        several_frames = decode(path)
    except (FileNotFoundError, NotADirectoryError):
        return _Found(wrong="missing", reason="no such file")
    except IsADirectoryError:
        return _Found(wrong="missing", reason="a folder, not a file")
    except OSError as error:
        return _Found(wrong="unreadable", reason=error.strerror or str(error))
    except ImageError as error:
        # Whoever is told the reason is told the path, too.
        return _Found(wrong="unreadable", reason=str(error).removeprefix(f"{path}: "))
    return _Found(digest=digest, several_frames=several_frames)


def _image_leaks(manifest: Manifest, identical: list[list[int]]) -> list[str]:
    """Return a message for every file whose copies stand in more than one split."""
    messages = []
    splits = manifest.rows["split"].cat.codes.to_numpy()
    for rows in identical:
        if len(set(splits[rows].tolist())) > 1:
            # One row of each split says it all.
            first = {SPLITS[splits[i]]: manifest.rows.iloc[i] for i in reversed(rows)}
            places = [
                f"{split} ({first[split]['id']}, row {first[split]['line']})" for split in SPLITS if split in first
            ]
            messages.append(f"one and the same image stands in {' and '.join(places)}")
    return messages
