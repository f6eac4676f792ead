"""What an evaluation works on, in memory: real images of every split, and translations of the training images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from augmentor.data.manifest import Manifest, read_manifest
from augmentor.errors import ImageError, OutputError
from augmentor.evaluation.lineage import Lineage, read_rejected, refuse_copies, refuse_leaks, trace
from augmentor.evaluation.output import Output, as_written, side_file
from augmentor.images import Pixels, decode
from augmentor.judge import LabelledImages
from augmentor.outputs import UNCHANGED
from augmentor.outputs.readers import ExpandedDataset, open_dataset
from augmentor.storage import MAX_PIXELS, side_by_side
from stargan.labels import UNKNOWN, LabelSpace

_MOST_SCORED = 20_000
"""Images of val and test that are looked at, always the same ones; more would hardly narrow an interval."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that classifiers are trained and tried on.

    Args:
        output: what the translations come from.
        manifest: the user's table, in the output's label space.
        changed: positions of the attributes that the expansion changed, in order.
        train: real training images.
        val: real validation images.
        test: real test images.
        train_rows: (N,) their manifest rows.
        test_rows: (N,) likewise.
        kept: the translations that the output holds, of train rows.
        kept_sources: (K,) which of `train` each comes from, -1 where that could not be read.
        rejected: the translations that the judge threw out, not their images.
        unreadable: real rows whose image could not be read.
        notes: remarks for the person.
    """

    output: Output
    manifest: Manifest
    changed: tuple[int, ...]
    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    train_rows: NDArray[np.intp]
    test_rows: NDArray[np.intp]
    kept: LabelledImages
    kept_sources: NDArray[np.intp]
    rejected: Lineage
    unreadable: int
    notes: tuple[str, ...]

    @property
    def test_units(self) -> NDArray[np.intp]:
        """(N,) what test images belong together, numbered from 0: their group, or else each by itself."""
        groups = self.manifest.rows["group"].to_numpy()[self.test_rows]
        names = [str(group) or f"\0{row}" for group, row in zip(groups, self.test_rows, strict=True)]
        return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.intp)


def read_material(
    manifest: Path,
    output: Output,
    *,
    most: int,
    image_column: str | None = None,
    allow_outside: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Material:
    """Read everything, and refuse test rows that were used for anything before.

    Args:
        manifest: the user's table.
        output: what `read_output` returned.
        most: training images that are read, and translations, always the same ones: more than a classifier can
            ever see would be read in vain.
        image_column: the column of the images' paths, if it has an unusual name.
        allow_outside: images may lie outside the manifest's folder.
        max_pixels: images of more pixels (width x height) are not read.

    Raises:
        AugmentorError: the manifest cannot be used, lacks train or test rows, or test rows were used.
    """
    space, out = output.space, output.out
    table = read_manifest(manifest, space=space, image_column=image_column)
    table = table.allowing(outside=allow_outside, max_pixels=max_pixels)
    synthetic = open_dataset(out, synthetic=True, size=output.size)
    rejected = read_rejected(side_file(out, "rejected.csv"), space)
    everything = [open_dataset(out).labels, rejected.assign(is_synthetic=True)]
    refuse_leaks(table, pd.concat(everything, ignore_index=True).astype({"is_synthetic": bool}), out=out)
    for split, why in (("train", "learn from"), ("test", "score on")):
        if not table.split_mask([split]).any():
            raise OutputError(
                f"{manifest}: no row has split {split}, so there is nothing to {why}. "
                "A column 'split' says train, val or test for every row"
            )
    kept, thrown = trace(table, synthetic.labels, out=out), trace(table, rejected, out=out)
    if not len(kept.rows):
        raise OutputError(f"{out}: holds no translations of train rows, so there is nothing to evaluate")
    limits = {"train": most, "val": _MOST_SCORED, "test": _MOST_SCORED}
    read = {split: _read_real(table, output, split=split, most=limit) for split, limit in limits.items()}
    (train, train_rows), (val, val_rows), (test, test_rows) = read.values()
    for split, images in (("train", train), ("test", test)):
        if not len(images):
            raise OutputError(f"{manifest}: no image of split {split} can be read. `augmentor check` says why")
    changed = _changed(kept.table, space)
    if not bool((test.codes[:, list(changed)] != UNKNOWN).any()):
        names = ", ".join(space.names[a] for a in changed)
        raise OutputError(f"{manifest}: no test row says what {names} is, so there is nothing to score")
    others = [*_digests(train, train_rows), *_digests(val, val_rows)]
    refuse_copies(table, _digests(test, test_rows), others)
    asked = sum(min(limit, int(table.split_mask([split]).sum())) for split, limit in limits.items())
    unreadable = asked - len(train) - len(val) - len(test)
    chosen = _some(np.arange(len(kept.rows)), most)
    return Material(
        output=output,
        manifest=table,
        changed=changed,
        train=train,
        val=val,
        test=test,
        train_rows=train_rows,
        test_rows=test_rows,
        kept=_read_kept(synthetic, chosen),
        kept_sources=pd.Index(train_rows).get_indexer(pd.Index(kept.rows[chosen])),
        rejected=thrown,
        unreadable=unreadable,
        notes=(
            *table.notes,
            *([f"{unreadable:,} real images cannot be read and are left out"] if unreadable else []),
        ),
    )


def _read_real(
    manifest: Manifest, output: Output, *, split: str, most: int
) -> tuple[LabelledImages, NDArray[np.intp]]:
    """Read a split's images as the output holds its real ones; those that cannot be read are left out."""

    def read(row: int) -> Pixels | None:
        try:
            pixels = decode(
                manifest.image_path(row),
                size=output.size,
                channels=output.channels,
                crop=output.crop,
                access=manifest.access,
            )
        except ImageError:
            return None
        return as_written(pixels, output)

    rows = _some(np.flatnonzero(manifest.split_mask([split])), most)
    images = list(side_by_side(read, rows.tolist()))
    there = np.array([image is not None for image in images], dtype=np.bool_)
    pixels = [image for image in images if image is not None]
    return stack(pixels, manifest.codes[rows[there]], output=output), rows[there]


def _read_kept(synthetic: ExpandedDataset, chosen: NDArray[np.intp]) -> LabelledImages:
    """Read some of the translations of train rows."""
    rows = np.flatnonzero((synthetic.labels["split"] == "train").to_numpy())[chosen]
    items = [synthetic[row] for row in rows.tolist()]
    return LabelledImages(
        images=torch.stack([image for image, _ in items]), codes=torch.stack([codes for _, codes in items])
    )


def stack(images: Sequence[Pixels], codes: NDArray[np.integer], *, output: Output) -> LabelledImages:
    """Return images (H, W, C) and their labels (N, A) as classifiers take them."""
    stacked = np.stack(images) if len(images) else np.zeros((0, *output.size, output.channels), dtype=np.uint8)
    return LabelledImages(
        images=torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous(),
        codes=torch.from_numpy(codes.astype(np.int64)),
    )


def _some(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return all rows, or a fixed draw of them, in order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, size=most, replace=False))


def _digests(data: LabelledImages, rows: NDArray[np.intp]) -> Iterator[tuple[int, bytes]]:
    for row, image in zip(rows.tolist(), data.images, strict=True):
        yield row, hashlib.sha256(image.numpy().tobytes()).digest()


def _changed(table: pd.DataFrame, space: LabelSpace) -> tuple[int, ...]:
    """Return the positions of the attributes that some translation changed; of all where none did."""
    named = {name for cell in table["changed"].unique() for name in cell.split(";")} - {UNCHANGED}
    return tuple(i for i, name in enumerate(space.names) if name in named or not named)
