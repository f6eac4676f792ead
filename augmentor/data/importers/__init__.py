"""Importers of data sets in the layouts of their owners (CelebA, RaFD, MNIST, USPS, ADE20K, folders)."""

from augmentor.data.importers.base import SourceError
from augmentor.data.importers.choose import Choice, parse_constants, parse_values
from augmentor.data.importers.convert import SOURCES, Conversion, convert_dataset

__all__ = ["SOURCES", "Choice", "Conversion", "SourceError", "convert_dataset", "parse_constants", "parse_values"]
