"""Input data: manifests, data sets in their owners' layouts, models, and rows that cannot be used."""

from augmentor.data.check import CheckReport, check_manifest, frame_notes
from augmentor.data.failures import Failure, write_failures
from augmentor.data.folds import LEAST_FOLDS, MOST_FOLDS, Folds, write_folds
from augmentor.data.grey_ranges import grey_range_notes, resolve_range
from augmentor.data.models import (
    NO_DESCRIPTION,
    ForeignDescription,
    describe_choice,
    is_foreign,
    model_crop,
    model_grey_range,
    open_model,
    read_model_manifest,
)
from augmentor.data.pairs import PairSummary, refuse_unequal_pairs
from augmentor.data.samples import (
    GREY_SAMPLE,
    Samples,
    all_grey,
    read_model_samples,
    read_samples,
    sample_originals,
)
from augmentor.data.split_labels import SplitLabels, split_labels

__all__ = [
    "GREY_SAMPLE",
    "LEAST_FOLDS",
    "MOST_FOLDS",
    "NO_DESCRIPTION",
    "CheckReport",
    "Failure",
    "Folds",
    "ForeignDescription",
    "PairSummary",
    "Samples",
    "SplitLabels",
    "all_grey",
    "check_manifest",
    "describe_choice",
    "frame_notes",
    "grey_range_notes",
    "is_foreign",
    "model_crop",
    "model_grey_range",
    "open_model",
    "read_model_manifest",
    "read_model_samples",
    "read_samples",
    "refuse_unequal_pairs",
    "resolve_range",
    "sample_originals",
    "split_labels",
    "write_failures",
    "write_folds",
]
