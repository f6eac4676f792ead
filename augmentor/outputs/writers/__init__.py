"""Outputs of expand: folders of files, of packs, and HDF5 files behind one small protocol."""

from augmentor.outputs.writers.folder import FolderWriter
from augmentor.outputs.writers.hdf5 import HDF5Writer
from augmentor.outputs.writers.packs import PackWriter
from augmentor.outputs.places import OutputFormat
from augmentor.outputs.writers.protocol import ShardWriter, Writer
from augmentor.outputs.records import SCHEMA_VERSION, Counts, Failure, Json, ShardRecord

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
