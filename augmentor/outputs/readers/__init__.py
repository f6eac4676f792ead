"""Readers of finished outputs, one for every format."""

from augmentor.outputs.label_table import read_chunks
from augmentor.outputs.readers.dataset import ExpandedDataset, open_dataset
from augmentor.outputs.readers.finished import FinishedOutput
from augmentor.outputs.readers.images import FolderImages, HDF5Images, PackImages

__all__ = [
    "ExpandedDataset",
    "FinishedOutput",
    "FolderImages",
    "HDF5Images",
    "PackImages",
    "open_dataset",
    "read_chunks",
]
