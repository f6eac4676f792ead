"""Outputs of expand: folders and HDF5 files behind one small protocol."""

from augmentor.writers.folder import FolderWriter
from augmentor.writers.hdf5 import HDF5Writer
from augmentor.writers.protocol import ShardWriter, Writer
from augmentor.writers.records import SCHEMA_VERSION, Counts, Failure, Json, ShardRecord

__all__ = [
    "SCHEMA_VERSION",
    "Counts",
    "Failure",
    "FolderWriter",
    "HDF5Writer",
    "Json",
    "ShardRecord",
    "ShardWriter",
    "Writer",
]
