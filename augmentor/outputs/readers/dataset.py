"""A torch Dataset over what expand writes, for classifier jobs."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, SupportsIndex, TypedDict

import h5py
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from augmentor.errors import OutputError, did_you_mean
from augmentor.outputs.label_table import attribute_named, columns, read_label_table
from augmentor.outputs.places import format_of, place_of
from augmentor.outputs.readers.images import FolderImages, HDF5Images, ImageSource, PackImages
from augmentor.outputs.writers.hdf5_layout import SCORE_COLUMNS, TEXT_COLUMNS
from augmentor.outputs.writers.packs import PACK_SUFFIXES
from stargan.labels import UNKNOWN, AttributeState, LabelSpace

Transform = Callable[[Tensor], Tensor]
"""Maps one uint8 (C, H, W) image to a tensor."""


class Description(TypedDict):
    """What is read of `dataset.json`."""

    label_space: list[AttributeState]
    image_shape: list[int | None] | None


class ExpandedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels of an output; made by `open_dataset`.

    Items are (image, labels): uint8 (C, H, W), or what the transform makes of it, and int64 (A,) codes in the
    order of `space`, -1 unknown. Images of different sizes (`--size original`, `--real original`) are returned in
    their own unless a size was asked for.

    Args:
        images: reads the selected images.
        labels: the selected rows of the label table, numbered from 0.
        codes: (N, A) int64.
        space: the selected attributes.
        transform: applied to every image in the worker that loads it.
    """

    def __init__(
        self,
        images: ImageSource,
        *,
        labels: pd.DataFrame,
        codes: Tensor,
        space: LabelSpace,
        transform: Transform | None,
    ) -> None:
        self.labels = labels
        self.space = space
        self.transform = transform
        self._images = images
        self._codes = codes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: SupportsIndex) -> tuple[Tensor, Tensor]:
        row = operator.index(index)
        pixels = self._images.read(row)
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        labels = self._codes[row].clone()
        return (image if self.transform is None else self.transform(image)), labels


def open_dataset(
    out: Path | str,
    *,
    attributes: Sequence[str] | None = None,
    split: str | None = None,
    synthetic: bool | None = None,
    size: tuple[int, int] | None = None,
    transform: Transform | None = None,
) -> ExpandedDataset:
    """Open what `augmentor expand` wrote, a folder of any form or an HDF5 file, as a torch Dataset.

    It is safe with DataLoader workers under fork and spawn. `dataset.labels` is the label table of the
    selected rows as a DataFrame, for samplers and weights.

    Args:
        out: the folder or the .h5 file.
        attributes: names of those wanted, in the order wanted; None for all.
        split: "train", "val" or "test"; None for all.
        synthetic: True for translated images only, False for real ones only, None for both.
        size: (height, width) in pixels; the largest centred rectangle of these proportions is cut out of every
            image and resized, so that images of different sizes fit into one batch. None keeps each one's own.
        transform: applied to each uint8 (C, H, W) image.

    Raises:
        AugmentorError: the output is missing or unfinished, or there is no such attribute or split.
    """
    out = Path(out)
    table, description = _read_hdf5(out) if out.is_file() else _read_folder(out)
    space = LabelSpace.from_json(description["label_space"])
    wanted = space
    if attributes is not None:
        wanted = LabelSpace(attributes=tuple(attribute_named(space, name) for name in attributes))
    selected = np.ones(len(table), dtype=bool)
    if split is not None:
        _refuse_unknown_split(out, split, sorted(table["split"].unique()))
        selected &= (table["split"] == split).to_numpy()
    if synthetic is not None:
        selected &= table["is_synthetic"].to_numpy() == synthetic
    rows = np.flatnonzero(selected)
    labels = table.iloc[rows].reset_index(drop=True)
    shape = description["image_shape"]
    channels = (shape[2] if shape else None) or 3
    suffix = None if out.is_file() else PACK_SUFFIXES.get(format_of(description))
    images: ImageSource
    if out.is_file():
        images = HDF5Images(out.resolve(), rows, channels=channels, size=size)
    elif suffix is not None:
        images = PackImages(out.resolve(), labels["file_name"], suffix=suffix, channels=channels, size=size)
    else:
        images = FolderImages(out.resolve(), labels["file_name"], channels=channels, size=size)
    return ExpandedDataset(
        images,
        labels=labels,
        codes=_codes(labels, wanted),
        space=wanted,
        transform=transform,
    )


def _read_folder(out: Path) -> tuple[pd.DataFrame, Description]:
    """Return the label table and `dataset.json` of an output folder."""
    try:
        description: Description = json.loads((out / "dataset.json").read_bytes())
    except FileNotFoundError:
        _refuse_unfinished(out)
    except ValueError as error:
        raise OutputError(f"{out / 'dataset.json'}: damaged ({error})") from error
    space = LabelSpace.from_json(description["label_space"])
    return read_label_table(out / "labels.csv", space), description


def _read_hdf5(out: Path) -> tuple[pd.DataFrame, Description]:
    """Return the label table and the description of an output file."""
    try:
        with h5py.File(out, "r") as file:
            description: Description = json.loads(file.attrs["dataset_json"])
            space = LabelSpace.from_json(description["label_space"])
            return _hdf5_rows(file, space, slice(None)), description
    except (OSError, KeyError, ValueError) as error:
        raise OutputError(f"{out}: not an HDF5 file that expand wrote, or damaged ({error})") from error


def hdf5_description(path: Path) -> dict[str, object]:
    """Return what an output file says of itself, as `dataset.json` says it.

    Raises:
        OutputError: it is not what expand wrote, or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            described: dict[str, object] = json.loads(file.attrs["dataset_json"])
            return described
    except (OSError, KeyError, ValueError) as error:
        raise OutputError(f"{path}: not an HDF5 file that expand wrote, or damaged ({error})") from error


def hdf5_chunks(path: Path, space: LabelSpace, *, rows: int) -> Iterator[pd.DataFrame]:
    """Yield the label table of an output file in pieces, so that a large one need not fit into memory.

    Args:
        path: the file, which may still be on its way to its name.
        space: its attributes.
        rows: of a piece, at most.

    Raises:
        OutputError: it is not what expand wrote, or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            for first in range(0, len(file["labels"]), rows):
                yield _hdf5_rows(file, space, slice(first, first + rows))
    except (OSError, KeyError, ValueError) as error:
        raise OutputError(f"{path}: not an HDF5 file that expand wrote, or damaged ({error})") from error


def hdf5_shards(path: Path) -> list[dict[str, object]]:
    """Return what an output file says of its shards, besides their rows.

    Raises:
        OutputError: it is not what expand wrote, or damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            shards: list[dict[str, object]] = json.loads(file.attrs["shards"])
            return shards
    except (OSError, KeyError, ValueError) as error:
        raise OutputError(f"{path}: not an HDF5 file that expand wrote, or damaged ({error})") from error


def _hdf5_rows(file: h5py.File, space: LabelSpace, rows: slice) -> pd.DataFrame:
    """Return some rows of the label table."""
    codes = file["labels"][rows]
    table: dict[str, np.ndarray] = {name: file[name].asstr()[rows] for name in TEXT_COLUMNS}
    table["is_synthetic"] = file["is_synthetic"][rows].astype(bool)
    for name in SCORE_COLUMNS:  # The table's 4 decimals, without what float32 adds to them.
        table[name] = file[name][rows].astype(np.float64).round(4)
    for column, attribute in enumerate(space.attributes):
        # Code -1, unknown, indexes the last entry: the blank.
        table[attribute.name] = np.array([*attribute.values, ""], dtype=object)[codes[:, column]]
    return pd.DataFrame(table)[columns(space)]


def _refuse_unfinished(out: Path) -> NoReturn:
    """Say what is wrong with an output that has no description."""
    if place_of(out).work.exists():
        raise OutputError(f"{out}: expand has not finished here. Run the same `augmentor expand` command again.")
    if out.exists():
        raise OutputError(f"{out}: holds no dataset.json, so it is not an output of `augmentor expand`.")
    raise OutputError(f"{out}: does not exist.")


def _refuse_unknown_split(out: Path, split: str, there: Sequence[str]) -> None:
    if split in there:
        return
    hint = did_you_mean(split, there)
    raise OutputError(f"{out}: has no split {split!r}, only {', '.join(there) or 'none'}.{hint}")


def _codes(labels: pd.DataFrame, space: LabelSpace) -> Tensor:
    """Return (N, A) int64 codes of a label table's cells, -1 for blanks."""
    codes = np.full((len(labels), len(space)), UNKNOWN, dtype=np.int64)
    for column, attribute in enumerate(space.attributes):
        cells = labels[attribute.name]
        codes[:, column] = pd.Index(attribute.values).get_indexer(pd.Index(cells))
        strange = np.flatnonzero((codes[:, column] == UNKNOWN) & (cells != "").to_numpy())
        if len(strange):
            row = labels.iloc[int(strange[0])]
            raise OutputError(
                f"The label table says {attribute.name} = {row[attribute.name]!r} for {row['file_name']}, "
                f"which is not one of {', '.join(attribute.values)}: it was changed by hand."
            )
    return torch.from_numpy(codes)
