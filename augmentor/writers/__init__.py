"""Outputs of expand: folders of files, of packs, and HDF5 files behind one small protocol."""

from augmentor.writers.folder import FolderWriter
from augmentor.writers.hdf5 import HDF5Writer
from augmentor.writers.packs import PackWriter
from augmentor.writers.places import OutputFormat
from augmentor.writers.protocol import ShardWriter, Writer
from augmentor.writers.records import SCHEMA_VERSION, Counts, Failure, Json, ShardRecord

__all__ = [
    "SCHEMA_VERSION",
    "Counts",
    "Failure",
    "FolderWriter",
    "HDF5Writer",
    "Json",
    "OutputFormat",
    "PackWriter",
    "ShardRecord",
    "ShardWriter",
    "Writer",
]
