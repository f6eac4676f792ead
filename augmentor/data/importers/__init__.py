"""Data sets that people have, as their owners ship them, to a manifest."""

from augmentor.data.importers.base import SourceError
from augmentor.data.importers.choose import Choice, parse_constants, parse_values
from augmentor.data.importers.convert import SOURCES, Conversion, convert_dataset

__all__ = ["SOURCES", "Choice", "Conversion", "SourceError", "convert_dataset", "parse_constants", "parse_values"]
