"""Importers of data sets in the layouts of their owners (CelebA, RaFD, MNIST, USPS, ADE20K, folders)."""

from augmentor.data.importers.base import DatasetError
from augmentor.data.importers.choose import Selection, parse_constants, parse_values
from augmentor.data.importers.convert import IMPORTERS, Conversion, convert_dataset

__all__ = [
    "IMPORTERS",
    "Conversion",
    "DatasetError",
    "Selection",
    "convert_dataset",
    "parse_constants",
    "parse_values",
]
