"""Writers of outputs: folders of files, folders of packs, and HDF5 files."""

from augmentor.outputs.paths import OutputFormat
from augmentor.outputs.writers.assembly import Assembly, WritePages
from augmentor.outputs.writers.base import ShardWriter, Writer
from augmentor.outputs.writers.folder import FolderWriter
from augmentor.outputs.writers.hdf5 import HDF5Writer
from augmentor.outputs.writers.metadata import PARQUET_SPLIT_TABLE, split_table
from augmentor.outputs.writers.packs import PackWriter, packing_of
from augmentor.outputs.writers.remote import RemoteWriter, on_disk, publish

__all__ = [
    "PARQUET_SPLIT_TABLE",
    "Assembly",
    "FolderWriter",
    "HDF5Writer",
    "OutputFormat",
    "PackWriter",
    "RemoteWriter",
    "ShardWriter",
    "WritePages",
    "Writer",
    "on_disk",
    "packing_of",
    "publish",
    "split_table",
]
