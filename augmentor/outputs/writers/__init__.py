"""Writers of outputs: folders of files, folders of packs, and HDF5 files."""

from augmentor.data import Failure
from augmentor.outputs.description import SCHEMA_VERSION, Counts
from augmentor.outputs.paths import OutputFormat
from augmentor.outputs.records import ShardRecord
from augmentor.outputs.writers.assembly import Assembling, WritePages
from augmentor.outputs.writers.base import ShardWriter, Writer
from augmentor.outputs.writers.folder import FolderWriter
from augmentor.outputs.writers.hdf5 import HDF5Writer
from augmentor.outputs.writers.packs import PACK_SUFFIXES, PackWriter, packing_of
from augmentor.outputs.writers.remote import RemoteWriter, on_disk, publish
from augmentor.storage import Json

__all__ = [
    "PACK_SUFFIXES",
    "SCHEMA_VERSION",
    "Assembling",
    "Counts",
    "Failure",
    "FolderWriter",
    "HDF5Writer",
    "Json",
    "OutputFormat",
    "PackWriter",
    "RemoteWriter",
    "ShardRecord",
    "ShardWriter",
    "WritePages",
    "Writer",
    "on_disk",
    "packing_of",
    "publish",
]
