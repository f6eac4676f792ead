"""augmentor: expand a labelled image set with one StarGAN, from a manifest to a data set for a classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from augmentor.outputs.readers import ExpandedDataset, open_dataset

__version__ = "0.1.0"

__all__ = ["ExpandedDataset", "__version__", "open_dataset"]


def __getattr__(name: str) -> object:
    """Import the public names on first use, so that the command starts without torch."""
    if name in ("ExpandedDataset", "open_dataset"):
        from augmentor.outputs.readers import dataset as datasets  # noqa: PLC0415 - on first use

        return getattr(datasets, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
