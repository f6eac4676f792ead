"""The user's table: one row per image, a path and a column per attribute."""

from augmentor.data.manifest.guards import (
    missing_notes,
    refuse_split_leaks,
    refuse_unreachable,
    split_leaks,
)
from augmentor.data.manifest.joint import read_manifests
from augmentor.data.manifest.label_sets import describe_sets
from augmentor.data.manifest.missing import look_elsewhere
from augmentor.data.manifest.partners import Partners
from augmentor.data.manifest.read import Manifest, read_manifest
from augmentor.data.manifest.reading import AS_WRITTEN, TableReading
from augmentor.data.manifest.rows import SPLITS, bound_together, key_stems, subject_names

__all__ = [
    "AS_WRITTEN",
    "SPLITS",
    "Manifest",
    "Partners",
    "TableReading",
    "bound_together",
    "describe_sets",
    "key_stems",
    "look_elsewhere",
    "missing_notes",
    "read_manifest",
    "read_manifests",
    "refuse_split_leaks",
    "refuse_unreachable",
    "split_leaks",
    "subject_names",
]
