"""Readers of finished outputs, one for every format."""

from augmentor.outputs.readers.dataset import (
    ExpandedDataset,
    hdf5_chunks,
    hdf5_description,
    hdf5_shards,
    open_dataset,
)
from augmentor.outputs.readers.images import FolderImages, HDF5Images, PackImages

__all__ = [
    "ExpandedDataset",
    "FolderImages",
    "HDF5Images",
    "PackImages",
    "hdf5_chunks",
    "hdf5_description",
    "hdf5_shards",
    "open_dataset",
]
