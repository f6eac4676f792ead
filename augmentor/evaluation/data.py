"""Data of an evaluation in memory: real images of every split, and translations of training images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from augmentor.data.manifest import (
    AS_WRITTEN,
    Manifest,
    TableReading,
    read_manifest,
    refuse_unreachable,
    subject_names,
)
from augmentor.errors import ImageError, OutputError
from augmentor.evaluation.lineage import TracedTranslations, read_rejected, refuse_copies, refuse_leaks, trace
from augmentor.evaluation.metrics import Cell
from augmentor.images import ImageFormat, Pixels, decode, decode_bytes, encode
from augmentor.judge import LabelledImages
from augmentor.outputs import UNCHANGED, encoding_of, paths_of
from augmentor.outputs.readers import ExpandedDataset, FinishedOutput, open_dataset
from augmentor.planning import CellState
from augmentor.storage import MAX_PIXELS, GreyRange, Json, side_by_side
from stargan.config import Precision
from stargan.labels import UNKNOWN, LabelSpace

_LEAST_LACKING = 0.1
"""Share of a combination's wanted images that it lacked, from which on it is part of the primary figure."""

_MOST_SCORED = 20_000
"""Images of val and test that are read, always the same ones; more would hardly narrow an interval."""

_REQUEST = (
    *("domains", "include_identity", "balance", "balance_to", "counts", "max_per_source", "size"),
    *("gate", "min_agreement", "min_realism", "min_preserved", "keep_best", "best_per"),
)
"""Settings of an expansion that decide which translations it makes and keeps."""


@dataclass(frozen=True, kw_only=True)
class EvaluatedOutput:
    """An output, without its images.

    Args:
        size: (height, width) of its images; the model's where they differ.
        crop: side of the centred square that sources were cut to first, or None.
        grey_range: of files with more than 8 bits, see `Access`.
        encoding: lossy format of its files, which real images pass, too; None for lossless ones.
        full_size: the images have another size than the model's, so changes were blended into the originals.
        gated: whether translations had to pass a gate.
        model_path: as the user gave it; None if unknown.
        balance: combinations that `--balance` was to fill, attribute -> value: those that lacked a tenth of the
            images or more, so that they can show a gain; where none did, all that lacked any.
        manifest: file name of the table that it was made from; "" if unknown.
        request: settings that say which translations it holds.
    """

    out: Path
    space: LabelSpace
    size: tuple[int, int]
    channels: int
    crop: int | None
    encoding: ImageFormat | None
    full_size: bool
    gated: bool
    model_path: Path | None
    model_sha256: str
    precision: Precision
    fingerprint: str
    balance: tuple[Mapping[str, str], ...] = ()
    manifest: str = ""
    request: Mapping[str, Json] = field(default_factory=dict)
    grey_range: GreyRange | None = None


def read_output(out: Path) -> EvaluatedOutput:
    """Read an output's description; OutputError if it is missing, unfinished or damaged."""
    finished = FinishedOutput.open(out)
    described = finished.description
    settings, made_of = _part(described, "settings"), _part(described, "made_of")
    model, recorded = _part(described, "model"), _part(made_of, "model")
    shape, crop, path = described.get("image_shape"), recorded.get("crop"), model.get("path")
    sides: Json = shape[:2] if isinstance(shape, list) else [None, None]
    if None in cast("list[int | None]", sides):
        sides = recorded.get("image_size")
    height, width = cast("tuple[int, int]", sides)
    encoding = encoding_of(described)
    lossy = encoding in ("jpg", "webp") and settings.get("size") != "original"
    gate = _part(described, "gate")
    return EvaluatedOutput(
        out=out,
        space=finished.space,
        size=(height, width),
        channels=finished.channels,
        crop=crop if isinstance(crop, int) else None,
        encoding=encoding if lossy else None,
        full_size=settings.get("size") != "model",
        gated=bool(gate) and (gate.get("mode") != "off" or bool(gate.get("given"))),
        model_path=Path(path) if isinstance(path, str) else None,
        model_sha256=str(model["sha256"]),
        precision=cast(Precision, settings.get("precision", "auto")),
        fingerprint=str(described["fingerprint"]),
        balance=_balance(described),
        manifest=str(described.get("manifest", "")),
        request={name: settings.get(name) for name in _REQUEST},
        grey_range=finished.grey_range,
    )


def _balance(described: Mapping[str, Json]) -> tuple[Mapping[str, str], ...]:
    states = cast("Sequence[Mapping[str, Any]]", described.get("balance") or ())
    lacked = [
        (1 - state.before / state.wanted, state.domain)
        for state in map(CellState.from_json, states)
        if state.wanted and state.wanted > state.before
    ]
    many = [domain for share, domain in lacked if share >= _LEAST_LACKING]
    return tuple(many or [domain for _, domain in lacked])


def filled_cells(output: EvaluatedOutput, requested: pd.DataFrame, changed: Sequence[int]) -> tuple[Cell, ...]:
    """Return the combinations that translations were requested for, in order.

    They are those that `--balance` was to fill, also where it could not. Otherwise they are the combinations of
    `changed` attributes among the targets in `requested`, rows of the label table and of rejected translations.
    """
    space, cells = output.space, set[Cell]()
    domains = output.balance or [
        {space.names[a]: value for a, value in zip(changed, values, strict=True)}
        for values in requested[[space.names[a] for a in changed]].drop_duplicates().itertuples(index=False)
    ]
    for domain in domains:
        values = [
            (a, attribute.values, domain.get(attribute.name)) for a, attribute in enumerate(space.attributes)
        ]
        cell = tuple((a, known.index(value)) for a, known, value in values if value in known)
        if len(cell) == len(domain):  # An unknown value is no label to be right about.
            cells.add(cell)
    return tuple(sorted(cells))


def as_written(pixels: Pixels, output: EvaluatedOutput) -> Pixels:
    """Return an image as read back from the output's files: artefacts of JPEG and WebP must not tell labels."""
    if output.encoding is None:
        return pixels
    return decode_bytes(encode(pixels, output.encoding), channels=output.channels)


def _part(described: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    part = described.get(name)
    return part if isinstance(part, dict) else {}


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """Everything that classifiers are trained and evaluated on.

    Args:
        manifest: the user's table, in the output's label space.
        changed: positions of the attributes that the expansion changed, in order.
        filled: combinations of labels that translations were requested for.
        train: real training images, likewise `val` and `test`.
        train_rows: (N,) their manifest rows, likewise `test_rows`.
        kept: the translations that the output holds, of train rows.
        kept_sources: (K,) which of `train` each comes from, -1 where that could not be read.
        rejected: the translations that the judge rejected, without images.
        unreadable: real rows whose image could not be read.
    """

    output: EvaluatedOutput
    manifest: Manifest
    changed: tuple[int, ...]
    filled: tuple[Cell, ...]
    train: LabelledImages
    val: LabelledImages
    test: LabelledImages
    train_rows: NDArray[np.intp]
    test_rows: NDArray[np.intp]
    kept: LabelledImages
    kept_sources: NDArray[np.intp]
    rejected: TracedTranslations
    unreadable: int
    notes: tuple[str, ...]

    @property
    def test_units(self) -> NDArray[np.intp]:
        """(N,) number of each test image's unit, from 0: its group, or the image itself."""
        return units_of(self.manifest, self.test_rows)

    def without_images(self) -> EvaluationData:
        """Return the same with images of no pixels, for its numbers and labels alone."""
        return replace(
            self,
            train=bare(self.train),
            val=bare(self.val),
            test=bare(self.test),
            kept=bare(self.kept),
        )


def bare(data: LabelledImages) -> LabelledImages:
    """Return as many images of no pixels, with the labels."""
    n, channels, _, _ = data.images.shape
    return LabelledImages(images=data.images.new_empty((n, channels, 0, 0)), codes=data.codes)


def units_of(manifest: Manifest, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the number of each row's unit, from 0: its group, or the row itself."""
    groups = manifest.rows["group"].to_numpy()[rows]
    names = subject_names(groups, rows.tolist())
    return np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)[1].astype(np.intp)


def read_data(
    manifest: Path,
    output: EvaluatedOutput,
    *,
    most: int,
    reading: TableReading = AS_WRITTEN,
    allow_outside: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> EvaluationData:
    """Read everything; AugmentorError if test rows were used before, or train or test rows are missing.

    `most` limits training images and translations, always the same ones: as many as a classifier is trained on.
    """
    space, out = output.space, output.out
    table = read_manifest(manifest, space=space, reading=reading)
    table = replace(table.allowing(outside=allow_outside, max_pixels=max_pixels), grey_range=output.grey_range)
    refuse_unreachable(table, ["train", "test"])
    synthetic = open_dataset(out, synthetic=True, size=output.size)
    rejected = read_rejected(paths_of(out).beside("rejected.csv"), space)
    everything = [FinishedOutput.open(out).label_table(), rejected.assign(is_synthetic=True)]
    refuse_leaks(table, pd.concat(everything, ignore_index=True).astype({"is_synthetic": bool}), out=out)
    for split, why in (("train", "learn from"), ("test", "score on")):
        if not table.split_mask([split]).any():
            raise OutputError(
                f"{manifest}: no row has split {split}, so there is nothing to {why}. "
                "A column 'split' says train, val or test for every row"
            )
    kept, of_rejected = trace(table, synthetic.labels, out=out), trace(table, rejected, out=out)
    if not len(kept.rows):
        raise OutputError(f"{out}: holds no translations of train rows, so there is nothing to evaluate")
    limits = {"train": most, "val": _MOST_SCORED, "test": _MOST_SCORED}
    read = {split: _read_real(table, output, split=split, most=limit) for split, limit in limits.items()}
    (train, train_rows), (val, val_rows), (test, test_rows) = read.values()
    for split, images in (("train", train), ("test", test)):
        if not len(images):
            raise OutputError(f"{manifest}: no image of split {split} can be read. `augmentor check` says why")
    changed = changed_attributes(kept.table, space)
    if not bool((test.codes[:, list(changed)] != UNKNOWN).any()):
        names = ", ".join(space.names[a] for a in changed)
        raise OutputError(f"{manifest}: no test row says what {names} is, so there is nothing to score")
    others = [*_digests(train, train_rows), *_digests(val, val_rows)]
    refuse_copies(table, _digests(test, test_rows), others)
    wanted = sum(min(limit, int(table.split_mask([split]).sum())) for split, limit in limits.items())
    unreadable = wanted - len(train) - len(val) - len(test)
    chosen = some_rows(np.arange(len(kept.rows)), most, np.random.default_rng(0))
    return EvaluationData(
        output=output,
        manifest=table,
        changed=changed,
        filled=filled_cells(output, pd.concat([kept.table, of_rejected.table]), changed),
        train=train,
        val=val,
        test=test,
        train_rows=train_rows,
        test_rows=test_rows,
        kept=_read_kept(synthetic, chosen),
        kept_sources=pd.Index(train_rows).get_indexer(pd.Index(kept.rows[chosen])),
        rejected=of_rejected,
        unreadable=unreadable,
        notes=(
            *table.notes,
            *([f"{unreadable:,} real images cannot be read and are left out"] if unreadable else []),
        ),
    )


def _read_real(
    manifest: Manifest, output: EvaluatedOutput, *, split: str, most: int
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

    rows = some_rows(np.flatnonzero(manifest.split_mask([split])), most, np.random.default_rng(0))
    images = list(side_by_side(read, rows.tolist()))
    there = np.array([image is not None for image in images], dtype=np.bool_)
    pixels = [image for image in images if image is not None]
    return LabelledImages.stack(
        pixels, manifest.codes[rows[there]], size=output.size, channels=output.channels
    ), rows[there]


def _read_kept(synthetic: ExpandedDataset, chosen: NDArray[np.intp]) -> LabelledImages:
    """Read some of the translations of train rows."""
    rows = np.flatnonzero((synthetic.labels["split"] == "train").to_numpy())[chosen]
    items = [synthetic[row] for row in rows.tolist()]
    return LabelledImages(
        images=torch.stack([image for image, _ in items]), codes=torch.stack([codes for _, codes in items])
    )


def some_rows(rows: NDArray[np.intp], most: int, random: np.random.Generator) -> NDArray[np.intp]:
    """Return all rows, or a draw of them, in order."""
    return rows if len(rows) <= most else np.sort(random.choice(rows, size=most, replace=False))


def _digests(data: LabelledImages, rows: NDArray[np.intp]) -> Iterator[tuple[int, bytes]]:
    for row, image in zip(rows.tolist(), data.images, strict=True):
        yield row, hashlib.sha256(image.numpy().tobytes()).digest()


def changed_attributes(table: pd.DataFrame, space: LabelSpace) -> tuple[int, ...]:
    """Return the positions of the attributes that some translation changed; of all where none did."""
    named = {name for cell in table["changed"].unique() for name in cell.split(";")} - {UNCHANGED}
    return tuple(i for i, name in enumerate(space.names) if name in named or not named)
