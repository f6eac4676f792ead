"""The user's table in: one row per image, a path and a column per attribute."""

from augmentor.manifest.leaks import refuse_split_leaks, split_leaks
from augmentor.manifest.read import Manifest, read_manifest
from augmentor.manifest.rows import SPLITS, key_stems

__all__ = ["SPLITS", "Manifest", "key_stems", "read_manifest", "refuse_split_leaks", "split_leaks"]
