"""A torch Dataset over an output of expand, for training classifiers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from augmentor.errors import OutputError, did_you_mean
from augmentor.outputs.label_table import attribute_named
from augmentor.outputs.readers.finished import FinishedOutput
from augmentor.outputs.readers.images import ImageSource
from stargan.labels import UNKNOWN, LabelSpace

Transform = Callable[[Tensor], Tensor]
"""Maps one uint8 (C, H, W) image to a tensor."""


class ExpandedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels of an output; made by `open_dataset`.

    Items are (image, labels): uint8 (C, H, W), or the transform's result, and int64 (A,) codes in the order of
    `space`, -1 unknown. Images keep their own sizes (`--size original`, `--real original`) unless a size was
    given.

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
    """Open what `augmentor expand` wrote, in any format, as a torch Dataset.

    It is safe with DataLoader workers under fork and spawn. `dataset.labels` is the label table of the
    selected rows as a DataFrame, for samplers and weights.

    Args:
        out: the folder or the .h5 file.
        attributes: names of the selected ones, in this order; None for all.
        split: "train", "val" or "test"; None for all.
        synthetic: True for translated images only, False for real ones only, None for both.
        size: (height, width) in pixels of every image, by a centred crop of these proportions and a resize; None
            keeps each one's own.
        transform: applied to each uint8 (C, H, W) image.

    Raises:
        AugmentorError: the output is missing or unfinished, or there is no such attribute or split.
    """
    out = Path(out)
    output = FinishedOutput.open(out)
    table, space = output.label_table(), output.space
    wanted = space
    if attributes is not None:
        wanted = LabelSpace(attributes=tuple(attribute_named(space, name) for name in attributes))
    selected = np.ones(len(table), dtype=bool)
    if split is not None:
        there = sorted(table["split"].unique())
        if split not in there:
            hint = did_you_mean(split, there)
            raise OutputError(f"{out}: has no split {split!r}, only {', '.join(there) or 'none'}.{hint}")
        selected &= (table["split"] == split).to_numpy()
    if synthetic is not None:
        selected &= table["is_synthetic"].to_numpy() == synthetic
    rows = np.flatnonzero(selected)
    labels = table.iloc[rows].reset_index(drop=True)
    return ExpandedDataset(
        output.image_source(rows, labels["file_name"], size=size),
        labels=labels,
        codes=_codes(labels, wanted),
        space=wanted,
        transform=transform,
    )


def _codes(labels: pd.DataFrame, space: LabelSpace) -> Tensor:
    """Return (N, A) int64 codes of a label table, -1 for blanks."""
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
