"""What users bring.

Manifests, data sets in their owners' layouts, models, and the rows of them that cannot be used.
"""

from augmentor.data.failures import Failure, write_failures
from augmentor.data.models import (
    OWN,
    Description,
    is_foreign,
    model_crop,
    open_model,
    parse_model_size,
    read_model_manifest,
)
from augmentor.data.samples import Samples, read_spread, shown_originals, some_sources

__all__ = [
    "OWN",
    "Description",
    "Failure",
    "Samples",
    "is_foreign",
    "model_crop",
    "open_model",
    "parse_model_size",
    "read_model_manifest",
    "read_spread",
    "shown_originals",
    "some_sources",
    "write_failures",
]
